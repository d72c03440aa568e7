"""The service behind PgBouncer in transaction mode: a real process, in front of a real server."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

from closient.embedded_postgres.account import account_for
from tests import programs
from tests.clusters import NAME, Cluster, Tenant, clusters, manage
from tests.factories import gtin
from tests.servers import ROOT, free_port, serving
from tests.test_environment import run
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

TIMEOUT_SECONDS = 60.0
# Numbers of products that the demo does not have.
FIRST_NEW = 900_000_000


def documented_settings() -> str:
    """Return the configuration of PgBouncer in the documentation."""
    text = (ROOT / "docs/scaling.md").read_text()
    found = re.search(r"```ini\n(\[databases\].*?)```", text, re.DOTALL)
    assert found
    return found[1]


@contextmanager
def pooling(cluster: Cluster, mode: str, databases: str = NAME) -> Iterator[str]:
    """Run PgBouncer in front of a server with the documented settings; yields the URL."""
    folder = Path(tempfile.mkdtemp(prefix="closient-pooler-"))
    port = free_port()
    settings = documented_settings()
    for pattern, value in {
        rf"{NAME} = host=\S+ port=\S+": f"{databases} = host=127.0.0.1 port={cluster.port}",
        r"listen_addr = .*": "listen_addr = 127.0.0.1",
        r"listen_port = .*": f"listen_port = {port}\nunix_socket_dir =",
        r"auth_type = .*": "auth_type = trust",
        r"auth_file = .*": f"auth_file = {folder}/users",
        r"pool_mode = .*": f"pool_mode = {mode}",
    }.items():
        settings, count = re.subn(pattern, value, settings)
        assert count == 1, pattern
    # Each transaction runs in another session, also with one client.
    settings += "server_round_robin = 1\nmin_pool_size = 4\n"
    (folder / "settings").write_text(settings)
    (folder / "users").write_text(f'"{NAME}" ""\n')
    if os.geteuid() == 0:
        # It does not run as root.
        account = account_for(folder)
        for path in (folder, *folder.iterdir()):
            os.chown(path, *account)
        who = {"user": account.uid, "group": account.gid, "extra_groups": ()}
    else:
        who = {}
    process = subprocess.Popen(
        [programs.need("pgbouncer"), str(folder / "settings")],
        cwd="/",
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        **who,  # type: ignore[call-overload]
    )

    def listens() -> bool:
        assert process.poll() is None
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_until(listens)
        yield f"postgres://{NAME}@127.0.0.1:{port}/{NAME}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(TIMEOUT_SECONDS)
        shutil.rmtree(folder)


class Site(NamedTuple):
    """A server with a catalog, and the environment of a service behind the pooler."""

    cluster: Cluster
    tenant: Tenant
    pooler: str
    variables: dict[str, str]


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    programs.need("pgbouncer")
    with clusters(1) as (cluster,):
        cluster.create()
        tenant = Tenant.create(cluster.url)
        manage(cluster.url, "seed_demo", "--products", "300", "--organization", "Replica Foods")
        with pooling(cluster, "transaction") as url:
            yield Site(
                cluster,
                tenant,
                url,
                {
                    "DATABASE_URL": url,
                    "DATABASE_PREPARED_STATEMENTS": "0",
                    "HTTPS": "0",
                    "WEB_CONCURRENCY": "2",
                    "API_LIMIT_PER_MINUTE": "100000",
                    "API_LIMIT_PER_DAY": "1000000",
                    "PAGE_LIMIT_PER_MINUTE": "100000",
                },
            )


def test_pages_api_and_exports_work_and_equal_those_without_a_pooler(site: Site) -> None:
    tenant = site.tenant
    items = f"{tenant.api}/trade-items/{tenant.organization}"
    pages = ("", "history", "products", "products?complete=false", "offers", "certifications")
    paths = [
        tenant.stats,
        f"{tenant.stats}/forecast",
        f"{tenant.stats}/history",
        f"{tenant.stats}/rule",
        f"{items}?page_size=100",
        f"{items}?ordering=completeness",
        f"{tenant.api}/offers/{tenant.organization}",
        f"/dashboard/{tenant.organization}/products/export",
        f"/dashboard/{tenant.organization}/offers/export",
    ]
    with serving(**site.variables | {"DATABASE_URL": site.cluster.url}) as (port, _):
        expected = {path: tenant.request(port, path) for path in paths}
    with serving(**site.variables) as (port, _), ThreadPoolExecutor(8) as threads:
        for path in paths:
            # At the same time, so that sessions change between transactions.
            for reply in threads.map(lambda _, path=path: tenant.request(port, path), range(8)):
                assert reply.status in (200, 429), (path, reply)
                if reply.status == 200:
                    assert reply.body == expected[path].body, path
                else:
                    assert path.endswith("export")
        for page in pages:
            reply = tenant.request(port, f"/dashboard/{tenant.organization}/{page}")
            assert reply.status == 200, (page, reply)


def test_writes_are_exact_and_repeated_keys_write_once(site: Site) -> None:
    tenant = site.tenant
    items = f"{tenant.api}/trade-items/{tenant.organization}"
    with serving(**site.variables) as (port, _), ThreadPoolExecutor(8) as threads:
        before = tenant.request(port, tenant.stats).json["total_products"]

        def write(number: int) -> int:
            # Each product is sent twice with the same key.
            body = {"gtin": gtin(FIRST_NEW + number // 2), "name": "New"}
            headers = {"Idempotency-Key": f"product-{number // 2}"}
            return tenant.request(port, items, body, **headers).status

        statuses = Counter(threads.map(write, range(100)))
        # A repetition while the first one still runs is a conflict.
        assert statuses.keys() <= {201, 409}
        assert tenant.request(port, tenant.stats).json["total_products"] == before + 50
    manage(site.cluster.url, "audit_tally")


def test_a_user_may_run_two_exports(site: Site) -> None:
    """The slots are locks of transactions, which a pool does not share."""
    tenant = site.tenant
    # Two other exports of the viewer.
    held = "SELECT pg_advisory_xact_lock(hashtextextended('export {0} of ' || id, 0)) " + (
        "FROM accounts_user WHERE email = 'viewer@example.com'"
    )
    path = f"/dashboard/{tenant.organization}/products/export"
    with serving(**site.variables) as (port, _):
        with psycopg.connect(site.pooler) as first, psycopg.connect(site.pooler) as second:
            first.execute(held.format(0))
            assert tenant.request(port, path).status == 200
            second.execute(held.format(1))
            assert tenant.request(port, path).status == 429
        assert tenant.request(port, path).status == 200
        # A lock of a session would stay in the pool.
        locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
        wait_until(lambda: site.cluster.sql(locks) == 0)


def test_statement_timeout_of_the_pooler_applies_in_every_session(site: Site) -> None:
    with psycopg.connect(site.pooler, autocommit=True) as session:
        assert session.execute("SHOW statement_timeout").fetchone() == ("15s",)
        limit = session.execute("SHOW idle_in_transaction_session_timeout").fetchone()
        assert limit == ("1min",)


NEEDS_OWN_SESSIONS = (
    "CommandError: DATABASE_URL leads through a connection pool that shares sessions, and {}: "
    "connect it to PostgreSQL directly, or use pool_mode=session."
)


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("run_worker", "run_worker holds locks in its sessions"),
        ("import_products", "import_products may take longer than its limits allow"),
        ("delete_organization", "delete_organization holds locks in its sessions"),
    ],
)
def test_command_refuses_to_start(site: Site, tmp_path: Path, command: str, reason: str) -> None:
    file = tmp_path / "products.csv"
    file.write_text(f"gtin,name\n{gtin(FIRST_NEW + 999)},New\n")
    arguments = {
        "run_worker": [],
        "import_products": [str(file), "--organization", site.tenant.organization],
        "delete_organization": [site.tenant.organization, "--yes"],
    }
    count = "SELECT count(*) FROM catalog_product"
    before = site.cluster.sql(count)
    ran = subprocess.run(
        [sys.executable, "manage.py", command, *arguments[command]],
        cwd=ROOT,
        env=os.environ | site.variables,
        check=False,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1] == NEEDS_OWN_SESSIONS.format(reason)
    assert site.cluster.sql(count) == before


@pytest.mark.campaign
def test_tests_of_the_api_pass(site: Site) -> None:
    files = ("isolation", "offers", "products_write", "stats")
    with pooling(site.cluster, "transaction", databases="*") as url:
        done = run(
            *("-m", "pytest", "-p", "tests.pooled", "-m", "not slow"),
            # The pool keeps sessions of the test database, which can then not be dropped.
            "--reuse-db",
            # Some look for their own session among those of the server; some count statements,
            # which are others when each test commits.
            *("-k", "not concurrent and not number_of_queries"),
            *(f"tests/test_api_{name}.py" for name in files),
            DATABASE_URL=url,
        )
    assert done.returncode == 0, done.stdout[-3000:]
    assert re.search(r"[1-9]\d\d passed", done.stdout)


PROBE = "from closient.db.pooling import shares_sessions; print(shares_sessions())"


def test_shared_sessions_are_detected_under_load_and_own_ones_are_not(site: Site) -> None:
    with pooling(site.cluster, "session") as own:
        for url, expected in ((site.cluster.url, "False"), (own, "False")):
            assert manage(url, "shell", "--no-imports", "-c", PROBE) == expected
    with serving(**site.variables) as (port, _), ThreadPoolExecutor(4) as threads:
        done = threads.submit(manage, site.pooler, "shell", "--no-imports", "-c", PROBE)
        while not done.done():
            list(threads.map(lambda _: site.tenant.request(port, site.tenant.stats), range(3)))
        assert done.result() == "True"
