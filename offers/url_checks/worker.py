"""The worker: claims due offers, checks their URLs and saves the results, until it is stopped."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from math import inf

from django.conf import settings

from closient.cells.fence import skip_fenced_rows
from closient.metrics import worker as metrics
from offers.url_checks.fetch.client import Client, user_agent
from offers.url_checks.fetch.policy import SERVICE, Policy
from offers.url_checks.outage import OutageDetector
from offers.url_checks.schedule.claims import ClaimedUrl, ClaimScanner
from offers.url_checks.schedule.host_limits import HOST_LIMITS, HostLimits
from offers.url_checks.session import CheckSession, release
from offers.url_checks.slots import SlotLease, SlotQueue
from offers.url_checks.sync import (
    DatabaseSync,
    DatabaseUnavailable,
    Outbox,
    SyncResult,
    log_error,
)

logger = logging.getLogger(__name__)

# Seconds between two syncs: what comes up in between is one batch. This many finished checks
# start a sync at once.
SYNC_INTERVAL = 0.1
BATCH_SIZE = 50
# How many seconds a stop waits for checks in progress.
STOP_TIMEOUT = 25.0
# Seconds between two lines in the log.
LOG_INTERVAL = 60.0


async def check_forever(
    stop: asyncio.Event, *, concurrency: int | None = None, once: bool = False
) -> int:
    """Check due offers until ``stop`` is set; return how many were checked.

    Runs in the caller's event loop and handles no signals. After ``stop`` no check begins; those in
    progress end within half a minute and are saved. With ``once`` it returns when no offer is due.
    Any number of workers share the work.
    """
    return await Worker(concurrency=concurrency, once=once).run(stop)


class Worker:
    """One worker, for one run.

    ``concurrency`` is the most checks in progress. ``policy`` and ``host_limits`` are for tests
    alone. ``on_checked`` is called with the number of offers that have just been checked.
    """

    def __init__(
        self,
        *,
        concurrency: int | None = None,
        once: bool = False,
        policy: Policy = SERVICE,
        host_limits: HostLimits = HOST_LIMITS,
        on_checked: Callable[[int], object] = lambda _: None,
    ) -> None:
        self._concurrency = concurrency or settings.URL_CHECK_CONCURRENCY
        self._once = once
        self._policy = policy
        self._on_checked = on_checked
        self._scanner = ClaimScanner(host_limits)
        self._detector = OutageDetector()
        self._database = DatabaseSync(self._scanner, host_limits)
        self._outbox = Outbox()
        # Claimed URLs whose checks have not begun, and when they were claimed.
        self._ready: deque[tuple[ClaimedUrl, float]] = deque()
        self._in_progress: set[asyncio.Task[None]] = set()
        # Checks that have ended since the last sync, and when the last one did.
        self._ended = 0
        self._ended_at = 0.0
        self._stopping = False
        self._wake = asyncio.Event()
        self._batch_is_full = asyncio.Event()
        self._queue = SlotQueue(host_limits, self._wake, capacity=max(self._concurrency // 2, 1))
        self._totals: Counter[str] = Counter()

    async def run(self, stop: asyncio.Event) -> int:
        """Work until ``stop`` is set, or until nothing is due; return how many offers were checked.

        A worker runs once.
        """
        stopped = asyncio.create_task(self._stop_after(stop))
        with ThreadPoolExecutor(
            1, thread_name_prefix="url-checks", initializer=skip_fenced_rows
        ) as thread:
            try:
                async with Client(user_agent=user_agent(), policy=self._policy) as self._client:
                    await self._work(thread)
            except DatabaseUnavailable:
                logger.warning(
                    "the database is still unavailable: unsaved results will be checked again"
                )
            finally:
                stopped.cancel()
                self._database.stop_retrying.set()
                thread.submit(self._database.close)
        self._log_totals("finished")
        return self._totals["checked"]

    async def _work(self, thread: ThreadPoolExecutor) -> None:
        """Repeat until there is nothing left to do.

        1. Take from the outbox what checks have found since the last sync.
        2. Sync with the database, in a thread: save results, update hosts, claim new URLs.
        3. Give new slots to queued checks, and start checks of the claimed URLs.
        4. Count and log.
        5. Wait until there is a reason for another sync; checks go on meanwhile.
        """
        loop = asyncio.get_running_loop()
        log_at = loop.time() + LOG_INTERVAL
        while not self._is_done():
            self._wake.clear()
            self._batch_is_full.clear()
            outbox = self._outbox.take()
            outbox.wanted_slots, outbox.slots_to_release = self._queue.drain()
            checked = len(outbox.checked)
            began_at, wanted = loop.time(), self._wanted()
            sync = partial(self._database.sync, outbox, wanted=wanted)
            result = await loop.run_in_executor(thread, sync)
            self._start_claimed(result, began_at)
            if checked:
                self._count(checked, result.saved)
            if loop.time() >= log_at:
                self._log_totals("checking")
                log_at += LOG_INTERVAL
            await self._wait(began_at)

    def _has_work(self) -> bool:
        return bool(self._in_progress or self._ready or self._outbox or self._queue)

    def _is_done(self) -> bool:
        if self._has_work():
            return False
        return self._stopping or (
            self._once and self._scanner.found_nothing and self._scanner.began_at > self._ended_at
        )

    def _wanted(self) -> int:
        """Return how many more URLs the worker can check by the end of a sync."""
        ended, self._ended = self._ended, 0
        if self._stopping or time.monotonic() < self._scanner.next_scan_at:
            return 0
        # As many checks may end during this sync as did since the last one, and as many again
        # before the next one returns. Not more than this: a claimed URL that waits here keeps the
        # slot of its host, which becomes too old to use after half a second.
        soon = min(2 * ended, self._concurrency)
        return self._concurrency - len(self._in_progress) - len(self._ready) + soon

    def _start_claimed(self, result: SyncResult, claimed_at: float) -> None:
        for slot in result.slots:
            self._queue.deliver(slot.host, slot)
        for host, wait in result.waits.items():
            self._queue.deliver(host, wait)
        self._ready.extend((claimed, claimed_at) for claimed in result.claimed)
        if self._stopping:
            self._release_ready()
        self._start()

    async def _wait(self, began_at: float) -> None:
        """Wait for a reason for another sync, and then until the interval ends."""
        if self._once and not self._has_work() and self._scanner.found_nothing:
            # The last scan may have been too early.
            self._scanner.next_scan_at = 0.0
        # Checks that are still queued got no reply: the database was unavailable.
        has_reason = len(self._in_progress) < self._concurrency or self._queue
        until = self._scanner.next_scan_at if has_reason else inf
        with suppress(TimeoutError):
            async with asyncio.timeout(min(max(until - time.monotonic(), 0.0), LOG_INTERVAL)):
                await self._wake.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(max(began_at + SYNC_INTERVAL - time.monotonic(), 0.0)):
                await self._batch_is_full.wait()

    # --- Checks ---

    def _start(self) -> None:
        while self._ready and len(self._in_progress) < self._concurrency:
            claimed, since = self._ready.popleft()
            task = asyncio.create_task(self._check(claimed, since))
            self._in_progress.add(task)
            metrics.CHECKS_IN_PROGRESS.inc()
            task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._in_progress.discard(task)
        metrics.CHECKS_IN_PROGRESS.dec()
        self._ended += 1
        self._ended_at = time.monotonic()
        self._start()
        self._wake.set()
        if self._ended >= BATCH_SIZE:
            self._batch_is_full.set()

    async def _check(self, claimed: ClaimedUrl, since: float) -> None:
        slots = SlotLease(self._queue, claimed.slot, since)
        session = CheckSession(self._client, slots, self._outbox, detector=self._detector)
        try:
            result = await session.run(claimed.claims, since=since)
        except Exception as error:
            log_error(f"a check at {claimed.slot.host} failed", error)
            return
        if result:
            failure = result.failure.value if result.failure else None
            outcome = failure or f"{(result.status or 0) // 100}xx"
            self._totals[outcome] += 1
            metrics.CHECKS.labels(outcome).inc()

    def _count(self, checked: int, saved: int) -> None:
        logger.debug("checked=%d recorded=%d", checked, saved)
        self._totals["checked"] += checked
        self._totals["dropped"] += checked - saved
        self._on_checked(checked)

    # --- The end ---

    async def _stop_after(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._stopping = True
        self._release_ready()
        self._queue.close()
        await asyncio.sleep(STOP_TIMEOUT)
        self._database.stop_retrying.set()
        for task in self._in_progress:
            task.cancel()

    def _release_ready(self) -> None:
        while self._ready:
            claimed, since = self._ready.popleft()
            release(self._outbox, claimed.claims, since=since)
            self._queue.release(claimed.slot)

    def _log_totals(self, what: str) -> None:
        counts = " ".join(f"{name}={self._totals[name]}" for name in sorted(self._totals))
        logger.info("%s: in_flight=%d %s", what, len(self._in_progress), counts)
