"""Asking web addresses by the checker's client, from tests without an event loop of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from offers.url_checks.fetch.client import Client, FetchLimits, HoldSlot
from offers.url_checks.fetch.policy import Policy
from offers.url_checks.fetch.responses import FetchResult
from tests.hostile_server import HostileServer, loopback_policy

# As the real ones, only in fractions of a second.
QUICK = FetchLimits(lookup=0.3, connect=1.2, total=1.2)
# For what has to come to its end by itself.
PATIENT = FetchLimits()
T = TypeVar("T")


@asynccontextmanager
async def at_once(_: str) -> AsyncIterator[None]:
    """A turn that comes at once."""
    yield


def with_server(use: Callable[[HostileServer], Awaitable[T]], **more: object) -> T:
    """Return what a coroutine function returns that is given a server for as long as it runs."""

    async def run() -> T:
        async with HostileServer(**more) as server:  # type: ignore[arg-type]
            return await use(server)

    return asyncio.run(run())


async def fetch(
    url: str,
    *,
    policy: Policy | None = None,
    limits: FetchLimits = PATIENT,
    hold_slot: HoldSlot = at_once,
) -> FetchResult:
    """Return the answer to one address, of a client of its own."""
    policy = policy or loopback_policy()
    async with Client(user_agent="Test/1.0", policy=policy, limits=limits) as client:
        return await client.fetch(url, hold_slot=hold_slot)


def ask(step: str | bytes, *, limits: FetchLimits = PATIENT) -> FetchResult:
    """Return the answer to a path, or what is made of some bytes, of a server just for that."""

    async def check(server: HostileServer) -> FetchResult:
        if isinstance(step, bytes):
            server.script("shop.test", step)
            return await fetch(server.url(), limits=limits)
        return await fetch(server.url(step), limits=limits)

    return with_server(check)
