"""GS1 catalogue item notifications (GDSN), flattened to the paths of their elements."""

from __future__ import annotations

from collections.abc import Sequence

from dashboard.imports.layouts.columns import (
    Declaration,
    Find,
    Names,
    computed,
    declared_layout,
    ending,
    first,
)
from dashboard.imports.layouts.converters import amount

# Elements that a trade item of a notification has, and no other program's file.
_SIGNS = (
    ("tradeItem", "gtin"),
    ("targetMarketCountryCode",),
    ("gpcCategoryCode",),
    ("tradeItemUnitDescriptorCode",),
    ("isTradeItemABaseUnit",),
    ("isTradeItemAConsumerUnit",),
    ("informationProviderOfTradeItem",),
    ("functionalName",),
    ("tradeItemDescription",),
)


def _recognizes(names: Sequence[str]) -> bool:
    if not ending("gtin")(names):
        return False
    return any(ending(*sign)(names) for sign in _SIGNS)


def _own_gtin(names: Names) -> list[int]:
    """The GTIN of the trade item itself, not of the items that it contains."""
    return (ending("tradeItem", "gtin")(names) or ending("gtin")(names))[:1]


def _unit(names: Names) -> list[int]:
    return [
        *ending("netContent", "measurementUnitCode")(names),
        *ending("netContentMeasurementUnitCode")(names),
    ]


_UNIT: Find = _unit

LAYOUT = declared_layout(
    "gs1",
    "GS1 catalogue item (GDSN)",
    _recognizes,
    Declaration(
        gtin=first(_own_gtin),
        texts={
            "name": first(
                ending("tradeItemDescription"),
                ending("regulatedProductName"),
                ending("descriptionShort"),
                ending("functionalName"),
            ),
            "description": first(
                ending("additionalTradeItemDescription"), ending("tradeItemMarketingMessage")
            ),
            "brand": first(ending("brandName")),
            "manufacturer": first(
                ending("manufacturerOfTradeItem", "partyName"), ending("brandOwner", "partyName")
            ),
            "gpc_brick_code": first(ending("gpcCategoryCode")),
            "category": first(ending("gpcCategoryName")),
            "country_of_origin": first(ending("countryOfOrigin", "countryCode")),
            "net_content": computed(amount, first(ending("netContent")), first(_UNIT)),
        },
        images=(ending("uniformResourceIdentifier"),),
    ),
)
