"""The queue of a worker: which checks may wait for a slot, and which are rejected."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from offers.url_checks.schedule.host_limits import HostLimits, Slot, SlotUnavailable
from offers.url_checks.slots import SlotQueue


async def acquire(queue: SlotQueue, hosts: Sequence[str]) -> list[asyncio.Task[Slot]]:
    """Start checks one after the other; return them when each is queued or rejected."""
    tasks = [
        asyncio.create_task(queue.acquire(host, until=time.monotonic() + 60.0)) for host in hosts
    ]
    await asyncio.sleep(0)
    return tasks


def waits(tasks: Sequence[asyncio.Task[Slot]]) -> list[float | None]:
    """Return after how many seconds each may retry; None for a queued check."""
    found: list[float | None] = []
    for task in tasks:
        error = task.exception() if task.done() else None
        found.append(round(error.wait) if isinstance(error, SlotUnavailable) else None)
    return found


def test_queue_is_limited_except_for_the_first_check_of_a_host() -> None:
    async def work() -> None:
        queue = SlotQueue(HostLimits(), asyncio.Event(), capacity=15)
        busy = await acquire(queue, ["busy.test"] * 13)
        other = await acquire(queue, ["other.test"] * 7)
        third = await acquire(queue, ["third.test"] * 2)
        # Ten at one host; the rejected ones retry one after the other.
        assert waits(busy) == [None] * 10 + [61, 62, 63]
        # Fifteen in total.
        assert waits(other) == [None] * 5 + [61, 62]
        assert waits(third) == [None, 61]
        # After some got a slot, others may wait.
        queue.deliver("busy.test", 3600.0)
        await asyncio.gather(*busy, return_exceptions=True)
        assert waits(await acquire(queue, ["busy.test"] * 3)) == [None] * 3
        queue.close()
        for task in busy[10:] + other + third:
            with pytest.raises(SlotUnavailable):
                await task

    asyncio.run(work())
