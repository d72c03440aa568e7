"""Clients of a real service that read and write all the time."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from tests.clusters import Cluster, Reply, Tenant
from tests.factories import gtin
from tests.servers import serving
from tests.waiting import wait_until

# Numbers of products that the demo does not have.
FIRST_NEW = 900_000_000
CLIENTS = 6


class Load:
    """Clients that read stats, lists and pages and create products and offers, all the time."""

    def __init__(self, tenant: Tenant, port: int) -> None:
        # By method and status.
        self.statuses: Counter[tuple[str, int]] = Counter()
        self.failures: list[Reply] = []
        self._sent = [0] * CLIENTS
        self._tenant = tenant
        self._port = port
        self._stopped = threading.Event()

    def run(self, client: int) -> None:
        """Send requests until the load is stopped."""
        for number in itertools.count(FIRST_NEW + client * 1_000_000):
            for path, body in self._requests(gtin(number)):
                if self._stopped.is_set():
                    return
                reply = self._tenant.request(self._port, path, body)
                self.statuses["GET" if body is None else "POST", reply.status] += 1
                self._sent[client] += 1
                if reply.status not in (200, 201):
                    self.failures.append(reply)
                    # Whether the product exists is unknown: continue with the next one.
                    break

    def _requests(self, new: str) -> Iterator[tuple[str, dict[str, str] | None]]:
        tenant = self._tenant
        items, offers = (
            f"{tenant.api}/{name}/{tenant.organization}" for name in ("trade-items", "offers")
        )
        yield tenant.stats, None
        yield items, {"gtin": new, "name": "New"}
        yield f"{items}?complete=false", None
        yield offers, {"gtin": new, "url": f"https://shop.example/{new}", "retailer": "Shop"}
        yield offers, None
        yield f"/dashboard/{tenant.organization}/products", None

    def wait_for_more(self, count: int = 12) -> None:
        """Wait until each client has the responses of a number of further requests."""
        targets = [sent + count for sent in self._sent]
        wait_until(
            lambda: all(sent >= target for sent, target in zip(self._sent, targets, strict=True))
        )

    def stop(self) -> None:
        self._stopped.set()


@contextmanager
def loading(cluster: Cluster, tenant: Tenant) -> Iterator[Load]:
    """Run the service and its clients for a block."""
    variables = {
        "DATABASE_URL": cluster.url,
        "HTTPS": "0",
        "WEB_CONCURRENCY": "2",
        "API_LIMIT_PER_MINUTE": "1000000",
        "API_LIMIT_PER_DAY": "1000000",
        "PAGE_LIMIT_PER_MINUTE": "1000000",
    }
    with serving(**variables) as (port, _), ThreadPoolExecutor(CLIENTS) as threads:
        load = Load(tenant, port)
        clients = [threads.submit(load.run, number) for number in range(CLIENTS)]
        try:
            load.wait_for_more()
            yield load
            load.wait_for_more()
        finally:
            load.stop()
        for client in clients:
            client.result()
