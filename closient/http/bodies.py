"""How large the body of a request may be: one rule for the web server and for Django.

The web server applies it as soon as it has the headers (``closient.serving``), so that a body that
will be refused is never stored. The middleware applies it again, which covers every other server.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from typing import Any, TypeVar

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import Resolver404, resolve

from closient.http.problems import API_PREFIXES
from closient.text import key_format

View = TypeVar("View", bound=Callable[..., HttpResponseBase])

# Bytes that a client without an API key or a session may send: a login form and more.
ANONYMOUS_MAX_BODY = 64 * 1024
# The key of the WSGI environment that says why the web server did not read the body.
WITHHELD = "closient.body_withheld"

_OWN_LIMIT = "max_body"
_SESSION_KEY = re.compile(r"[a-z0-9]{32}")


class Withheld(enum.StrEnum):
    """Why the web server hands a request on without its body."""

    TOO_LARGE = "too_large"
    ANONYMOUS = "anonymous"
    NO_SPACE = "no_space"


def accepts_body(max_body: Callable[[], int]) -> Callable[[View], View]:
    """Mark the view of a page that has a limit other than ``PAGE_LARGEST_BODY``.

    The view refuses larger bodies itself.
    """

    def mark(view: View) -> View:
        setattr(view, _OWN_LIMIT, max_body)
        return view

    return mark


def has_own_limit(view: Callable[..., Any]) -> bool:
    """Return whether a view was marked with ``accepts_body``."""
    return hasattr(view, _OWN_LIMIT)


def max_body(path: str, content_type: str, length: int) -> int:
    """Return how many bytes a body sent to a path may have; ``length`` is its size so far.

    The view of a page is looked up only for bodies that most pages refuse.
    """
    if path.startswith(API_PREFIXES):
        is_form = content_type.lower().startswith("multipart/form-data")
        limit: int = settings.API_LARGEST_UPLOAD if is_form else settings.API_LARGEST_BODY
        return limit
    limit = settings.PAGE_LARGEST_BODY
    if length > limit:
        try:
            own_limit = getattr(resolve(path).func, _OWN_LIMIT, None)
        except Resolver404:
            own_limit = None
        if own_limit is not None:
            limit = own_limit()
    return limit


def is_anonymous(api_key: str, cookies: str) -> bool:
    """Return whether headers carry neither a well-formed API key nor a session cookie."""
    if api_key and key_format.is_well_formed(api_key):
        return False
    for cookie in cookies.split(";"):
        name, _, value = cookie.strip().partition("=")
        if name == settings.SESSION_COOKIE_NAME and _SESSION_KEY.fullmatch(value):
            return False
    return True


def announced_length(request: HttpRequest) -> int:
    """Return the length of the body in bytes as the request announces it, 0 without."""
    text = request.META.get("CONTENT_LENGTH") or "0"
    # Eighteen digits are above every limit, and quickly read.
    return int(text[:18]) if text.isascii() and text.isdigit() else 0
