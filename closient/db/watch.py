"""Notices that a database server hangs, from the client's side.

A server that is stopped, swapped out or frozen keeps its connections open and says nothing: no
timeout of its own can end a statement, and TCP sees a healthy peer. So when a statement has had no
answer for a while, the process tries a new connection. If the server does not greet that either, it
hangs: waiting statements fail, and new ones fail at once until a thread in the background is
greeted again. A server that greets is only slow, and keeps its time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Generator
from typing import Any

import psycopg
from psycopg import errors

logger = logging.getLogger("closient.db")

# Seconds without an answer after which a statement makes the process ask whether the server hangs,
# and seconds between such questions.
SUSPECT_AFTER = 2.0
# Seconds for the server's greeting; psycopg allows no fewer.
GREETING_TIMEOUT = 2
# Seconds between attempts while the server hangs.
RETRY_EVERY = 0.25
# Seconds for which the answer to one thread is good enough for the others.
FRESH = 1.0


class Watch:
    """What this process knows about one server; shared by its threads."""

    def __init__(self, parameters: dict[str, Any]) -> None:
        """Remember how to connect; only what libpq needs for the greeting matters."""
        self._parameters = parameters
        self._mutex = threading.Lock()
        self._greeted_at = 0.0
        self._hangs = False

    def check(self) -> None:
        """Raise ``OperationalError`` while the server is known to hang."""
        if self._hangs:
            raise psycopg.OperationalError("The database server does not answer.")

    def hangs(self) -> bool:
        """Return whether the server hangs, which takes up to two seconds to find out."""
        with self._mutex:
            if self._hangs or time.monotonic() - self._greeted_at < FRESH:
                return self._hangs
            if self._is_greeted():
                return False
            self._begin()
            return True

    def report(self) -> None:
        """Note that the server did not greet a new connection in time."""
        with self._mutex:
            if not self._hangs:
                self._begin()

    def limited(
        self,
        generator: Generator[Any, Any, Any],
        seconds: float,
        connection: psycopg.Connection[Any],
    ) -> Generator[Any, Any, Any]:
        """Run one of psycopg's generators, which wait for the server, for so long at most.

        Closes the connection and raises ``OperationalError`` when the time is over or the server
        hangs: what was asked may still be answered, so nothing else can be asked there.
        """
        self.check()
        try:
            wanted = next(generator)
            began = time.monotonic()
            suspect_at = began + SUSPECT_AFTER
            while True:
                # Nothing but zero when psycopg's interval passed without an event.
                ready = yield wanted
                if not ready:
                    now = time.monotonic()
                    is_over = now >= began + seconds
                    if is_over or (now >= suspect_at and self.hangs()):
                        connection.close()
                        raise psycopg.OperationalError("The database server does not answer.")
                    if now >= suspect_at:
                        suspect_at = time.monotonic() + SUSPECT_AFTER
                wanted = generator.send(ready)
        except StopIteration as done:
            return done.value

    def _begin(self) -> None:
        self._hangs = True
        logger.error("The database server does not answer; requests are refused until it does.")
        threading.Thread(target=self._watch, name="database-watch", daemon=True).start()

    def _watch(self) -> None:
        while not self._is_greeted():
            time.sleep(RETRY_EVERY)
        self._hangs = False
        logger.warning("The database server answers again.")

    def _is_greeted(self) -> bool:
        """Return whether the server says anything to a new connection, even that it refuses."""
        try:
            psycopg.connect(**self._parameters | {"connect_timeout": GREETING_TIMEOUT}).close()
        except errors.ConnectionTimeout:
            return False
        except psycopg.Error as error:
            logger.debug("The database server refused a connection: %s", error)
        self._greeted_at = time.monotonic()
        return True
