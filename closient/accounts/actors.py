"""The actor of a change: the person, API key or import named in a row's ``updated_by``."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any

from django.http import HttpRequest, HttpResponse

from closient.accounts.models import ApiKey, User

MAX_ACTOR_LENGTH = 255

_current: contextvars.ContextVar[HttpRequest | str] = contextvars.ContextVar("actor", default="")


class ActorMiddleware:
    """Makes the request available to :func:`current_actor`."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        with _acting(request):
            return self.get_response(request)


def current_actor() -> str:
    """Return the name of the current person, API key or import; empty if there is none.

    Reads the user from the request only when called, so requests that write nothing load no user.
    """
    source = _current.get()
    if isinstance(source, str):
        return source
    key: Any = getattr(source, "auth", None)
    if isinstance(key, ApiKey):
        return f"API key {key.name}"[:MAX_ACTOR_LENGTH]
    user: Any = getattr(source, "user", None)
    return actor_name(user) if getattr(user, "is_authenticated", False) else ""


def acting_as(name: str) -> contextlib.AbstractContextManager[None]:
    """Set the actor for code that runs outside of a request, such as an import."""
    return _acting(name[:MAX_ACTOR_LENGTH])


def actor_name(user: User) -> str:
    """Return the full name of a user, or the email address if there is none."""
    return (user.get_full_name() or user.email)[:MAX_ACTOR_LENGTH]


@contextlib.contextmanager
def _acting(source: HttpRequest | str) -> Iterator[None]:
    token = _current.set(source)
    try:
        yield
    finally:
        _current.reset(token)
