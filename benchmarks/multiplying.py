"""Multiplies a seeded catalog inside the database: ten million products in a fraction of the time.

Python makes the rows of the demo catalog one by one, which takes hours for ten million. Copies of
the first million differ only in ids and GTINs. All triggers run, so the tally counts every row.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.db import connection, models, transaction
from tqdm import tqdm

from catalog.models import Product, ProductImage
from certifications.models import CertificationAssignment
from closient.db.ids import uuid7
from dashboard.demo.catalog import gtin
from offers.models import Offer

CHUNK = 50_000
PARTS = (ProductImage, Offer, CertificationAssignment)


def multiply(organization_id: UUID, *, seeded: int, products: int) -> None:
    """Copy the first ``seeded`` demo products of an organization until it has ``products``.

    Continues where an interrupted call ended.
    """
    present = Product.objects.filter(organization_id=organization_id).count()
    with tqdm(total=products, initial=present, unit=" products", disable=None) as progress:
        for first in range(present + 1, products + 1, CHUNK):
            last = min(first + CHUNK - 1, products)
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(
                    "CREATE TEMPORARY TABLE copied (id uuid, gtin text, seeded_gtin text) "
                    "ON COMMIT DROP"
                )
                with cursor.copy("COPY copied FROM STDIN") as copy:
                    for row in _copies(first, last, seeded):
                        copy.write_row(row)
                cursor.execute("ANALYZE copied")
                _copy_products(cursor, organization_id)
                for model in PARTS:
                    _copy_parts(cursor, model, organization_id)
            progress.update(last - first + 1)


def _copies(first: int, last: int, seeded: int) -> Iterator[tuple[UUID, str, str]]:
    for number in range(first, last + 1):
        yield uuid7(), gtin(number), gtin((number - 1) % seeded + 1)


def _columns(model: type[models.Model], *others: str) -> str:
    """Return the columns of a model that PostgreSQL does not compute, without others."""
    return ", ".join(
        f'"{field.column}"'
        for field in model._meta.concrete_fields
        if not field.generated and field.column not in others
    )


def _copy_products(cursor: Any, organization_id: UUID) -> None:
    columns = _columns(Product, "id", "gtin")
    cursor.execute(
        f"INSERT INTO catalog_product (id, gtin, {columns}) "  # noqa: S608 (our own columns)
        f"SELECT copied.id, copied.gtin, {columns} FROM copied "
        f"JOIN (SELECT gtin AS seeded_gtin, {columns} FROM catalog_product "
        "WHERE organization_id = %s) AS product USING (seeded_gtin)",
        [organization_id],
    )


def _copy_parts(cursor: Any, model: type[models.Model], organization_id: UUID) -> None:
    """Copy the images, offers or certificates; the id gets the time of the copied product."""
    columns = _columns(model, "id", "product_id")
    cursor.execute(
        f"INSERT INTO {model._meta.db_table} (id, product_id, {columns}) "  # noqa: S608
        "SELECT overlay(part.part_id::text placing left(copied.id::text, 13) from 1)::uuid, "
        f"copied.id, {columns} FROM copied "
        "JOIN (SELECT id AS seeded_id, gtin AS seeded_gtin FROM catalog_product "
        "WHERE organization_id = %s) AS product USING (seeded_gtin) "
        f"JOIN (SELECT id AS part_id, product_id AS seeded_id, {columns} "
        f"FROM {model._meta.db_table}) AS part USING (seeded_id)",
        [organization_id],
    )
