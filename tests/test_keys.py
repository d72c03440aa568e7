"""Rows by their keys: no key is compared with each row, whatever statistics PostgreSQL has."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection

from closient.accounts.models import Organization
from closient.db.keys import with_keys
from offers.models import Offer
from tests.factories import OfferFactory, OrganizationFactory, ProductFactory

COLUMNS = ("product", "channel", "retailer", "store", "sku")
OFFERS = 1000
KEYS = 100

pytestmark = pytest.mark.django_db


def test_keys_are_found_in_an_organization_without_statistics() -> None:
    products = [ProductFactory.create(organization=OrganizationFactory.create()) for _ in range(2)]
    known, new = products
    for product in products:
        rows = OfferFactory.build_batch(OFFERS, product=product, organization=product.organization)
        Offer.objects.bulk_create(rows)
        if product is known:
            with connection.cursor() as cursor:
                cursor.execute("ANALYZE offers_offer")
    for product in products:
        assert rows_read(product.organization) <= 3 * OFFERS, product is new


def rows_read(organization: Organization) -> int:
    """Return how many rows PostgreSQL reads and compares to find 100 of 1,000 offers."""
    offers = Offer.objects.of(organization)[:KEYS]
    keys = [(o.product_id, o.channel, o.retailer, o.store, o.sku) for o in offers]
    found = with_keys(Offer, organization.pk, COLUMNS, keys)
    assert {row.pk for row in found} == {row.pk for row in offers}
    statement, parameters = found.query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)
        (plans,) = cursor.fetchone()
    plan = json.loads(plans) if isinstance(plans, str) else plans
    read = 0
    for node in nodes(plan[0]["Plan"]):
        rows = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Join Filter", 0)
        if node.get("Relation Name"):
            rows += node["Actual Rows"]
        read += round(rows * node["Actual Loops"])
    return read


def nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a node of a plan and all below it."""
    yield node
    for child in node.get("Plans", []):
        yield from nodes(child)
