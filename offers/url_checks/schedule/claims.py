"""Claims: which offers a worker checks next, so that no two workers check the same.

A claim pushes the time at which the next check is due ahead: that is the lease, and its exact value
is the claim's token, by which a result is recorded or dropped. A worker that dies loses its claims
when the lease ends, and another one finds the offers due.

Hosts take slots. They are visited one after the other, in the order of the index that holds
the due offers by host, and each gives at most one address: a shop with a million due offers
costs the others nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection, transaction

from offers.models import Channel, Offer
from offers.url_checks.schedule import hosts
from offers.url_checks.schedule.hosts import FREE_AT, HOST_LIMITS, HostLimits, Slot
from offers.url_checks.verdict import STATE_COLUMNS, CheckState

# Longer than a check can take: 20 seconds of requests, and what it waits for slots in between.
LEASE = timedelta(minutes=2)
# An offer of the same address is checked along when it would be due so soon anyway; one that would
# be due within a lease may be in somebody's hands.
SAME_URL_WITHIN = timedelta(hours=6)
# More of them wait for the next claim: no statement becomes endless.
MAX_SAME_URL = 1000
# Hosts that one statement claimed at most.
MAX_SCANNED_HOSTS = 2000

PLANNING = "SET LOCAL enable_seqscan TO off; SET LOCAL enable_sort TO off; SET LOCAL jit TO off"

_ONLINE = f"o.channel = '{Channel.ONLINE.value}'"
# A time that an index can be searched by: the beginning of the statement, by the database's clock.
_DUE = f"{_ONLINE} AND o.url_check_at <= statement_timestamp()"
_EVER = f"{_ONLINE} AND o.url_check_at IS NOT NULL"

# One probe of the index for each host: its earliest check, due or not.
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
        WHERE scan.steps < %(steps)s
    )
    SELECT scan.host, scan.steps, scan.due_at <= statement_timestamp(), h.host IS NOT NULL,
        extract(epoch FROM GREATEST({FREE_AT}, h.wanted_until) - statement_timestamp())::float8,
        h.paused_until > statement_timestamp()
    FROM scan LEFT JOIN offers_checkedhost h ON h.host = scan.host
    WHERE scan.due_at <= statement_timestamp() OR scan.steps = %(steps)s
"""

_STATE = ", ".join(f"o.{column}" for column in STATE_COLUMNS)

# The earliest check of each host, and those of the same address; what others hold is left out.
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
    """One offer that nobody else checks until ``token``, and what is stored of it."""

    offer_id: UUID
    url: str
    token: datetime
    state: CheckState


@dataclass(frozen=True)
class ClaimedUrl:
    """One request to make: its host lets us in, and its claims are of the same address."""

    slot: Slot
    claims: list[Claim]

    @property
    def url(self) -> str:
        """Return the address to be checked."""
        return self.claims[0].url


@dataclass(frozen=True)
class ScanResult:
    """What one look along the hosts result."""

    claimed: list[ClaimedUrl]
    # The host at which the next look goes on; None once the last host was seen.
    after: str | None
    # Hosts with due offers that may be asked before long, and how many leave us no choice.
    busy: int
    paused: int


class _ScannedHost(NamedTuple):
    """A host on the way, and when it may be asked (in seconds; None: it never was)."""

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
    steps: int = MAX_SCANNED_HOSTS,
    limits: HostLimits = HOST_LIMITS,
) -> ScanResult:
    """Claim due offers at so many hosts at most, of those that follow ``after``.

    ``steps`` is how many hosts are looked at. Each claimed_url's host has been taken a slot at.
    """
    with transaction.atomic(durable=True):
        _use_indexes()
        seen = _scan(after, steps)
        free = [host for host in seen if host.is_free]
        chosen = free[:limit]
        hosts.register([host.host for host in chosen if not host.is_known])
        slots = hosts.acquire([host.host for host in chosen], limits=limits)
        claimed = _claim_at(slots)
        visited = {claimed_url.slot.host for claimed_url in claimed}
        # Another worker was faster.
        hosts.release([slot for slot in slots if slot.host not in visited])
    if len(free) > limit:
        reached: str | None = chosen[-1].host if chosen else after
    else:
        reached = seen[-1].host if seen and seen[-1].step == steps else None
    held = [host for host in seen if host.is_due and host.host not in visited]
    paused = sum(bool(host.is_paused) for host in held)
    return ScanResult(claimed, reached, busy=len(held) - paused, paused=paused)


def claim_one(offer: Offer) -> Claim:
    """Claim an offer, due or not, even from a worker: its result will then be dropped.

    Raises ``Offer.DoesNotExist`` when the offer is gone, or no longer online.
    """
    given: dict[str, Any] = {"id": offer.pk, "lease": LEASE}
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM_ONE, given)
        row = cursor.fetchone()
    if row is None:
        raise Offer.DoesNotExist("The offer is no longer there, or no longer online.")
    return _claim(row)


def _use_indexes() -> None:
    """Keep the statements of this transaction to the indexes made for them, and uncompiled.

    Whatever the planner believes of tables that have grown since it last looked.
    """
    with connection.cursor() as cursor:
        cursor.execute(PLANNING)


def _scan(after: str | None, steps: int) -> list[_ScannedHost]:
    beyond = "TRUE" if after is None else "o.url_host > %(after)s"
    with connection.cursor() as cursor:
        cursor.execute(_SCAN.format(beyond=beyond), {"after": after, "steps": steps})
        # However the join went about it.
        return sorted((_ScannedHost(*row) for row in cursor.fetchall()), key=lambda seen: seen.step)


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
