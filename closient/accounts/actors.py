"""Who makes a change: the person, API key or import named in a row's ``updated_by``.

The history gets the same name, with the cause (:mod:`closient.changes.causes`).
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse

from closient.accounts.models import ApiKey, User
from closient.changes.causes import Origin, caused_by
from closient.changes.models import ACTOR_LENGTH, Cause
from closient.db.ids import uuid7
from closient.http import request_id

_current: contextvars.ContextVar[HttpRequest | str] = contextvars.ContextVar("actor", default="")


class ActorMiddleware:
    """Makes the request available to :func:`current_actor`."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        origin = Origin(lambda: _cause_of(request), current_actor, request_id=request_id.current())
        with _acting(request), caused_by(origin):
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
        return f"API key {key.name}"[:ACTOR_LENGTH]
    user: Any = getattr(source, "user", None)
    return actor_name(user) if getattr(user, "is_authenticated", False) else ""


@contextlib.contextmanager
def acting_as(
    name: str, cause: Cause, reference: UUID | None = None, *, change_id: UUID | None = None
) -> Iterator[Origin]:
    """Set the actor and the cause of what a block changes, outside of a request.

    ``reference`` is the id of the import, bulk edit or undone change, ``change_id`` that of the
    change itself, a new one by default.
    """
    origin = Origin(lambda: cause, current_actor, reference, id=change_id or uuid7())
    with _acting(name[:ACTOR_LENGTH]), caused_by(origin):
        yield origin


def _cause_of(request: HttpRequest) -> Cause:
    if isinstance(getattr(request, "auth", None), ApiKey):
        return Cause.API
    match = request.resolver_match
    return Cause.ADMIN if match is not None and match.app_name == "admin" else Cause.PAGE


def actor_name(user: User) -> str:
    """Return the full name of a user, or the email address if there is none."""
    return (user.get_full_name() or user.email)[:ACTOR_LENGTH]


@contextlib.contextmanager
def _acting(source: HttpRequest | str) -> Iterator[None]:
    token = _current.set(source)
    try:
        yield
    finally:
        _current.reset(token)
