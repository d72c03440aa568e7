"""WooCommerce: the product export (``class-wc-product-csv-exporter.php``, English names)."""

from __future__ import annotations

from dashboard.imports.layouts import converters
from dashboard.imports.layouts.columns import Declaration, declared_layout, first

_GTIN = "gtin,_upc,_ean,_or_isbn"
# Published, private, draft, and waiting for a review.
_PUBLISHED = {"1": "active", "0": "draft", "-1": "draft", "2": "draft"}

LAYOUT = declared_layout(
    "woocommerce",
    "WooCommerce",
    lambda names: _GTIN in names,
    Declaration(
        gtin=first(_GTIN),
        texts={
            "name": first("name"),
            "description": first("description", "short_description"),
            "brand": first("brands", convert=converters.first_item),
            "category": first("categories", convert=converters.first_item),
            "status": first("published", convert=converters.choice(_PUBLISHED)),
        },
        images=("images",),
        keep=converters.addresses,
    ),
)
