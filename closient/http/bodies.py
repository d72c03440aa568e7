"""The maximum size of request bodies: one rule for the web server and for Django.

The web server applies it after the headers (``closient.serving``), so a rejected body is never
stored. The middleware applies it again, for other web servers.
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

from closient.http.problems import API_PREFIXES, Problem
from closient.text import key_format

View = TypeVar("View", bound=Callable[..., HttpResponseBase])

# Bytes that a client without an API key or a session may send: more than a login form needs.
ANONYMOUS_MAX_BODY = 64 * 1024
# The key in the WSGI environment for the reason why the web server did not read the body.
WITHHELD = "closient.body_withheld"

_OWN_LIMIT = "max_body"
_SESSION_KEY = re.compile(r"[a-z0-9]{32}")


class Withheld(enum.StrEnum):
    """Why the web server passes on a request without its body."""

    TOO_LARGE = "too_large"
    ANONYMOUS = "anonymous"
    NO_SPACE = "no_space"


def accepts_body(
    max_body: Callable[[], int], *, only_forms: bool = False
) -> Callable[[View], View]:
    """Mark a view that has another limit than others: a page or an endpoint of the API.

    With ``only_forms`` the limit is for forms, which can contain a file. A page rejects larger
    bodies itself.
    """

    def mark(view: View) -> View:
        setattr(view, _OWN_LIMIT, (max_body, only_forms))
        return view

    return mark


def has_own_limit(view: Callable[..., Any]) -> bool:
    """Return whether a view was marked with ``accepts_body``."""
    return hasattr(view, _OWN_LIMIT)


def max_body(path: str, content_type: str, length: int) -> int:
    """Return the maximum size in bytes of a body for a path; ``length`` is its size so far.

    The view is looked up only for bodies above the limit of most views.
    """
    limit: int = settings.PAGE_LARGEST_BODY
    is_form = content_type.lower().startswith("multipart/form-data")
    if path.startswith(API_PREFIXES):
        limit = settings.API_LARGEST_UPLOAD if is_form else settings.API_LARGEST_BODY
    if length > limit:
        try:
            own_limit, only_forms = getattr(resolve(path).func, _OWN_LIMIT, (None, False))
        except Resolver404:
            return limit
        if own_limit is not None and (is_form or not only_forms):
            limit = own_limit()
    return limit


def too_large(limit: int) -> Problem:
    """Return the problem of a body with more bytes than the limit."""
    return Problem(
        "payload_too_large", f"The body of the request has more than {limit:,} bytes: send less."
    )


def is_anonymous(api_key: str, cookies: str) -> bool:
    """Return whether a request has neither a well-formed API key nor a session cookie."""
    if api_key and key_format.is_well_formed(api_key):
        return False
    for cookie in cookies.split(";"):
        name, _, value = cookie.strip().partition("=")
        if name == settings.SESSION_COOKIE_NAME and _SESSION_KEY.fullmatch(value):
            return False
    return True


def announced_length(request: HttpRequest) -> int:
    """Return the ``Content-Length`` of a request, 0 without one."""
    text = request.META.get("CONTENT_LENGTH") or "0"
    # Eighteen digits are above every limit, and fast to parse.
    return int(text[:18]) if text.isascii() and text.isdigit() else 0
