"""Exports offers as rows of a CSV, with the field names of the API."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from typing import Any

from offers.lists import OfferList

_STORED = ("channel", "retailer", "store", "sku", "url", "price", "currency", "status")
_CHECKED = ("url_status", "http_status", "url_detail")
_TIMES = ("url_failing_since", "url_checked_at")
HEADER = ("gtin", "product_name", *_STORED, *_CHECKED, *_TIMES, "metadata")
# Rows in memory at a time.
BATCH = 1_000

_encode = json.JSONEncoder(ensure_ascii=False).encode


def exported_offers(offers: OfferList) -> Iterator[list[Any]]:
    """Yield a row for each offer of a list, in its order, with the columns of ``HEADER``.

    One query, read a thousand rows at a time.
    """
    for offer in offers.everything().iterator(chunk_size=BATCH):
        yield [
            offer.product.gtin,
            offer.product.name,
            *(
                offer.shown_price if name == "price" else getattr(offer, name)
                for name in (*_STORED, *_CHECKED)
            ),
            *(_time(getattr(offer, name)) for name in _TIMES),
            _encode(offer.metadata) if offer.metadata else "",
        ]


def _time(moment: datetime.datetime | None) -> str | None:
    return moment.isoformat(timespec="seconds") if moment else None
