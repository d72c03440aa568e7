"""Moves that are killed at any step continue when they are started again, or are aborted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from tests.cell_clusters import Cells, count, key_of, two_cells
from tests.clusters import Tenant
from tests.servers import serving
from tests.test_move_organization import assert_nothing_is_left
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.campaign]

SEEDED = 100
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


@contextmanager
def killed_after(line: str, cells: Cells, tenant: Tenant, cell: str) -> Iterator[None]:
    """Begin the block when a move has printed a line; kill the move with SIGKILL at its end."""
    with cells.moving(tenant, cell) as printed:
        assert any(line in found for found in printed)
        yield


def assert_is_only_in(cells: Cells, tenant: Tenant, cell: str) -> None:
    servers = {"default": cells.home, "north": cells.north}
    for name, server in servers.items():
        expected = SEEDED if name == cell else 0
        assert count(server, "catalog_product", tenant) == expected
        assert count(server, "accounts_apikey", tenant) == (name == cell)
    assert all(line.endswith(" 0 differences found") for line in cells.differences())
    assert_nothing_is_left(cells)


def test_a_killed_move_continues(cells: Cells, tenant: Tenant) -> None:
    for cell, line in (
        ("north", "Copying from"),
        ("default", "The organization is in default, after"),
        ("north", "accepts writes"),
    ):
        with killed_after(line, cells, tenant, cell):
            pass
        assert "Done." in cells.move(tenant, cell)
        assert_is_only_in(cells, tenant, cell)


def test_a_move_killed_while_writes_are_refused_continues(cells: Cells, tenant: Tenant) -> None:
    north = cells.north
    fenced = f"SELECT count(*) FROM cells_fence WHERE organization_id = '{key_of(tenant)}'"
    path = f"{tenant.api}/trade-items/{tenant.organization}"
    body = {"gtin": "4006381333931", "name": "New"}
    with serving(**cells.variables) as (port, _):
        with (
            psycopg.connect(north.url) as writing,
            killed_after("differences in", cells, tenant, "default"),
        ):
            # Any writer: the move waits for its end.
            writing.execute("UPDATE catalog_brand SET name = name WHERE false")
            wait_until(lambda: north.sql(fenced) == 1)
            assert tenant.request(port, path, body).status == 503
        assert tenant.request(port, path, body).status == 503
        assert tenant.request(port, tenant.stats).json["total_products"] == SEEDED
        cells.move(tenant, "default")
        assert_is_only_in(cells, tenant, "default")
        assert tenant.request(port, tenant.stats).json["total_products"] == SEEDED


def test_a_killed_move_is_aborted(cells: Cells, tenant: Tenant) -> None:
    with killed_after("has caught up", cells, tenant, "north"):
        pass
    assert count(cells.north, "catalog_product", tenant) == SEEDED
    cells.manage("move_organization", tenant.organization, "--abort")
    assert_is_only_in(cells, tenant, "default")
    assert cells.home.sql("SELECT count(*) FROM cells_placement") == 0
    with serving(**cells.variables) as (port, _):
        path = f"{tenant.api}/trade-items/{tenant.organization}"
        created = tenant.request(port, path, {"gtin": "4006381333931", "name": "New"})
        assert created.status == 201


def test_a_process_with_an_old_placement_reads_what_was_written_since(
    cells: Cells, tenant: Tenant
) -> None:
    cell = "default" if cells.home.sql("SELECT count(*) FROM cells_placement") else "north"
    server = cells.home if cell == "default" else cells.north
    with serving(**cells.variables) as (port, _):
        with cells.moving(tenant, cell) as printed:
            assert any("differences in" in line for line in printed)
            # The process keeps the placement for some seconds.
            before = tenant.request(port, tenant.stats).json["total_products"]
            assert any("accepts writes" in line for line in printed)
            first = "SELECT min(gtin) FROM catalog_product"
            server.sql(f"DELETE FROM catalog_product WHERE gtin = ({first})")
            after = tenant.request(port, tenant.stats).json["total_products"]
        assert after == before - 1
        cells.move(tenant, cell)
        assert tenant.request(port, tenant.stats).json["total_products"] == after
