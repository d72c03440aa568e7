"""Imports that are killed, and imports with concurrent writers."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connection
from psycopg import sql

from catalog.models import Brand, Product
from closient.accounts.models import Organization
from closient.embedded_postgres.layout import ADMIN_ROLE
from tests.counting import assert_exact
from tests.factories import ProductFactory, gtin
from tests.importing import EAN, EAN_14, UPC, UPC_14, numbers, product, run, stored, write
from tests.sessions import TIMEOUT_SECONDS, query, sessions

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

# A program that runs the command on the test database.
CLIENT = """
import sys
from django.conf import settings
settings.DATABASES["default"]["NAME"] = sys.argv.pop(1)
from django.core.management import execute_from_command_line
execute_from_command_line(["manage.py", "import_products", *sys.argv[1:]])
"""


def rows(numbers: range, word: str) -> str:
    return "gtin,name,brand,image_url\n" + "".join(
        f"{gtin(n)},{word} {n},{word} {n % 7},https://example.com/{word}{n}.jpg\n" for n in numbers
    )


@contextmanager
def client(path: Path, organization: Organization) -> Iterator[subprocess.Popen[bytes]]:
    """Start an import in a separate process, with the file's name as its application name."""
    name = str(connection.settings_dict["NAME"])
    process = subprocess.Popen(
        [sys.executable, "-c", CLIENT, name, str(path), f"--organization={organization.pk}"],
        env={**os.environ, "PGAPPNAME": path.stem, "DJANGO_SETTINGS_MODULE": "closient.settings"},
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_until(is_true: Callable[[], Any], process: subprocess.Popen[bytes] | None = None) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not is_true():
        assert time.monotonic() < deadline
        assert process is None or process.poll() is None, process.communicate()
        threading.Event().wait(0.005)


def server_processes(path: Path) -> Any:
    return query("SELECT count(*) FROM pg_stat_activity WHERE application_name = %s", [path.stem])


def is_blocked(path: Path) -> Any:
    return query(
        "SELECT bool_or(cardinality(pg_blocking_pids(pid)) > 0) "
        "FROM pg_stat_activity WHERE application_name = %s",
        [path.stem],
    )


def copied_rows(path: Path) -> Any:
    """Return how many rows the client has copied so far; -1 while it is not copying."""
    return query(
        "SELECT coalesce(max(tuples_processed), -1) FROM pg_stat_progress_copy "
        "JOIN pg_stat_activity USING (pid) WHERE application_name = %s",
        [path.stem],
    )


def everything(organization: Organization) -> Any:
    return stored(organization), sorted(Brand.objects.values_list("name", "pk"))


@pytest.fixture
def half_new(organization: Organization, tmp_path: Path) -> Path:
    """A file whose products exist already in half of the cases, with other values."""
    run(write(tmp_path, rows(range(100), "old"), "old.csv"), organization)
    return write(tmp_path, rows(range(50, 200), "new"), "half new.csv")


@pytest.mark.parametrize(
    "blocker",
    [
        "LOCK TABLE catalog_brand IN SHARE MODE",
        "LOCK TABLE catalog_product IN SHARE MODE",
        "LOCK TABLE tally_tallyentry IN SHARE MODE",
        "LOCK TABLE catalog_productimage IN SHARE MODE",
        "SELECT 1 FROM catalog_product WHERE name = 'old 70' FOR UPDATE",
        "SELECT 1 FROM catalog_productimage ORDER BY external_url DESC LIMIT 1 FOR UPDATE",
    ],
)
def test_import_killed_while_it_writes_leaves_nothing(
    organization: Organization, half_new: Path, blocker: str
) -> None:
    before = everything(organization)
    with sessions(1) as (other,), client(half_new, organization) as process:
        other.begin()
        other.run(lambda: run_sql(blocker))
        wait_until(lambda: is_blocked(half_new), process)
        process.kill()
        process.wait()
        other.end()
        wait_until(lambda: not server_processes(half_new))
    assert everything(organization) == before
    assert_exact(organization)


def test_import_killed_while_it_reads_leaves_nothing(
    organization: Organization, tmp_path: Path
) -> None:
    path = write(tmp_path, rows(range(20_000), "new"), "many.csv")
    for _ in range(3):
        with client(path, organization) as process:
            wait_until(lambda: copied_rows(path) >= 0, process)
            threading.Event().wait(random.uniform(0, 0.3))
            process.kill()
            process.wait()
            wait_until(lambda: not server_processes(path))
        assert everything(organization) == ([], [])
    assert_exact(organization)


def test_import_that_is_not_killed_finishes(organization: Organization, half_new: Path) -> None:
    with client(half_new, organization) as process:
        output, messages = process.communicate(timeout=TIMEOUT_SECONDS)
    assert (output, messages) == (b"total 150 created 100 updated 50 unchanged 0 rejected 0\n", b"")
    assert assert_exact(organization).total_products == 200


def test_same_file_imported_twice_at_once_is_imported_once(
    organization: Organization, half_new: Path
) -> None:
    with sessions(3) as (blocker, first, second):
        blocker.begin()
        blocker.run(lambda: run_sql("LOCK TABLE catalog_product IN SHARE MODE"))
        imports = [
            session.start(lambda: run(half_new, organization)) for session in (first, second)
        ]
        first.wait_until_blocked()
        second.wait_until_blocked()
        blocker.end()
        results = [done.result(timeout=TIMEOUT_SECONDS) for done in imports]
    assert sorted(numbers(result) for result in results) == [
        (150, 0, 0, 150, 0),
        (150, 100, 50, 0, 0),
    ]
    assert assert_exact(organization).total_products == 200


def test_product_that_another_writer_creates_meanwhile_is_updated(
    organization: Organization, tmp_path: Path
) -> None:
    path = write(tmp_path, f"gtin,name,image_url\n{EAN},a,https://example.com/1.jpg\n{UPC},b,\n")
    with sessions(2) as (other, importer):
        other.begin()
        other.run(lambda: ProductFactory(organization=organization, gtin=EAN_14, category="c"))
        done = importer.start(lambda: run(path, organization))
        importer.wait_until_blocked()
        other.end()
        assert numbers(done.result(timeout=TIMEOUT_SECONDS)) == (2, 1, 1, 0, 0)
    assert stored(organization) == [
        product(gtin=UPC_14, name="b"),
        product(gtin=EAN_14, name="a", category="c", images=["https://example.com/1.jpg"]),
    ]
    assert_exact(organization)


def test_product_that_another_writer_deletes_meanwhile_stays_deleted(
    organization: Organization, tmp_path: Path
) -> None:
    ProductFactory(organization=organization, gtin=EAN_14)
    path = write(tmp_path, f"gtin,name,image_url\n{EAN},a,https://example.com/1.jpg\n{UPC},b,\n")
    with sessions(2) as (other, importer):
        other.begin()
        other.run(lambda: Product.objects.filter(gtin=EAN_14).delete())
        done = importer.start(lambda: run(path, organization))
        importer.wait_until_blocked()
        other.end()
        results = numbers(done.result(timeout=TIMEOUT_SECONDS))
    assert results[:3] == (2, 1, 0)
    assert stored(organization) == [product(gtin=UPC_14, name="b")]
    assert_exact(organization)


def test_brand_that_another_writer_deletes_meanwhile_is_created_again(
    organization: Organization, tmp_path: Path
) -> None:
    Brand.objects.create(organization=organization, name="Acme")
    path = write(tmp_path, f"gtin,brand\n{EAN},Acme\n")
    with sessions(2) as (other, importer):
        other.begin()
        other.run(lambda: Brand.objects.all().delete())
        done = importer.start(lambda: run(path, organization))
        importer.wait_until_blocked()
        other.end()
        assert numbers(done.result(timeout=TIMEOUT_SECONDS)) == (1, 1, 0, 0, 0)
    assert stored(organization) == [product(gtin=EAN_14, brand="Acme")]


def allow_setting(parameter: str) -> None:
    """Allow the tests' role to set a superuser parameter of PostgreSQL."""
    settings = connection.settings_dict
    if query("SELECT rolsuper FROM pg_roles WHERE rolname = current_user"):
        return
    where = {"host": settings["HOST"], "port": settings["PORT"], "dbname": settings["NAME"]}
    with psycopg.connect(**where, user=ADMIN_ROLE) as admin:
        role = sql.Identifier(settings["USER"])
        grant = sql.SQL("GRANT SET ON PARAMETER {} TO {}").format(sql.SQL(parameter), role)
        admin.execute(grant)


def test_import_that_loses_a_deadlock_is_retried(
    organization: Organization, tmp_path: Path
) -> None:
    for known in sorted([EAN_14, UPC_14]):
        ProductFactory(organization=organization, gtin=known)
    first, second = Product.objects.order_by("pk")
    path = write(tmp_path, f"gtin,name\n{EAN},a\n{UPC},b\n")
    with sessions(2) as (other, importer):
        # The other session has no deadlock timeout, so the import is aborted.
        allow_setting("deadlock_timeout")
        other.run(lambda: run_sql("SET deadlock_timeout = '1h'"))
        other.begin()
        other.run(lambda: Product.objects.filter(pk=second.pk).update(category="c"))
        done = importer.start(lambda: run(path, organization))
        importer.wait_until_blocked()
        other.run(lambda: Product.objects.filter(pk=first.pk).update(category="c"))
        other.end()
        assert numbers(done.result(timeout=TIMEOUT_SECONDS)) == (2, 0, 2, 0, 0)
    assert stored(organization) == [
        product(gtin=UPC_14, name="b", category="c"),
        product(gtin=EAN_14, name="a", category="c"),
    ]
    assert_exact(organization)


def test_import_does_not_wait_for_unchanged_products(
    organization: Organization, tmp_path: Path
) -> None:
    path = write(tmp_path, f"gtin,name,brand,image_url\n{EAN},a,b,https://example.com/1.jpg\n")
    run(path, organization)
    with sessions(1) as (other,):
        other.begin()
        other.run(lambda: run_sql("SELECT 1 FROM catalog_product FOR UPDATE"))
        other.run(lambda: run_sql("SELECT 1 FROM catalog_productimage FOR UPDATE"))
        other.run(lambda: run_sql("SELECT 1 FROM catalog_brand FOR UPDATE"))
        run_sql("SET lock_timeout = '2s'")
        try:
            assert numbers(run(path, organization)) == (1, 0, 0, 1, 0)
        finally:
            run_sql("RESET lock_timeout")
            other.end()


def run_sql(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)
