"""Organizations in two cells: what each server is asked, and what happens when one is dead."""

from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urlencode

import pytest

from closient.text import key_format
from tests.cell_clusters import Cells, count, email_of, key_of, two_cells
from tests.clusters import Cluster, Reply, Tenant
from tests.factories import gtin
from tests.servers import ROOT, environment, serving
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

# Of another organization, whose GTINs are the same.
PRODUCTS = 30


class Site(NamedTuple):
    """A served organization in the cell north, another in the directory, and their servers."""

    cells: Cells
    moved: Tenant
    stayed: Tenant
    port: int

    def items(self, tenant: Tenant) -> str:
        return f"{tenant.api}/trade-items/{tenant.organization}"

    def get(self, tenant: Tenant, path: str, **headers: str) -> Reply:
        return tenant.request(self.port, path, **headers)

    def add(self, tenant: Tenant, number: int, **headers: str) -> Reply:
        body = {"gtin": gtin(number), "name": "New"}
        return tenant.request(self.port, self.items(tenant), body, **headers)

    def total(self, tenant: Tenant) -> int:
        return int(self.get(tenant, tenant.stats).json["total_products"])


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with two_cells() as cells:
        moved, stayed = cells.tenants("Moved Foods", "Stayed Foods")
        cells.move(moved, "north")
        cells.seed("Moved Foods", PRODUCTS)
        cells.seed("Stayed Foods", PRODUCTS)
        with serving(**cells.variables) as (port, _):
            yield Site(cells, moved, stayed, port)


def statements(server: Cluster) -> int:
    """Return how many statements of requests the log has, without those of new connections."""
    lines = server.log.read_text(errors="replace").splitlines()
    logged = [line.partition("LOG:  ")[2] for line in lines]
    return sum(
        line.startswith(("statement:", "execute "))
        and line != "statement: SELECT 1"
        and "set_config('statement_timeout'" not in line
        for line in logged
    )


def test_rows_are_in_the_cell_of_their_organization(site: Site) -> None:
    home, north = site.cells.home, site.cells.north
    assert (site.total(site.moved), site.total(site.stayed)) == (PRODUCTS, PRODUCTS)
    for tenant, own, other in ((site.moved, north, home), (site.stayed, home, north)):
        before = count(own, "catalog_product", tenant)
        reply = site.add(tenant, 900_000_001, **{"Idempotency-Key": "same"})
        again = site.add(tenant, 900_000_001, **{"Idempotency-Key": "same"})
        assert (reply.status, again.status, again.json) == (201, 201, reply.json)
        # Equal GTINs in both cells.
        assert site.get(tenant, f"{site.items(tenant)}/{gtin(900_000_001)}").status == 200
        assert site.add(tenant, 900_000_001).status == 409
        assert site.total(tenant) == before + 1 == count(own, "catalog_product", tenant)
        assert count(own, "api_idempotencykey", tenant) == 1
        assert count(own, "accounts_apikey", tenant) == 1
        for table in ("catalog_product", "api_idempotencykey", "accounts_apikey"):
            assert count(other, table, tenant) == 0
    assert all("0 differences" in line for line in site.cells.differences())


def test_stats_need_the_same_statements_in_a_cell_and_none_in_the_directory(site: Site) -> None:
    home, north = site.cells.home, site.cells.north
    for tenant in (site.moved, site.stayed):
        site.total(tenant)
    before = statements(home), statements(north)
    site.total(site.moved)
    assert statements(home) == before[0]
    in_cell = statements(north) - before[1]
    before_home = statements(home)
    site.total(site.stayed)
    assert statements(home) - before_home == in_cell == 2


def test_pages_and_exports_of_members_read_the_cell(site: Site) -> None:
    home, north = site.cells.home, site.cells.north
    pages = ["", "products", "offers", "certifications", "history", "products/export"]
    expected = north.sql("SELECT string_agg(gtin, ' ' ORDER BY gtin) FROM catalog_product").split()
    before = home.statements('FROM "catalog_product"')
    for page in pages:
        reply = site.get(site.moved, f"/dashboard/{site.moved.organization}/{page}")
        assert reply.status == 200, page
    assert home.statements('FROM "catalog_product"') == before
    exported = reply.body.decode().splitlines()
    assert len(exported) == len(expected) + 1
    assert all(any(code in line for line in exported) for code in expected)
    # Not a member.
    assert site.get(site.moved, f"/dashboard/{site.stayed.organization}/").status == 404


def test_keys_open_only_their_own_organization(site: Site) -> None:
    for own, other in ((site.moved, site.stayed), (site.stayed, site.moved)):
        assert site.get(own, own.stats).status == 200
        assert site.get(own, other.stats).status == 404
        whoami = site.get(own, "/account/api/v1/whoami", **{"X-API-Key": own.key})
        assert [found["id"] for found in whoami.json["organizations"]] == [own.organization]
    unknown = {"X-API-Key": key_format.new_text("csb")}
    for tenant in (site.moved, site.stayed):
        assert site.get(tenant, tenant.stats, **unknown).status == 401


def test_the_key_of_a_user_is_in_the_directory_and_works_for_both_cells(site: Site) -> None:
    user = ("--kind", "csu", "--user", email_of("Moved Foods"))
    key = site.cells.manage("create_api_key", *user).split()[-1]
    as_user = {"X-API-Key": key}
    assert site.get(site.moved, site.moved.stats, **as_user).json == (
        site.get(site.moved, site.moved.stats).json
    )
    assert site.get(site.moved, site.stayed.stats, **as_user).status == 404
    prefix = f"FROM accounts_apikey WHERE prefix = '{key[4:12]}'"
    assert site.cells.home.sql(f"SELECT count(*) {prefix}") == 1
    assert site.cells.north.sql(f"SELECT count(*) {prefix}") == 0


def test_allowed_origins_are_changed_in_the_directory_and_in_the_cell(site: Site) -> None:
    path = f"/account/api/v1/organizations/{site.moved.organization}/allowed-origins"
    reply = send(
        site,
        "PUT",
        path,
        json.dumps({"origins": ["https://www.example.com"]}),
        **{"X-API-Key": site.moved.key, "Content-Type": "application/json"},
    )
    assert reply.status == 200
    row = f"SELECT allowed_origins FROM accounts_organization WHERE id = '{key_of(site.moved)}'"
    for server in (site.cells.home, site.cells.north):
        assert server.sql(row) == ["https://www.example.com"]


def send(site: Site, method: str, path: str, body: str, **headers: str) -> Reply:
    """Send a request with these headers alone."""
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=30)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return Reply(response.status, dict(response.getheaders()), response.read())
    finally:
        connection.close()


def test_members_write_in_the_cell_on_pages_and_with_their_session(site: Site) -> None:
    home, north = site.cells.home, site.cells.north
    home.sql("UPDATE accounts_membership SET role = 'editor'")
    pages = f"/dashboard/{site.moved.organization}"
    form = send(site, "GET", f"{pages}/products/new", "", Cookie=site.moved.cookie)
    assert form.status == 200
    (token,) = set(re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', form.body.decode()))
    cookie = f"{site.moved.cookie}; {form.headers['Set-Cookie'].split(';')[0]}"
    fields = {"csrfmiddlewaretoken": token, "gtin": gtin(900_000_500), "name": "From a page"}
    saved = send(
        site,
        "POST",
        f"{pages}/products/new",
        urlencode(fields),
        **{"Cookie": cookie, "Content-Type": "application/x-www-form-urlencoded"},
    )
    assert saved.status == 302, saved.body
    by = f"SELECT updated_by FROM catalog_product WHERE gtin = '{gtin(900_000_500)}'"
    assert (home.sql(by), north.sql(by)) == (None, email_of("Moved Foods"))
    listed = send(site, "GET", site.items(site.moved), "", Cookie=cookie)
    assert listed.status == 200
    assert gtin(900_000_500).encode() in listed.body
    patched = send(
        site,
        "PATCH",
        f"{site.items(site.moved)}/{gtin(900_000_500)}",
        json.dumps({"name": "From a session"}),
        **{"Cookie": cookie, "Content-Type": "application/json", "X-CSRFToken": token},
    )
    assert patched.status == 200, patched.body
    name = f"SELECT name FROM catalog_product WHERE gtin = '{gtin(900_000_500)}'"
    assert (home.sql(name), north.sql(name)) == (None, "From a session")


def test_an_import_goes_to_the_cell(site: Site, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("import") / "products.csv"
    file.write_text(f"gtin,name\n{gtin(900_000_777)},Imported\n")
    printed = site.cells.manage(
        "import_products", str(file), "--organization", site.moved.organization
    )
    assert "created 1" in printed
    found = f"SELECT count(*) FROM catalog_product WHERE gtin = '{gtin(900_000_777)}'"
    assert (site.cells.home.sql(found), site.cells.north.sql(found)) == (0, 1)


def test_a_dead_cell_costs_only_its_own_organizations(site: Site) -> None:
    before = site.total(site.moved)
    site.cells.north.stop(signal.SIGKILL)
    try:
        started = time.monotonic()
        replies = [site.get(site.moved, site.moved.stats) for _ in range(20)]
        seconds = (time.monotonic() - started) / len(replies)
        assert {reply.status for reply in replies} == {503}
        assert replies[0].headers["Retry-After"] == "1"
        assert seconds < 1
        page = site.get(site.moved, f"/dashboard/{site.moved.organization}/")
        assert page.status == 503
        assert {site.get(site.stayed, site.stayed.stats).status for _ in range(200)} == {200}
        assert site.add(site.stayed, 900_000_002).status == 201
        assert site.get(site.stayed, f"/dashboard/{site.stayed.organization}/").status == 200
    finally:
        site.cells.north.start()
    wait_until(lambda: site.get(site.moved, site.moved.stats).status == 200)
    assert site.total(site.moved) == before


def test_keys_of_a_cell_work_while_the_directory_is_dead(site: Site) -> None:
    expected = site.get(site.moved, site.moved.stats)
    site.cells.home.stop(signal.SIGKILL)
    try:
        assert site.get(site.stayed, site.stayed.stats).status == 503
        assert site.get(site.moved, site.moved.stats).json == expected.json
        # Longer than a placement is cached.
        until = time.monotonic() + 6
        statuses = set()
        while time.monotonic() < until:
            statuses.add(site.get(site.moved, site.moved.stats).status)
        assert statuses == {200}
        assert site.add(site.moved, 900_000_003).status == 201
    finally:
        site.cells.home.start()
    wait_until(lambda: site.get(site.stayed, site.stayed.stats).status == 200)


def test_a_worker_of_a_cell_checks_its_urls_within_the_limits_in_the_directory(
    site: Site, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home, north = site.cells.home, site.cells.north
    offers = f"{site.moved.api}/offers/{site.moved.organization}"
    assert site.add(site.moved, 900_000_004).status == 201
    body = {
        "gtin": gtin(900_000_004),
        "channel": "online",
        "retailer": "Shop",
        "url": "https://shop.invalid/a",
    }
    created = site.moved.request(site.port, offers, body)
    assert created.status == 201, created.body
    folder = tmp_path_factory.mktemp("worker")
    command = [sys.executable, "manage.py", "run_worker", "--cell", "north"]
    with (folder / "log").open("wb") as log:
        worker = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(**site.cells.variables, DATA_FOLDER=str(folder)),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        checked = "SELECT url_detail FROM offers_offer WHERE url = 'https://shop.invalid/a'"
        wait_until(lambda: north.sql(checked))
        known = "SELECT count(*) FROM offers_checkedhost WHERE host = 'shop.invalid'"
        assert (home.sql(known), north.sql(known)) == (1, 0)
        done = "SELECT count(*) FROM jobs_job WHERE name = 'copy_organizations' AND last_error = ''"
        wait_until(lambda: north.sql(f"{done} AND last_ended_at IS NOT NULL") == 1)
        assert home.sql("SELECT count(*) FROM jobs_worker") == 1
        assert worker.poll() is None
    finally:
        worker.terminate()
        worker.wait(60)
    assert worker.returncode == 0, (folder / "log").read_text()


def test_delete_organization_leaves_nothing_in_the_cell_and_in_the_directory(site: Site) -> None:
    key = key_of(site.moved)
    site.cells.manage("delete_organization", site.moved.organization, "--yes")
    for server in (site.cells.home, site.cells.north):
        assert server.sql(f"SELECT count(*) FROM accounts_organization WHERE id = '{key}'") == 0
        for table in ("catalog_product", "offers_offer", "tally_tallyentry", "accounts_membership"):
            assert count(server, table, site.moved) == 0
    assert site.cells.home.sql("SELECT count(*) FROM cells_placement") == 0
    assert site.total(site.stayed) > 0
