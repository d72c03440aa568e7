"""The rows of the staging tables (see ``staging.py``), each in the order of its table's columns."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple


class ProductRow(NamedTuple):
    """A row of the staging table of records.

    None leaves a field of the product as it is. ``nutrition`` and ``metadata`` are JSON objects
    that are merged into the product's; a null in them removes the key. ``image_urls`` replace the
    imported images. A row with a ``problem`` is rejected; ``rules`` are the broken rules.
    """

    line: int
    gtin: str | None = None
    problem: str | None = None
    rules: list[str] | None = None
    name: str | None = None
    description: str | None = None
    brand: str | None = None
    manufacturer: str | None = None
    category: str | None = None
    gpc_brick_code: str | None = None
    country_of_origin: str | None = None
    net_content: str | None = None
    status: str | None = None
    nutrition: str | None = None
    metadata: str | None = None
    image_urls: list[str] | None = None
    image_keys: list[str] | None = None
    # The id of what the row creates: a product, its brand.
    new_key: str | None = None


class OfferRow(NamedTuple):
    """A row of the staging table of offers; None leaves a field of the offer as it is.

    ``cleared`` are the fields without an empty value, such as a price, that become NULL.
    """

    line: int
    channel: str
    retailer: str
    store: str
    sku: str
    url: str | None
    price: Decimal | None
    currency: str | None
    status: str | None
    cleared: Sequence[str]
    new_key: str


class CertificateRow(NamedTuple):
    """A row of the staging table of certificates; None leaves a field as it is.

    ``cleared`` are the dates that become NULL.
    """

    line: int
    certification: str
    label: str | None
    certificate_number: str
    issuing_body: str | None
    valid_from: datetime.date | None
    expiry_date: datetime.date | None
    verification_status: str | None
    verification_url: str | None
    cleared: Sequence[str]
    new_key: str


class StagedRecord(NamedTuple):
    """The rows of one record, and what was repaired in its cells."""

    product: ProductRow
    offers: Sequence[OfferRow] = ()
    certificates: Sequence[CertificateRow] = ()
    repairs: Sequence[str] = ()
