"""The stack of the web server's threads: calls at any depth map no memory."""

from __future__ import annotations

import queue
import resource
from typing import Any, cast

import pytest

from closient.serving.channel import Channel
from closient.serving.server import ThreadGroup

if not hasattr(resource, "RUSAGE_THREAD"):
    pytest.skip("Only Linux counts the page faults of a thread.", allow_module_level=True)

CALLS = 500
# Frames of `faults_at` fill more than one chunk of CPython's own size, 16 KB.
MAX_DEPTH = 200


def descend(depth: int) -> int:
    return descend(depth - 1) if depth else 0


def faults_at(depth: int) -> int:
    """Return the page faults of a loop of calls at a depth of the stack."""
    if depth:
        return faults_at(depth - 1)
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    for _ in range(CALLS):
        descend(3)
    return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before


class CountingChannel:
    """Counts page faults at each depth where a channel would process its request."""

    def __init__(self) -> None:
        self.counts: queue.SimpleQueue[list[int]] = queue.SimpleQueue()

    def service(self) -> None:
        self.counts.put([faults_at(depth) for depth in range(MAX_DEPTH)])


def test_threads_map_no_memory_for_calls_at_any_depth() -> None:
    channel: Any = CountingChannel()
    ThreadGroup(1).add_task(cast("Channel", channel))
    assert max(channel.counts.get(timeout=30)) < CALLS / 5
