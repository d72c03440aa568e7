"""Detects a connection pool between this process and PostgreSQL that shares sessions.

Behind PgBouncer in transaction mode, each transaction may run in another session of the server.
Locks of the session (:class:`closient.db.locks.SessionLock`) then protect nothing: others "hold"
the same lock.
"""

from __future__ import annotations

import contextlib
import logging
import time

from django.core.management.base import CommandError
from django.db import InterfaceError, OperationalError, connection
from django.db.backends.base.base import BaseDatabaseWrapper

logger = logging.getLogger("closient.db")

# A busy pool may give the same session twice by chance, but not every time.
ROUNDS = 10
RETRY_INTERVAL_SECONDS = 1.0


def shares_sessions() -> bool:
    """Return whether two connections of this process can get the same session of the server.

    One connection keeps a transaction open while the other runs statements outside of one. If each
    has its session, neither ever changes its server process, and they differ.
    """
    with (
        contextlib.closing(connection.copy()) as first,
        contextlib.closing(connection.copy()) as second,
    ):
        own = {_backend(first)}
        for _ in range(ROUNDS):
            second.set_autocommit(False)
            if _backend(second) in own:
                return True
            # The pool cannot use the session of the open transaction for this.
            own.add(_backend(first))
            second.rollback()
            second.set_autocommit(True)
        return len(own) > 1


def require_own_sessions(command: str, reason: str = "holds locks in its sessions") -> None:
    """Raise ``CommandError`` behind a pool that shares sessions; wait while the database is down.

    The message consists of the name of the command and of what it does that needs own sessions.
    """
    while True:
        try:
            is_shared = shares_sessions()
        except (OperationalError, InterfaceError) as error:
            cause = " ".join(str(error).split())
            logger.warning("%s: the database is unavailable, retrying: %s", command, cause)
            time.sleep(RETRY_INTERVAL_SECONDS)
            continue
        if is_shared:
            raise CommandError(
                f"DATABASE_URL leads through a connection pool that shares sessions, and {command} "
                f"{reason}: connect it to PostgreSQL directly, or use pool_mode=session."
            )
        return


def _backend(wrapper: BaseDatabaseWrapper) -> int:
    with wrapper.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])
