"""Serializers of offers."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from catalog.serializers import GtinField
from closient.http.fields import CleanedField
from closient.http.serializers import RowSerializer, about
from offers.currencies import CODES, clean_currency
from offers.models import FAILING, Offer

_PRICE = re.compile(r"(?:0|[1-9][0-9]{0,9})(?:\.[0-9]{1,4})?\Z")
_WORDS = "`" + "`, `".join(FAILING) + "`"


@extend_schema_field(
    {
        "type": "string",
        "format": "decimal",
        "pattern": f"^{_PRICE.pattern.removesuffix(chr(92) + 'Z')}$",
    }
)
class PriceField(serializers.Field[Any, Any, Any, Any]):
    """A price as a decimal string: a binary float could not represent it exactly."""

    default_error_messages = {
        "quotes": 'Must be a string, such as "12.50".',
        "price": "Must be a price of 0 or more, with at most 10 digits before the decimal point "
        'and 4 after it, for example "12.50".',
    }

    def to_internal_value(self, data: Any) -> Decimal:
        """Return the price."""
        if not isinstance(data, str):
            raise serializers.ValidationError(self.error_messages["quotes"], code="price")
        if not _PRICE.match(data):
            self.fail("price")
        return Decimal(data)

    def get_attribute(self, instance: Any) -> Any:
        """Return the price with the digits of the offer's currency."""
        return instance.shown_price

    def to_representation(self, value: str) -> str:
        """Return the price as it is."""
        return value


# A component with the empty string: drf-spectacular's own for choices would be a union of two.
@extend_schema_field(
    {"type": "string", "enum": ["", *sorted(CODES)]}, component_name="CurrencyEnum"
)
class CurrencyField(CleanedField):
    """A currency code, or an empty string."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            cleaner=clean_currency,
            code="currency",
            max_length=3,
            required=False,
            allow_blank=True,
            style={"example": "EUR"},
            **kwargs,
        )


class OfferSerializer(RowSerializer[Offer]):
    """An offer of a trade item, with the status of its URL."""

    gtin = GtinField(
        source="product.gtin",
        help_text="GTIN of the trade item that is offered.",
        style={"example": "04012345678901"},
    )
    price = PriceField(
        required=False,
        allow_null=True,
        help_text="Price as a decimal string, with the digits of its currency (ISO 4217); null "
        "for none.",
        style={"example": "12.50"},
    )
    currency = CurrencyField(
        help_text="Currency of the price (ISO 4217), required with a price; empty for none."
    )

    class Meta:
        model = Offer
        fields = (
            "id",
            "gtin",
            "channel",
            "retailer",
            "store",
            "sku",
            "url",
            "price",
            "currency",
            "status",
            "url_status",
            "http_status",
            "url_checked_at",
            "url_failing_since",
            "url_detail",
            "metadata",
            "created_at",
            "updated_at",
        )
        read_only_fields = ("url_status",)
        extra_kwargs = {
            "id": about("Id of the offer."),
            "channel": about("`online` (the default) or `in_store`.", "online"),
            "retailer": about(example="Example Market"),
            "store": about(example="Main Street"),
            "sku": about(example="EM-10042"),
            "url": about(
                "URL of the offer, http or https. Required for online offers. A new URL is "
                "unchecked: the results of the last check are cleared.",
                "https://shop.example.com/item/10042",
            ),
            "status": about(
                "`active` (the default), `discontinued`, `seasonal` or `out_of_stock`.", "active"
            ),
            "url_status": about(
                f"Result of the last URL check; {_WORDS} are broken offers. Null for in-store "
                "offers.",
                "ok",
            ),
            "http_status": about("HTTP status that the URL returned; null if there was none.", 200),
            "url_checked_at": about(
                "When the URL was last checked; null if never.", "2026-11-24T09:30:00Z"
            ),
            "url_failing_since": about(
                "Since when the URL has failed; null while it works.", "2026-11-20T07:15:00Z"
            ),
            "url_detail": about(
                "Details of the last check, in one sentence: why the URL fails or is blocked, a "
                "first failure that further checks have to confirm, or with `ok` a hint, for "
                "example that the page says “product not found” or that the domain is for sale. "
                "Otherwise empty.",
                "The shop returned 404 Not Found.",
            ),
        }


class UrlStatusCountsSerializer(serializers.Serializer[Any]):
    """Broken offers by the result of the last URL check."""

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Return one number for each failing URL status."""
        return {
            status.value: serializers.IntegerField(
                min_value=0, help_text=f"Offers with URL status `{status}`.", style={"example": 4}
            )
            for status in FAILING
        }


class BrokenAtRetailerSerializer(serializers.Serializer[Any]):
    """A retailer's broken offers."""

    retailer = serializers.CharField(
        help_text="Name of the retailer; empty for offers without one.",
        style={"example": "Example Market"},
    )
    broken = serializers.IntegerField(
        min_value=1,
        help_text="Its broken offers; the sum over all retailers is `broken_offers`.",
        style={"example": 12},
    )
    since = serializers.DateTimeField(
        allow_null=True,
        help_text="When the oldest of these failures started; null if unknown.",
        style={"example": "2026-11-20T07:15:00Z"},
    )
    url_statuses = UrlStatusCountsSerializer(help_text="The same offers by URL status.")
