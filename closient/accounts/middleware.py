"""Middleware that depends on the caller: trusted proxies, and responses to browsers.

Django's middleware for sessions, users, messages, static files and pages does nothing for a program
that sends an API key, so the classes here pass such requests on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from csp.middleware import CSPMiddleware
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest, HttpResponse
from whitenoise.middleware import WhiteNoiseMiddleware

from closient.http.problems import is_api_path
from closient.http.proxies import is_trusted_proxy

KEY_HEADER = "HTTP_X_API_KEY"
# For responses that are not pages: they must not load, run or be framed.
API_CONTENT_SECURITY_POLICY = "default-src 'none'; frame-ancestors 'none'"


def sends_key(request: HttpRequest) -> bool:
    """Return whether an API request has the header of a key, so it comes from a program."""
    return KEY_HEADER in request.META and is_api_path(request)


class TrustedProxies:
    """Removes the headers of proxies from requests that do not come from one.

    Only peers in ``TRUSTED_PROXIES`` may say where a request comes from and how it was made. It is
    the first middleware, so that no other code sees such a header.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not is_trusted_proxy(request.META.get("REMOTE_ADDR", "")):
            for name in [name for name in request.META if _is_of_proxy(name)]:
                del request.META[name]
        return self.get_response(request)


def _is_of_proxy(name: str) -> bool:
    return name.startswith("HTTP_X_FORWARDED_") or name == "HTTP_FORWARDED"


class PrivateAnswers:
    """Keeps responses that depend on the login out of all caches, including the browser's.

    So the back button shows nothing after a logout. Responses with their own Cache-Control are not
    changed. Must come after Django's session middleware.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        session = getattr(request, "session", None)
        if session is not None and session.accessed:
            response.headers.setdefault("Cache-Control", "private, no-store")
        return response


if TYPE_CHECKING:

    class _Skips:
        get_response: Any

        def __call__(self, request: HttpRequest) -> Any: ...

else:
    _Skips = object


class _ForBrowsers(_Skips):
    """Skips requests with a key; comes before the middleware that it restricts."""

    def __call__(self, request: HttpRequest) -> Any:
        if sends_key(request):
            return self.get_response(request)
        return super().__call__(request)


class Csp(CSPMiddleware):
    """Sets the policy of pages, and the strictest policy on API responses."""

    def __call__(self, request: HttpRequest) -> Any:
        if not sends_key(request):
            return super().__call__(request)
        response: Any = self.get_response(request)
        response.headers.setdefault("Content-Security-Policy", API_CONTENT_SECURITY_POLICY)
        return response


class StaticFiles(_ForBrowsers, WhiteNoiseMiddleware):  # type: ignore[misc]
    """Serves static files."""


class Sessions(_ForBrowsers, SessionMiddleware):
    """Reads and writes the session of the cookie."""


class Users(_ForBrowsers, AuthenticationMiddleware):
    """Sets the user of the session."""


class Messages(_ForBrowsers, MessageMiddleware):
    """Keeps messages for the next page."""
