"""Moving an organization to another cell and back, while it works."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from closient.cells.fence import MOVE_LOCK, SQLSTATE
from tests.cell_clusters import Cells, count, key_of, two_cells
from tests.clusters import Cluster, Reply, Tenant
from tests.retrying_load import Load
from tests.servers import serving
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

WRITERS = 8
SEEDED = 300
NAME = "Moving Foods"


@pytest.fixture(scope="module")
def cells() -> Iterator[Cells]:
    with two_cells() as cells:
        yield cells


@pytest.fixture(scope="module")
def tenant(cells: Cells) -> Tenant:
    (tenant,) = cells.tenants(NAME)
    cells.seed(NAME, SEEDED)
    return tenant


@pytest.fixture
def moved(cells: Cells, tenant: Tenant) -> Tenant:
    """The organization, in the cell north."""
    if cells.home.sql("SELECT count(*) FROM cells_placement WHERE cell = 'north'") == 0:
        cells.move(tenant, "north")
    return tenant


def exports(tenant: Tenant, port: int, stopped: threading.Event) -> list[Reply]:
    replies = []
    path = f"/dashboard/{tenant.organization}/products/export"
    while not stopped.is_set():
        replies.append(tenant.request(port, path))
    return replies


def test_a_move_under_writers_loses_and_doubles_nothing(cells: Cells, tenant: Tenant) -> None:
    home, north = cells.home, cells.north
    # The placements that two processes know differ for a moment.
    variables = cells.variables | {"WEB_CONCURRENCY": "2"}
    with serving(**variables) as (port, _), ThreadPoolExecutor(WRITERS + 3) as threads:
        load = Load(tenant, port, seeded=SEEDED)
        done = [threads.submit(load.write, number) for number in range(WRITERS)]
        done.append(threads.submit(load.read))
        exporting = threads.submit(exports, tenant, port, load.stopped)
        try:
            wait_until(lambda: len(load.acknowledged) > 20)
            printed = cells.move(tenant, "north")
            moved = len(load.acknowledged)
            wait_until(lambda: load.unexpected or len(load.acknowledged) > moved + 50)
        finally:
            load.stopped.set()
        for each in done:
            each.result()
        total = tenant.request(port, tenant.stats).json["total_products"]
    print(f"{printed}\n{len(load.acknowledged)} writes, {load.unavailable} refused")
    assert load.unexpected == []
    assert total == SEEDED + len(load.acknowledged)
    found = "SELECT string_agg(gtin, ' ') FROM catalog_product WHERE name = 'New'"
    assert sorted(north.sql(found).split()) == sorted(load.acknowledged)
    for table in ("catalog_product", "offers_offer", "tally_tallyentry", "api_idempotencykey"):
        assert count(home, table, tenant) == 0
        assert count(north, table, tenant) > 0
    assert all(line.endswith(" 0 differences found") for line in cells.differences())
    downloads = [reply for reply in exporting.result() if reply.status == 200]
    assert downloads
    for reply in downloads:
        codes = [line.split(",")[0] for line in reply.body.decode().splitlines()]
        assert len(codes) == len(set(codes)) > SEEDED
    assert_nothing_is_left(cells)


def assert_nothing_is_left(cells: Cells) -> None:
    """Assert that no publication, slot or subscription remains."""
    for server in (cells.home, cells.north):
        for view in ("pg_publication", "pg_replication_slots", "pg_subscription"):
            assert server.sql(f"SELECT count(*) FROM {view}") == 0


def write(server: Cluster, tenant: Tenant, *before: str) -> int:
    """Change all products of an organization with a plain connection; return how many."""
    with psycopg.connect(server.url) as connection:
        for statement in before:
            connection.execute(statement)
        return connection.execute(
            "UPDATE catalog_product SET name = name WHERE organization_id = %s", [key_of(tenant)]
        ).rowcount


def fence(server: Cluster, tenant: Tenant) -> str:
    """Raise the fence of an organization, and return the statement that lifts it."""
    server.sql(f"INSERT INTO cells_fence VALUES ('{key_of(tenant)}')")
    return f"DELETE FROM cells_fence WHERE organization_id = '{key_of(tenant)}'"


def test_a_fenced_organization_is_not_written(cells: Cells, moved: Tenant) -> None:
    tenant = moved
    north = cells.north
    products = count(north, "catalog_product", tenant)
    with serving(**cells.variables) as (port, _):
        path = f"{tenant.api}/trade-items/{tenant.organization}"
        lift = fence(north, tenant)
        try:
            reply = tenant.request(port, path, {"gtin": "4006381333931", "name": "New"})
            assert (reply.status, reply.headers["Retry-After"]) == (503, "1")
            assert tenant.request(port, tenant.stats).json["total_products"] == products
            with pytest.raises(psycopg.OperationalError) as raised:
                write(north, tenant)
            assert raised.value.sqlstate == SQLSTATE
            assert write(north, tenant, "SET closient.fence = 'skip'") == 0
            assert write(north, tenant, "SET closient.fence = 'pass'") == products
        finally:
            north.sql(lift)
        assert tenant.request(port, path, {"gtin": "4006381333931", "name": "New"}).status == 201
    # A snapshot from before the fence does not show it.
    with psycopg.connect(north.url, autocommit=True) as moving:
        moving.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [MOVE_LOCK])
        with pytest.raises(psycopg.OperationalError):
            write(north, tenant, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    repeatable = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"
    assert write(north, tenant, repeatable) == products + 1


def test_a_moved_organization_is_refused_where_it_was(cells: Cells, moved: Tenant) -> None:
    with pytest.raises(psycopg.OperationalError) as raised:
        cells.home.sql(
            "INSERT INTO catalog_brand (id, organization_id, name) "
            f"VALUES (gen_random_uuid(), '{key_of(moved)}', 'Late')"
        )
    assert raised.value.sqlstate == SQLSTATE


FIRST_PRODUCTS = "SELECT id FROM catalog_product ORDER BY id LIMIT 5"


def write_until(stopped: threading.Event, server: Cluster, written: list[int]) -> None:
    """Change products in transactions that take a moment, until one is refused."""
    change = f"UPDATE catalog_product SET description = %s WHERE id IN ({FIRST_PRODUCTS})"
    with psycopg.connect(server.url) as connection, contextlib.suppress(psycopg.OperationalError):
        while not stopped.is_set():
            connection.execute(change, [str(len(written))])
            # Longer than a move needs after its fence.
            connection.execute("SELECT pg_sleep(0.7)")
            connection.commit()
            written.append(len(written))


def test_transactions_that_began_before_the_fence_arrive(cells: Cells, moved: Tenant) -> None:
    written: list[int] = []
    stopped = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        writing = threads.submit(write_until, stopped, cells.north, written)
        try:
            cells.move(moved, "default")
        finally:
            stopped.set()
        writing.result()
    found = "SELECT string_agg(DISTINCT description, ' ') FROM catalog_product "
    found += f"WHERE id IN ({FIRST_PRODUCTS})"
    assert cells.home.sql(found) == str(written[-1])
    assert len(written) > 2


def test_ids_of_a_cell_do_not_collide_with_those_of_another(cells: Cells, moved: Tenant) -> None:
    tenant = moved
    with psycopg.connect(cells.north.url) as connection:
        connection.execute("UPDATE catalog_product SET country_of_origin = 'DE'")
    newest = cells.north.sql("SELECT max(id) FROM tally_tallyentry")
    assert newest > 1 << 44
    cells.move(tenant, "default")
    assert cells.home.sql("SELECT max(id) FROM tally_tallyentry") == newest
    assert cells.home.sql("SELECT count(*) FROM cells_placement") == 0
    assert count(cells.north, "catalog_product", tenant) == 0
    cells.home.sql(
        f"UPDATE catalog_product SET country_of_origin = 'AT' "
        f"WHERE organization_id = '{key_of(tenant)}'"
    )
    assert all(line.endswith(" 0 differences found") for line in cells.differences())
    assert_nothing_is_left(cells)
