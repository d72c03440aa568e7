"""Turns of checks: who holds a place at a host, and who stands in line for one.

In a worker places come and go with its trips to the database, for everybody together; outside of
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
from offers.url_checks.schedule.hosts import PACE, Pace, Place, TurnTooLate

# How long a check waits for turns of the hosts to which it is sent on; all its requests together
# take 20 seconds, and the rest of the lease is for the way to the database.
PATIENCE = 60.0
# Who stands in line holds up a check of another host meanwhile: so many may at one host; and those
# who are sent away may come again, one by one, after so long.
LONGEST_LINE = 10
SENT_AWAY_AT_LEAST, SENT_AWAY_AT_MOST = 60.0, 3600.0
# A place that was taken longer ago does not mark any more when its request begins.
FRESH = 0.5


class Line:
    """Everybody in one worker who waits for a place, and the places that are to be given back.

    ``wake`` is set when there is a reason for a trip. When so many as ``room`` stand in line,
    nobody joins another one: only who is the first at a host does.
    """

    def __init__(self, pace: Pace, wake: asyncio.Event, *, room: int) -> None:
        self._interval = pace.interval.total_seconds()
        self._wake = wake
        self._room = room
        self._standing: Counter[str] = Counter()
        # When the last one who was sent away from a host may come again.
        self._back_at: dict[str, float] = {}
        self._waiting: dict[str, deque[asyncio.Future[Place | float]]] = {}
        self._left: list[Place] = []
        self._is_closed = False

    def __bool__(self) -> bool:
        return bool(self._waiting or self._left)

    def hand_over(self) -> tuple[set[str], list[Place]]:
        """Return the hosts at which somebody waits, and the places to be given back, once."""
        left, self._left = self._left, []
        return set(self._waiting), left

    def leave(self, place: Place) -> None:
        """Give a place back with the next trip."""
        self._left.append(place)
        self._wake.set()

    async def stand(self, host: str, *, until: float) -> Place:
        """Return a place at a host.

        Raises :class:`TurnTooLate` when none comes in time, and at once when the line is long.
        """
        standing = self._standing[host]
        if standing >= LONGEST_LINE or (standing and self._standing.total() >= self._room):
            raise self._sent_away(host)
        self._standing[host] += 1
        try:
            return await self._wait(host, until)
        finally:
            self._standing[host] -= 1
            # Forgets those at which nobody stands any more.
            self._standing = +self._standing

    async def _wait(self, host: str, until: float) -> Place:
        while True:
            if self._is_closed:
                raise TurnTooLate(host, 0.0)
            called: asyncio.Future[Place | float] = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(host, deque()).append(called)
            self._wake.set()
            found = await called
            if isinstance(found, Place):
                return found
            wait = next_try(found)
            if time.monotonic() + wait > until:
                raise self._sent_away(host, wait)
            await asyncio.sleep(wait)

    def _sent_away(self, host: str, wait: float = 0.0) -> TurnTooLate:
        """Return with when to come again: as fast as the host can be asked, one after the other."""
        if self._is_closed:
            return TurnTooLate(host, 0.0)
        now = time.monotonic()
        self._back_at = {host: at for host, at in self._back_at.items() if at > now}
        earliest = now + max(wait, SENT_AWAY_AT_LEAST)
        latest = now + max(wait, SENT_AWAY_AT_MOST)
        at = min(max(self._back_at.get(host, 0.0), earliest) + self._interval, latest)
        self._back_at[host] = at
        return TurnTooLate(host, at - now)

    def call_up(self, host: str, found: Place | float) -> None:
        """Give a place to the first who waits at a host, and let the others come again later.

        Instead of a place there may be the seconds to wait.
        """
        waiting = [called for called in self._waiting.pop(host, ()) if not called.done()]
        if isinstance(found, Place):
            if waiting:
                waiting.pop(0).set_result(found)
            else:
                self.leave(found)
            found = self._interval
        for called in waiting:
            called.set_result(found)

    def close(self) -> None:
        """Send everybody away, now and from now on."""
        self._is_closed = True
        for host in list(self._waiting):
            self.call_up(host, inf)
        self._wake.set()


class Turns:
    """The turns of one visit; the first place came with the claim, and is good while it is fresh.

    Times are those of ``time.monotonic``.
    """

    def __init__(self, line: Line, place: Place, since: float) -> None:
        self._line = line
        self._place: Place | None = place
        self._since = since
        # The hosts asked so far that have objected the last time.
        self.objectors: set[str] = set()

    @asynccontextmanager
    async def turn(self, host: str) -> AsyncIterator[None]:
        """Hold a place at a host for a block."""
        place, self._place = self._place, None
        is_fresh = time.monotonic() - self._since <= FRESH
        if place and not (place.host == host and is_fresh):
            self._line.leave(place)
            place = None
        if place is None:
            place = await self._line.stand(host, until=self._since + PATIENCE)
        if place.objections:
            self.objectors.add(host)
        try:
            yield
        finally:
            self._line.leave(place)

    def end(self) -> None:
        """Give back the first place, when it was not used."""
        if self._place:
            self._line.leave(self._place)
            self._place = None


class PatientTurns:
    """The turns of one check outside a worker, which waits for each at most so long.

    For use below :func:`asgiref.sync.async_to_sync`: the database is asked in the caller's own
    thread. A turn that does not come raises :class:`TurnTooLate`.
    """

    def __init__(self, *, within: timedelta, pace: Pace = PACE) -> None:
        self._within = within
        self._pace = pace
        self._place: Place | None = None
        # The hosts asked so far that have objected the last time.
        self.objectors: set[str] = set()

    @asynccontextmanager
    async def turn(self, host: str) -> AsyncIterator[None]:
        """Hold a place at a host for a block, and on until the next turn or the end."""
        await self.end()
        self._place = await _wait_for(host, self._within, self._pace)
        if self._place.objections:
            self.objectors.add(host)
        yield

    async def end(self) -> None:
        """Give the last place back; before that is the time to tell what the host answered."""
        place, self._place = self._place, None
        if place:
            await sync_to_async(hosts.leave)([place])


async def _wait_for(host: str, within: timedelta, pace: Pace) -> Place:
    clock = asyncio.get_running_loop().time
    deadline = clock() + within.total_seconds()
    while True:
        places, waits = await sync_to_async(hosts.ask)([host], pace=pace)
        if places:
            return places[0]
        wait = next_try(waits[host])
        if clock() + wait > deadline:
            raise TurnTooLate(host, wait)
        await asyncio.sleep(wait)


def next_try(wait: float) -> float:
    """Return in how many seconds to ask again for a host that is busy for at least so long."""
    # Not all at once; and nobody says when a request ends.
    return wait + random.uniform(0.02, 0.2)  # noqa: S311 - nobody gains by guessing it
