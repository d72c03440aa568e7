"""Separate database sessions, for tests of concurrency."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from django.db import connection

T = TypeVar("T")

TIMEOUT_SECONDS = 30.0


class Session:
    """A database connection in a separate thread, where functions use the ORM as usual."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1)
        self.pid: int = self.run(lambda: query("SELECT pg_backend_pid()"))

    def start(self, work: Callable[[], T]) -> Future[T]:
        """Start a function and return its future."""
        return self._thread.submit(work)

    def run(self, work: Callable[[], T]) -> T:
        """Run a function and return its result."""
        return self.start(work).result(timeout=TIMEOUT_SECONDS)

    def begin(self, isolation: str = "READ COMMITTED") -> None:
        """Begin a transaction and take its snapshot."""

        def begin() -> None:
            connection.set_autocommit(False)
            with connection.cursor() as cursor:
                cursor.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}")
                cursor.execute("SELECT 1 FROM tally_tallyentry LIMIT 1")

        self.run(begin)

    def end(self, outcome: str = "commit") -> None:
        """Commit the transaction, or roll it back."""

        def end() -> None:
            getattr(connection, outcome)()
            connection.set_autocommit(True)

        self.run(end)

    def wait_until_blocked(self) -> None:
        """Wait until the session waits for a lock of another one."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            if query("SELECT cardinality(pg_blocking_pids(%s)) > 0", [self.pid]):
                return
            threading.Event().wait(0.01)
        raise AssertionError("the session was expected to wait for a lock, and did not")

    def close(self) -> None:
        """Roll back an open transaction and close the connection."""
        self.run(lambda: connection.close())  # noqa: PLW0108 - each thread has its own
        self._thread.shutdown()


def query(sql: str, params: Any = None) -> Any:
    """Return the single value of a statement."""
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return cursor.fetchone()[0]


@contextmanager
def sessions(count: int) -> Iterator[list[Session]]:
    """Open a number of sessions for a block, and close them at its end."""
    opened = [Session() for _ in range(count)]
    try:
        yield opened
    finally:
        for session in opened:
            session.close()
