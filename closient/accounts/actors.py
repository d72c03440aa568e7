"""Who makes a change: the person, API key or import that rows name in ``updated_by``."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any

from django.http import HttpRequest, HttpResponse

from closient.accounts.models import ApiKey, User

MAX_ACTOR_LENGTH = 255

_current: contextvars.ContextVar[HttpRequest | str] = contextvars.ContextVar("actor", default="")


class Actor:
    """Lets code that writes rows know whose request it serves."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        with _acting(request):
            return self.get_response(request)


def current_actor() -> str:
    """Return the name of the person, API key or import that acts now; empty when unknown.

    Reads the user of the request only when a change is written, when it has been loaded.
    """
    source = _current.get()
    if isinstance(source, str):
        return source
    key: Any = getattr(source, "auth", None)
    if isinstance(key, ApiKey):
        return f"API key {key.name}"[:MAX_ACTOR_LENGTH]
    user: Any = getattr(source, "user", None)
    return name_of(user) if getattr(user, "is_authenticated", False) else ""


def acting_as(name: str) -> contextlib.AbstractContextManager[None]:
    """Name what acts outside of a request, such as an import."""
    return _acting(name[:MAX_ACTOR_LENGTH])


def name_of(user: User) -> str:
    """Return the name of a person: the full name, or the email address without one."""
    return (user.get_full_name() or user.email)[:MAX_ACTOR_LENGTH]


@contextlib.contextmanager
def _acting(source: HttpRequest | str) -> Iterator[None]:
    token = _current.set(source)
    try:
        yield
    finally:
        _current.reset(token)
