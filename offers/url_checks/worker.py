"""The worker: claims due offers, asks their addresses, and records what it found, without end."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from functools import partial
from math import inf

from django.conf import settings

from offers.url_checks.fetch.client import CannotFetch, Client
from offers.url_checks.fetch.identity import user_agent
from offers.url_checks.fetch.policy import PUBLIC, Policy
from offers.url_checks.fetch.responses import FetchResult
from offers.url_checks.outage import OutageDetector
from offers.url_checks.scan import ClaimScanner
from offers.url_checks.schedule.claims import LEASE, ClaimedUrl
from offers.url_checks.schedule.hosts import HOST_LIMITS, HostLimits, SlotUnavailable
from offers.url_checks.schedule.results import CheckedClaim
from offers.url_checks.slots import SlotLease, SlotQueue
from offers.url_checks.sync import (
    ERROR_DELAY,
    DatabaseSync,
    DatabaseUnavailable,
    Outbox,
    SyncResult,
    log_error,
)
from offers.url_checks.verdict import hosts_to_reset, is_throttled

logger = logging.getLogger(__name__)

# Seconds between two trips to the database: what comes up meanwhile goes in one batch. So many
# checks that have ended are worth a trip at once.
SYNC_INTERVAL = 0.1
BATCH_SIZE = 50
# How long a stop waits for what is in flight.
STOP_TIMEOUT = 25.0
# Between two lines in the log.
LOG_INTERVAL = 60.0
# A check that got no turn is tried again after this.
RETRY_DELAY = timedelta(minutes=1)


async def check_forever(
    stop: asyncio.Event, *, concurrency: int | None = None, once: bool = False
) -> int:
    """Check due offers until ``stop`` is set; return how many were checked.

    Runs in the caller's loop and leaves signals to it. After ``stop`` nothing new begins, and what
    is in flight ends within half a minute and is recorded. ``once`` returns when no offer is due
    any more. Any number of workers share the work.
    """
    return await Worker(concurrency=concurrency, once=once).run(stop)


class Worker:
    """One worker, for one run.

    ``concurrency`` is how many checks are in flight at most. ``policy`` and
    ``host_limits`` are for tests alone. ``on_checked`` is called with the number of offers that
    have just been checked.
    """

    def __init__(
        self,
        *,
        concurrency: int | None = None,
        once: bool = False,
        policy: Policy = PUBLIC,
        host_limits: HostLimits = HOST_LIMITS,
        on_checked: Callable[[int], object] = lambda _: None,
    ) -> None:
        self._concurrency = concurrency or settings.URL_CHECK_CONCURRENCY
        self._once = once
        self._policy = policy
        self._limits = host_limits
        self._on_checked = on_checked
        self._scanner = ClaimScanner(host_limits)
        self._detector = OutageDetector()
        self._sync = DatabaseSync(self._scanner, host_limits)
        self._outbox = Outbox()
        self._ready: deque[tuple[ClaimedUrl, float]] = deque()
        self._in_flight: set[asyncio.Task[None]] = set()
        self._ended = 0
        self._busy_at = 0.0
        self._stopping = False
        self._wake = asyncio.Event()
        self._batch_is_full = asyncio.Event()
        self._queue = SlotQueue(host_limits, self._wake, capacity=max(self._concurrency // 2, 1))
        self._totals: Counter[str] = Counter()

    async def run(self, stop: asyncio.Event) -> int:
        """Work until ``stop`` is set, or until nothing is due; return how many offers were checked.

        Not to be run twice.
        """
        stopped = asyncio.create_task(self._stop_after(stop))
        with ThreadPoolExecutor(1, thread_name_prefix="url-checks") as thread:
            try:
                async with Client(user_agent=user_agent(), policy=self._policy) as self._client:
                    await self._work(thread)
            except DatabaseUnavailable:
                logger.warning(
                    "the database is still away: what could not be recorded is checked again"
                )
            finally:
                stopped.cancel()
                self._sync.stop_retrying.set()
                thread.submit(self._sync.close)
        self._report("finished")
        return self._totals["checked"]

    # --- Trips ---

    async def _work(self, thread: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        report_at = loop.time() + LOG_INTERVAL
        while not self._is_done():
            self._wake.clear()
            self._batch_is_full.clear()
            outbox, self._outbox = self._outbox, Outbox()
            outbox.wanted_slots, outbox.slots_to_release = self._queue.drain()
            count = len(outbox.checked)
            left_at, wanted = loop.time(), self._wanted()
            sync = partial(self._sync.sync, outbox, wanted=wanted)
            result = await loop.run_in_executor(thread, sync)
            self._take_in(result, left_at)
            if count:
                logger.debug("checked=%d recorded=%d", count, result.saved)
                self._totals["checked"] += count
                self._totals["dropped"] += count - result.saved
                self._on_checked(count)
            if loop.time() >= report_at:
                self._report("checking")
                report_at += LOG_INTERVAL
            await self._wait(left_at)

    def _is_done(self) -> bool:
        if self._in_flight or self._ready or self._outbox or self._queue:
            return False
        return self._stopping or (
            self._once and self._scanner.found_nothing and self._scanner.began_at > self._busy_at
        )

    def _wanted(self) -> int:
        """Return how many claimed there will be room for, as soon as they come."""
        ended, self._ended = self._ended, 0
        if self._stopping or time.monotonic() < self._scanner.next_scan_at:
            return 0
        # As many as have ended during the last trip may end during this one; not more, for what
        # waits here keeps its host waiting.
        soon = min(ended, self._concurrency)
        return self._concurrency - len(self._in_flight) - len(self._ready) + soon

    async def _wait(self, left_at: float) -> None:
        """Wait until there is a reason for another trip, and for what else comes up just then."""
        is_quiet = not (self._in_flight or self._ready or self._outbox or self._queue)
        if self._once and is_quiet and self._scanner.found_nothing:
            # The last look may have been too early.
            self._scanner.next_scan_at = 0.0
        # Who still stands in line was not heard: the database was away.
        has_reason = len(self._in_flight) < self._concurrency or self._queue
        until = self._scanner.next_scan_at if has_reason else inf
        with suppress(TimeoutError):
            async with asyncio.timeout(min(max(until - time.monotonic(), 0.0), LOG_INTERVAL)):
                await self._wake.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(max(left_at + SYNC_INTERVAL - time.monotonic(), 0.0)):
                await self._batch_is_full.wait()

    def _take_in(self, result: SyncResult, left_at: float) -> None:
        for slot in result.slots:
            self._queue.deliver(slot.host, slot)
        for host, wait in result.waits.items():
            self._queue.deliver(host, wait)
        self._ready.extend((claimed_url, left_at) for claimed_url in result.claimed)
        if self._stopping:
            self._release_ready()
        self._start()

    # --- Checks ---

    def _start(self) -> None:
        while self._ready and len(self._in_flight) < self._concurrency:
            claimed_url, since = self._ready.popleft()
            task = asyncio.create_task(self._check(claimed_url, since))
            self._in_flight.add(task)
            task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        self._ended += 1
        self._busy_at = time.monotonic()
        self._start()
        self._wake.set()
        if self._ended >= BATCH_SIZE:
            self._batch_is_full.set()

    async def _check(self, claimed_url: ClaimedUrl, since: float) -> None:
        slots = SlotLease(self._queue, claimed_url.slot, since)
        try:
            answer = await self._client.fetch(claimed_url.url, hold_slot=slots.hold)
        except CannotFetch as no_turn:
            wait = no_turn.wait if isinstance(no_turn, SlotUnavailable) else 0.0
            self._release(claimed_url, since, after=max(RETRY_DELAY, timedelta(seconds=wait)))
        except asyncio.CancelledError:
            self._release(claimed_url, since)
            raise
        except Exception as error:
            # A fault of ours says nothing about the shop.
            log_error(f"a check at {claimed_url.slot.host} failed", error)
            self._release(claimed_url, since, after=ERROR_DELAY)
        else:
            delay = self._detector.suspect_outage(answer)
            if delay is None:
                self._outbox.checked.extend(
                    CheckedClaim(claim, answer) for claim in claimed_url.claims
                )
            else:
                spread = random.uniform(1, 2)  # noqa: S311 - nobody gains by guessing it
                self._release(claimed_url, since, after=delay * spread)
                self._outbox.unreachable.update(self._detector.unreachable_to_probe())
            self._note_host(answer, slots.throttled_hosts)
        finally:
            slots.end()

    def _note_host(self, answer: FetchResult, throttled_hosts: Collection[str]) -> None:
        """Note what an answer means for the hosts that were asked."""
        if is_throttled(answer):
            wishes = (self._outbox.backoffs.get(answer.host), answer.retry_after)
            self._outbox.backoffs[answer.host] = max(filter(None, wishes), default=None)
        self._outbox.hosts_to_reset |= hosts_to_reset(answer, throttled_hosts)
        kind = answer.failure.value if answer.failure else f"{(answer.status or 0) // 100}xx"
        self._totals[kind] += 1

    def _release(
        self, claimed_url: ClaimedUrl, since: float, *, after: timedelta = timedelta(0)
    ) -> None:
        """Let others have what was claimed, after a time, which is told by the database's clock."""
        passed = timedelta(seconds=time.monotonic() - since)
        self._outbox.claims_to_release.extend(
            (claim, claim.token - LEASE + passed + after) for claim in claimed_url.claims
        )

    # --- The end ---

    async def _stop_after(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._stopping = True
        self._release_ready()
        self._queue.close()
        await asyncio.sleep(STOP_TIMEOUT)
        self._sync.stop_retrying.set()
        for task in self._in_flight:
            task.cancel()

    def _release_ready(self) -> None:
        while self._ready:
            claimed_url, since = self._ready.popleft()
            self._release(claimed_url, since)
            self._queue.release(claimed_url.slot)

    def _report(self, what: str) -> None:
        counts = " ".join(f"{name}={self._totals[name]}" for name in sorted(self._totals))
        logger.info("%s: in_flight=%d %s", what, len(self._in_flight), counts)
