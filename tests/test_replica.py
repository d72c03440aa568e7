"""Reads on a real streaming standby: what they contain, and what happens when it fails."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

import pytest

from tests.clusters import Cluster, Reply, Tenant, clusters, manage
from tests.factories import gtin
from tests.servers import serving
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

PRODUCTS = 300
# Numbers of products that the demo does not have.
FIRST_NEW = 900_000_000
# In the statement of a list of products and of an export.
READ = 'FROM "catalog_product'


class Site(NamedTuple):
    """A primary with a catalog, its standby, and the environment of a service on both."""

    primary: Cluster
    standby: Cluster
    tenant: Tenant
    variables: dict[str, str]

    @property
    def items(self) -> str:
        return f"{self.tenant.api}/trade-items/{self.tenant.organization}"

    def page(self, name: str) -> str:
        return f"/dashboard/{self.tenant.organization}/{name}"

    def add(self, port: int, gtin: str) -> None:
        reply = self.tenant.request(port, self.items, {"gtin": gtin, "name": "New"})
        assert reply.status == 201, reply.body

    def count_reads(self) -> tuple[int, int]:
        return self.primary.statements(READ), self.standby.statements(READ)


@pytest.fixture(scope="module")
def primary() -> Iterator[tuple[Cluster, Cluster, Tenant]]:
    with clusters(2) as (primary, standby):
        primary.create()
        tenant = Tenant.create(primary.url)
        manage(
            primary.url, "seed_demo", "--products", str(PRODUCTS), "--organization", "Replica Foods"
        )
        yield primary, standby, tenant


@pytest.fixture
def site(primary: tuple[Cluster, Cluster, Tenant]) -> Iterator[Site]:
    server, standby, tenant = primary
    # Each commit is replayed a little later, but within the time that a read waits.
    standby.settings["recovery_min_apply_delay"] = "20ms"
    standby.create_standby_of(server)
    yield Site(
        server,
        standby,
        tenant,
        {
            "DATABASE_URL": server.url,
            "DATABASE_REPLICA_URL": standby.url,
            "HTTPS": "0",
            "API_LIMIT_PER_MINUTE": "100000",
            "API_LIMIT_PER_DAY": "1000000",
            "PAGE_LIMIT_PER_MINUTE": "100000",
            "EXPORT_LIMIT_PER_MINUTE": "1000",
        },
    )
    standby.remove()


def test_lists_exports_and_pages_are_read_on_the_standby_and_equal_the_primarys(
    site: Site,
) -> None:
    paths = [
        f"{site.items}?page_size=50",
        f"{site.items}?complete=false",
        site.page("products/export"),
        site.page("history"),
    ]
    with serving(**site.variables | {"DATABASE_REPLICA_URL": ""}) as (port, _):
        expected = [site.tenant.request(port, path) for path in paths]
    primary_before, standby_before = site.count_reads()
    with serving(**site.variables) as (port, _):
        replies = [site.tenant.request(port, path) for path in paths]
        home = site.tenant.request(port, site.page(""))
        primary_after, standby_after = site.count_reads()
        assert site.tenant.request(port, site.tenant.stats).json["total_products"] == PRODUCTS
    assert [reply.status for reply in (*replies, home)] == [200] * 5
    assert replies[0].json == expected[0].json
    assert replies[1].json == expected[1].json
    assert replies[2].body == expected[2].body
    assert replies[2].body.count(b"\r\n") == PRODUCTS + 1
    assert primary_after == primary_before
    assert standby_after >= standby_before + 4


def test_a_list_contains_every_write_before_it(site: Site) -> None:
    with serving(**site.variables) as (port, _), ThreadPoolExecutor(4) as threads:

        def write_and_read(worker: int) -> None:
            for number in range(25):
                code = gtin(FIRST_NEW + 1000 * worker + number)
                site.add(port, code)
                reply = site.tenant.request(port, f"{site.items}?page_size=50")
                assert code.encode() in reply.body

        before = site.standby.statements(READ)
        for done in [threads.submit(write_and_read, worker) for worker in range(4)]:
            done.result()
        assert site.standby.statements(READ) > before


# Audits once the replica is ready.
AUDIT = """
from django.db import connection
from closient.db.replicas import reads_on_replica
from dashboard.audits import audit_due
from tests.waiting import wait_until
wait_until(reads_on_replica(lambda: connection.alias == "replica"))
print(audit_due())
"""


def test_worker_audits_on_the_standby_and_records_on_the_primary(site: Site) -> None:
    recount = 'FROM "tally_tallyentry"'
    before = site.primary.statements(recount), site.standby.statements(recount)
    printed = manage(site.primary.url, "shell", "--no-imports", "-c", AUDIT, **site.variables)
    assert printed.splitlines()[-1] == "1"
    assert site.primary.statements(recount) == before[0]
    assert site.standby.statements(recount) > before[1]
    assert site.primary.sql("SELECT sum(differences) FROM tally_audit") == 0


@contextmanager
def reading(site: Site, port: int) -> Iterator[list[tuple[Reply, float]]]:
    """Read lists with three clients during a block; yields the replies and their seconds."""
    replies: list[tuple[Reply, float]] = []
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set():
            started = time.monotonic()
            reply = site.tenant.request(port, site.items)
            replies.append((reply, time.monotonic() - started))

    with ThreadPoolExecutor(3) as threads:
        readers = [threads.submit(read) for _ in range(3)]
        try:
            wait_until(lambda: len(replies) > 20)
            yield replies
        finally:
            ended.set()
        for reader in readers:
            reader.result()


def stop(site: Site) -> None:
    site.standby.stop()


def kill(site: Site) -> None:
    site.standby.stop(signal.SIGKILL)


def promote(site: Site) -> None:
    site.standby.sql("SELECT pg_promote()")
    # A write that only the primary has.
    site.primary.sql("UPDATE accounts_organization SET name = name")


def pause_replay(site: Site) -> None:
    site.standby.sql("SELECT pg_wal_replay_pause()")
    site.primary.sql("UPDATE accounts_organization SET name = name")


@pytest.mark.parametrize("end", [stop, kill, promote, pause_replay])
def test_no_read_fails_when_the_standby_ends(site: Site, end: Callable[[Site], None]) -> None:
    with serving(**site.variables) as (port, _), reading(site, port) as replies:
        before = site.standby.statements(READ)
        wait_until(lambda: site.standby.statements(READ) > before)
        end(site)
        count = len(replies)
        wait_until(lambda: len(replies) > count + 50)
        on_primary = site.primary.statements(READ)
        wait_until(lambda: site.primary.statements(READ) > on_primary)
    assert {reply.status for reply, _ in replies} == {200}
    assert len({reply.total for reply, _ in replies}) == 1


@pytest.mark.campaign
def test_no_read_fails_when_the_standby_hangs_and_it_is_used_again(site: Site) -> None:
    with serving(**site.variables) as (port, _), reading(site, port) as replies:
        with site.standby.hanging():
            count = len(replies)
            # Only the reads that found it hanging have waited for it.
            wait_until(lambda: len(replies) > count + 100)
            slow = sorted(seconds for _, seconds in replies[count:])
            assert slow[len(slow) // 2] < 1
        before = site.standby.statements(READ)
        wait_until(lambda: site.standby.statements(READ) > before)
    assert {reply.status for reply, _ in replies} == {200}


@pytest.mark.campaign
def test_a_paused_standby_is_used_again_and_a_write_is_never_missed(site: Site) -> None:
    with serving(**site.variables) as (port, _):
        site.standby.sql("SELECT pg_wal_replay_pause()")
        site.add(port, gtin(FIRST_NEW + 9000))
        assert gtin(FIRST_NEW + 9000).encode() in site.tenant.request(port, site.items).body
        export = site.tenant.request(port, site.page("products/export"))
        assert gtin(FIRST_NEW + 9000).encode() in export.body
        site.standby.sql("SELECT pg_wal_replay_resume()")
        before = site.standby.statements(READ)

        def is_used() -> bool:
            assert site.tenant.request(port, site.items).status == 200
            return site.standby.statements(READ) > before

        wait_until(is_used)


# Runs a read that the standby cancels, and prints where it ran and what it returned.
CONFLICT = """
import threading
from django.db import connection, connections
from closient.db.replicas import reads_on_replica
from tests.waiting import wait_until
places = []
@reads_on_replica
def read():
    places.append(connection.alias)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM scratch")
        count = cursor.fetchone()[0]
        if connection.alias == "replica":
            thread = threading.Thread(target=empty)
            thread.start()
            cursor.execute("SELECT pg_sleep(30)")
        return count
def empty():
    with connections["default"].cursor() as cursor:
        cursor.execute("TRUNCATE scratch")
with connection.cursor() as cursor:
    cursor.execute("CREATE TABLE IF NOT EXISTS scratch AS SELECT 1 AS a")
@reads_on_replica
def is_used():
    return connection.alias == "replica"
print(read(), *places)
# The standby may still be replaying.
wait_until(is_used)
"""


def test_a_read_that_the_standby_cancels_is_repeated_on_the_primary(site: Site) -> None:
    site.standby.stop()
    site.standby.settings["max_standby_streaming_delay"] = "0"
    site.standby.start()
    urls = {"DATABASE_REPLICA_URL": site.standby.url}
    printed = manage(site.primary.url, "shell", "--no-imports", "-c", CONFLICT, **urls)
    assert printed.splitlines()[-1] == "0 replica default"
