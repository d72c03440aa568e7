"""SlotLease of checks: who holds a slot at a host, and who stands in queue for one.

In a worker slots come and go with its trips to the database, for everybody together; outside of
workers each check asks for itself.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from math import inf

from asgiref.sync import sync_to_async

from offers.url_checks.schedule import hosts
from offers.url_checks.schedule.hosts import HOST_LIMITS, HostLimits, Slot, SlotUnavailable

# How long a check waits for slots of the hosts to which it is sent on; all its requests together
# take 20 seconds, and the rest of the lease is for the way to the database.
SLOT_TIMEOUT_SECONDS = 60.0
# Who stands in queue holds up a check of another host meanwhile: so many may at one host; and those
# who are sent away may come again, one by one, after so long.
MAX_QUEUED_PER_HOST = 10
MIN_RETRY_SECONDS, MAX_RETRY_SECONDS = 60.0, 3600.0
# A slot that was taken longer ago does not mark any more when its request begins.
FRESH_SECONDS = 0.5


class SlotQueue:
    """Everybody in one worker who waits for a slot, and the slots that are to be given back.

    ``wake`` is set when there is a reason for a trip. When so many as ``capacity`` stand in queue,
    nobody joins another one: only who is the first at a host does.
    """

    def __init__(self, limits: HostLimits, wake: asyncio.Event, *, capacity: int) -> None:
        self._interval = limits.interval.total_seconds()
        self._wake = wake
        self._capacity = capacity
        self._queued: Counter[str] = Counter()
        # When the last one who was sent away from a host may come again.
        self._back_at: dict[str, float] = {}
        self._waiting: dict[str, deque[asyncio.Future[Slot | float]]] = {}
        self._left: list[Slot] = []
        self._is_closed = False

    def __bool__(self) -> bool:
        return bool(self._waiting or self._left)

    def drain(self) -> tuple[set[str], list[Slot]]:
        """Return the hosts at which somebody waits, and the slots to be given back, once."""
        left, self._left = self._left, []
        return set(self._waiting), left

    def release(self, slot: Slot) -> None:
        """Give a slot back with the next trip."""
        self._left.append(slot)
        self._wake.set()

    async def acquire(self, host: str, *, until: float) -> Slot:
        """Return a slot at a host.

        Raises :class:`SlotUnavailable` when none comes in time, and at once when the queue is long.
        """
        queued = self._queued[host]
        if queued >= MAX_QUEUED_PER_HOST or (queued and self._queued.total() >= self._capacity):
            raise self._rejected(host)
        self._queued[host] += 1
        try:
            return await self._wait(host, until)
        finally:
            self._queued[host] -= 1
            # Forgets those at which nobody stands any more.
            self._queued = +self._queued

    async def _wait(self, host: str, until: float) -> Slot:
        while True:
            if self._is_closed:
                raise SlotUnavailable(host, 0.0)
            called: asyncio.Future[Slot | float] = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(host, deque()).append(called)
            self._wake.set()
            found = await called
            if isinstance(found, Slot):
                return found
            wait = retry_delay(found)
            if time.monotonic() + wait > until:
                raise self._rejected(host, wait)
            await asyncio.sleep(wait)

    def _rejected(self, host: str, wait: float = 0.0) -> SlotUnavailable:
        """Return with when to come again: as fast as the host can be asked, one after the other."""
        if self._is_closed:
            return SlotUnavailable(host, 0.0)
        now = time.monotonic()
        self._back_at = {host: at for host, at in self._back_at.items() if at > now}
        earliest = now + max(wait, MIN_RETRY_SECONDS)
        latest = now + max(wait, MAX_RETRY_SECONDS)
        at = min(max(self._back_at.get(host, 0.0), earliest) + self._interval, latest)
        self._back_at[host] = at
        return SlotUnavailable(host, at - now)

    def deliver(self, host: str, found: Slot | float) -> None:
        """Give a slot to the first who waits at a host, and let the others come again later.

        Instead of a slot there may be the seconds to wait.
        """
        waiting = [called for called in self._waiting.pop(host, ()) if not called.done()]
        if isinstance(found, Slot):
            if waiting:
                waiting.pop(0).set_result(found)
            else:
                self.release(found)
            found = self._interval
        for called in waiting:
            called.set_result(found)

    def close(self) -> None:
        """Send everybody away, now and from now on."""
        self._is_closed = True
        for host in list(self._waiting):
            self.deliver(host, inf)
        self._wake.set()


class SlotLease:
    """The slots of one check; the first slot came with the claim, and is good while it is fresh.

    Times are those of ``time.monotonic``.
    """

    def __init__(self, queue: SlotQueue, slot: Slot, since: float) -> None:
        self._queue = queue
        self._slot: Slot | None = slot
        self._since = since
        # The hosts asked so far that have objected the last time.
        self.throttled_hosts: set[str] = set()

    @asynccontextmanager
    async def hold(self, host: str) -> AsyncIterator[None]:
        """Hold a slot at a host for a block."""
        slot, self._slot = self._slot, None
        is_fresh = time.monotonic() - self._since <= FRESH_SECONDS
        if slot and not (slot.host == host and is_fresh):
            self._queue.release(slot)
            slot = None
        if slot is None:
            slot = await self._queue.acquire(host, until=self._since + SLOT_TIMEOUT_SECONDS)
        if slot.throttle_count:
            self.throttled_hosts.add(host)
        try:
            yield
        finally:
            self._queue.release(slot)

    def end(self) -> None:
        """Give back the first slot, when it was not used."""
        if self._slot:
            self._queue.release(self._slot)
            self._slot = None


class BlockingSlots:
    """The slots of one check outside a worker, which waits for each at most so long.

    For use below :func:`asgiref.sync.async_to_sync`: the database is asked in the caller's own
    thread. A turn that does not come raises :class:`SlotUnavailable`.
    """

    def __init__(self, *, within: timedelta, limits: HostLimits = HOST_LIMITS) -> None:
        self._within = within
        self._limits = limits
        self._slot: Slot | None = None
        # The hosts asked so far that have objected the last time.
        self.throttled_hosts: set[str] = set()

    @asynccontextmanager
    async def hold(self, host: str) -> AsyncIterator[None]:
        """Hold a slot at a host for a block, and on until the next turn or the end."""
        await self.end()
        self._slot = await _acquire_within(host, self._within, self._limits)
        if self._slot.throttle_count:
            self.throttled_hosts.add(host)
        yield

    async def end(self) -> None:
        """Give the last slot back; before that is the time to tell what the host answered."""
        slot, self._slot = self._slot, None
        if slot:
            await sync_to_async(hosts.release)([slot])


async def _acquire_within(host: str, within: timedelta, limits: HostLimits) -> Slot:
    clock = asyncio.get_running_loop().time
    deadline = clock() + within.total_seconds()
    while True:
        slots, waits = await sync_to_async(hosts.acquire_or_queue)([host], limits=limits)
        if slots:
            return slots[0]
        wait = retry_delay(waits[host])
        if clock() + wait > deadline:
            raise SlotUnavailable(host, wait)
        await asyncio.sleep(wait)


def retry_delay(wait: float) -> float:
    """Return in how many seconds to ask again for a host that is busy for at least so long."""
    # Not all at once; and nobody says when a request ends.
    return wait + random.uniform(0.02, 0.2)  # noqa: S311 - nobody gains by guessing it
