"""The migration that moves what is derived about products to their summaries, and back."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection

from catalog.models import Product, ProductSummary
from closient.tally.models import TallyEntry
from tests import factories
from tests.counting import assert_exact, differences
from tests.migrating import migrate_to, migrate_to_latest

pytestmark = [pytest.mark.slow, pytest.mark.campaign, pytest.mark.django_db(transaction=True)]

BEFORE = ("catalog", "0013_field_help")
STORED = (
    "SELECT id, image_count, active_offer_count, certified_during::text, facts"
    " FROM catalog_product ORDER BY id"
)


def rows(statement: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


def test_products_keep_what_is_derived_in_both_directions() -> None:
    product = factories.ProductFactory(described=True, status="draft")
    factories.ProductImageFactory.create_batch(2, product=product)
    factories.OfferFactory(product=product)
    factories.CertificationAssignmentFactory(
        product=product, expiry_date=product.organization.today()
    )
    factories.ProductFactory()
    derived = ProductSummary.objects.order_by("pk").values_list()
    before = list(derived)
    stored = [(s[0], s[4], s[5], str(s[6]), s[7]) for s in before]
    columns = [field.column for field in ProductSummary._meta.concrete_fields]
    assert columns[4:8] == ["image_count", "active_offer_count", "certified_during", "facts"]
    try:
        migrate_to(BEFORE)
        found = rows(STORED)
        assert [(row[0], row[1], row[2], row[4]) for row in found] == [
            (row[0], row[1], row[2], row[4]) for row in stored
        ]
        assert [bool(row[3].strip("{}")) for row in found] == [True, False]
        assert not TallyEntry.objects.filter(account="products_by_status").exists()
        # The former triggers count.
        rows("DELETE FROM catalog_productimage RETURNING id")
        assert [row[1] for row in rows(STORED)] == [0, 0]
    finally:
        migrate_to_latest()
    assert ProductSummary.objects.get(product=product).image_count == 0
    assert differences() == []
    Product.objects.filter(pk=product.pk).update(status="active", name="")
    factories.ProductImageFactory(product=product)
    assert_exact(product.organization)
