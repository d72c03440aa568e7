"""Advisory locks of PostgreSQL. A process that dies releases its locks immediately."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import InterfaceError, OperationalError, connection

_KEY = "hashtextextended(%s, 0)"


class SessionLock:
    """A named lock, held by this thread's database session.

    It is independent of transactions and ends with the session. So it does not work behind a pool
    that shares sessions between transactions (PgBouncer in transaction or statement mode).

    Deleting the object does not release the lock: the garbage collector may run during another
    statement of the session, when no further statement is possible.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def try_acquire(self) -> bool:
        """Acquire the lock if it is free, without waiting; return whether it was."""
        return _query(f"SELECT pg_try_advisory_lock({_KEY})", self.name)

    def release(self) -> None:
        """Release the lock."""
        try:
            _query(f"SELECT pg_advisory_unlock({_KEY})", self.name)
        except (InterfaceError, OperationalError):
            # The session is lost, and with it the lock.
            connection.close()


@contextmanager
def advisory_lock(name: str) -> Iterator[bool]:
    """Hold the :class:`SessionLock` of a name during the block, if it is free.

    Yields whether it is held; never waits.
    """
    lock = SessionLock(name)
    is_held = lock.try_acquire()
    try:
        yield is_held
    finally:
        if is_held:
            lock.release()


def lock_until_commit(name: str) -> None:
    """Wait for a named lock and hold it until the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT pg_advisory_xact_lock({_KEY})", [name])


def try_lock_until_commit(name: str) -> bool:
    """Acquire a named lock until the transaction ends; return whether it was free.

    Never waits, and works behind every connection pool.
    """
    return _query(f"SELECT pg_try_advisory_xact_lock({_KEY})", name)


def _query(sql: str, name: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(sql, [name])
        return bool(cursor.fetchone()[0])
