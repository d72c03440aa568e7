"""A worker's syncs with the database: save what checks found, and claim new URLs.

All database work of a worker runs in one thread beside the event loop. Each sync handles everything
that has come up since the last one. While the database is unavailable it is retried, and no result
is lost.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
import traceback
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Self

from django.db import InterfaceError, OperationalError, connection

from closient.cells.routing import directory_connection
from closient.db.transactions import DatabaseBusy
from closient.periodic.schedule import one_line
from offers.url_checks.schedule import host_limits, results
from offers.url_checks.schedule.claims import Claim, ClaimedUrl, ClaimScanner
from offers.url_checks.schedule.due import schedule_probes
from offers.url_checks.schedule.host_limits import HostLimits, Slot
from offers.url_checks.schedule.results import CheckedClaim

logger = logging.getLogger(__name__)

# In seconds: between retries of what has to be written, and before the next scan after an error.
MIN_RETRY_SECONDS, MAX_RETRY_SECONDS = 0.1, 5.0
RESCAN_SECONDS = 1.0
# The database is unavailable or rows are locked: a retry may work.
DATABASE_ERRORS = (OperationalError, InterfaceError, DatabaseBusy)
# A check that failed through an error in this program would fail again at once.
ERROR_DELAY = timedelta(hours=1)


class DatabaseUnavailable(Exception):
    """The database was unavailable until there was no time left to retry."""


def log_error(what: str, error: Exception) -> None:
    """Log where an unexpected error occurred; not its message, which may quote a URL."""
    kind = type(error.__cause__ or error).__name__
    where = "".join(traceback.format_tb(error.__traceback__))
    logger.error("%s; postponed for an hour: %s\n%s", what, kind, where)


@dataclasses.dataclass
class Outbox:
    """What checks have to write to the database. A sync removes what it has written."""

    checked: list[CheckedClaim] = dataclasses.field(default_factory=list)
    # Claims that were not checked, and when each is due.
    claims_to_release: list[tuple[Claim, datetime]] = dataclasses.field(default_factory=list)
    slots_to_release: list[Slot] = dataclasses.field(default_factory=list)
    # Hosts that throttle the checker, with their Retry-After.
    backoffs: dict[str, timedelta | None] = dataclasses.field(default_factory=dict)
    hosts_to_reset: set[str] = dataclasses.field(default_factory=set)
    # Unreachable hosts; other hosts are probed, as our own network may be down.
    unreachable: set[str] = dataclasses.field(default_factory=set)
    # Hosts at which checks are queued for a slot.
    wanted_slots: set[str] = dataclasses.field(default_factory=set)

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) for field in dataclasses.fields(self))

    def take(self) -> Self:
        """Return the contents as another outbox, and empty this one."""
        taken = dataclasses.replace(self)
        vars(self).update(vars(type(self)()))
        return taken


def write_hosts(outbox: Outbox, limits: HostLimits) -> None:
    """Pause and reset hosts, and only then release their slots: no request gets in between."""
    host_limits.back_off(outbox.backoffs, limits=limits)
    outbox.backoffs = {}
    host_limits.reset_backoff(outbox.hosts_to_reset)
    outbox.hosts_to_reset = set()
    host_limits.release(outbox.slots_to_release)
    outbox.slots_to_release = []


@dataclasses.dataclass
class SyncResult:
    """What a sync brings back for the worker."""

    claimed: list[ClaimedUrl] = dataclasses.field(default_factory=list)
    slots: list[Slot] = dataclasses.field(default_factory=list)
    # Seconds until the other hosts with queued checks may have a slot.
    waits: dict[str, float] = dataclasses.field(default_factory=dict)
    # How many results were saved; the other offers had been changed in the meantime.
    saved: int = 0


def _close_connections() -> None:
    connection.close()
    directory_connection().close()


class DatabaseSync:
    """Makes the syncs of one worker, all in the same thread."""

    def __init__(self, scanner: ClaimScanner, limits: HostLimits) -> None:
        self._scanner = scanner
        self._limits = limits
        self._is_unavailable = False
        # Set when there is no time left to wait for the database.
        self.stop_retrying = threading.Event()

    def sync(self, outbox: Outbox, *, wanted: int) -> SyncResult:
        """Write the outbox, and claim up to ``wanted`` URLs.

        Retries while the database is unavailable. Raises :class:`DatabaseUnavailable` when
        ``stop_retrying`` is set.
        """
        result = SyncResult()
        has_work = bool(outbox) or wanted > 0
        self._retry(lambda: self._save(outbox, result))
        self._retry(lambda: self._release(outbox))
        self._retry(lambda: write_hosts(outbox, self._limits))
        self._retry(lambda: self._schedule_probes(outbox))
        try:
            if outbox.wanted_slots:
                result.slots, result.waits = host_limits.acquire_or_queue(
                    outbox.wanted_slots, limits=self._limits
                )
            if wanted > 0:
                result.claimed = self._scanner.scan(wanted)
        except DATABASE_ERRORS as error:
            # Queued checks are requested again; claims that were lost on the way back expire.
            self._lose_connection(error)
            self._scanner.next_scan_at = time.monotonic() + RESCAN_SECONDS
        else:
            if has_work:
                self._log_change(is_unavailable=False)
        return result

    def close(self) -> None:
        """Close the database connections."""
        _close_connections()

    def _save(self, outbox: Outbox, result: SyncResult) -> None:
        try:
            result.saved += results.save(outbox.checked)
        except DATABASE_ERRORS:
            raise
        except Exception:
            # Save one by one, so that a result that cannot be saved does not affect the others.
            for checked in outbox.checked:
                try:
                    result.saved += results.save([checked])
                except DATABASE_ERRORS:
                    raise
                except Exception as error:
                    claim = checked.claim
                    log_error(f"the result for offer {claim.offer_id} cannot be saved", error)
                    outbox.claims_to_release.append((claim, claim.token + ERROR_DELAY))
        outbox.checked = []

    def _release(self, outbox: Outbox) -> None:
        by_time: dict[datetime, list[Claim]] = {}
        for claim, at in outbox.claims_to_release:
            by_time.setdefault(at, []).append(claim)
        for at, claims in by_time.items():
            results.release(claims, at)
        outbox.claims_to_release = []

    def _schedule_probes(self, outbox: Outbox) -> None:
        if outbox.unreachable:
            schedule_probes(outbox.unreachable)
            outbox.unreachable = set()

    def _retry(self, step: Callable[[], None]) -> None:
        wait = MIN_RETRY_SECONDS
        while True:
            try:
                return step()
            except DATABASE_ERRORS as error:
                self._lose_connection(error)
                if self.stop_retrying.wait(wait):
                    raise DatabaseUnavailable from error
                wait = min(wait * 2, MAX_RETRY_SECONDS)

    def _lose_connection(self, error: Exception) -> None:
        self._log_change(is_unavailable=True, why=one_line(error))
        _close_connections()

    def _log_change(self, *, is_unavailable: bool, why: str = "") -> None:
        if is_unavailable and not self._is_unavailable:
            logger.warning("the database is unavailable, retrying: %s", why)
        elif self._is_unavailable and not is_unavailable:
            logger.warning("the database is available again")
        self._is_unavailable = is_unavailable
