"""The worker: URL checks, imports, their sources, thumbnails and periodic jobs.

One process; any number of them share the work. Each part ends on a stop signal. If a part
ends in any other way, the whole process exits, so that its supervisor restarts it.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import signal
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection

from catalog.images.storage import remove_orphans
from closient.accounts import ratelimit
from closient.accounts.copies import copy_organizations
from closient.cells.fence import skip_fenced_rows
from closient.cells.routing import in_directory
from closient.http.idempotency import forget_expired
from closient.periodic.heartbeat import REPORT_INTERVAL_SECONDS, keep_reporting
from closient.periodic.schedule import Periodic, keep_running, one_line
from closient.tally.audit import compact_all
from closient.telemetry import sentry
from dashboard import metrics
from dashboard.audits import audit_due
from dashboard.bulk_edits.runs import edit_next
from dashboard.imports.runs.cleanup import remove_old_runs
from dashboard.imports.runs.importer import work_on_next
from dashboard.imports.sources.worker import fetch_next
from dashboard.numbers import current_numbers
from dashboard.retention import (
    delete_old_admin_log,
    delete_old_changes,
    delete_old_deletions,
    delete_old_history,
)
from dashboard.snapshots import take_snapshots
from dashboard.thumbnails.worker import ThumbnailMaker
from offers.url_checks.schedule.host_limits import delete_idle_hosts
from offers.url_checks.worker import check_forever

logger = logging.getLogger("dashboard.worker")

# How often the worker polls for queued imports and due sources.
IMPORT_POLL_SECONDS = 1.0
# Files that a worker fetches at a time.
SOURCE_FETCHES = 2
# Pictures that a worker decodes at a time; most of the time of one is waiting for its server.
THUMBNAIL_MAKERS = 2
SIGNALS = (signal.SIGTERM, signal.SIGINT)


def clear_sessions() -> None:
    """Delete expired browser sessions."""
    importlib.import_module(settings.SESSION_ENGINE).SessionStore.clear_expired()


# Each is safe to run at any time, repeatedly and concurrently.
PERIODIC: Sequence[Periodic] = (
    Periodic("fold_tally", timedelta(minutes=5), compact_all),
    Periodic("take_snapshots", timedelta(minutes=5), take_snapshots),
    Periodic("audit_tally", timedelta(minutes=5), audit_due),
    Periodic("remove_orphan_images", timedelta(days=1), remove_orphans, takes_stop=True),
    Periodic("remove_old_import_runs", timedelta(hours=1), remove_old_runs),
    Periodic("forget_idempotency_keys", timedelta(hours=1), forget_expired),
    Periodic("forget_rate_limits", timedelta(hours=1), ratelimit.delete_expired),
    Periodic("forget_checked_hosts", timedelta(hours=1), delete_idle_hosts),
    Periodic("delete_old_history", timedelta(hours=1), delete_old_history),
    Periodic("delete_old_admin_log", timedelta(hours=1), delete_old_admin_log),
    Periodic("delete_old_deletions", timedelta(hours=1), delete_old_deletions),
    Periodic("delete_old_changes", timedelta(hours=1), delete_old_changes),
    Periodic("clear_sessions", timedelta(hours=1), clear_sessions),
    *(
        [Periodic("copy_organizations", timedelta(minutes=5), copy_organizations)]
        * bool(settings.CELLS)
    ),
)


class WorkerFailed(Exception):
    """A part of the worker stopped unexpectedly; the reason is in the log."""


def run(periodic: Sequence[Periodic] = PERIODIC, *, concurrency: int | None = None) -> None:
    """Run until SIGTERM or SIGINT, then let running checks and jobs finish.

    A running import is rolled back at once and queued for the next worker. A second signal ends
    the process immediately, which is also safe. Raises :class:`WorkerFailed`. Must be called in
    the main thread.
    """
    sentry.start()
    if settings.METRICS_BIND:
        try:
            metrics.serve(settings.METRICS_BIND)
        except OSError as error:
            raise WorkerFailed(f"METRICS_BIND={settings.METRICS_BIND}: {error}") from error
    asyncio.run(_Worker(periodic, concurrency).run())


class _Worker:
    def __init__(self, periodic: Sequence[Periodic], concurrency: int | None) -> None:
        self._concurrency = concurrency
        self._stop_checks = asyncio.Event()
        self._stop = threading.Event()
        self._ended = threading.Event()
        self._failed: list[str] = []
        self._parts: dict[str, Callable[[], None]] = {
            "jobs": lambda: self._run_jobs(periodic),
            "imports": self._import,
            "bulk edits": self._edit,
            **{f"sources {n}": self._fetch_sources for n in range(1, SOURCE_FETCHES + 1)},
            **{f"thumbnails {n}": self._make_thumbnails for n in range(1, THUMBNAIL_MAKERS + 1)},
        }

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        self._loop = loop
        for number in SIGNALS:
            loop.add_signal_handler(number, self._on_signal, number)
        threads = [
            # Daemon threads, so that a second signal does not wait for them.
            threading.Thread(target=self._watched, args=(name, part), name=name, daemon=True)
            for name, part in self._parts.items()
        ]
        reporting = threading.Thread(
            target=self._watched, args=("heartbeat", self._report), name="heartbeat", daemon=True
        )
        for thread in [*threads, reporting]:
            thread.start()
        logger.info("worker: started")
        try:
            await check_forever(self._stop_checks, concurrency=self._concurrency)
        except Exception:
            logger.exception("worker: url checks failed")
        if not self._stop.is_set():
            self._fail("url checks")
        for thread in threads:
            # In a thread, so that the loop keeps handling a second signal.
            await asyncio.to_thread(thread.join)
        # It reports until the last job has ended.
        self._ended.set()
        await asyncio.to_thread(reporting.join)
        if self._failed:
            raise WorkerFailed(f"{self._failed[0]} stopped unexpectedly: see the log.")
        logger.info("worker: stopped")

    def _on_signal(self, number: signal.Signals) -> None:
        logger.info("worker: %s, finishing what is in flight", number.name)
        for each in SIGNALS:
            self._loop.remove_signal_handler(each)
            signal.signal(each, signal.SIG_DFL)
        self._stop_all()

    def _stop_all(self) -> None:
        self._stop.set()
        self._stop_checks.set()

    def _fail(self, name: str) -> None:
        logger.error("worker: %s stopped unexpectedly", name)
        self._failed.append(name)
        self._stop_all()

    def _watched(self, name: str, part: Callable[[], None]) -> None:
        """Run a part in its thread, and stop the worker if the part ends unexpectedly."""
        try:
            part()
        except BaseException:
            logger.exception("worker: %s failed", name)
        if not self._stop.is_set():
            self._loop.call_soon_threadsafe(self._fail, name)

    def _report(self) -> None:
        # The admin and the health check find the workers of all cells in the directory.
        with in_directory():
            keep_reporting(self._ended, self._responds)

    def _responds(self) -> bool:
        """Return whether the event loop, which runs the URL checks, responds."""
        asked = asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self._loop)
        try:
            asked.result(REPORT_INTERVAL_SECONDS)
        except TimeoutError:
            return False
        return True

    def _run_jobs(self, periodic: Sequence[Periodic]) -> None:
        skip_fenced_rows()
        keep_running(periodic, self._stop)

    def _import(self) -> None:
        """Process queued import runs one after the other."""
        self._keep_taking("imports", lambda: work_on_next(self._stop, numbers=current_numbers))

    def _edit(self) -> None:
        """Run queued bulk edits one after the other."""
        self._keep_taking("bulk edits", edit_next)

    def _fetch_sources(self) -> None:
        """Fetch the files of due sources one after the other."""
        self._keep_taking("sources", lambda: fetch_next(self._stop))

    def _make_thumbnails(self) -> None:
        """Make due thumbnails one after the other."""
        maker = ThumbnailMaker()
        self._keep_taking("thumbnails", lambda: maker.make_next(self._stop))

    def _keep_taking(self, name: str, take_next: Callable[[], bool]) -> None:
        """Call a function while it finds work, and then again and again, until the stop."""
        while not self._stop.is_set():
            try:
                while take_next() and not self._stop.is_set():
                    pass
            except (InterfaceError, OperationalError) as error:
                logger.warning(
                    "%s: the database is unavailable, retrying: %s", name, one_line(error)
                )
                connection.close()
            self._stop.wait(IMPORT_POLL_SECONDS)
        connection.close()
