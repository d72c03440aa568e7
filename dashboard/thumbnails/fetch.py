"""Fetches the picture of an image from another server, within the limits of its host.

The limits are those of the URL checker, and shared with it. Checks go first: a picture takes a free
slot and never queues for one.
"""

from __future__ import annotations

import asyncio
import dataclasses
import io
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

from asgiref.sync import sync_to_async

from catalog.images.reencoding import MAX_BYTES
from dashboard.imports.sources.fetch import (
    FetchFailed,
    FileKind,
    FileLimits,
    FileRequest,
    fetch_file,
)
from offers.url_checks.schedule import host_limits
from offers.url_checks.schedule.host_limits import HOST_LIMITS, SlotUnavailable

PICTURE = FileKind(
    purpose="product image",
    headers=(
        "Accept: image/jpeg,image/png,image/webp,image/gif,image/*;q=0.8,*/*;q=0.5",
        "Accept-Encoding: identity",
        "Connection: close",
    ),
    too_large="use a smaller copy of the image.",
    login="images are fetched without a login, so upload this one instead.",
    html=(
        "The address returns a web page (HTML), not an image: use the address of the image itself."
    ),
)
# In seconds: a whole fetch with its redirects, and how long it waits for a slot at each host.
FETCH_SECONDS = 60.0
SLOT_SECONDS = 10.0
_POLL_SECONDS = 0.1
# A slot expires after its request must have ended.
LIMITS = dataclasses.replace(HOST_LIMITS, slot_timeout=timedelta(seconds=FETCH_SECONDS + 10))


def free_hosts(hosts: Sequence[str]) -> list[str]:
    """Return the hosts that may be requested now, among them those never requested, and ``""``."""
    waits = {host: wait for host, (wait, _) in host_limits.states(hosts).items()}
    return [host for host in hosts if (waits.get(host) or 0.0) <= 0]


def fetch_picture(url: str, stop: threading.Event) -> bytes:
    """Return the bytes of a picture, at most ``MAX_BYTES``, whatever they are.

    Raises :class:`FetchFailed`, ``CannotFetch``, ``FetchStopped`` and :class:`SlotUnavailable`.
    """
    file = io.BytesIO()
    slots = _Slots()
    limits = FileLimits(total=FETCH_SECONDS, size=MAX_BYTES, min_speed=1024, slow_seconds=15)
    request = FileRequest(url=url)
    try:
        fetch_file(request, file, stop, limits, kind=PICTURE, hold_slot=slots.hold)
    except FetchFailed as failure:
        if failure.throttling_host:
            host_limits.back_off({failure.throttling_host: failure.retry_after})
        raise
    host_limits.reset_backoff(slots.throttled_hosts)
    return file.getvalue()


class _Slots:
    """The slots of one fetch, each held for one request."""

    def __init__(self) -> None:
        self.throttled_hosts: set[str] = set()

    @asynccontextmanager
    async def hold(self, host: str) -> AsyncIterator[None]:
        """Hold a slot at a host for a block; raises :class:`SlotUnavailable`."""
        slot = await self._acquire(host)
        if slot.throttle_count:
            self.throttled_hosts.add(host)
        try:
            yield
        finally:
            await sync_to_async(host_limits.release)([slot])

    async def _acquire(self, host: str) -> host_limits.Slot:
        await sync_to_async(host_limits.register)([host])
        clock = asyncio.get_running_loop().time
        until = clock() + SLOT_SECONDS
        while not (slots := await sync_to_async(host_limits.acquire)([host], limits=LIMITS)):
            if clock() > until:
                raise SlotUnavailable(host, SLOT_SECONDS)
            await asyncio.sleep(_POLL_SECONDS)
        return slots[0]
