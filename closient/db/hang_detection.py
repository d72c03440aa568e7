"""Detects a database server that hangs, on the client's side.

A server that is suspended, swapped out or frozen keeps its connections open and sends nothing: its
own timeouts cannot end a statement, and TCP sees a healthy peer. If a statement gets no response
for a while, the process tries a new connection. If the server does not respond to that either, it
hangs: waiting statements fail, and new ones fail immediately, until a background thread can connect
again. A server that responds to the connection is only slow; its statements keep their time limits.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Generator
from typing import Any

import psycopg
from django.db import DEFAULT_DB_ALIAS
from psycopg import errors

from closient.metrics.database import HANGS

logger = logging.getLogger("closient.db")

# A statement without a response for this long starts a test, and another after the same time.
TEST_INTERVAL_SECONDS = 2.0
# For the server's response to a new connection; psycopg allows no shorter time.
CONNECT_TIMEOUT_SECONDS = 2
# Between attempts while the server hangs.
RETRY_INTERVAL_SECONDS = 0.25
# The result of one thread's test is valid for the others for this long.
RESULT_TTL_SECONDS = 1.0


class Watch:
    """The state of one server as seen by this process; shared by its threads."""

    def __init__(self, alias: str, parameters: dict[str, Any]) -> None:
        """Store the alias of the database and the connection parameters for libpq."""
        self._is_default = alias == DEFAULT_DB_ALIAS
        self._name = "database server" if self._is_default else alias
        self._parameters = parameters
        self._mutex = threading.Lock()
        self._responded_at = 0.0
        self._hangs = False

    def check(self) -> None:
        """Raise ``OperationalError`` while the server is known to hang."""
        if self._hangs:
            raise psycopg.OperationalError("The database server does not respond.")

    def hangs(self) -> bool:
        """Test whether the server hangs; takes up to two seconds."""
        with self._mutex:
            if self._hangs or time.monotonic() - self._responded_at < RESULT_TTL_SECONDS:
                return self._hangs
            if self._responds():
                return False
            self._start_watching()
            return True

    def report(self) -> None:
        """Record that the server did not respond to a new connection in time."""
        with self._mutex:
            if not self._hangs:
                self._start_watching()

    def limited(
        self,
        generator: Generator[Any, Any, Any],
        seconds: float,
        connection: psycopg.Connection[Any],
    ) -> Generator[Any, Any, Any]:
        """Run one of psycopg's generators, which wait for the server, with a time limit.

        Closes the connection and raises ``OperationalError`` if the time is over or the server
        hangs: a late response would be read as that of the next statement.
        """
        self.check()
        try:
            wanted = next(generator)
            started = time.monotonic()
            test_at = started + TEST_INTERVAL_SECONDS
            while True:
                # Zero if psycopg's interval passed without an event.
                ready = yield wanted
                if not ready:
                    now = time.monotonic()
                    is_over = now >= started + seconds
                    if is_over or (now >= test_at and self.hangs()):
                        connection.close()
                        raise psycopg.OperationalError("The database server does not respond.")
                    if now >= test_at:
                        test_at = time.monotonic() + TEST_INTERVAL_SECONDS
                wanted = generator.send(ready)
        except StopIteration as done:
            return done.value

    def _start_watching(self) -> None:
        self._hangs = True
        if self._is_default:
            HANGS.inc()
            logger.error("The database server does not respond; requests fail until it does.")
        else:
            logger.warning("The %s does not respond.", self._name)
        threading.Thread(target=self._watch, name="database-watch", daemon=True).start()

    def _watch(self) -> None:
        while not self._responds():
            time.sleep(RETRY_INTERVAL_SECONDS)
        self._hangs = False
        logger.warning("The %s responds again.", self._name)

    def _responds(self) -> bool:
        """Return whether the server responds to a new connection, even with a rejection."""
        try:
            psycopg.connect(
                **self._parameters | {"connect_timeout": CONNECT_TIMEOUT_SECONDS}
            ).close()
        except errors.ConnectionTimeout:
            return False
        except psycopg.Error as error:
            logger.debug("The database server rejected a connection: %s", error)
        self._responded_at = time.monotonic()
        return True
