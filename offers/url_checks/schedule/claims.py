"""Claims due offers for a worker, so that no two workers check the same offer.

A claim moves ``url_check_at``, when the next check is due, ahead by the lease. The exact value is
the claim's token: a result is saved only while it is unchanged. The claims of a worker that dies
expire with the lease, and another worker finds the offers due.

Hosts are scanned in the order of the index of due offers, and each scan claims at most one URL per
host: a shop with a million due offers does not delay other shops.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection, transaction

from closient.cells.routing import is_in_directory
from offers.models import Channel, Offer
from offers.url_checks.schedule import host_limits
from offers.url_checks.schedule.host_limits import (
    FREE_IN,
    HOST_LIMITS,
    IS_PAUSED,
    HostLimits,
    Slot,
)
from offers.url_checks.verdict import STATE_COLUMNS, CheckState

# Longer than a check can take: 20 seconds of requests, and the time it waits for slots.
LEASE = timedelta(minutes=2)
# Offers of the same URL that are due within this time share one request, unless they are due within
# a lease: those may be claimed already.
SAME_URL_WITHIN = timedelta(hours=6)
# More of them wait for the next claim, which bounds the size of the statement.
MAX_SAME_URL = 1000
# The most hosts that one statement scans.
MAX_SCANNED_HOSTS = 2000

# Seconds between two scans of all hosts: while hosts with due offers are only busy, and while
# nothing is due. Scans without a claim take at most a fifth or a twentieth of the time, unless
# the maximum interval is too short for the number of hosts.
BUSY_INTERVAL, BUSY_FACTOR = 0.05, 5
IDLE_INTERVAL, IDLE_FACTOR = 1.0, 20
MAX_IDLE_INTERVAL = 10.0

PLANNING = "SET LOCAL enable_seqscan TO off; SET LOCAL enable_sort TO off; SET LOCAL jit TO off"

_ONLINE = f"o.channel = '{Channel.ONLINE.value}'"
# The start of the statement by the database's clock: an index can be searched by it.
_DUE = f"{_ONLINE} AND o.url_check_at <= statement_timestamp()"
_EVER = f"{_ONLINE} AND o.url_check_at IS NOT NULL"

# One index lookup per host: its earliest check, due or not.
_SCAN = f"""
    WITH RECURSIVE scan(host, due_at, steps) AS (
        (SELECT o.url_host, o.url_check_at, 1 FROM offers_offer o
         WHERE {_EVER} AND {{beyond}}
         ORDER BY o.url_host, o.url_check_at LIMIT 1)
        UNION ALL
        SELECT next.url_host, next.url_check_at, scan.steps + 1
        FROM scan CROSS JOIN LATERAL (
            SELECT o.url_host, o.url_check_at FROM offers_offer o
            WHERE {_EVER} AND o.url_host > scan.host
            ORDER BY o.url_host, o.url_check_at LIMIT 1
        ) next
        WHERE scan.steps < %(max_hosts)s
    )
    SELECT scan.host, scan.steps, scan.due_at <= statement_timestamp(), h.host IS NOT NULL,
        {FREE_IN}, {IS_PAUSED}
    FROM scan LEFT JOIN offers_checkedhost h ON h.host = scan.host
    WHERE scan.due_at <= statement_timestamp() OR scan.steps = %(max_hosts)s
"""

_STATE = ", ".join(f"o.{column}" for column in STATE_COLUMNS)

# The earliest check of each host and the checks of the same URL; skips locked rows.
_CLAIM = f"""
    WITH chosen AS MATERIALIZED (
        SELECT first.url_host, first.url
        FROM unnest(%(hosts)s::text[]) AS host(name)
        CROSS JOIN LATERAL (
            SELECT o.url_host, o.url FROM offers_offer o
            WHERE {_DUE} AND o.url_host = host.name
            ORDER BY o.url_check_at LIMIT 1
            FOR UPDATE SKIP LOCKED
        ) first
    ), due AS MATERIALIZED (
        SELECT same.id FROM chosen CROSS JOIN LATERAL (
            SELECT o.id FROM offers_offer o
            WHERE {_EVER} AND md5(o.url) = md5(chosen.url) AND o.url = chosen.url
              AND o.url_check_at <= statement_timestamp() + %(along)s
              AND (o.url_check_at <= statement_timestamp()
                   OR o.url_check_at > statement_timestamp() + %(lease)s)
            ORDER BY o.url_check_at LIMIT %(max_same_url)s
            FOR UPDATE SKIP LOCKED
        ) same
    )
    UPDATE offers_offer o
    SET url_check_at = statement_timestamp() + %(lease)s
    FROM due
    WHERE o.id = due.id
    RETURNING o.url_host, o.id, o.url, o.url_check_at, {_STATE}
"""

_CLAIM_ONE = f"""
    UPDATE offers_offer o
    SET url_check_at = statement_timestamp() + %(lease)s
    WHERE o.id = %(id)s AND {_ONLINE}
    RETURNING o.id, o.url, o.url_check_at, {_STATE}
"""


@dataclass(frozen=True)
class Claim:
    """One offer that only the claimant checks until ``token``, and its stored state."""

    offer_id: UUID
    url: str
    token: datetime
    state: CheckState


@dataclass(frozen=True)
class ClaimedUrl:
    """One URL to request: a slot at its host, and the claims of all offers with this URL."""

    slot: Slot
    claims: list[Claim]

    @property
    def url(self) -> str:
        """Return the URL to check."""
        return self.claims[0].url


@dataclass(frozen=True)
class ScanResult:
    """What one scan of hosts claimed."""

    claimed: list[ClaimedUrl]
    # The host after which the next scan starts; None when all hosts were scanned.
    after: str | None
    # How many hosts with due offers were busy, and how many are paused.
    busy: int
    paused: int


class _ScannedHost(NamedTuple):
    """A scanned host, and in how many seconds it is free; None when it was never requested."""

    host: str
    step: int
    is_due: bool
    is_known: bool
    wait: float | None
    is_paused: bool | None

    @property
    def is_free(self) -> bool:
        return self.is_due and (self.wait is None or self.wait <= 0)


def claim_due(
    limit: int,
    *,
    after: str | None = None,
    max_hosts: int = MAX_SCANNED_HOSTS,
    limits: HostLimits = HOST_LIMITS,
) -> ScanResult:
    """Claim due URLs at up to ``limit`` of the hosts that follow ``after``.

    Scans up to ``max_hosts`` hosts. A slot is acquired for each claimed URL.
    """
    with transaction.atomic(durable=True):
        _use_indexes()
        scanned = _scan(after, max_hosts)
        free = [host for host in scanned if host.is_free]
        chosen = free[:limit]
        host_limits.register([host.host for host in chosen if not host.is_known])
        slots = host_limits.acquire([host.host for host in chosen], limits=limits)
        claimed = _claim_at(slots)
        claimed_hosts = {each.slot.host for each in claimed}
        # Another worker has claimed the due offers of these hosts.
        host_limits.release([slot for slot in slots if slot.host not in claimed_hosts])
    if len(free) > limit:
        resume_after: str | None = chosen[-1].host if chosen else after
    else:
        is_cut_off = bool(scanned) and scanned[-1].step == max_hosts
        resume_after = scanned[-1].host if is_cut_off else None
    waiting = [each for each in scanned if each.is_due and each.host not in claimed_hosts]
    paused = sum(bool(each.is_paused) for each in waiting)
    return ScanResult(claimed, resume_after, busy=len(waiting) - paused, paused=paused)


def claim_one(offer: Offer) -> Claim:
    """Claim an offer, due or not, even if a worker has claimed it: that result is then dropped.

    Raises ``Offer.DoesNotExist`` when the offer was deleted or is not online any more.
    """
    given: dict[str, Any] = {"id": offer.pk, "lease": LEASE}
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM_ONE, given)
        row = cursor.fetchone()
    if row is None:
        raise Offer.DoesNotExist("The offer was deleted or is not online any more.")
    return _claim(row)


def _use_indexes() -> None:
    """Make this transaction use the indexes made for its statements, without JIT.

    The statistics of a table that has grown can mislead the planner.
    """
    with connection.cursor() as cursor:
        cursor.execute(PLANNING)


def _scan(after: str | None, max_hosts: int) -> list[_ScannedHost]:
    beyond = "TRUE" if after is None else "o.url_host > %(after)s"
    with connection.cursor() as cursor:
        cursor.execute(_SCAN.format(beyond=beyond), {"after": after, "max_hosts": max_hosts})
        # The join keeps no order.
        scanned = sorted(map(_ScannedHost._make, cursor.fetchall()), key=lambda each: each.step)
    if is_in_directory():
        return scanned
    # The hosts of a cell are in the directory.
    known = host_limits.states([each.host for each in scanned])
    return [
        each._replace(is_known=True, wait=known[each.host][0], is_paused=known[each.host][1])
        if each.host in known
        else each
        for each in scanned
    ]


def _claim_at(slots: Collection[Slot]) -> list[ClaimedUrl]:
    if not slots:
        return []
    at = {slot.host: slot for slot in slots}
    given: dict[str, Any] = {
        "hosts": list(at),
        "lease": LEASE,
        "along": SAME_URL_WITHIN,
        "max_same_url": MAX_SAME_URL,
    }
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, given)
        rows = sorted(cursor.fetchall(), key=lambda row: row[0])
    by_host: Iterable[tuple[str, Iterable[Any]]] = itertools.groupby(rows, key=lambda row: row[0])
    return [ClaimedUrl(at[host], [_claim(row[1:]) for row in group]) for host, group in by_host]


def _claim(row: Any) -> Claim:
    offer_id, url, token, *state = row
    return Claim(offer_id, url, token, CheckState(**dict(zip(STATE_COLUMNS, state, strict=True))))


class ClaimScanner:
    """Decides when and where a worker scans for due offers.

    Each scan resumes at the host where the last one ended. Scans are rare while nothing is due.
    """

    def __init__(self, limits: HostLimits) -> None:
        self._limits = limits
        self._after: str | None = None
        self._max_hosts = 0
        # When the current scan of all hosts began, or the last one.
        self.began_at = 0.0
        self._start()
        self.next_scan_at = 0.0
        # Whether the last scan of all hosts found no due offer that is worth waiting for.
        self.found_nothing = False

    def _start(self) -> None:
        self.began_at = time.monotonic()
        self._wasted_seconds = 0.0
        self._claimed = self._busy = 0

    def scan(self, limit: int) -> list[ClaimedUrl]:
        """Claim up to ``limit`` URLs."""
        if self._after is None:
            self._start()
        self._max_hosts = min(max(self._max_hosts, 2 * limit), MAX_SCANNED_HOSTS)
        began_at = time.monotonic()
        found = claim_due(limit, after=self._after, max_hosts=self._max_hosts, limits=self._limits)
        if not found.claimed:
            self._wasted_seconds += time.monotonic() - began_at
        self._after = found.after
        # Where few hosts have due offers, scan more hosts at once.
        is_sparse = len(found.claimed) < limit // 2
        self._max_hosts = self._max_hosts * 2 if is_sparse else self._max_hosts // 2
        self._claimed += len(found.claimed)
        self._busy += found.busy
        if self._after is None:
            self._finish()
        return found.claimed

    def _finish(self) -> None:
        is_busy = self._claimed > 0 or self._busy > 0
        self.found_nothing = not is_busy
        if is_busy:
            wait = max(BUSY_INTERVAL, self._wasted_seconds * BUSY_FACTOR)
        else:
            wait = max(IDLE_INTERVAL, self._wasted_seconds * IDLE_FACTOR)
        self.next_scan_at = time.monotonic() + min(wait, MAX_IDLE_INTERVAL)
