"""Etsy: the export of listings, which has no GTIN."""

from __future__ import annotations

from catalog.csv_columns import GTIN_COLUMNS
from dashboard.imports.layouts.columns import Declaration, declared_layout, first, numbered

LAYOUT = declared_layout(
    "etsy",
    "Etsy listings",
    lambda names: {"title", "currency_code", "tags", "materials"} <= set(names),
    Declaration(
        # A column that the seller has added.
        gtin=first(*GTIN_COLUMNS),
        texts={"name": first("title"), "description": first("description")},
        images=(numbered("image"),),
        no_gtin=(
            "This is a list of Etsy listings, which has no GTINs: add a column gtin with the GTIN "
            "of each listing."
        ),
    ),
)
