"""A standby takes over from a killed primary, under a load of reads and writes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.clusters import NAME, Cluster, Tenant, clusters, manage
from tests.retrying_load import Load
from tests.servers import ROOT, serving
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

WRITERS = 4
# Sessions whose commit waits for the standby.
WAITING_COMMITS = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


@contextmanager
def working(url: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "run_worker"],
            cwd=ROOT,
            env=os.environ | {"DATABASE_URL": url, "DATA_FOLDER": str(folder)},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def make_synchronous(primary: Cluster) -> None:
    """Let commits wait for the standby."""
    primary.sql("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
    primary.sql("SELECT pg_reload_conf()")
    state = "SELECT sync_state FROM pg_stat_replication"
    wait_until(lambda: primary.sql(state) == "sync")


def test_a_failover_loses_and_doubles_no_acknowledged_write(tmp_path: Path) -> None:
    with clusters(2) as (primary, standby):
        primary.create()
        tenant = Tenant.create(primary.url)
        standby.create_standby_of(primary)
        make_synchronous(primary)
        url = (
            f"postgres://{NAME}@/{NAME}?host=127.0.0.1,127.0.0.1"
            f"&port={primary.port},{standby.port}&target_session_attrs=read-write"
        )
        variables = {
            "DATABASE_URL": url,
            "HTTPS": "0",
            "API_LIMIT_PER_MINUTE": "1000000",
            "API_LIMIT_PER_DAY": "1000000",
        }
        with (
            working(url, tmp_path) as worker,
            serving(**variables) as (port, _),
            ThreadPoolExecutor(WRITERS + 1) as threads,
        ):
            load = Load(tenant, port)
            done = [threads.submit(load.write, number) for number in range(WRITERS)]
            done.append(threads.submit(load.read))
            try:
                wait_until(lambda: len(load.acknowledged) > 50)
                with standby.hanging():
                    # These are written on both servers and not acknowledged.
                    wait_until(lambda: primary.sql(WAITING_COMMITS) >= WRITERS)
                    primary.stop(signal.SIGKILL)
                killed = time.monotonic()
                wait_until(lambda: load.unavailable > 5)
                # It waits for itself otherwise.
                standby.sql("ALTER SYSTEM SET synchronous_standby_names = ''")
                assert standby.sql("SELECT pg_promote()")
                promoted = time.monotonic()
                count = len(load.acknowledged)
                wait_until(lambda: load.unexpected or len(load.acknowledged) > count + 50)
                assert load.unexpected == []
                assert load.last_failure - promoted < 10
                standby.sql("UPDATE jobs_job SET due_at = now() WHERE name = 'clear_sessions'")
                ended = "SELECT last_ended_at FROM jobs_job WHERE name = 'clear_sessions'"
                before = standby.sql(ended)
                wait_until(lambda: standby.sql(ended) != before)
                assert worker.poll() is None
            finally:
                load.stopped.set()
            for each in done:
                each.result()
            stats = tenant.request(port, tenant.stats).json
        print(
            f"promoted after {promoted - killed:.2f} s, 503 for {load.last_failure - killed:.2f} s"
        )
        assert load.unexpected == []
        found = "SELECT string_agg(gtin, ' ' ORDER BY gtin) FROM catalog_product"
        assert standby.sql(found).split() == sorted(load.acknowledged)
        assert stats["total_products"] == len(load.acknowledged)
        manage(standby.url, "audit_tally")
