"""The trace of the current request, as its client names it (W3C Trace Context)."""

from __future__ import annotations

import re
from contextvars import ContextVar
from typing import NamedTuple

HEADER = "traceparent"
# Later versions may append fields after another hyphen; version ff is invalid.
_TRACEPARENT = re.compile(
    r"(?P<version>(?!ff)[0-9a-f]{2})-(?P<trace>(?!0{32})[0-9a-f]{32})-(?P<span>(?!0{16})[0-9a-f]{16})"
    r"-[0-9a-f]{2}(?P<more>-.*)?\Z"
)
MAX_LENGTH = 512


class Trace(NamedTuple):
    """The ids of a trace and of the client's span in it, in lower-case hex."""

    trace_id: str
    span_id: str


_current: ContextVar[Trace | None] = ContextVar("trace", default=None)


def current() -> Trace | None:
    """Return the trace of the current request of this thread or task, if it has one."""
    return _current.get()


def begin(offered: str | None) -> None:
    """Set the trace from a ``traceparent`` header; an invalid header is ignored."""
    _current.set(parse(offered) if offered else None)


def parse(text: str) -> Trace | None:
    """Return the trace that a ``traceparent`` names; ``None`` if it is invalid."""
    match = _TRACEPARENT.match(text) if len(text) <= MAX_LENGTH else None
    if match is None or (match["version"] == "00" and match["more"] is not None):
        return None
    return Trace(match["trace"], match["span"])
