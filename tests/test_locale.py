"""Search, brands and the admin ignore case with every locale of the database."""

from __future__ import annotations

import itertools
import sys
import unicodedata
from collections.abc import Iterator

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.test import Client
from psycopg import sql

from catalog.models import Brand, Product
from closient.accounts.models import Organization
from closient.db.ids import format_id, uuid7
from tests.clients import API, client_of
from tests.factories import BrandFactory, OrganizationFactory, UserFactory, gtin
from tests.test_tally_restore import address

pytestmark = pytest.mark.django_db(transaction=True)

_gtins = map(gtin, itertools.count(1))


@pytest.fixture
def locale_c() -> Iterator[None]:
    """A database with locale C, at the migrations before case folding by a table."""
    usual = connection.settings_dict["NAME"]
    name = f"{usual}_locale_c"
    with psycopg.connect(address("postgres"), autocommit=True) as server:
        identifier = sql.Identifier(name)
        server.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(identifier))
        server.execute(
            sql.SQL(
                "CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER libc "
                "LC_COLLATE 'C' LC_CTYPE 'C'"
            ).format(identifier)
        )
        connection.close()
        connection.settings_dict["NAME"] = name
        try:
            MigrationExecutor(connection).migrate(
                [("accounts", "0004_normal_emails"), ("catalog", "0009_brand_key")]
            )
            yield
        finally:
            connection.close()
            connection.settings_dict["NAME"] = usual
            server.execute(sql.SQL("DROP DATABASE {}").format(identifier))


def insert_product(organization: Organization, name: str, brand: Brand | None) -> None:
    """Insert a product into the columns that it has in every version."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO catalog_product (id, organization_id, gtin, name, description, brand_id, "
            "manufacturer, category, gpc_brick_code, country_of_origin, net_content, nutrition, "
            "status, metadata) VALUES (%s, %s, %s, %s, '', %s, '', '', '', '', '', '{}', "
            "'active', '{}')",
            [uuid7(), organization.pk, next(_gtins), name, brand and brand.pk],
        )


def names(organization: Organization, **query: str) -> list[str]:
    path = f"{API}/trade-items/{format_id(organization.id)}"
    response = client_of(organization).get(path, {"ordering": "name", **query})
    return [row["name"] for row in response.json()["data"]]


@pytest.mark.slow
@pytest.mark.campaign
def test_migrations_of_a_database_with_locale_c_fold_case(locale_c: None, client: Client) -> None:
    organization = OrganizationFactory(name="Épicerie")
    first, second = (BrandFactory(organization=organization, name=n) for n in ("Ëlk", "ëlk"))
    for name, brand in (
        ("Jalapeño", first),
        ("ΜΈΛΙΣΣΑΣ ΛΌΓΟΣ", second),
        ("МОЛОКО", None),
        ("Þorsk", None),
        ("ŁAKOMKA", None),
    ):
        insert_product(organization, name, brand)
    call_command("migrate", verbosity=0)

    # Rows stored before the migrations, and rows stored after them.
    found = {
        q: names(organization, q=q)
        for q in ("JALAPEÑO", "jalapeno", "μέλισσας", "ΛΌΓΟΣ", "молоко", "Молоко", "þorsk", "łak")
    }
    assert found == {
        "JALAPEÑO": ["Jalapeño"],
        "jalapeno": ["Jalapeño"],
        "μέλισσας": ["ΜΈΛΙΣΣΑΣ ΛΌΓΟΣ"],
        "ΛΌΓΟΣ": ["ΜΈΛΙΣΣΑΣ ΛΌΓΟΣ"],
        "молоко": ["МОЛОКО"],
        "Молоко": ["МОЛОКО"],
        "þorsk": ["Þorsk"],
        "łak": ["ŁAKOMKA"],
    }
    assert [brand.name for brand in Brand.objects.all()] == ["Ëlk"]
    cod = Product.objects.get(name="Þorsk")
    changed = client_of(organization, role="editor").patch(
        f"{API}/trade-items/{format_id(organization.id)}/{cod.gtin}",
        {"brand": "ËLK"},
        content_type="application/json",
    )
    assert (changed.status_code, changed.json()["brand"]) == (200, "Ëlk")
    assert names(organization, brand="ëLK") == ["Jalapeño", "Þorsk", "ΜΈΛΙΣΣΑΣ ΛΌΓΟΣ"]

    # The admin's lists, which search for substrings.
    client.force_login(UserFactory(is_staff=True, is_superuser=True, password=None))
    for path, q in (("accounts/organization", "éPICER"), ("catalog/brand", "ëL")):
        assert client.get(f"/admin/{path}/", {"q": q}).context["cl"].result_count == 1, path

    with connection.cursor() as cursor:
        cursor.execute("SELECT lower('Ë')")
        assert cursor.fetchone() == ("Ë",)
        query, parameters = Product.objects.search("ΛΌΓΟΣ").order_by().query.sql_with_params()
        cursor.execute("SET enable_seqscan = off")
        cursor.execute(f"EXPLAIN {query}", parameters)
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "Bitmap Index Scan on catalog_product_words" in plan


@pytest.mark.slow
def test_fold_case_equals_unicode_case_folding() -> None:
    characters = [chr(n) for n in range(1, sys.maxunicode + 1) if not 0xD800 <= n <= 0xDFFF]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT letter, public.fold_case(letter) FROM unnest(%s::text[]) AS letter "
            "WHERE public.fold_case(letter) <> letter",
            [characters],
        )
        folded = dict(cursor.fetchall())
    # Python maps this one to two characters; its simple mapping is one.
    expected = {c: c.lower() for c in characters if c.lower() != c} | {"İ": "i"}
    assert {c: folded.get(c) for c in expected} == expected
    # Python may not know the newest letters.
    assert {c for c in folded if unicodedata.category(c) != "Cn"} == expected.keys()
