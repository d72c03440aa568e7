"""Transactions that are retried after conflicts, and reads of one consistent state."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from django.db import OperationalError, connection, transaction
from psycopg import errors

T = TypeVar("T")

MAX_ATTEMPTS = 4
LOCK_TIMEOUT = "5s"
# Conflicts with other transactions: a retry can succeed.
_RETRYABLE = (errors.DeadlockDetected, errors.SerializationFailure)


class StaleRead(Exception):
    """Another transaction has changed what this one has read: it must run again."""


class DatabaseBusy(Exception):
    """Other transactions hold locks on the rows; a retry may succeed."""


def run_with_retry(write: Callable[[], T]) -> T:
    """Run a function in a new transaction and return its result.

    After a deadlock, a serialization failure or a :class:`StaleRead` the function runs again, at
    most three times, so it must only write to the database. Raises :class:`DatabaseBusy` if it
    still fails or waits more than five seconds for a lock.
    """
    for _ in range(MAX_ATTEMPTS):
        try:
            with transaction.atomic(durable=True):
                with connection.cursor() as cursor:
                    cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
                return write()
        except StaleRead as error:
            conflict: Exception = error
        except OperationalError as error:
            if isinstance(error.__cause__, errors.LockNotAvailable):
                break
            if not isinstance(error.__cause__, _RETRYABLE):
                raise
            conflict = error
    else:
        raise DatabaseBusy("The transaction conflicted with others four times.") from conflict
    raise DatabaseBusy("The rows stayed locked for five seconds.")


@contextmanager
def consistent_read() -> Iterator[None]:
    """Run the queries of a block on one committed state, read-only.

    Inside another transaction the queries read the state of that transaction.
    """
    if connection.in_atomic_block:
        yield
        return
    with transaction.atomic(durable=True):
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield
