"""Checks for people who wait for them: by the client, the slots and the judgement of all checks.

What is asked of a shop comes out of the same budget as the workers' requests, which stand back for
whoever waits. No transaction is open while the shop answers.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta

from asgiref.sync import async_to_sync, sync_to_async
from django.utils import timezone

from offers.models import Channel, CheckedHost, Offer, OfferQuerySet
from offers.url_checks.fetch.client import CannotFetch, Client, FetchLimits
from offers.url_checks.fetch.identity import user_agent
from offers.url_checks.fetch.policy import PUBLIC
from offers.url_checks.fetch.responses import FetchResult
from offers.url_checks.fetch.urls import NotAllowed, target_of
from offers.url_checks.schedule import hosts
from offers.url_checks.schedule.claims import LEASE, Claim, claim_one
from offers.url_checks.schedule.due import make_due
from offers.url_checks.schedule.results import CheckedClaim, release, save
from offers.url_checks.slots import BlockingSlots
from offers.url_checks.verdict import hosts_to_reset, is_throttled

# How long a person waits for each turn of a host.
SLOT_TIMEOUT = timedelta(seconds=10)
# And for a check in all: a shop may send it on to others, each with a turn of its own.
CHECK_TIMEOUT = timedelta(seconds=40)
# So many offers are checked while a person waits; what is more than that is left to the workers.
MAX_CHECKED_NOW = 20
# So many people wait at a time in each process of the web server: its other threads stay free.
MAX_CONCURRENT_CHECKS = 2
# Where the checks may go, how fast and how far; others in tests alone.
POLICY = PUBLIC
HOST_LIMITS = hosts.HOST_LIMITS
FETCH_LIMITS = FetchLimits()

_room = threading.BoundedSemaphore(MAX_CONCURRENT_CHECKS)


class NoUrl(Exception):
    """The offer is in a store, or gone: it has no address."""


class HostThrottled(Exception):
    """The shop cannot be asked just now: not for ``retry_after`` seconds at least.

    The check is due, and a worker makes it as soon as the shop's turn comes.
    """

    def __init__(
        self,
        retry_after: int,
        reason: str = "The shop is asked as often as is polite, or has asked for a pause itself.",
    ) -> None:
        super().__init__(
            f"{reason} The address is checked as soon as its turn comes; look again in "
            f"{retry_after} seconds."
        )
        self.retry_after = retry_after


@dataclasses.dataclass(frozen=True)
class CheckSummary:
    """What became of offers that were to be checked at once."""

    # Looked at now.
    checked: int
    # Due at once, for the workers to take next.
    made_due: int
    # Without an address, or gone.
    skipped: int


def check_now(offer: Offer) -> Offer:
    """Check an offer's address, and return the offer as it is then, with its product's GTIN.

    Where the offer is changed during the check, the change wins and the result is dropped. Takes
    up to 40 seconds, mostly one, and must not be called inside a transaction. Raises
    :class:`NoUrl`, and :class:`HostThrottled` when the shop's turn does not come within ten
    seconds.
    """
    with _waiting_place() as is_free:
        if not is_free:
            make_due(Offer.objects.filter(pk=offer.pk))
            raise HostThrottled(
                math.ceil(SLOT_TIMEOUT.total_seconds()), "Too many wait for checks just now."
            )
        claims = _claims([offer])
        if not claims:
            raise NoUrl("The offer has no address to check: it is in a store.")
        if not _check(claims):
            raise HostThrottled(_seconds_until_free(claims[0].url))
    fresh = Offer.objects.filter(pk=offer.pk).with_gtin().first()
    if fresh is None:
        raise NoUrl("The offer was deleted while its address was checked.")
    return fresh


def check_some_now(offers: OfferQuerySet) -> CheckSummary:
    """Check the first few of the offers at once, and make all others due for the workers.

    Takes up to 40 seconds, and must not be called inside a transaction.
    """
    total = offers.count()
    online = offers.filter(channel=Channel.ONLINE).order_by("url_check_at", "pk")
    with _waiting_place() as is_free:
        claims = _claims(online[:MAX_CHECKED_NOW]) if is_free else []
        checked = _check(claims)
    others = online.exclude(pk__in=[claim.offer_id for claim in claims])
    put_off = len(claims) - checked + make_due(others)
    return CheckSummary(checked, put_off, total - checked - put_off)


@contextmanager
def _waiting_place() -> Iterator[bool]:
    """Give one of the places for those who wait, or say that there is none."""
    is_free = _room.acquire(blocking=False)
    try:
        yield is_free
    finally:
        if is_free:
            _room.release()


def _claims(offers: Iterable[Offer]) -> list[Claim]:
    claims = []
    for offer in offers:
        try:
            claims.append(claim_one(offer))
        except Offer.DoesNotExist:
            continue
    return claims


def _check(claims: Sequence[Claim]) -> int:
    """Check claimed offers and record the results; return how many were checked.

    Those whose host has no turn to give are given back, due at once.
    """
    if not claims:
        return 0
    answers: Mapping[str, FetchResult | None] = async_to_sync(_ask)({claim.url for claim in claims})
    heard = {url: answer for url, answer in answers.items() if answer is not None}
    save([CheckedClaim(claim, heard[claim.url]) for claim in claims if claim.url in heard])
    unheard = [claim for claim in claims if claim.url not in heard]
    if unheard:
        # When they were claimed, by the database's clock.
        release(unheard, min(claim.token for claim in unheard) - LEASE)
    return len(claims) - len(unheard)


async def _ask(urls: Iterable[str]) -> dict[str, FetchResult | None]:
    """Return what each address answers, ``None`` where its turn did not come."""

    async def ask(client: Client, url: str) -> tuple[str, FetchResult | None]:
        slots = BlockingSlots(within=SLOT_TIMEOUT, limits=HOST_LIMITS)
        try:
            async with asyncio.timeout(CHECK_TIMEOUT.total_seconds()):
                answer = await client.fetch(url, hold_slot=slots.hold)
            # Before the place is free: nobody shall slip in between.
            await sync_to_async(_update_hosts)(answer, slots.throttled_hosts)
        except (CannotFetch, TimeoutError):
            return url, None
        finally:
            await slots.end()
        return url, answer

    async with Client(user_agent=user_agent(), policy=POLICY, limits=FETCH_LIMITS) as client:
        return dict(await asyncio.gather(*(ask(client, url) for url in sorted(urls))))


def _update_hosts(answer: FetchResult, throttled_hosts: Collection[str]) -> None:
    if is_throttled(answer):
        hosts.back_off({answer.host: answer.retry_after}, limits=HOST_LIMITS)
    hosts.reset_backoff(hosts_to_reset(answer, throttled_hosts))


def _seconds_until_free(url: str) -> int:
    """Return how long a host is known to be left alone; at least as long as a person waits."""
    try:
        host = target_of(url, ports=POLICY.ports).host
    except NotAllowed:
        host = ""
    known = CheckedHost.objects.filter(host=host).first()
    paused = known.paused_until - timezone.now() if known and known.paused_until else SLOT_TIMEOUT
    return math.ceil(max(paused, SLOT_TIMEOUT).total_seconds())
