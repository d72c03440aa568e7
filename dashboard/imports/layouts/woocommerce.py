"""WooCommerce: the product export (``class-wc-product-csv-exporter.php``, English names).

Shops older than WooCommerce 9.2 have the GTIN in a field of a plugin, which is exported as
``Meta: KEY`` (option "Export custom meta").
"""

from __future__ import annotations

from catalog.csv_columns import GTIN_COLUMNS
from dashboard.imports.layouts import converters
from dashboard.imports.layouts.columns import Declaration, declared_layout, first

_GTIN = "gtin,_upc,_ean,_or_isbn"
# Columns that no other program's file has together.
_SIGNS = frozenset(("sku", "published", "visibility_in_catalog", "tax_status"))
# The fields of EAN for WooCommerce, Product GTIN, Germanized and others.
_PLUGINS = tuple(
    f"meta:{key}"
    for key in (
        "_global_unique_id",
        "_alg_ean",
        "_wpm_gtin_code",
        "hwp_product_gtin",
        "hwp_var_gtin",
        "_ts_gtin",
        "_ean",
        "_gtin",
        "_barcode",
    )
)
# Published, private, draft, and waiting for a review.
_PUBLISHED = {"1": "active", "0": "draft", "-1": "draft", "2": "draft"}

LAYOUT = declared_layout(
    "woocommerce",
    "WooCommerce",
    lambda names: _GTIN in names or set(names) >= _SIGNS,
    Declaration(
        gtin=first(_GTIN, *GTIN_COLUMNS, *_PLUGINS),
        texts={
            "name": first("name"),
            "description": first("description", "short_description"),
            "brand": first("brands", convert=converters.first_item),
            "category": first("categories", convert=converters.first_item),
            "status": first("published", convert=converters.choice(_PUBLISHED)),
        },
        images=("images",),
        keep=converters.addresses,
        no_gtin=(
            "This export of WooCommerce has no GTINs: fill in the field GTIN, UPC, EAN, or ISBN of "
            "the products (since WooCommerce 9.2) and export again, or choose the column that "
            "holds it."
        ),
    ),
)
