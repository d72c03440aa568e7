"""A database that restarts again and again while clients read and write."""

from __future__ import annotations

import signal

import pytest

from tests.clusters import Tenant, clusters, manage
from tests.load import loading
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

PRODUCTS = 300
RESTARTS = 5


def test_requests_fail_only_while_the_database_is_down() -> None:
    with clusters(1) as (cluster,):
        cluster.create()
        tenant = Tenant.create(cluster.url, products=PRODUCTS)
        with loading(cluster, tenant) as load:
            for number in range(RESTARTS):
                # In turn stopped in fast mode, and killed with all its processes.
                cluster.stop(signal.SIGKILL if number % 2 else signal.SIGINT)
                failed = len(load.failures)
                wait_until(lambda: len(load.failures) >= failed + 5)  # noqa: B023
                cluster.start()
                # Requests that began while it was down may still fail.
                load.wait_for_more(2)
                failed = len(load.failures)
                load.wait_for_more()
                assert len(load.failures) == failed
        print(load.statuses)
        assert {reply.status for reply in load.failures} == {503}
        for reply in load.failures:
            assert reply.headers["Retry-After"] == "1"
            if reply.headers["Content-Type"] == "application/problem+json":
                assert reply.json["error_code"] == "unavailable"
                assert reply.json["retryable"]
            else:
                assert "The service is temporarily unavailable" in reply.body.decode()
        # Each write that was acknowledged is there.
        written = cluster.sql("SELECT count(*) FROM catalog_product") - PRODUCTS
        written += cluster.sql("SELECT count(*) FROM offers_offer WHERE retailer = 'Shop'")
        assert written >= load.statuses["POST", 201]
        manage(cluster.url, "audit_tally")
