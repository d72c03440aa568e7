"""Exports offers as rows of a table or as objects, with the field names of the API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from offers.lists import OfferList
from offers.serializers import OfferSerializer

_STORED = ("channel", "retailer", "store", "sku", "url", "price", "currency", "status")
# What no one can set.
_READ_ONLY = ("url_status", "http_status", "url_detail", "url_failing_since", "url_checked_at")
HEADER = ("gtin", *_STORED, "metadata", "product_name", *_READ_ONLY)
# Rows in memory at a time.
BATCH = 1_000

_encode = json.JSONEncoder(ensure_ascii=False).encode


def exported_offers(offers: OfferList) -> Iterator[list[Any]]:
    """Yield a row for each offer of a list, in its order, with the columns of ``HEADER``.

    One query, read a thousand rows at a time. A price is a decimal with the digits of its currency.
    """
    for offer in offers.everything().iterator(chunk_size=BATCH):
        price = offer.shown_price
        values = {"price": None if price is None else Decimal(price)}
        yield [
            offer.product.gtin,
            *(values[name] if name in values else getattr(offer, name) for name in _STORED),
            _encode(offer.metadata) if offer.metadata else "",
            offer.product.name,
            *(getattr(offer, name) for name in _READ_ONLY),
        ]


def offer_objects(offers: OfferList) -> Iterator[dict[str, Any]]:
    """Yield each offer of a list as the API shows it; one query, a thousand rows at a time."""
    serializer = OfferSerializer()
    for offer in offers.everything().iterator(chunk_size=BATCH):
        yield serializer.to_representation(offer)
