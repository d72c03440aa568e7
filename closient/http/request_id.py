"""The id of the current request: in the response header, in problems and in log lines."""

from __future__ import annotations

import re
import secrets
from contextvars import ContextVar

HEADER = "X-Request-ID"
# Ids that a client may choose: short, and safe in headers, log lines and JSON.
_ACCEPTED = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")

_current: ContextVar[str] = ContextVar("request_id", default="-")


def current() -> str:
    """Return the id of the current request of this thread or task, ``-`` without one."""
    return _current.get()


def begin(offered: str | None) -> str:
    """Return the id for a new request: the client's if it is acceptable, otherwise a new one.

    It is the current id until the next request starts.
    """
    request_id = offered if offered and _ACCEPTED.match(offered) else secrets.token_hex(16)
    _current.set(request_id)
    return request_id
