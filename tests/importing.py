"""Helpers of the import tests: files to import, and the rows that they create."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

from catalog.models import Product
from certifications.models import CertificationAssignment
from closient.accounts.models import Organization
from dashboard.imports import ImportResult, Options, import_file
from dashboard.imports.files import InputFile
from dashboard.imports.formats import format_of
from dashboard.imports.formats.base import Table
from dashboard.imports.layouts import is_header
from dashboard.imports.rejects import BadRow
from offers.models import Offer

# Two valid GTINs, as people write them and as they are stored.
EAN, EAN_14 = "4006381333931", "04006381333931"
UPC, UPC_14 = "036000291452", "00036000291452"


def write(folder: Path, text: str, name: str = "products.csv", *, encoding: str = "utf-8") -> Path:
    """Write a new file with the text, without converting line ends."""
    path = folder / name
    content = text.encode(encoding)
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


def table(path: Path) -> Table:
    """Open a file as a table, without importing it."""
    source = InputFile(path)
    return format_of(source).open(source, is_header)


def cells(opened: Table) -> list[list[str]]:
    """Return the cells of all rows of a table, none of which may be unreadable."""
    rows = [row for _, row in opened.rows()]
    assert not any(isinstance(row, BadRow) for row in rows)
    return rows


def run(path: Path, organization: Organization, **options: Any) -> ImportResult:
    """Import a file."""
    return import_file(path, organization, Options(**options))


def numbers(result: ImportResult) -> tuple[int, int, int, int, int]:
    """Return total, created, updated, unchanged, rejected."""
    counts = (result.total, result.created, result.updated, result.unchanged, result.rejected)
    assert counts[0] == sum(counts[1:])
    return counts


def stored(organization: Organization) -> list[dict[str, Any]]:
    """Return the products by GTIN, with the names of the import's columns."""
    products = (
        Product.objects.of(organization)
        .select_related("brand")
        .prefetch_related("images")
        .order_by("gtin")
    )
    return [
        {
            "gtin": product.gtin,
            "name": product.name,
            "description": product.description,
            "brand": product.brand.name if product.brand else "",
            "manufacturer": product.manufacturer,
            "category": product.category,
            "gpc_brick_code": product.gpc_brick_code,
            "country_of_origin": product.country_of_origin,
            "net_content": product.net_content,
            "status": product.status,
            "nutrition": product.nutrition,
            "metadata": product.metadata,
            "images": [image.external_url for image in product.images.all()],
        }
        for product in products
    ]


def product(**fields: Any) -> dict[str, Any]:
    """Return a product as :func:`stored` does, with only these fields set."""
    texts = (
        "name description brand manufacturer category gpc_brick_code country_of_origin net_content"
    )
    return {
        **dict.fromkeys(texts.split(), ""),
        "status": "active",
        "nutrition": {},
        "metadata": {},
        "images": [],
        **fields,
    }


def offers(organization: Organization) -> list[dict[str, Any]]:
    """Return the offers by GTIN and SKU, with only the fields that are set."""
    found = Offer.objects.of(organization).select_related("product")
    return [
        _set_fields(
            gtin=offer.product.gtin,
            retailer=offer.retailer,
            store=offer.store,
            sku=offer.sku,
            url=offer.url,
            price=offer.shown_price,
            currency=offer.currency,
            status=offer.status,
        )
        for offer in found.order_by("product__gtin", "sku", "url")
    ]


def certificates(organization: Organization) -> list[dict[str, Any]]:
    """Return the certificates by GTIN and certification, with only the fields that are set."""
    found = CertificationAssignment.objects.of(organization)
    return [
        _set_fields(
            gtin=each.product.gtin,
            certification=each.certification.code,
            label=each.certification.label,
            number=each.certificate_number,
            body=each.issuing_body,
            valid_from=each.valid_from and str(each.valid_from),
            expiry_date=each.expiry_date and str(each.expiry_date),
            verification_url=each.verification_url,
        )
        for each in found.select_related("product", "certification").order_by(
            "product__gtin", "certification__code", "certificate_number"
        )
    ]


def _set_fields(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value}
