"""Middleware for browsers: sessions, users, messages, static files, and headers of pages.

API requests with a key come from programs, which need none of it: they skip it.
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

# Responses that are not pages must not load anything, run scripts or be framed.
API_CONTENT_SECURITY_POLICY = "default-src 'none'; frame-ancestors 'none'"


def has_api_key(request: HttpRequest) -> bool:
    """Return whether this is an API request with an ``X-API-Key`` header, valid or not."""
    return "HTTP_X_API_KEY" in request.META and is_api_path(request)


if TYPE_CHECKING:

    class _Middleware:
        get_response: Any

        def __call__(self, request: HttpRequest) -> Any: ...

else:
    _Middleware = object


class _BrowserOnly(_Middleware):
    """Skips the middleware that follows it in the bases for requests with a key."""

    def __call__(self, request: HttpRequest) -> Any:
        if has_api_key(request):
            return self.get_response(request)
        return super().__call__(request)


class BrowserStaticFilesMiddleware(_BrowserOnly, WhiteNoiseMiddleware):  # type: ignore[misc]
    """Serves static files."""


class BrowserSessionMiddleware(_BrowserOnly, SessionMiddleware):
    """Loads and saves the session."""


class BrowserUserMiddleware(_BrowserOnly, AuthenticationMiddleware):
    """Sets the user of the session."""


class BrowserMessageMiddleware(_BrowserOnly, MessageMiddleware):
    """Stores messages for the next page."""


class ContentSecurityPolicyMiddleware(CSPMiddleware):
    """Sets the policy of pages, and the strictest policy on API responses."""

    def __call__(self, request: HttpRequest) -> Any:
        if not has_api_key(request):
            return super().__call__(request)
        response: Any = self.get_response(request)
        response.headers.setdefault("Content-Security-Policy", API_CONTENT_SECURITY_POLICY)
        return response


class NoStoreMiddleware:
    """Keeps responses that depend on the session out of all caches, including the browser's.

    After a logout, the back button shows no data. A response with its own ``Cache-Control`` is not
    changed. Must come after the session middleware.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        session = getattr(request, "session", None)
        if session is not None and session.accessed:
            response.headers.setdefault("Cache-Control", "private, no-store")
        return response
