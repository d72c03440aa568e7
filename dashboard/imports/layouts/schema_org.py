"""schema.org products in JSON-LD, flattened to paths such as ``offers.price``."""

from __future__ import annotations

from collections.abc import Sequence

from dashboard.imports.layouts import converters
from dashboard.imports.layouts.columns import (
    Declaration,
    Find,
    declared_layout,
    ending,
    first,
    repeated,
)

# Keys that only JSON-LD has, and properties that other files do not name so: @type, @context.
_SIGNS = (("", "type"), ("", "context"), ("offers", "priceCurrency"), ("brand", "name"))
_GTINS = ("gtin", "gtin14", "gtin13", "gtin12", "gtin8")


def _recognizes(names: Sequence[str]) -> bool:
    if not any(ending(name)(names) for name in _GTINS):
        return False
    return any(ending(*sign)(names) for sign in _SIGNS)


def _own(*names: str) -> list[Find]:
    """A property that is a text, or an object with a name."""
    return [find for name in names for find in (ending(name), ending(name, "name"))]


LAYOUT = declared_layout(
    "schema_org",
    "schema.org products",
    _recognizes,
    Declaration(
        gtin=first(*(ending(name) for name in _GTINS)),
        texts={
            "name": first("name", ending("product", "name"), ending("item", "name")),
            "description": first("description"),
            "brand": first(*_own("brand")),
            "manufacturer": first(*_own("manufacturer")),
            "category": first(*_own("category")),
            "country_of_origin": first(*_own("countryOfOrigin")),
        },
        images=("image", ending("image", "url"), ending("image", "contentUrl")),
        offers=repeated(
            {
                "url": ending("offers", "url"),
                "price": ending("offers", "price"),
                "currency": ending("offers", "priceCurrency"),
                "status": ending("offers", "availability"),
                "sku": ending("offers", "sku"),
                "retailer": ending("offers", "seller", "name"),
            },
            needs="url",
            convert={"status": converters.availability},
        ),
        is_shop=True,
        certificates=(
            repeated(
                {
                    "certification": ending("hasCertification", "name"),
                    "certificate_number": ending("hasCertification", "certificationIdentification"),
                    "issuing_body": ending("hasCertification", "issuedBy", "name"),
                    "valid_from": ending("hasCertification", "validFrom"),
                    "expiry_date": ending("hasCertification", "expires"),
                    "verification_url": ending("hasCertification", "url"),
                },
                needs="certification",
            ),
        ),
    ),
)
