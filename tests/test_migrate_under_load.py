"""Migrations of a newer version while the old code serves readers and writers."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest

from tests.clusters import Cluster, Tenant, clusters, manage
from tests.factories import gtin
from tests.servers import serving
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

PRODUCTS = 300
# Numbers of products that the demo does not have.
FIRST_NEW = 900_000_000
CLIENTS = 6
NEWER = {"DJANGO_SETTINGS_MODULE": "tests.newer_version.settings"}
COLUMNS = "SELECT count(*) FROM information_schema.columns WHERE column_name = 'season'"
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'relation'"


class Load:
    """Clients that read stats, lists and pages and create products and offers, all the time."""

    def __init__(self, tenant: Tenant, port: int) -> None:
        self.statuses: Counter[tuple[str, int]] = Counter()
        self._tenant = tenant
        self._port = port
        self._stopped = threading.Event()

    def run(self, client: int) -> None:
        """Send requests until the load is stopped."""
        for number in range(FIRST_NEW + client * 1_000_000, FIRST_NEW + (client + 1) * 1_000_000):
            for path, body in self._requests(gtin(number)):
                if self._stopped.is_set():
                    return
                reply = self._tenant.request(self._port, path, body)
                self.statuses["GET" if body is None else "POST", reply.status] += 1

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

    def wait_for_more(self) -> None:
        """Wait until each client has sent some more requests."""
        target = self.statuses.total() + 12 * CLIENTS
        wait_until(lambda: self.statuses.total() >= target)

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


def test_migrations_beside_readers_and_writers_fail_no_request() -> None:
    with clusters(1) as (cluster,):
        cluster.create()
        tenant = Tenant(cluster.url)
        manage(
            cluster.url, "seed_demo", "--products", str(PRODUCTS), "--organization", "Replica Foods"
        )
        with loading(cluster, tenant) as load, ThreadPoolExecutor(1) as background:
            with psycopg.connect(cluster.url) as export:
                # An open transaction, as of a long export, that the first attempt waits for.
                export.execute("SELECT count(*) FROM catalog_product")
                migrated = background.submit(manage, cluster.url, "migrate", **NEWER)
                # Requests queue behind the migration ...
                wait_until(lambda: cluster.sql(WAITING) > CLIENTS / 2)
                # ... until it gives up.
                wait_until(lambda: cluster.sql(WAITING) == 0)
                load.wait_for_more()
                assert cluster.sql(COLUMNS) == 0
            assert "Applying newer_version.0005_index... OK" in migrated.result()
        print(load.statuses)
        assert load.statuses.keys() == {("GET", 200), ("POST", 201)}
        written = cluster.sql("SELECT count(*) FROM catalog_product") - PRODUCTS
        written += cluster.sql("SELECT count(*) FROM offers_offer WHERE retailer = 'Shop'")
        assert written == load.statuses["POST", 201]
        manage(cluster.url, "audit_tally")
