"""Advisory locks of PostgreSQL. A process that dies releases its locks immediately."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import InterfaceError, OperationalError, connection

_KEY = "hashtextextended(%s, 0)"


class SessionLock:
    """The lock of a name, held by this thread's database session.

    It stays whatever transactions do in the session, and is gone with it; so it needs a session of
    its own, not one out of a pool that shares sessions between transactions (PgBouncer in its modes
    transaction and statement).

    An object that is thrown away keeps its lock: the garbage collector may run in the middle of
    another statement of the session, which must not be asked anything then.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def try_acquire(self) -> bool:
        """Take the lock and return whether it was free; never waits."""
        return _ask(f"SELECT pg_try_advisory_lock({_KEY})", self.name)

    def release(self) -> None:
        """Give the lock back."""
        try:
            _ask(f"SELECT pg_advisory_unlock({_KEY})", self.name)
        except (InterfaceError, OperationalError):
            # The session is as good as gone, and the lock with it.
            connection.close()


@contextmanager
def advisory_lock(name: str) -> Iterator[bool]:
    """Try to hold the :class:`SessionLock` of a name during the block, which gets whether it does.

    Never waits.
    """
    lock = SessionLock(name)
    is_held = lock.try_acquire()
    try:
        yield is_held
    finally:
        if is_held:
            lock.release()


def lock_until_commit(name: str) -> None:
    """Wait for the lock of a name and keep it until the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT pg_advisory_xact_lock({_KEY})", [name])


def try_lock_until_commit(name: str) -> bool:
    """Take the lock of a name until the transaction ends; return whether it was free.

    Never waits, and works behind every pool of connections.
    """
    return _ask(f"SELECT pg_try_advisory_xact_lock({_KEY})", name)


def _ask(sql: str, name: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(sql, [name])
        return bool(cursor.fetchone()[0])
