"""Time limits of database sessions in web processes.

`closient.wsgi` sets them. Workers, migrations and other commands have none: their statements may
take hours.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db import connection

# Added to the client's limit: the server needs time to report that it canceled a statement.
GRACE_SECONDS = 3.0
# For actions that users expect to take long: an export, a deletion in the admin.
LONG_STATEMENT_TIMEOUT_SECONDS = 600


@dataclasses.dataclass(frozen=True)
class SessionLimits:
    """Maximum seconds of a statement, and of a transaction between two statements."""

    statement: float
    idle_in_transaction: float

    @property
    def parameters(self) -> dict[str, str]:
        """The session parameters of PostgreSQL that enforce the limits."""
        return {
            "statement_timeout": f"{self.statement * 1000:.0f}",
            "idle_in_transaction_session_timeout": f"{self.idle_in_transaction * 1000:.0f}",
        }


_limits: SessionLimits | None = None


def limit_this_process() -> None:
    """Apply the configured limits to all sessions that this process opens from now on."""
    global _limits  # noqa: PLW0603 - one process, one set of limits
    _limits = SessionLimits(
        statement=settings.DATABASE_STATEMENT_TIMEOUT,
        idle_in_transaction=settings.DATABASE_IDLE_TRANSACTION_TIMEOUT,
    )


def current() -> SessionLimits | None:
    """Return the limits of this process, ``None`` if it has none."""
    return _limits


@contextmanager
def long_statements() -> Iterator[None]:
    """Raise the limit of the open transaction's statements to ten minutes, if there is a limit."""
    if _limits is None:
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL statement_timeout = '{LONG_STATEMENT_TIMEOUT_SECONDS}s'")
    with connection.time_limit(LONG_STATEMENT_TIMEOUT_SECONDS + GRACE_SECONDS):  # type: ignore[attr-defined]
        yield
