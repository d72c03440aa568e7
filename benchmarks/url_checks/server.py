"""The shop of the benchmark: a server that returns one page for everything, and counts."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

PAGE = b"<html><title>Shop</title>" + b"<p>A trade item.</p>" * 200 + b"</html>"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(PAGE)


class Shop(asyncio.Protocol):
    """Responds to each request of a connection."""

    requests = 0
    latency = 0.0
    first_at = last_at = 0.0

    def __init__(self) -> None:
        self.begun = b""

    def connection_made(self, transport: Any) -> None:
        """Keep the transport."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Respond to a complete request; `/total` returns the counts since its last request."""
        self.begun += data
        if not self.begun.endswith(b"\r\n\r\n"):
            return
        if self.begun.startswith(b"GET /total "):
            totals = json.dumps([Shop.last_at - Shop.first_at, Shop.requests]).encode()
            Shop.requests = 0
            self.transport.write(b"HTTP/1.0 200 OK\r\n\r\n" + totals)
            self.transport.close()
        else:
            Shop.first_at = Shop.first_at if Shop.requests else time.monotonic()
            Shop.requests += 1
            asyncio.get_running_loop().call_later(Shop.latency, self.respond)
        self.begun = b""

    def respond(self) -> None:
        """Send the page."""
        self.transport.write(HEAD + PAGE)
        Shop.last_at = time.monotonic()


async def serve() -> None:
    """Serve on a free port of 127.0.0.1, which is printed, until killed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Shop, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    Shop.latency = float(sys.argv[1])
    asyncio.run(serve())
