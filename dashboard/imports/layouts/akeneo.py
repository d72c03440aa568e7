"""Akeneo PIM: the export of products, whose columns are attributes in languages and channels.

Which attributes there are is up to each catalog: these are the codes of Akeneo's demo, and other
common ones.
"""

from __future__ import annotations

from dashboard.imports.layouts import converters
from dashboard.imports.layouts.columns import (
    Declaration,
    computed,
    declared_layout,
    first,
    localized,
)

_GTIN_CODES = ("gtin", "ean", "upc", "barcode", "gtin13", "gtin14", "ean13", "ean_code", "upc_code")

LAYOUT = declared_layout(
    "akeneo",
    "Akeneo PIM",
    lambda names: {"categories", "enabled", "family", "groups"} <= set(names),
    Declaration(
        gtin=first(*(localized(code) for code in _GTIN_CODES)),
        texts={
            "name": first(localized("name"), localized("product_name"), localized("title")),
            "description": first(localized("description"), localized("short_description")),
            "brand": first(localized("brand")),
            "manufacturer": first(localized("manufacturer")),
            "category": first("categories", convert=converters.first_item),
            "country_of_origin": first(localized("country_of_origin")),
            "net_content": computed(converters.amount, first("weight"), first("weight-unit")),
            "status": first("enabled", convert=converters.choice({"1": "active", "0": "draft"})),
        },
        images=(localized("image"), localized("picture")),
        keep=converters.addresses,
        no_gtin=(
            f"None of the attributes {', '.join(_GTIN_CODES)} is in the file: map the column that "
            "holds the GTIN."
        ),
    ),
)
