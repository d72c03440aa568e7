"""What the metrics say about this process's connections to the database."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import errors
from psycopg.pq import TransactionStatus

from closient.metrics.database import CONNECT_SECONDS, ERRORS

# SQLSTATEs and their classes (the first two characters) by kind; a connection that fails or breaks
# without a word of the server has none.
KINDS = {
    "08": "connection",
    "57P01": "connection",
    "57P02": "connection",
    "57P03": "connection",
    "25P03": "timeout",
    "57014": "timeout",
    "55P03": "lock",
    "40P01": "deadlock",
    "40": "conflict",
    "23": "constraint",
    "25006": "read_only",
    # Out of disk space, memory, connections.
    "53": "resources",
    "28": "login",
}

_open: weakref.WeakSet[psycopg.Connection[Any]] = weakref.WeakSet()
_mutex = threading.Lock()


@contextmanager
def connecting() -> Iterator[None]:
    """Measure how long the block takes to connect."""
    started = time.monotonic()
    try:
        yield
    finally:
        CONNECT_SECONDS.observe(time.monotonic() - started)


def opened(connection: psycopg.Connection[Any]) -> None:
    """Count a connection from now on, until it is closed."""
    with _mutex:
        _open.add(connection)


def failed(error: psycopg.Error) -> None:
    """Count an error."""
    ERRORS.labels(kind_of(error)).inc()


def kind_of(error: psycopg.Error) -> str:
    """Return a word for the kind of an error."""
    state = error.sqlstate
    if isinstance(error, errors.ConnectionTimeout):
        return "timeout"
    if state is None:
        return "connection" if isinstance(error, psycopg.OperationalError) else "other"
    return KINDS.get(state) or KINDS.get(state[:2], "other")


def connections(state: str) -> int:
    """Return the number of open connections that are ``active`` or ``idle``."""
    with _mutex:
        found = [connection.pgconn for connection in _open]
    # A connection that is closed meanwhile is in no known state.
    states = [connection.transaction_status for connection in found]
    known = [each for each in states if each != TransactionStatus.UNKNOWN]
    idle = known.count(TransactionStatus.IDLE)
    return idle if state == "idle" else len(known) - idle
