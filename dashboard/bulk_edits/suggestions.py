"""Values for products that lack one, from the catalog itself: what most similar products have."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db import connection

from catalog.models import Product
from closient.accounts.models import Organization

# Of each brand or category only the newest products are looked at.
SAMPLE = 200
# The share of them that must have the value.
MIN_SHARE = 0.6
MIN_PRODUCTS = 2
SUGGESTED = ("category", "country_of_origin", "manufacturer")


@dataclasses.dataclass(frozen=True)
class Suggestion:
    """A value, and why it may be right."""

    value: str
    reason: str


def suggestions(
    organization: Organization, field: str, products: Sequence[Product]
) -> dict[UUID, Suggestion]:
    """Return a value for each product that lacks a field, by its id, where there is a good one.

    The brand whose name the product's name begins with; for other fields the value of most products
    of the same brand. One query.
    """
    lacking = [product for product in products if not _value(product, field)]
    if not lacking:
        return {}
    if field == "brand":
        return _brands(organization, lacking)
    if field not in SUGGESTED:
        return {}
    return _of_brand(organization, field, lacking)


def _value(product: Product, field: str) -> str:
    return product.brand_name if field == "brand" else str(getattr(product, field))


def _brands(organization: Organization, products: Sequence[Product]) -> dict[UUID, Suggestion]:
    rows = _run(
        """
        SELECT DISTINCT ON (p.id) p.id, b.name, 1
        FROM unnest(%(ids)s::uuid[], %(names)s::text[]) AS p (id, name)
        JOIN catalog_brand b ON b.organization_id = %(organization)s
            AND starts_with(lower(p.name) || ' ', lower(b.name) || ' ')
        ORDER BY p.id, length(b.name) DESC
        """,
        organization=organization.pk,
        ids=[product.pk for product in products],
        names=[product.name for product in products],
    )
    return {key: Suggestion(name, "the name begins with it") for key, name, _ in rows}


def _of_brand(
    organization: Organization, field: str, products: Sequence[Product]
) -> dict[UUID, Suggestion]:
    brands = {product.brand_id for product in products if product.brand_id}
    rows = _run(
        f"""
        SELECT b.id, v.value, v.count FROM unnest(%(brands)s::uuid[]) AS b (id)
        CROSS JOIN LATERAL (
            SELECT n.value, count(*) AS count, sum(count(*)) OVER () AS total FROM (
                SELECT p.{field} AS value FROM catalog_product p
                WHERE p.organization_id = %(organization)s AND p.brand_id = b.id
                ORDER BY p.id DESC LIMIT {SAMPLE}
            ) n WHERE n.value <> '' GROUP BY n.value ORDER BY count(*) DESC LIMIT 1
        ) v
        WHERE v.count >= {MIN_PRODUCTS} AND v.count >= {MIN_SHARE} * v.total
        """,
        organization=organization.pk,
        brands=list(brands),
    )
    found = {brand: (value, count) for brand, value, count in rows}
    return {
        product.pk: Suggestion(
            found[product.brand_id][0],
            f"as {found[product.brand_id][1]} other products of {product.brand_name}",
        )
        for product in products
        if product.brand_id in found
    }


def _run(statement: str, **parameters: Any) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())
