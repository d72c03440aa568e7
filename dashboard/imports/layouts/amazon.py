"""Amazon: flat files of the seller's inventory, with the names of their third row.

Templates since 2024 name attributes as Amazon's listings API does, in their fifth row:
``item_name[marketplace_id=...][language_tag=de_DE]#1.value``. Of several values the first counts.
"""

from __future__ import annotations

import re

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


_ATTRIBUTE = re.compile(r"([\w.]+)(?:\[[^\]]*\])*#1\.(\w+)\Z")
_VALUES = frozenset(("value", "media_location"))
# What the listings API calls the columns of older templates.
_OLD_NAMES = {
    "contribution_sku": "item_sku",
    "externally_assigned_product_identifier": "external_product_id",
    "externally_assigned_product_identifier.type": "external_product_id_type",
    "amzn1.volt.ca.product_id_value": "external_product_id",
    "amzn1.volt.ca.product_id_type": "external_product_id_type",
    "brand": "brand_name",
    "main_product_image_locator": "main_image_url",
}
_OTHER_IMAGE = "other_product_image_locator_"


def _name(name: str) -> str:
    """The name of a column in older templates."""
    match = _ATTRIBUTE.match(name)
    if match:
        attribute, part = match.groups()
        name = attribute if part in _VALUES else f"{attribute}.{part}"
    elif name not in _OLD_NAMES or "." not in name:
        return name
    if name.startswith(_OTHER_IMAGE):
        return f"other_image_url{name.removeprefix(_OTHER_IMAGE)}"
    return _OLD_NAMES.get(name, name)


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
    lambda names: {"item_sku", "external_product_id"} <= set(map(_name, names)),
    Declaration(
        rename=_name,
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
