"""PrestaShop: the CSV of products, with the names of its sample file."""

from __future__ import annotations

from dashboard.imports.layouts import converters
from dashboard.imports.layouts.columns import Declaration, declared_layout, first

LAYOUT = declared_layout(
    "prestashop",
    "PrestaShop",
    lambda names: "ean13" in names and not {"active_(0/1)", "name_*"}.isdisjoint(names),
    Declaration(
        gtin=first("ean13", "upc"),
        texts={
            "name": first("name_*", "name"),
            "description": first("description", "summary"),
            # What PrestaShop's files call manufacturer, its pages call brand.
            "brand": first("manufacturer"),
            "manufacturer": first("manufacturer"),
            "category": first("categories_(x,y,z...)", convert=converters.first_item),
            "status": first(
                "active_(0/1)", convert=converters.choice({"1": "active", "0": "draft"})
            ),
        },
        images=("image_urls_(x,y,z...)",),
        keep=converters.addresses,
    ),
)
