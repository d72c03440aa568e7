"""Exports products so that an import can read them back without changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import OuterRef

from catalog.csv_columns import (
    EXPORT_ONLY,
    GTIN_COLUMNS,
    IMAGE_URL,
    IMAGE_URLS,
    METADATA,
    NUTRIENTS,
    TEXT_COLUMNS,
)
from catalog.lists import ProductList
from catalog.models import Product, ProductImage
from catalog.serializers import ProductSerializer

HEADER = (GTIN_COLUMNS[0], *TEXT_COLUMNS, NUTRIENTS, METADATA, *EXPORT_ONLY)
# Between the addresses in a cell.
_SEPARATOR = ", "

_encode = json.JSONEncoder(ensure_ascii=False).encode


def exported_products(products: ProductList) -> Iterator[list[Any]]:
    """Yield a row for each product of a list, in its order, with the columns of ``HEADER``.

    Must run in a ``consistent_read``; memory is constant. ``image_url`` has the URLs of all images
    that an import has set, in their order.
    """
    for product in _everything(products):
        yield _row(product, products.rule.percentage(product.fact_mask(products.day)))


def product_objects(products: ProductList) -> Iterator[dict[str, Any]]:
    """Yield each product as the API shows it, with the ``image_urls`` that an import has set.

    ``image_url`` is the first of them. In the order of the list; must run in a
    ``consistent_read``; memory is constant.
    """
    serializer = ProductSerializer(context={"rule": products.rule, "day": products.day})
    for product in _everything(products):
        urls = product.image_urls
        yield {
            **serializer.to_representation(product),
            IMAGE_URL: urls[0] if urls else "",
            IMAGE_URLS: urls,
        }


def _everything(products: ProductList) -> Iterator[Any]:
    imported = ProductImage.objects.filter(
        organization=products.organization_id, product=OuterRef("pk"), is_imported=True
    )
    rows = (
        Product.objects.of(products.organization_id)
        .select_related("brand", "summary")
        .annotate(
            image_urls=ArraySubquery(imported.order_by("priority", "pk").values("external_url"))
        )
    )
    return products.everything(rows)


def _row(product: Any, percentage: int) -> list[Any]:
    nutrition = product.nutrition
    texts = {
        "brand": product.brand_name,
        IMAGE_URL: _SEPARATOR.join(product.image_urls),
        "serving_size": nutrition.get("serving_size", ""),
    }
    return [
        product.gtin,
        *(texts[name] if name in texts else getattr(product, name) for name in TEXT_COLUMNS),
        _json(nutrition.get("nutrients")),
        _json(product.metadata),
        percentage,
        product.summary.image_count,
        product.summary.active_offer_count,
        product.updated_at,
    ]


def _json(value: object) -> str:
    return _encode(value) if value else ""
