"""Slots of checks in progress: which check holds a slot at a host, and which are queued for one.

In a worker, slots are acquired and released with its syncs, for all checks together. Outside
workers, each check uses the database itself.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from math import inf
from typing import Protocol

from asgiref.sync import sync_to_async

from offers.url_checks.schedule import host_limits
from offers.url_checks.schedule.host_limits import HOST_LIMITS, HostLimits, Slot, SlotUnavailable
from offers.url_checks.sync import Outbox, write_hosts

# How long a check waits for slots at the hosts it is redirected to. All its requests together take
# 20 seconds, and the rest of the lease is for the database.
SLOT_TIMEOUT_SECONDS = 60.0
# A queued check occupies the worker, so there are limits. A rejected check is retried after this
# many seconds, and the rejected checks of a host one after the other.
MAX_QUEUED_PER_HOST = 10
MIN_RETRY_SECONDS, MAX_RETRY_SECONDS = 60.0, 3600.0
# A slot that was acquired longer ago is not used: the interval counts from when it was acquired.
FRESH_SECONDS = 0.5


class HostSlots(Protocol):
    """The slots of one check."""

    # The hosts requested so far whose last response before was throttled.
    throttled_hosts: set[str]

    def hold(self, host: str) -> AbstractAsyncContextManager[None]:
        """Hold a slot at a host for a block; raises :class:`SlotUnavailable`."""

    async def end(self) -> None:
        """Release what is still held, after the pauses and resets of hosts in the outbox."""


class SlotQueue:
    """The queued checks of a worker, by host, and the slots to release.

    Sets ``wake`` when there is a reason for a sync. With ``capacity`` checks queued, only the first
    one at a host can still join.
    """

    def __init__(self, limits: HostLimits, wake: asyncio.Event, *, capacity: int) -> None:
        self._interval = limits.interval.total_seconds()
        self._wake = wake
        self._capacity = capacity
        self._queued: Counter[str] = Counter()
        # When the last rejected check of a host may be retried.
        self._retry_at: dict[str, float] = {}
        self._waiting: dict[str, deque[asyncio.Future[Slot | float]]] = {}
        self._to_release: list[Slot] = []
        self._is_closed = False

    def __bool__(self) -> bool:
        return bool(self._waiting or self._to_release)

    def drain(self) -> tuple[set[str], list[Slot]]:
        """Return the hosts with queued checks, and the slots to release, each of them once."""
        to_release, self._to_release = self._to_release, []
        return set(self._waiting), to_release

    def release(self, slot: Slot) -> None:
        """Release a slot with the next sync."""
        self._to_release.append(slot)
        self._wake.set()

    async def acquire(self, host: str, *, until: float) -> Slot:
        """Wait for a slot at a host, until a time of ``time.monotonic``.

        Raises :class:`SlotUnavailable` when none comes in time, and at once when the queue is full.
        """
        queued = self._queued[host]
        if queued >= MAX_QUEUED_PER_HOST or (queued and self._queued.total() >= self._capacity):
            raise self._rejected(host)
        self._queued[host] += 1
        try:
            return await self._wait(host, until)
        finally:
            self._queued[host] -= 1
            # Removes hosts without queued checks.
            self._queued = +self._queued

    async def _wait(self, host: str, until: float) -> Slot:
        while True:
            if self._is_closed:
                raise SlotUnavailable(host, 0.0)
            future: asyncio.Future[Slot | float] = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(host, deque()).append(future)
            self._wake.set()
            found = await future
            if isinstance(found, Slot):
                return found
            wait = retry_delay(found)
            if time.monotonic() + wait > until:
                raise self._rejected(host, wait)
            await asyncio.sleep(wait)

    def _rejected(self, host: str, wait: float = 0.0) -> SlotUnavailable:
        """Return the error of a rejected check; retries of a host are one interval apart."""
        if self._is_closed:
            return SlotUnavailable(host, 0.0)
        now = time.monotonic()
        self._retry_at = {host: at for host, at in self._retry_at.items() if at > now}
        earliest = now + max(wait, MIN_RETRY_SECONDS)
        latest = now + max(wait, MAX_RETRY_SECONDS)
        at = min(max(self._retry_at.get(host, 0.0), earliest) + self._interval, latest)
        self._retry_at[host] = at
        return SlotUnavailable(host, at - now)

    def deliver(self, host: str, found: Slot | float) -> None:
        """Give a slot to the first check queued at a host; the others wait for the next one.

        Without a slot, ``found`` is how many seconds all of them wait.
        """
        waiting = [future for future in self._waiting.pop(host, ()) if not future.done()]
        if isinstance(found, Slot):
            if waiting:
                waiting.pop(0).set_result(found)
            else:
                self.release(found)
            found = self._interval
        for future in waiting:
            future.set_result(found)

    def close(self) -> None:
        """Reject all checks, now and from now on."""
        self._is_closed = True
        for host in list(self._waiting):
            self.deliver(host, inf)
        self._wake.set()


class SlotLease:
    """The slots of one check in a worker; the first slot was acquired with the claim.

    ``since`` is when, as a time of ``time.monotonic``. The worker's next sync pauses and resets
    hosts before it releases slots.
    """

    def __init__(self, queue: SlotQueue, slot: Slot, since: float) -> None:
        self._queue = queue
        self._slot: Slot | None = slot
        self._since = since
        self.throttled_hosts: set[str] = set()

    @asynccontextmanager
    async def hold(self, host: str) -> AsyncIterator[None]:
        """Hold a slot at a host for a block; raises :class:`SlotUnavailable`."""
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

    async def end(self) -> None:
        """Release the first slot if it was not used."""
        if self._slot:
            self._queue.release(self._slot)
            self._slot = None


class BlockingSlots:
    """The slots of one check outside a worker, each acquired within a time limit.

    For use below :func:`asgiref.sync.async_to_sync`: database calls run in the caller's thread.
    """

    def __init__(
        self, outbox: Outbox, *, within: timedelta, limits: HostLimits = HOST_LIMITS
    ) -> None:
        self._outbox = outbox
        self._within = within
        self._limits = limits
        self._slot: Slot | None = None
        self.throttled_hosts: set[str] = set()

    @asynccontextmanager
    async def hold(self, host: str) -> AsyncIterator[None]:
        """Hold a slot at a host, until the next one or the end; raises :class:`SlotUnavailable`."""
        await self.end()
        self._slot = await _acquire_within(host, self._within, self._limits)
        if self._slot.throttle_count:
            self.throttled_hosts.add(host)
        yield

    async def end(self) -> None:
        """Write the pauses and resets of hosts in the outbox, then release the last slot."""
        slot, self._slot = self._slot, None
        if slot:
            self._outbox.slots_to_release.append(slot)
            await sync_to_async(write_hosts)(self._outbox, self._limits)


async def _acquire_within(host: str, within: timedelta, limits: HostLimits) -> Slot:
    clock = asyncio.get_running_loop().time
    deadline = clock() + within.total_seconds()
    while True:
        slots, waits = await sync_to_async(host_limits.acquire_or_queue)([host], limits=limits)
        if slots:
            return slots[0]
        wait = retry_delay(waits[host])
        if clock() + wait > deadline:
            raise SlotUnavailable(host, wait)
        await asyncio.sleep(wait)


def retry_delay(wait: float) -> float:
    """Return in how many seconds to try again at a host that is busy for at least ``wait``."""
    # Spreads the retries; when a request ends is not known.
    return wait + random.uniform(0.02, 0.2)  # noqa: S311 - not for security
