"""Our own CSV of offers and of certificates, as exports write them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from catalog.csv_columns import GTIN_COLUMNS
from closient.text.csv_safety import unescape_cell
from dashboard.imports.formats.base import Table
from dashboard.imports.layouts.base import ColumnMap, Layout, LayoutOptions, gtin_column
from dashboard.imports.records import CERTIFICATE_FIELDS, OFFER_FIELDS, Record
from dashboard.imports.rejects import LINE_KEY, REASON_KEY

_GTIN = frozenset(GTIN_COLUMNS)


def _has_offers(names: Sequence[str]) -> bool:
    return not _GTIN.isdisjoint(names) and "url" in names and "name" not in names


def _has_certificates(names: Sequence[str]) -> bool:
    return not _GTIN.isdisjoint(names) and "certification" in names and "name" not in names


def _open_offers(table: Table, options: LayoutOptions) -> ColumnMap:
    def record(gtin: str, texts: dict[str, str]) -> Record:
        if options.retailer and not texts.get("retailer"):
            texts["retailer"] = options.retailer
        return Record(gtin, offers=[texts])

    return _columns(table, OFFER_FIELDS, record)


def _open_certificates(table: Table, options: LayoutOptions) -> ColumnMap:
    return _columns(
        table,
        CERTIFICATE_FIELDS,
        lambda gtin, texts: Record(gtin, certificates=[texts]),
    )


def _columns(
    table: Table, fields: Sequence[str], record: Callable[[str, dict[str, str]], Record]
) -> ColumnMap:
    """The columns of a file with one offer or certificate in each row."""
    gtin_place = gtin_column(table.names)
    places = {name: place for place, name in enumerate(table.names) if name in fields}
    used = {gtin_place: "gtin", **{place: name for name, place in places.items()}}
    ignored = [
        name
        for place, name in enumerate(table.names)
        if place not in used and name not in (LINE_KEY, REASON_KEY)
    ]

    def parse(cells: Sequence[str]) -> Record:
        texts = {name: unescape_cell(cells[place]) for name, place in places.items()}
        return record(unescape_cell(cells[gtin_place]), texts)

    return ColumnMap(parse, tuple(ignored), used)


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
