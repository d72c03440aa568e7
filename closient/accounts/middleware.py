"""What each answer to a person's browser passes."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse


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
