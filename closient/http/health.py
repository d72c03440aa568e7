"""Health checks without a key: ``/healthz`` (the process runs) and ``/readyz`` (it can serve)."""

from __future__ import annotations

import functools
import logging
import threading

from django.db import DatabaseError, connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from closient.http import problems
from closient.http.problems import Problem

logger = logging.getLogger("closient.http")

DATABASE_TIMEOUT_SECONDS = 1.0


@never_cache
@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """Return 200: the process is running."""
    return HttpResponse("ok\n", content_type="text/plain")


@never_cache
@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """Return 200 if the database responds within a second, is writable and is migrated."""
    detail = Probe.run()
    if detail:
        return problems.response(request, Problem("unavailable", detail, retry_after=1))
    return HttpResponse("ready\n", content_type="text/plain")


class Probe:
    """A check of the database in a separate thread, so a hanging database blocks no request."""

    _running = threading.Lock()

    @classmethod
    def run(cls) -> str | None:
        """Return an error message, or ``None``."""
        # The first call imports all migrations, which must not count as time of the database.
        known_migrations()
        if not cls._running.acquire(timeout=DATABASE_TIMEOUT_SECONDS):
            return "The database does not respond."
        found: list[str | None] = ["The database does not respond."]
        thread = threading.Thread(target=cls._check, args=(found,), daemon=True)
        thread.start()
        thread.join(DATABASE_TIMEOUT_SECONDS)
        return found[0]

    @staticmethod
    def _error() -> str | None:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean"
            )
            (is_read_only,) = cursor.fetchone()
        if is_read_only:
            return "The database is read-only."
        applied = set(MigrationRecorder(connection).applied_migrations())
        return None if known_migrations() <= applied else "Migrations are missing."

    @classmethod
    def _check(cls, found: list[str | None]) -> None:
        try:
            found[0] = cls._error()
        except DatabaseError as error:
            logger.warning("Not ready: %s", type(error).__name__)
        finally:
            connection.close()
            cls._running.release()


@functools.cache
def known_migrations() -> frozenset[tuple[str, str]]:
    """Return (application, name) of every migration in the code."""
    return frozenset(MigrationLoader(None, ignore_no_migrations=True).disk_migrations)
