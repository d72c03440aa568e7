"""Moves that are killed at any step continue when they are started again, or are aborted."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from tests.cell_clusters import Cells, count, key_of, two_cells
from tests.clusters import Tenant
from tests.servers import ROOT, serving
from tests.test_move_organization import assert_nothing_is_left
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

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
    """Move, and kill the process with SIGKILL at the end of the block; begin it after a line."""
    arguments = ("move_organization", tenant.organization, "--to", cell, "--delete-after", "0")
    process = subprocess.Popen(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=os.environ | cells.variables,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        printed = iter(process.stdout)
        assert any(line in found for found in printed)
        yield
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


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
