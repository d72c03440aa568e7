"""Fetches URLs with the checker's client, for tests without an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from offers.url_checks.fetch.client import Client, FetchLimits, HoldSlot
from offers.url_checks.fetch.policy import Policy
from offers.url_checks.fetch.responses import FetchResult
from tests.hostile_server import HostileServer, loopback_policy

# As in production, but in fractions of a second.
SHORT_TIMEOUTS = FetchLimits(lookup=0.3, connect=1.2, total=1.2)
# For requests that must end without a timeout.
LONG_TIMEOUTS = FetchLimits()
T = TypeVar("T")


@asynccontextmanager
async def free_slot(_: str) -> AsyncIterator[None]:
    """A slot that is free immediately."""
    yield


def with_server(use: Callable[[HostileServer], Awaitable[T]], **more: object) -> T:
    """Run a coroutine function with a server, and return its result."""

    async def run() -> T:
        async with HostileServer(**more) as server:  # type: ignore[arg-type]
            return await use(server)

    return asyncio.run(run())


async def fetch(
    url: str,
    *,
    policy: Policy | None = None,
    limits: FetchLimits = LONG_TIMEOUTS,
    hold_slot: HoldSlot = free_slot,
) -> FetchResult:
    """Fetch one URL with a new client."""
    policy = policy or loopback_policy()
    async with Client(user_agent="Test/1.0", policy=policy, limits=limits) as client:
        return await client.fetch(url, hold_slot=hold_slot)


def fetch_response(step: str | bytes, *, limits: FetchLimits = LONG_TIMEOUTS) -> FetchResult:
    """Fetch a path, or raw bytes as a response, from a new server."""

    async def check(server: HostileServer) -> FetchResult:
        if isinstance(step, bytes):
            server.script("shop.test", step)
            return await fetch(server.url(), limits=limits)
        return await fetch(server.url(step), limits=limits)

    return with_server(check)
