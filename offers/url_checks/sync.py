"""A worker's trips to the database: what has been found out goes in, new work comes out.

Trips are made in one thread beside the loop that talks to shops, each for everything that has come
up since the last one. A database that is away for a while is waited for, and nothing is lost.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
import traceback
from collections.abc import Callable
from datetime import datetime, timedelta

from django.db import InterfaceError, OperationalError, connection

from closient.db.transactions import Busy
from closient.periodic.schedule import one_line
from offers.url_checks.scan import ClaimScanner
from offers.url_checks.schedule import hosts, results
from offers.url_checks.schedule.claims import Claim, ClaimedUrl
from offers.url_checks.schedule.due import schedule_probes
from offers.url_checks.schedule.hosts import HostLimits, Slot
from offers.url_checks.schedule.results import CheckedClaim

logger = logging.getLogger(__name__)

# In seconds: of what has to arrive, and of a look for due offers.
MIN_RETRY_SECONDS, MAX_RETRY_SECONDS = 0.1, 5.0
RESCAN_SECONDS = 1.0
# The database is away, or others are in the way: the same may work in a moment.
DATABASE_ERRORS = (OperationalError, InterfaceError, Busy)
# What fails through a fault of ours would fail again at once.
ERROR_DELAY = timedelta(hours=1)


class DatabaseUnavailable(Exception):
    """The database has been away for as long as there was time to wait for it."""


def log_error(what: str, error: Exception) -> None:
    """Log where an unforeseen error came up; not its words, which may quote an address."""
    kind = type(error.__cause__ or error).__name__
    where = "".join(traceback.format_tb(error.__traceback__))
    logger.error("%s, and is put off for an hour: %s\n%s", what, kind, where)


@dataclasses.dataclass
class Outbox:
    """What is result to the database; taken out as soon as it has arrived there."""

    checked: list[CheckedClaim] = dataclasses.field(default_factory=list)
    claims_to_release: list[tuple[Claim, datetime]] = dataclasses.field(default_factory=list)
    slots_to_release: list[Slot] = dataclasses.field(default_factory=list)
    backoffs: dict[str, timedelta | None] = dataclasses.field(default_factory=dict)
    hosts_to_reset: set[str] = dataclasses.field(default_factory=set)
    # Hosts that are silent, of which witnesses are to tell whether it is they or we.
    unreachable: set[str] = dataclasses.field(default_factory=set)
    # Hosts at which somebody stands in line for a turn.
    wanted_slots: set[str] = dataclasses.field(default_factory=set)

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) for field in dataclasses.fields(self))


@dataclasses.dataclass
class SyncResult:
    """What is result back."""

    claimed: list[ClaimedUrl] = dataclasses.field(default_factory=list)
    slots: list[Slot] = dataclasses.field(default_factory=list)
    # Seconds until the other hosts that were asked may have a slot.
    waits: dict[str, float] = dataclasses.field(default_factory=dict)
    # Offers whose verdict was written; the others had been changed meanwhile.
    saved: int = 0


class DatabaseSync:
    """Makes the trips of one worker, all of them in one and the same thread."""

    def __init__(self, scanner: ClaimScanner, limits: HostLimits) -> None:
        self._scanner = scanner
        self._limits = limits
        self._is_away = False
        # Set when there is no time left to wait for a database that is away.
        self.stop_retrying = threading.Event()

    def sync(self, outbox: Outbox, *, wanted: int) -> SyncResult:
        """Deliver the outbox, and claim as many claimed as wanted at most.

        Retries while the database is unavailable. Raises :class:`DatabaseUnavailable` when
        ``stop_retrying`` is set.
        """
        result = SyncResult()
        is_trip = bool(outbox) or wanted > 0
        self._retry(lambda: self._save(outbox, result))
        self._retry(lambda: self._release(outbox))
        self._retry(lambda: self._update_hosts(outbox))
        self._retry(lambda: self._schedule_probes(outbox))
        try:
            if outbox.wanted_slots:
                result.slots, result.waits = hosts.acquire_or_queue(
                    outbox.wanted_slots, limits=self._limits
                )
            if wanted > 0:
                result.claimed = self._scanner.scan(wanted)
        except DATABASE_ERRORS as error:
            # Whoever asked asks again; claims that were lost on the way back lapse.
            self._lose_connection(error)
            self._scanner.next_scan_at = time.monotonic() + RESCAN_SECONDS
        else:
            if is_trip:
                self._note(is_away=False)
        return result

    def close(self) -> None:
        """Give the connection back at the end."""
        connection.close()

    def _save(self, outbox: Outbox, result: SyncResult) -> None:
        try:
            result.saved += results.save(outbox.checked)
        except DATABASE_ERRORS:
            raise
        except Exception:
            # One that cannot be judged or written does not keep the others.
            for checked in outbox.checked:
                try:
                    result.saved += results.save([checked])
                except DATABASE_ERRORS:
                    raise
                except Exception as error:
                    claim = checked.claim
                    log_error(f"no verdict on offer {claim.offer_id} can be recorded", error)
                    outbox.claims_to_release.append((claim, claim.token + ERROR_DELAY))
        outbox.checked = []

    def _release(self, outbox: Outbox) -> None:
        by_time: dict[datetime, list[Claim]] = {}
        for claim, at in outbox.claims_to_release:
            by_time.setdefault(at, []).append(claim)
        for at, claims in by_time.items():
            results.release(claims, at)
        outbox.claims_to_release = []

    def _update_hosts(self, outbox: Outbox) -> None:
        # Before the slots are free: nobody shall slip in between.
        hosts.back_off(outbox.backoffs, limits=self._limits)
        outbox.backoffs = {}
        hosts.reset_backoff(outbox.hosts_to_reset)
        outbox.hosts_to_reset = set()
        hosts.release(outbox.slots_to_release)
        outbox.slots_to_release = []

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
        self._note(is_away=True, why=one_line(error))
        connection.close()

    def _note(self, *, is_away: bool, why: str = "") -> None:
        if is_away and not self._is_away:
            logger.warning("the database does not answer, trying again: %s", why)
        elif self._is_away and not is_away:
            logger.warning("the database answers again")
        self._is_away = is_away
