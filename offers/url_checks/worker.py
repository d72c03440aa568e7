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

from offers.url_checks.fetch.client import Client, NoTurn
from offers.url_checks.fetch.identity import user_agent
from offers.url_checks.fetch.policy import PUBLIC, Policy
from offers.url_checks.fetch.responses import Answer
from offers.url_checks.outage import Network
from offers.url_checks.scan import Lookout
from offers.url_checks.schedule.claims import LEASE, Visit
from offers.url_checks.schedule.hosts import PACE, Pace, TurnTooLate
from offers.url_checks.schedule.results import Checked
from offers.url_checks.slots import Line, Turns
from offers.url_checks.sync import AFTER_FAULT, Brought, Luggage, StillAway, Traveller, log_fault
from offers.url_checks.verdict import objects, welcoming

logger = logging.getLogger(__name__)

# Seconds between two trips to the database: what comes up meanwhile goes in one batch. So many
# checks that have ended are worth a trip at once.
GAP = 0.1
BATCH = 50
# How long a stop waits for what is in flight.
GRACE = 25.0
# Between two lines in the log.
REPORT = 60.0
# A check that got no turn is tried again after this.
LATER = timedelta(minutes=1)


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

    ``concurrency`` is how many checks are in flight at most. ``policy`` and ``pace`` are for tests
    alone. ``on_checked`` is called with the number of offers whenever some have been checked.
    """

    def __init__(
        self,
        *,
        concurrency: int | None = None,
        once: bool = False,
        policy: Policy = PUBLIC,
        pace: Pace = PACE,
        on_checked: Callable[[int], object] = lambda _: None,
    ) -> None:
        self._concurrency = concurrency or settings.URL_CHECK_CONCURRENCY
        self._once = once
        self._policy = policy
        self._pace = pace
        self._on_checked = on_checked
        self._lookout = Lookout(pace)
        self._network = Network()
        self._traveller = Traveller(self._lookout, pace)
        self._luggage = Luggage()
        self._ready: deque[tuple[Visit, float]] = deque()
        self._in_flight: set[asyncio.Task[None]] = set()
        self._ended = 0
        self._busy_at = 0.0
        self._stopping = False
        self._wake = asyncio.Event()
        self._is_worth_a_trip = asyncio.Event()
        self._line = Line(pace, self._wake, room=max(self._concurrency // 2, 1))
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
            except StillAway:
                logger.warning(
                    "the database is still away: what could not be recorded is checked again"
                )
            finally:
                stopped.cancel()
                self._traveller.hurry.set()
                thread.submit(self._traveller.close)
        self._report("finished")
        return self._totals["checked"]

    # --- Trips ---

    async def _work(self, thread: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        report_at = loop.time() + REPORT
        while not self._is_done():
            self._wake.clear()
            self._is_worth_a_trip.clear()
            luggage, self._luggage = self._luggage, Luggage()
            luggage.asked, luggage.left = self._line.hand_over()
            count = len(luggage.checked)
            left_at, wanted = loop.time(), self._wanted()
            travel = partial(self._traveller.travel, luggage, wanted=wanted)
            brought = await loop.run_in_executor(thread, travel)
            self._unpack(brought, left_at)
            if count:
                logger.debug("checked=%d recorded=%d", count, brought.recorded)
                self._totals["checked"] += count
                self._totals["dropped"] += count - brought.recorded
                self._on_checked(count)
            if loop.time() >= report_at:
                self._report("checking")
                report_at += REPORT
            await self._rest(left_at)

    def _is_done(self) -> bool:
        if self._in_flight or self._ready or self._luggage or self._line:
            return False
        return self._stopping or (
            self._once and self._lookout.found_nothing and self._lookout.began_at > self._busy_at
        )

    def _wanted(self) -> int:
        """Return how many visits there will be room for, as soon as they come."""
        ended, self._ended = self._ended, 0
        if self._stopping or time.monotonic() < self._lookout.next_look_at:
            return 0
        # As many as have ended during the last trip may end during this one; not more, for what
        # waits here keeps its host waiting.
        soon = min(ended, self._concurrency)
        return self._concurrency - len(self._in_flight) - len(self._ready) + soon

    async def _rest(self, left_at: float) -> None:
        """Wait until there is a reason for another trip, and for what else comes up just then."""
        is_quiet = not (self._in_flight or self._ready or self._luggage or self._line)
        if self._once and is_quiet and self._lookout.found_nothing:
            # The last look may have been too early.
            self._lookout.next_look_at = 0.0
        # Who still stands in line was not heard: the database was away.
        has_reason = len(self._in_flight) < self._concurrency or self._line
        until = self._lookout.next_look_at if has_reason else inf
        with suppress(TimeoutError):
            async with asyncio.timeout(min(max(until - time.monotonic(), 0.0), REPORT)):
                await self._wake.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(max(left_at + GAP - time.monotonic(), 0.0)):
                await self._is_worth_a_trip.wait()

    def _unpack(self, brought: Brought, left_at: float) -> None:
        for place in brought.places:
            self._line.call_up(place.host, place)
        for host, wait in brought.waits.items():
            self._line.call_up(host, wait)
        self._ready.extend((visit, left_at) for visit in brought.visits)
        if self._stopping:
            self._put_back_ready()
        self._start()

    # --- Checks ---

    def _start(self) -> None:
        while self._ready and len(self._in_flight) < self._concurrency:
            visit, since = self._ready.popleft()
            task = asyncio.create_task(self._check(visit, since))
            self._in_flight.add(task)
            task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        self._ended += 1
        self._busy_at = time.monotonic()
        self._start()
        self._wake.set()
        if self._ended >= BATCH:
            self._is_worth_a_trip.set()

    async def _check(self, visit: Visit, since: float) -> None:
        turns = Turns(self._line, visit.place, since)
        try:
            answer = await self._client.fetch(visit.url, turn=turns.turn)
        except NoTurn as no_turn:
            wait = no_turn.wait if isinstance(no_turn, TurnTooLate) else 0.0
            self._give_back(visit, since, after=max(LATER, timedelta(seconds=wait)))
        except asyncio.CancelledError:
            self._give_back(visit, since)
            raise
        except Exception as error:
            # A fault of ours says nothing about the shop.
            log_fault(f"a check at {visit.place.host} failed", error)
            self._give_back(visit, since, after=AFTER_FAULT)
        else:
            doubt = self._network.doubt(answer)
            if doubt is None:
                self._luggage.checked.extend(Checked(claim, answer) for claim in visit.claims)
            else:
                spread = random.uniform(1, 2)  # noqa: S311 - nobody gains by guessing it
                self._give_back(visit, since, after=doubt * spread)
                self._luggage.silent.update(self._network.call())
            self._hear(answer, turns.objectors)
        finally:
            turns.end()

    def _hear(self, answer: Answer, objectors: Collection[str]) -> None:
        """Note what an answer means for the hosts that were asked."""
        if objects(answer):
            wishes = (self._luggage.objections.get(answer.host), answer.retry_after)
            self._luggage.objections[answer.host] = max(filter(None, wishes), default=None)
        self._luggage.forgiven |= welcoming(answer, objectors)
        kind = answer.failure.value if answer.failure else f"{(answer.status or 0) // 100}xx"
        self._totals[kind] += 1

    def _give_back(self, visit: Visit, since: float, *, after: timedelta = timedelta(0)) -> None:
        """Let others have what was claimed, after a time, which is told by the database's clock."""
        passed = timedelta(seconds=time.monotonic() - since)
        self._luggage.unchecked.extend(
            (claim, claim.token - LEASE + passed + after) for claim in visit.claims
        )

    # --- The end ---

    async def _stop_after(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._stopping = True
        self._put_back_ready()
        self._line.close()
        await asyncio.sleep(GRACE)
        self._traveller.hurry.set()
        for task in self._in_flight:
            task.cancel()

    def _put_back_ready(self) -> None:
        while self._ready:
            visit, since = self._ready.popleft()
            self._give_back(visit, since)
            self._line.leave(visit.place)

    def _report(self, what: str) -> None:
        counts = " ".join(f"{name}={self._totals[name]}" for name in sorted(self._totals))
        logger.info("%s: in_flight=%d %s", what, len(self._in_flight), counts)
