"""The migration that makes brands equal that differ only in invisible characters."""

from __future__ import annotations

from importlib import import_module

import pytest
from django.db import connection

from catalog.models import Brand
from closient.accounts.models import Organization
from tests import factories
from tests.counting import assert_exact
from tests.migrating import migrate_to, migrate_to_latest
from tests.sessions import sessions

pytestmark = [pytest.mark.slow, pytest.mark.campaign, pytest.mark.django_db(transaction=True)]

BEFORE = ("catalog", "0017_import_run_groups")
# A name as it is copied from another program, with marks of the writing direction around it.
MARKED = "\u202aAcme\u202c"


@pytest.fixture
def migrated_back(organization: Organization):
    migrate_to(BEFORE)
    yield
    migrate_to_latest()


def brands(organization: Organization) -> dict[str, tuple[str, int]]:
    """The brands by name, with their key and the number of their products."""
    return {
        brand.name: (brand.key, brand.products.count())
        for brand in Brand.objects.filter(organization=organization)
    }


@pytest.mark.usefixtures("migrated_back")
def test_brands_that_become_equal_are_merged(
    organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    migration = import_module("catalog.migrations.0018_invisible_brand_key")
    monkeypatch.setattr(migration, "CHUNK", 2)
    other = factories.OrganizationFactory()
    for number, name in enumerate(["Acme", MARKED, "\u2066ACME\u2069", "\u202aOnly\u202c", "Öl"]):
        brand = factories.BrandFactory(organization=organization, name=name)
        # More than a chunk, exactly two, and fewer.
        factories.ProductFactory.create_batch(5 - number, organization=organization, brand=brand)
    factories.ProductFactory(
        organization=other, brand=factories.BrandFactory(organization=other, name=MARKED)
    )
    assert len(brands(organization)) == 5
    migrate_to_latest()
    assert brands(organization) == {
        "Acme": ("acme", 5 + 4 + 3),
        "\u202aOnly\u202c": ("only", 2),
        "Öl": ("öl", 1),
    }
    assert brands(other) == {MARKED: ("acme", 1)}
    assert assert_exact(organization).total_products == 5 + 4 + 3 + 2 + 1
    # A second run finds nothing to do.
    with connection.cursor() as cursor:
        cursor.execute(migration.AFFECTED)
        assert cursor.fetchall() == []


@pytest.mark.usefixtures("migrated_back")
def test_product_that_is_written_meanwhile_keeps_its_brand(organization: Organization) -> None:
    factories.BrandFactory(organization=organization, name="Acme")
    marked = factories.BrandFactory(organization=organization, name=MARKED)
    factories.ProductFactory(organization=organization, brand=marked)
    with sessions(2) as (writer, migrator):
        writer.begin()
        writer.run(lambda: factories.ProductFactory(organization=organization, brand=marked))
        migrated = migrator.start(migrate_to_latest)
        migrator.wait_until_blocked()
        writer.end()
        migrated.result(timeout=60)
    assert brands(organization) == {"Acme": ("acme", 2)}
    assert_exact(organization)
