"""manage.py migrate: Django's command, which waits only briefly for locks and then tries again.

A statement that changes a table waits for the transactions that use it, and all later statements
queue behind it: one long transaction would stop all writers. With a limit the migration gives up
after a few seconds and is rolled back, the queue moves on, and the command tries again. So it does
after a deadlock, which a migration that changes several tables can have with a writer.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.core.management.commands import migrate
from django.db import OperationalError, connections
from psycopg import errors

# Seconds to wait for a lock, between two attempts, and in all.
LOCK_TIMEOUT = 3.0
PAUSE_SECONDS = 5.0
MAX_SECONDS = 600.0


class Command(migrate.Command):
    help = f"{migrate.Command.help} Waits for locks briefly, and tries again."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--lock-timeout",
            type=_seconds,
            default=LOCK_TIMEOUT,
            metavar="SECONDS",
            help="maximum time to wait for a lock, while writers wait behind it; 0 waits without "
            f"limit (default: {LOCK_TIMEOUT:g})",
        )
        parser.add_argument(
            "--give-up-after",
            type=_seconds,
            default=MAX_SECONDS,
            metavar="SECONDS",
            help=f"maximum time to try again when a lock is not free (default: {MAX_SECONDS:g})",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Migrate; after a lock timeout or deadlock, continue with the one that was rolled back."""
        connection = connections[options["database"]]
        timeout: float = options.pop("lock_timeout")
        deadline = time.monotonic() + options.pop("give_up_after")
        while True:
            with connection.cursor() as cursor:
                cursor.execute(f"SET lock_timeout = '{timeout * 1000:.0f}ms'")
            try:
                super().handle(*args, **options)
            except OperationalError as error:
                if isinstance(error.__cause__, errors.LockNotAvailable):
                    reason = f"A lock was not free for {timeout:g} seconds."
                elif isinstance(error.__cause__, errors.DeadlockDetected):
                    reason = "The migration and a writer waited for each other's locks."
                else:
                    raise
                sentence = f"{reason} {_blockers(connection)}"
                if time.monotonic() >= deadline:
                    raise CommandError(
                        f"{sentence} The migration was rolled back: end these transactions, and "
                        "run the command again."
                    ) from error
                self.stderr.write(f"\n{sentence} Trying again in {PAUSE_SECONDS:g} seconds.")
                time.sleep(PAUSE_SECONDS)
            else:
                return
            finally:
                if connection.is_usable():
                    with connection.cursor() as cursor:
                        cursor.execute("RESET lock_timeout")


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < 1e6:
        raise argparse.ArgumentTypeError("use a number of seconds that is not negative")
    return seconds


def _blockers(connection: Any) -> str:
    """Return the oldest open transactions of the database in one sentence, without their SQL."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid, coalesce(nullif(application_name, ''), usename), state, "
            "extract(epoch FROM clock_timestamp() - xact_start)::int FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND xact_start IS NOT NULL ORDER BY xact_start LIMIT 3"
        )
        found = [
            f"process {pid} ({name}, {state}, {seconds} s)"
            for pid, name, state, seconds in cursor.fetchall()
        ]
    return f"Oldest open transactions: {', '.join(found)}." if found else ""
