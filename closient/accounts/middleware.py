"""Middleware that knows who asks: trusted proxies, and answers to a person's browser."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from closient.accounts.addresses import is_trusted_proxy


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
    """Keeps answers that depend on who is logged in out of every cache, the browser's own too.

    So the back button shows nothing once its user has logged out. A view that says by itself how
    long its answer may be kept is left alone. It stands below Django's session middleware.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if request.session.accessed:
            response.headers.setdefault("Cache-Control", "private, no-store")
        return response
