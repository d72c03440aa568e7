"""Serializers of offers."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from closient.http.fields import IdField, StrictFields
from closient.text.urls import clean_url
from dashboard.api.fields import METADATA_HELP, CleanedField, GtinField, MetadataField, TextField
from offers.currencies import CODES, clean_currency
from offers.models import FAILING, Channel, Offer, OfferStatus, UrlStatus

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
    """A price as a decimal text: a binary fraction would not come back as it was given."""

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
        """Return the price with the digits that the offer's currency has."""
        return instance.shown_price

    def to_representation(self, value: str) -> str:
        """Return the price as it is."""
        return value


# A component with the empty string: drf-spectacular's own for choices would be a union of two.
@extend_schema_field(
    {"type": "string", "enum": ["", *sorted(CODES)]}, component_name="CurrencyEnum"
)
class CurrencyField(CleanedField):
    """A currency's code, or the empty text."""


class OfferSerializer(StrictFields, serializers.Serializer[Offer]):
    """An offer of a trade item, with the status of its URL."""

    id = IdField(help_text="Id of the offer.")
    gtin = GtinField(
        source="product.gtin",
        help_text="GTIN of the trade item that is offered.",
        style={"example": "04012345678901"},
    )
    channel = serializers.ChoiceField(
        choices=Channel.values,
        required=False,
        help_text="`online` (the default) or `in_store`.",
        style={"example": "online"},
    )
    retailer = TextField(
        max_length=255,
        required=False,
        allow_blank=True,
        help_text="Retailer; empty if unknown.",
        style={"example": "Example Market"},
    )
    store = TextField(
        max_length=255,
        required=False,
        allow_blank=True,
        help_text="Which of the retailer's stores; empty for none in particular.",
        style={"example": "Main Street"},
    )
    sku = TextField(
        max_length=100,
        required=False,
        allow_blank=True,
        help_text="The retailer's own number for the trade item.",
        style={"example": "EM-10042"},
    )
    url = CleanedField(
        cleaner=clean_url,
        code="url",
        max_length=1000,
        required=False,
        allow_blank=True,
        help_text="Address of the offer, http or https. Required when online. A new address has "
        "not been checked: what the last check found is emptied with it.",
        style={"example": "https://shop.example.com/item/10042"},
    )
    price = PriceField(
        required=False,
        allow_null=True,
        help_text="Price as a decimal text, with the digits that its currency has (ISO 4217); null "
        "for none.",
        style={"example": "12.50"},
    )
    currency = CurrencyField(
        cleaner=clean_currency,
        code="currency",
        max_length=3,
        required=False,
        allow_blank=True,
        help_text="Currency of the price (ISO 4217), required with a price; empty for none.",
        style={"example": "EUR"},
    )
    status = serializers.ChoiceField(
        choices=OfferStatus.values,
        required=False,
        help_text="`active` (the default), `discontinued`, `seasonal` or `out_of_stock`.",
        style={"example": "active"},
    )
    url_status = serializers.ChoiceField(
        choices=UrlStatus.values,
        read_only=True,
        allow_null=True,
        help_text=f"What the last URL check found; {_WORDS} are broken offers. Null in a store.",
        style={"example": "ok"},
    )
    http_status = serializers.IntegerField(
        read_only=True,
        allow_null=True,
        help_text="HTTP status that the URL returned; null if there was none.",
        style={"example": 200},
    )
    url_checked_at = serializers.DateTimeField(
        read_only=True,
        allow_null=True,
        help_text="When the URL was last checked; null if never.",
        style={"example": "2026-11-24T09:30:00Z"},
    )
    url_failing_since = serializers.DateTimeField(
        read_only=True,
        allow_null=True,
        help_text="Since when the URL has failed; null while it works.",
        style={"example": "2026-11-20T07:15:00Z"},
    )
    url_detail = serializers.CharField(
        read_only=True,
        help_text="What the last check found, in one sentence: why the address fails or is "
        "blocked, a first failure that further checks have yet to confirm, or beside `ok` a hint, "
        "for example that the page says “product not found” or that the domain is for sale. Else "
        "empty.",
        style={"example": "The server answered 404 Not Found."},
    )
    metadata = MetadataField(
        required=False, help_text=METADATA_HELP, style={"example": {"season": "summer"}}
    )
    created_at = serializers.DateTimeField(
        read_only=True,
        help_text="When it was created.",
        style={"example": "2026-11-24T09:30:00Z"},
    )
    updated_at = serializers.DateTimeField(
        read_only=True,
        help_text="When one of the fields that can be written last changed.",
        style={"example": "2026-11-24T09:30:00Z"},
    )


class UrlStatusCountsSerializer(serializers.Serializer[Any]):
    """Broken offers by what the last URL check found."""

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
        help_text="Name of the retailer; empty for offers that name none.",
        style={"example": "Example Market"},
    )
    broken = serializers.IntegerField(
        min_value=1,
        help_text="Its broken offers; over all retailers they sum up to `broken_offers`.",
        style={"example": 12},
    )
    since = serializers.DateTimeField(
        allow_null=True,
        help_text="Since when the one that has failed longest fails; null where that is unknown.",
        style={"example": "2026-11-20T07:15:00Z"},
    )
    url_statuses = UrlStatusCountsSerializer(help_text="The same offers by URL status.")
