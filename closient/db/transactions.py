"""Transactions that give way to others and try again, and reads of a single state."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from django.db import OperationalError, connection, transaction
from psycopg import errors

T = TypeVar("T")

ATTEMPTS = 4
LOCK_TIMEOUT = "5s"
# What another transaction can do to this one, through no fault of the caller.
_LOST = (errors.DeadlockDetected, errors.SerializationFailure)


class DatabaseBusy(Exception):
    """Others kept the rows locked; the same request may succeed a moment later."""


def run_with_retry(write: Callable[[], T]) -> T:
    """Run a function in a transaction of its own and return what it returns.

    When the transaction loses to another (deadlock, serialization failure), the function runs
    again, at most three times: it must not do anything but write to the database. Raises
    :class:`DatabaseBusy` when it still loses or waits more than five seconds for a lock.
    """
    for _ in range(ATTEMPTS):
        try:
            with transaction.atomic(durable=True):
                with connection.cursor() as cursor:
                    cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
                return write()
        except OperationalError as error:
            if isinstance(error.__cause__, errors.LockNotAvailable):
                break
            if not isinstance(error.__cause__, _LOST):
                raise
            lost = error
    else:
        raise DatabaseBusy("The transaction lost to others four times.") from lost
    raise DatabaseBusy("The rows stayed locked for five seconds.")


@contextmanager
def consistent_read() -> Iterator[None]:
    """Let all queries inside read one and the same committed state; nothing can be written.

    Inside another transaction that one's own state is read.
    """
    if connection.in_atomic_block:
        yield
        return
    with transaction.atomic(durable=True):
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield
