"""USDA FoodData Central: ``branded_food.csv``.

The names of the foods are in another file (``food.csv``). ``market_country`` says where the food is
sold, not where it comes from.
"""

from __future__ import annotations

from dashboard.imports.layouts import converters
from dashboard.imports.layouts.columns import Declaration, computed, declared_layout, first

LAYOUT = declared_layout(
    "usda",
    "USDA branded foods",
    lambda names: {"fdc_id", "gtin_upc"} <= set(names),
    Declaration(
        gtin=first("gtin_upc"),
        texts={
            "description": first("short_description"),
            "brand": first("brand_name"),
            "manufacturer": first("brand_owner"),
            "category": first("branded_food_category"),
            "net_content": first("package_weight"),
            "serving_size": computed(
                converters.amount, first("serving_size"), first("serving_size_unit")
            ),
            "status": first("discontinued_date", convert=lambda date: "discontinued"),
        },
    ),
)
