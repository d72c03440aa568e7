"""A bare aiohttp loop: asks the addresses of a file, and throws the answers away."""

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
    """Leads every name to the local server."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[Any]:
        """Return its address."""
        found = {"hostname": host, "host": "127.0.0.1", "port": port, "family": socket.AF_INET}
        return [{**found, "proto": 0, "flags": 0}]

    async def close(self) -> None:
        """Do nothing."""


async def ask_all(urls: list[str]) -> None:
    """Ask all addresses, so many at a time."""
    left = iter(urls)
    connector = aiohttp.TCPConnector(resolver=Here(), limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def ask() -> None:
            for url in left:
                async with session.get(url) as response:
                    await response.read()

        await asyncio.gather(*(ask() for _ in range(CONCURRENCY)))


if __name__ == "__main__":
    asyncio.run(ask_all(Path(sys.argv[1]).read_text().split()))
