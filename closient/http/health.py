"""Health checks without a key: ``/healthz`` (the process runs) and ``/readyz`` (it can serve)."""

from __future__ import annotations

import functools
import logging
import threading
import time
from typing import ClassVar

from django.db import DatabaseError, connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from closient.http import problems
from closient.http.problems import Problem
from closient.metrics.web import ready

logger = logging.getLogger("closient.http")

DATABASE_TIMEOUT_SECONDS = 1.0
# However often load balancers and monitors ask, each process checks the database once in this time.
MAX_AGE_SECONDS = 1.0
# Between the checks for the metric.
WATCH_INTERVAL_SECONDS = 10.0
_NO_RESPONSE = "The database does not respond."


@never_cache
@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """Return 200: the process is running."""
    return HttpResponse("ok\n", content_type="text/plain")


@never_cache
@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """Return 200 if the database responds within a second, is writable and is migrated.

    The answer is at most a second old.
    """
    detail = Probe.run()
    if detail:
        return problems.response(request, Problem("unavailable", detail, retry_after=1))
    return HttpResponse("ready\n", content_type="text/plain")


def watch(stop: threading.Event) -> None:
    """Set the metric that says whether this process is ready, until ``stop`` is set."""
    while not stop.is_set():
        ready().set(Probe.run() is None)
        stop.wait(WATCH_INTERVAL_SECONDS)


class Probe:
    """One check of the database in a separate thread, so a hanging database blocks no request.

    Requests share it: while it runs, and for ``MAX_AGE_SECONDS`` after it has ended.
    """

    latest: ClassVar[Probe | None] = None
    _starting = threading.Lock()

    def __init__(self) -> None:
        self._error: str | None = None
        self._started_at = time.monotonic()
        self._ended_at: float | None = None
        self._thread = threading.Thread(target=self._check, daemon=True)
        self._thread.start()

    @classmethod
    def run(cls) -> str | None:
        """Return the error message of the current check, or ``None``."""
        # The first call imports all migrations, which must not count as time of the database.
        known_migrations()
        with cls._starting:
            if cls.latest is None or cls.latest._is_outdated:
                cls.latest = cls()
            probe = cls.latest
        return probe._answer()

    @property
    def _is_outdated(self) -> bool:
        ended_at = self._ended_at
        return ended_at is not None and time.monotonic() - ended_at >= MAX_AGE_SECONDS

    def _answer(self) -> str | None:
        """Wait for the end of the check, at most until its time is over."""
        self._thread.join(max(0.0, self._started_at + DATABASE_TIMEOUT_SECONDS - time.monotonic()))
        return _NO_RESPONSE if self._ended_at is None else self._error

    def _check(self) -> None:
        try:
            self._error = _database_error()
        except DatabaseError as error:
            logger.warning("Not ready: %s", type(error).__name__)
            self._error = _NO_RESPONSE
        finally:
            connection.close()
            self._ended_at = time.monotonic()


def _database_error() -> str | None:
    """Return why the database cannot be used, or ``None``."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean"
        )
        (is_read_only,) = cursor.fetchone()
    if is_read_only:
        return "The database is read-only."
    applied = set(MigrationRecorder(connection).applied_migrations())
    return None if known_migrations() <= applied else "Migrations are missing."


@functools.cache
def known_migrations() -> frozenset[tuple[str, str]]:
    """Return (application, name) of every migration in the code."""
    return frozenset(MigrationLoader(None, ignore_no_migrations=True).disk_migrations)
