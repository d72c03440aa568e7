"""Amazon: flat files of the seller's inventory, with the names of their third row."""

from __future__ import annotations

from closient.text.validators import InvalidText
from dashboard.imports.layouts import converters
from dashboard.imports.layouts.columns import (
    Declaration,
    computed,
    declared_layout,
    first,
    numbered,
)

_GTIN_TYPES = ("EAN", "UPC", "GTIN", "ISBN")
# A row that deletes the listing.
_UPDATE_DELETE = {"delete": "discontinued", "update": "", "partialupdate": ""}


def _gtin(number: str, kind: str) -> str:
    if number and kind and kind.upper() not in _GTIN_TYPES:
        raise InvalidText(
            f"is missing: external_product_id is of the type {kind[:20]}, not one of "
            f"{', '.join(_GTIN_TYPES)}"
        )
    return number


LAYOUT = declared_layout(
    "amazon",
    "Amazon flat file",
    lambda names: {"item_sku", "external_product_id"} <= set(names),
    Declaration(
        gtin=computed(_gtin, first("external_product_id"), first("external_product_id_type")),
        texts={
            "name": first("item_name"),
            "description": first("product_description"),
            "brand": first("brand_name"),
            "manufacturer": first("manufacturer"),
            "country_of_origin": first("country_of_origin"),
            "status": first("update_delete", convert=converters.choice(_UPDATE_DELETE)),
        },
        images=("main_image_url", numbered("other_image_url")),
    ),
)
