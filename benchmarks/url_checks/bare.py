"""A bare aiohttp loop: requests the URLs of a file, and discards the responses."""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver

from benchmarks.url_checks import CONCURRENCY


class Here(AbstractResolver):
    """Resolves every name to the local server."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[Any]:
        """Return its address."""
        found = {"hostname": host, "host": "127.0.0.1", "port": port, "family": socket.AF_INET}
        return [{**found, "proto": 0, "flags": 0}]

    async def close(self) -> None:
        """Do nothing."""


async def request_all(urls: list[str]) -> None:
    """Request all URLs, a fixed number at a time."""
    left = iter(urls)
    connector = aiohttp.TCPConnector(resolver=Here(), limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def request() -> None:
            for url in left:
                async with session.get(url) as response:
                    await response.read()

        await asyncio.gather(*(request() for _ in range(CONCURRENCY)))


if __name__ == "__main__":
    asyncio.run(request_all(Path(sys.argv[1]).read_text().split()))
