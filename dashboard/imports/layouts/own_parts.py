"""Our own CSV of offers and of certificates, as exports write them."""

from __future__ import annotations

from collections.abc import Sequence

from catalog.csv_columns import GTIN_COLUMNS
from dashboard.imports.files import UnreadableFile
from dashboard.imports.formats.base import Table
from dashboard.imports.layouts.base import ColumnMap, Layout, LayoutOptions, gtin_column
from dashboard.imports.layouts.columns import (
    Declaration,
    Text,
    declared_columns,
    first,
    one,
)
from dashboard.imports.records import CERTIFICATE_FIELDS, OFFER_FIELDS

_GTIN = frozenset(GTIN_COLUMNS)
# Exports also have the name of the product, as product_name. A file that has a name itself is one
# of products, unless it has a column that no other file has.
_NAME = "name"
_OF_OFFERS = frozenset(("retailer", "channel"))
_OF_CERTIFICATES = frozenset(
    ("certificate_number", "issuing_body", "valid_from", "expiry_date", "verification_status")
)
# The code of a certification; in JSON the certification is an object.
_CERTIFICATION = ("certification", "certification.code")
# The columns of the fields of a certificate.
_CERTIFICATE_COLUMNS = {
    **{field: first(field) for field in CERTIFICATE_FIELDS},
    "certification": first(*_CERTIFICATION),
    "label": first("certification_label", "certification.label", "label"),
}


def _has_offers(names: Sequence[str]) -> bool:
    found = set(names)
    if _GTIN.isdisjoint(found):
        return False
    if "url" in found:
        return _NAME not in found or not _OF_OFFERS.isdisjoint(found)
    # Offers in stores have no address.
    return _NAME not in found and found >= _OF_OFFERS


def _has_certificates(names: Sequence[str]) -> bool:
    found = set(names)
    if _GTIN.isdisjoint(found) or found.isdisjoint(_CERTIFICATION):
        return False
    return _NAME not in found or not _OF_CERTIFICATES.isdisjoint(found)


def _open_offers(table: Table, options: LayoutOptions) -> ColumnMap:
    offer = {field: first(field) for field in OFFER_FIELDS}
    return declared_columns(table, Declaration(gtin=_gtin(table), offers=one(offer)), options)


def _open_certificates(table: Table, options: LayoutOptions) -> ColumnMap:
    if set(_CERTIFICATION).isdisjoint(table.names):
        raise UnreadableFile("The header has no column certification.", table.header_line)
    return declared_columns(
        table,
        Declaration(gtin=_gtin(table), certificates=(one(_CERTIFICATE_COLUMNS),)),
        options,
    )


def _gtin(table: Table) -> Text:
    """The column of the GTIN; raises :class:`UnreadableFile` if several could be."""
    return first(table.names[gtin_column(table.names)])


OFFERS = Layout(
    "offers", "Our offers", recognizes=_has_offers, open=_open_offers, creates_products=False
)
CERTIFICATES = Layout(
    "certificates",
    "Our certificates",
    recognizes=_has_certificates,
    open=_open_certificates,
    creates_products=False,
)
