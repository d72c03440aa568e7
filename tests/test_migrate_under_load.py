"""Migrations of a newer version while the old code serves readers and writers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tests.clusters import Tenant, clusters, manage
from tests.load import CLIENTS, loading
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

PRODUCTS = 300
NEWER = {"DJANGO_SETTINGS_MODULE": "tests.newer_version.settings"}
COLUMNS = "SELECT count(*) FROM information_schema.columns WHERE column_name = 'season'"
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'relation'"


@pytest.mark.campaign
def test_migrations_beside_readers_and_writers_fail_no_request() -> None:
    with clusters(1) as (cluster,):
        cluster.create()
        tenant = Tenant.create(cluster.url, products=PRODUCTS)
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
