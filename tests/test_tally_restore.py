"""A restored dump has the same counts as the original."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from django.db import connection
from psycopg import conninfo

from closient.embedded_postgres.programs import programs_folder
from tests import factories
from tests.counting import assert_exact

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

COUNTS = (
    "SELECT account, bucket, effective_on, sum(amount) FROM tally_tallyentry"
    " GROUP BY 1, 2, 3 HAVING sum(amount) <> 0 ORDER BY 1, 2, 3"
)


def address(database: str) -> str:
    """Return the connection string of another database on the test server."""
    known = connection.get_connection_params()
    kept = {key: known[key] for key in ("host", "port", "user", "password") if known.get(key)}
    return conninfo.make_conninfo(**kept, dbname=database)


def program(name: str) -> str:
    """Return a client program of the server's major version: pg_dump rejects newer servers."""
    major = connection.pg_version // 10000
    candidates = [str(programs_folder() / name), shutil.which(name)]
    for candidate in filter(None, candidates):
        if not Path(candidate).exists():
            continue
        reported = subprocess.run(
            [candidate, "--version"], capture_output=True, text=True, check=True
        )
        if re.search(rf"\b{major}(\.|\D|$)", reported.stdout):
            return candidate
    raise AssertionError(
        f"{name} of PostgreSQL {major} is needed: install postgresql-client-{major} "
        "or set POSTGRES_BIN to its folder."
    )


@pytest.fixture
def empty_database() -> Iterator[str]:
    name = f"{connection.settings_dict['NAME']}_restored"
    with psycopg.connect(address("postgres"), autocommit=True) as server:
        server.execute(f'DROP DATABASE IF EXISTS "{name}"')
        server.execute(f'CREATE DATABASE "{name}"')
        yield name
        server.execute(f'DROP DATABASE "{name}"')


def dump_and_restore(into: str, *options: str) -> None:
    source = address(connection.settings_dict["NAME"])
    dump = subprocess.run(
        [program("pg_dump"), "--dbname", source, *options], capture_output=True, check=True
    )
    subprocess.run(
        [program("psql"), "--dbname", address(into), "--quiet", "--set=ON_ERROR_STOP=1"],
        input=dump.stdout,
        capture_output=True,
        check=True,
    )


def test_full_dump_and_restore_counts_everything_once(empty_database):
    product = factories.ProductFactory(described=True)
    factories.ProductImageFactory(product=product)
    factories.OfferFactory(product=product)
    certificate = factories.CertificationAssignmentFactory(product=product)
    dump_and_restore(empty_database)
    with connection.cursor() as cursor:
        cursor.execute(COUNTS)
        counts = cursor.fetchall()
    with psycopg.connect(address(empty_database)) as restored:
        assert restored.execute(COUNTS).fetchall() == counts
        # The restored triggers keep counting, with any search path.
        restored.execute("SET search_path TO ''")
        restored.execute(
            "DELETE FROM public.certifications_certificationassignment WHERE id = %s",
            [certificate.pk],
        )
        restored.execute("DELETE FROM public.catalog_product")
        restored.execute("SET search_path TO public")
        assert restored.execute(COUNTS).fetchall() == []
    assert_exact(product.organization)


def test_business_rows_loaded_without_the_tally_are_counted_by_triggers(empty_database):
    """Never load tally rows: load business rows and let the triggers count."""
    product = factories.ProductFactory(described=True)
    factories.ProductImageFactory(product=product)
    factories.OfferFactory(product=product)
    dump_and_restore(empty_database, "--schema-only")
    tables = ["accounts_organization", "catalog_brand", "catalog_product", "catalog_productimage"]
    for table in [*tables, "offers_offer"]:
        dump_and_restore(
            empty_database, "--data-only", "--column-inserts", f"--table=public.{table}"
        )
    with connection.cursor() as cursor:
        cursor.execute(COUNTS)
        counts = cursor.fetchall()
    with psycopg.connect(address(empty_database)) as restored:
        assert restored.execute(COUNTS).fetchall() == counts
