"""The rows of the demo catalog: their fields are the columns that COPY writes."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from dashboard.demo.vocabulary import Package


class ProductRow(NamedTuple):
    """Columns of ``catalog_product``."""

    id: UUID
    organization_id: UUID
    gtin: str
    name: str
    description: str
    brand_id: UUID | None
    manufacturer: str
    category: str
    gpc_brick_code: str
    country_of_origin: str
    net_content: str
    nutrition: str
    status: str
    metadata: str


class ImageRow(NamedTuple):
    """Columns of ``catalog_productimage``."""

    id: UUID
    organization_id: UUID
    product_id: UUID
    image: str
    external_url: str
    title: str
    is_primary: bool
    priority: int
    is_imported: bool
    # Never: there is nothing at the demo's addresses.
    thumbnail_due_at: datetime.datetime | None
    # Of a stored file.
    width: int | None = None
    height: int | None = None
    file_size: int | None = None
    thumbnail: str = ""


class OfferRow(NamedTuple):
    """Columns of ``offers_offer``."""

    id: UUID
    organization_id: UUID
    product_id: UUID
    channel: str
    retailer: str
    store: str
    sku: str
    url: str
    price: Decimal | None
    currency: str
    status: str
    url_status: str | None
    http_status: int | None
    url_checked_at: datetime.datetime | None
    url_failing_since: datetime.datetime | None
    url_detail: str
    url_check_at: datetime.datetime | None
    url_strikes: int
    url_struck_first_at: datetime.datetime | None
    url_struck_last_at: datetime.datetime | None
    metadata: str


class CertificateRow(NamedTuple):
    """Columns of ``certifications_certificationassignment``."""

    id: UUID
    organization_id: UUID
    product_id: UUID
    certification_id: UUID
    certificate_number: str
    issuing_body: str
    valid_from: datetime.date | None
    expiry_date: datetime.date | None
    verification_status: str
    verification_url: str
    metadata: str


class Entry(NamedTuple):
    """A product with its images, offers and certificates, and what its picture shows."""

    product: ProductRow
    images: list[ImageRow]
    offers: list[OfferRow]
    certificates: list[CertificateRow]
    package: Package
    item: str
