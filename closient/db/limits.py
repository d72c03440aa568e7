"""Time limits of the database sessions of a process that answers requests.

`closient.wsgi` sets them, so they hold in web processes and nowhere else: workers, migrations and
other commands may run statements that take hours.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db import connection

# Seconds that the server has, after its own limit, to say that a statement was canceled.
GRACE = 3.0
# Seconds for what a person knows to take long: an export, a deletion in the admin.
LONG_STATEMENT = 600


@dataclasses.dataclass(frozen=True)
class SessionLimits:
    """What a statement, and a transaction between two statements, may take, in seconds."""

    statement: float
    idle_in_transaction: float

    @property
    def parameters(self) -> dict[str, str]:
        """The parameters of PostgreSQL that hold the session to the limits."""
        return {
            "statement_timeout": f"{self.statement * 1000:.0f}",
            "idle_in_transaction_session_timeout": f"{self.idle_in_transaction * 1000:.0f}",
        }


_limits: SessionLimits | None = None


def limit_this_process() -> None:
    """Hold the database sessions that this process opens from now on to the configured limits."""
    global _limits  # noqa: PLW0603 - one process, one set of limits
    _limits = SessionLimits(
        statement=settings.DATABASE_STATEMENT_TIMEOUT,
        idle_in_transaction=settings.DATABASE_IDLE_TRANSACTION_TIMEOUT,
    )


def current() -> SessionLimits | None:
    """Return the limits of this process, ``None`` where there are none."""
    return _limits


@contextmanager
def long_statements() -> Iterator[None]:
    """Give the statements of the open transaction ten minutes each, where a limit holds at all."""
    if _limits is None:
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL statement_timeout = '{LONG_STATEMENT}s'")
    with connection.time_limit(LONG_STATEMENT + GRACE):  # type: ignore[attr-defined]
        yield
