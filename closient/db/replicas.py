"""Reads on the replica (``DATABASE_REPLICA_URL``), a streaming standby of the primary.

A read sees everything that was committed before it began, as on the primary: the primary says how
far its log is, and the replica is used only if it has replayed as much. So a list right after a
write contains it, for everyone. A replica that does not catch up within a moment, does not
respond or was promoted is left alone until a background thread finds it ready again; meanwhile
reads use the primary without asking.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from django.db import DEFAULT_DB_ALIAS, InterfaceError, OperationalError, connection, connections
from psycopg import errors

from closient.db import limits
from closient.db.routing import using_database
from closient.db.transactions import consistent_read
from closient.metrics.database import REPLICA_READS

logger = logging.getLogger("closient.db")

P = ParamSpec("P")
T = TypeVar("T")

REPLICA = "replica"
# How long a read waits for the replica to replay the primary's log, and how often it asks.
CATCH_UP_SECONDS = 0.1
POLL_INTERVAL_SECONDS = 0.002
# Without a response for this long to the first question, the replica is left alone.
RESPONSE_TIMEOUT_SECONDS = 0.5
# Between the tests of a replica that is left alone.
RETRY_INTERVAL_SECONDS = 1.0

# Commits that are not flushed yet are visible only with asynchronous commits.
_PRIMARY_POSITION = """SELECT CASE current_setting('synchronous_commit')
    WHEN 'off' THEN pg_current_wal_insert_lsn() ELSE pg_current_wal_flush_lsn() END"""
_HAS_REPLAYED = "SELECT pg_is_in_recovery(), pg_last_wal_replay_lsn() >= %s::pg_lsn"


class _NotReady(Exception):
    """The replica cannot be used; the message is a clause that says why."""


class _Replica:
    """What this process knows of the replica; shared by its threads."""

    def __init__(self) -> None:
        self.reason = ""
        self._left_at = 0.0
        self._mutex = threading.Lock()

    @property
    def left_alone_seconds(self) -> float:
        """For how long the replica has been left alone; 0 if it is used."""
        return time.monotonic() - self._left_at if self.reason else 0.0

    def leave_alone(self, reason: str) -> None:
        """Use the primary until a background thread finds the replica ready again."""
        with self._mutex:
            if self.reason:
                return
            self._left_at = time.monotonic()
            self.reason = reason
        logger.warning("The replica is not used: %s.", reason)
        threading.Thread(target=self._watch, name="replica-watch", daemon=True).start()

    def is_ready(self) -> bool:
        """Return whether the replica has everything that is committed on the primary.

        Raises the errors of an unavailable primary.
        """
        if self.reason:
            return False
        position = _primary_position()
        try:
            _wait_for(position)
        except _NotReady as clause:
            self.leave_alone(str(clause))
            return False
        return True

    def _watch(self) -> None:
        while True:
            time.sleep(RETRY_INTERVAL_SECONDS)
            try:
                _wait_for(_primary_position())
            except (_NotReady, OperationalError, InterfaceError):
                continue
            finally:
                connections.close_all()
            break
        with self._mutex:
            self.reason = ""
        logger.warning("The replica is used again.")


_replica = _Replica()


def left_alone_seconds() -> float:
    """Return for how long this process has left the replica alone; 0 if it uses it."""
    return _replica.left_alone_seconds


def reads_on_replica(function: Callable[P, T]) -> Callable[P, T]:
    """Let a function read one committed state, on the replica if it is ready.

    If the replica fails or cancels a statement, the function runs again on the primary, so it must
    only read. Inside a transaction it reads the state of that transaction.
    """

    @functools.wraps(function)
    def read(*args: P.args, **kwargs: P.kwargs) -> T:
        if _is_eligible():
            if _replica.is_ready():
                try:
                    with using_database(REPLICA), consistent_read():
                        result = function(*args, **kwargs)
                except (OperationalError, InterfaceError) as error:
                    _handle(error)
                else:
                    _count(is_on_replica=True)
                    return result
            _count(is_on_replica=False)
        with consistent_read():
            return function(*args, **kwargs)

    return read


@contextmanager
def replica_read() -> Iterator[None]:
    """Read one committed state in a block, on the replica if it is ready.

    For streamed responses, which cannot be repeated: a replica that fails in the block ends it.
    """
    if not _is_eligible():
        with consistent_read():
            yield
        return
    is_ready = _replica.is_ready()
    _count(is_on_replica=is_ready)
    with using_database(REPLICA if is_ready else DEFAULT_DB_ALIAS), consistent_read():
        yield


def _count(*, is_on_replica: bool) -> None:
    REPLICA_READS.labels("replica" if is_on_replica else "primary").inc()


def _is_eligible() -> bool:
    """Return whether there is a replica, and no open transaction or other database."""
    return (
        REPLICA in connections.settings
        and connection.alias == DEFAULT_DB_ALIAS
        and not connection.in_atomic_block
    )


def _handle(error: Exception) -> None:
    """Leave the replica alone after an error, unless the next read may succeed there."""
    if isinstance(error.__cause__, errors.QueryCanceled):
        # The limit of a statement: the primary would take as long.
        raise error
    if isinstance(error.__cause__, errors.SerializationFailure):
        logger.info("The replica canceled a read to replay a conflicting change.")
    else:
        _replica.leave_alone(_clause(error))
    connections[REPLICA].close()


def _primary_position() -> str:
    with connection.cursor() as cursor:
        cursor.execute(_PRIMARY_POSITION)
        return str(cursor.fetchone()[0])


def _wait_for(position: str) -> None:
    """Wait a moment until the replica has replayed a position. Raises :class:`_NotReady`."""
    try:
        with using_database(REPLICA), _short_limit(), connection.cursor() as cursor:
            _poll(cursor, position)
    except _NotReady:
        # A promoted server is left, so that an address with several hosts finds another standby.
        connections[REPLICA].close()
        raise
    except (OperationalError, InterfaceError) as error:
        connections[REPLICA].close()
        raise _NotReady(_clause(error)) from error


def _poll(cursor: Any, position: str) -> None:
    deadline = time.monotonic() + CATCH_UP_SECONDS
    while True:
        cursor.execute(_HAS_REPLAYED, [position])
        is_standby, has_replayed = cursor.fetchone()
        if not is_standby:
            raise _NotReady("it is not a standby")
        if has_replayed:
            return
        if time.monotonic() > deadline:
            raise _NotReady("it is behind the primary")
        time.sleep(POLL_INTERVAL_SECONDS)


@contextmanager
def _short_limit() -> Iterator[None]:
    """Wait only a moment for a response in the block, in a process with limits."""
    if limits.current() is None:
        yield
        return
    replica: Any = connections[REPLICA]
    replica.close_if_health_check_failed()
    replica.ensure_connection()
    with replica.time_limit(RESPONSE_TIMEOUT_SECONDS):
        yield


def _clause(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
