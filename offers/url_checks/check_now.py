"""Checks for people who wait for the result.

They run the same session as a worker's checks, within the same limits per host; workers let them
go first. No transaction is open while a shop is requested.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

from asgiref.sync import async_to_sync
from django.utils import timezone

from closient.cells.routing import in_directory
from offers.models import Channel, CheckedHost, Offer, OfferQuerySet
from offers.url_checks.fetch.client import Client, FetchLimits, user_agent
from offers.url_checks.fetch.policy import SERVICE
from offers.url_checks.fetch.urls import NotAllowed, target_of
from offers.url_checks.schedule import host_limits, results
from offers.url_checks.schedule.claims import LEASE, Claim, claim_one
from offers.url_checks.schedule.due import make_due
from offers.url_checks.session import CheckSession
from offers.url_checks.slots import BlockingSlots
from offers.url_checks.sync import Outbox

# How long a person waits for each slot.
SLOT_TIMEOUT = timedelta(seconds=10)
# How long a check may take in all: each host that it is redirected to needs a slot.
CHECK_TIMEOUT = timedelta(seconds=40)
# The most offers that are checked while a person waits; the rest is left to the workers.
MAX_CHECKED_NOW = 20
# The most people who wait at a time in a process of the web server: its other threads stay free.
MAX_CONCURRENT_CHECKS = 2
# Where checks may go, how fast and how far. Tests replace them.
POLICY = SERVICE
HOST_LIMITS = host_limits.HOST_LIMITS
FETCH_LIMITS = FetchLimits()

_capacity = threading.BoundedSemaphore(MAX_CONCURRENT_CHECKS)


class NoUrl(Exception):
    """The offer has no URL to check: it is in a store, or was deleted."""


class HostThrottled(Exception):
    """The shop cannot be requested for at least ``retry_after`` seconds.

    The check is due, and a worker makes it as soon as the shop has a free slot.
    """

    def __init__(
        self,
        retry_after: int,
        reason: str = "The shop has reached its request limit or has requested a pause.",
    ) -> None:
        super().__init__(
            f"{reason} The URL will be checked as soon as possible. Try again in "
            f"{retry_after} seconds."
        )
        self.retry_after = retry_after


@dataclasses.dataclass(frozen=True)
class CheckSummary:
    """How many of some offers were checked at once."""

    checked: int
    # Due now, for the workers to check next.
    made_due: int
    # Without a URL, or deleted.
    skipped: int


def check_now(offer: Offer) -> Offer:
    """Check an offer's URL; return the offer as it is then, with its product's GTIN.

    If the offer is changed during the check, the change wins and the result is dropped. Takes up to
    40 seconds, usually one, and must not be called inside a transaction. Raises :class:`NoUrl`, and
    :class:`HostThrottled` when the shop has no free slot within ten seconds.
    """
    with _capacity_for_one() as is_free:
        if not is_free:
            make_due(Offer.objects.filter(pk=offer.pk))
            raise HostThrottled(
                math.ceil(SLOT_TIMEOUT.total_seconds()), "Too many checks are waiting."
            )
        claims = _claims([offer])
        if not claims:
            raise NoUrl("This offer has no URL to check: it is in a store.")
        if not _check(claims):
            raise HostThrottled(_seconds_until_free(claims[0].url))
    checked = Offer.objects.filter(pk=offer.pk).with_gtin().first()
    if checked is None:
        raise NoUrl("The offer was deleted while its URL was checked.")
    return checked


def check_some_now(offers: OfferQuerySet) -> CheckSummary:
    """Check the first few of the offers, and make all others due for the workers.

    Takes up to 40 seconds, and must not be called inside a transaction.
    """
    total = offers.count()
    online = offers.filter(channel=Channel.ONLINE).order_by("url_check_at", "pk")
    with _capacity_for_one() as is_free:
        claims = _claims(online[:MAX_CHECKED_NOW]) if is_free else []
        checked = _check(claims)
    others = online.exclude(pk__in=[claim.offer_id for claim in claims])
    due = len(claims) - checked + make_due(others)
    return CheckSummary(checked, due, total - checked - due)


@contextmanager
def _capacity_for_one() -> Iterator[bool]:
    """Reserve capacity for one person for a block; False when there is none."""
    is_free = _capacity.acquire(blocking=False)
    try:
        yield is_free
    finally:
        if is_free:
            _capacity.release()


def _claims(offers: Iterable[Offer]) -> list[Claim]:
    claims = []
    for offer in offers:
        try:
            claims.append(claim_one(offer))
        except Offer.DoesNotExist:
            continue
    return claims


def _check(claims: Sequence[Claim]) -> int:
    """Check claimed offers and save the results; return how many were checked.

    Claims whose host has no free slot are released, due now.
    """
    if not claims:
        return 0
    outboxes = async_to_sync(_run_sessions)(claims)
    checked = [each for outbox in outboxes for each in outbox.checked]
    results.save(checked)
    released = [claim for outbox in outboxes for claim, _ in outbox.claims_to_release]
    if released:
        # Due since they were claimed, by the database's clock.
        results.release(released, min(claim.token for claim in released) - LEASE)
    return len(checked)


async def _run_sessions(claims: Iterable[Claim]) -> list[Outbox]:
    """Check the URLs of claims, all at once; return an outbox for each URL."""
    by_url: defaultdict[str, list[Claim]] = defaultdict(list)
    for claim in claims:
        by_url[claim.url].append(claim)

    async def run(client: Client, claims: Sequence[Claim]) -> Outbox:
        outbox = Outbox()
        slots = BlockingSlots(outbox, within=SLOT_TIMEOUT, limits=HOST_LIMITS)
        session = CheckSession(client, slots, outbox, timeout=CHECK_TIMEOUT)
        await session.run(claims, since=time.monotonic())
        return outbox

    async with Client(user_agent=user_agent(), policy=POLICY, limits=FETCH_LIMITS) as client:
        return await asyncio.gather(*(run(client, by_url[url]) for url in sorted(by_url)))


def _seconds_until_free(url: str) -> int:
    """Return how long a host is paused, at least the time that a person waits for a slot."""
    try:
        host = target_of(url, ports=POLICY.url_ports).host
    except NotAllowed:
        host = ""
    with in_directory():
        known = CheckedHost.objects.filter(host=host).first()
    paused = known.paused_until - timezone.now() if known and known.paused_until else SLOT_TIMEOUT
    return math.ceil(max(paused, SLOT_TIMEOUT).total_seconds())
