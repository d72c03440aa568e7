"""One URL check from slot to result: the same for workers and for people who wait."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from datetime import timedelta

from offers.url_checks.fetch.client import CannotFetch, Client
from offers.url_checks.fetch.responses import FetchResult
from offers.url_checks.outage import OutageDetector
from offers.url_checks.schedule.claims import LEASE, Claim
from offers.url_checks.schedule.host_limits import SlotUnavailable
from offers.url_checks.schedule.results import CheckedClaim
from offers.url_checks.slots import HostSlots
from offers.url_checks.sync import ERROR_DELAY, Outbox
from offers.url_checks.verdict import hosts_to_reset, is_throttled

# A check that got no slot is retried after this, or later if the host needs longer.
RETRY_DELAY = timedelta(minutes=1)


class CheckSession:
    """Checks one URL. What it finds goes into an outbox, which the caller writes to the database.

    1. Acquire a slot at the host, and at each host that a redirect leads to (``slots``).
    2. Fetch the URL (``client``).
    3. Decide whether the result counts, or our own network may be down (``detector``).
    4. Record the result: saving computes the verdict, by the database's clock. Or release the
       claims, to be checked later.
    5. Back off from a host that throttles the checker; reset hosts that respond normally again.
    6. Release the slots.

    A person who waits sets a ``timeout``, which includes the waiting for slots. Claims that got no
    slot then stay due, for the workers. Without a timeout they are retried later.
    """

    def __init__(
        self,
        client: Client,
        slots: HostSlots,
        outbox: Outbox,
        *,
        detector: OutageDetector | None = None,
        timeout: timedelta | None = None,
    ) -> None:
        self._client = client
        self._slots = slots
        self._outbox = outbox
        self._detector = detector
        self._timeout = timeout

    async def run(self, claims: Sequence[Claim], *, since: float) -> FetchResult | None:
        """Check the URL of the claims; return what was fetched, or None if nothing was.

        ``since`` is when the offers were claimed, as a time of ``time.monotonic``.
        """
        try:
            result = await self._fetch(claims[0].url)
        except (CannotFetch, SlotUnavailable) as error:
            wait = error.wait if isinstance(error, SlotUnavailable) else 0.0
            later = max(RETRY_DELAY, timedelta(seconds=wait))
            delay = later if self._timeout is None else timedelta(0)
            release(self._outbox, claims, since=since, delay=delay)
            return None
        except asyncio.CancelledError:
            release(self._outbox, claims, since=since)
            raise
        except Exception:
            # An error in this program is unrelated to the shop.
            release(self._outbox, claims, since=since, delay=ERROR_DELAY)
            raise
        else:
            self._record(claims, result, since=since)
            self._update_hosts(result)
            return result
        finally:
            await self._slots.end()

    async def _fetch(self, url: str) -> FetchResult:
        if self._timeout is None:
            return await self._client.fetch(url, hold_slot=self._slots.hold)
        try:
            async with asyncio.timeout(self._timeout.total_seconds()) as deadline:
                return await self._client.fetch(url, hold_slot=self._slots.hold)
        except TimeoutError:
            if deadline.expired():
                raise CannotFetch("The check took too long.") from None
            raise

    def _record(self, claims: Sequence[Claim], result: FetchResult, *, since: float) -> None:
        """Record the result, or postpone the check while an outage of our network is suspected."""
        delay = self._detector.suspect_outage(result) if self._detector else None
        if self._detector is None or delay is None:
            self._outbox.checked.extend(CheckedClaim(claim, result) for claim in claims)
            return
        spread = random.uniform(1, 2)  # noqa: S311 - not for security
        release(self._outbox, claims, since=since, delay=delay * spread)
        self._outbox.unreachable.update(self._detector.unreachable_to_probe())

    def _update_hosts(self, result: FetchResult) -> None:
        """Note which hosts are to be paused and which to be reset."""
        if is_throttled(result):
            known = self._outbox.backoffs.get(result.host)
            longest = max(filter(None, (known, result.retry_after)), default=None)
            self._outbox.backoffs[result.host] = longest
        self._outbox.hosts_to_reset |= hosts_to_reset(result, self._slots.throttled_hosts)


def release(
    outbox: Outbox, claims: Sequence[Claim], *, since: float, delay: timedelta = timedelta(0)
) -> None:
    """Make claimed offers due after a delay; the time is computed on the database's clock."""
    elapsed = timedelta(seconds=time.monotonic() - since)
    outbox.claims_to_release.extend(
        (claim, claim.token - LEASE + elapsed + delay) for claim in claims
    )
