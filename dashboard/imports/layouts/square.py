"""Square: the export of the item library."""

from __future__ import annotations

from dashboard.imports.layouts import converters
from dashboard.imports.layouts.columns import Declaration, declared_layout, first

LAYOUT = declared_layout(
    "square",
    "Square item library",
    lambda names: {"token", "item_name", "variation_name"} <= set(names),
    Declaration(
        gtin=first("gtin"),
        texts={
            "name": first("item_name"),
            "description": first("description"),
            "category": first("category", "categories", convert=converters.first_item),
        },
        no_gtin="The item library has no column GTIN: export it again with this column.",
    ),
)
