"""Shopify: the export of products, with the names until 2025 and those of the template since.

Consecutive rows with the same handle are one product page: its texts are on the first row, each
variant has a row, and so has each further image.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import quote

from catalog.models import ProductStatus
from dashboard.imports.files import UnreadableFile
from dashboard.imports.formats.base import Table
from dashboard.imports.layouts import converters
from dashboard.imports.layouts.base import (
    GROUP,
    ColumnMap,
    ColumnsNotFound,
    Layout,
    LayoutOptions,
    Line,
)
from dashboard.imports.layouts.columns import (
    Bound,
    Text,
    bind_all,
    completed_offer,
    first,
    ignored_titles,
    row_reader,
    used_fields,
)
from dashboard.imports.records import Problem, Record
from dashboard.imports.rejects import BadRow
from offers.models import OfferStatus

_STATUSES = {
    "active": ProductStatus.ACTIVE.value,
    # Published, but in no list of the shop.
    "unlisted": ProductStatus.ACTIVE.value,
    "draft": ProductStatus.DRAFT.value,
    "archived": ProductStatus.DISCONTINUED.value,
}
# What Shopify calls the variant of a product without options.
_ONLY_VARIANT = "Default Title"
_HANDLE = first("url_handle", "handle")
_TEXTS: Mapping[str, Text] = {
    "name": first("title"),
    "description": first("description", "body_(html)"),
    "brand": first("vendor"),
    "category": first("product_category", "type"),
    "status": first("status", convert=converters.choice(_STATUSES)),
}
_IMAGE = first("product_image_url", "image_src")
_VARIANT: Mapping[str, Text] = {
    "gtin": first("barcode", "variant_barcode", convert=converters.barcode),
    "sku": first("sku", "variant_sku"),
    "price": first("price", "variant_price"),
    "option1": first("option1_value"),
    "option2": first("option2_value"),
    "option3": first("option3_value"),
    "image": first("variant_image_url", "variant_image"),
}


def _recognizes(names: Sequence[str]) -> bool:
    found = set(names)
    if {"handle", "variant_barcode"} <= found or {"url_handle", "barcode"} <= found:
        return True
    # Without the barcodes, to say so.
    return "title" in found and (
        {"handle", "option1_value"} <= found or {"url_handle", "option1_value"} <= found
    )


def _open(table: Table, options: LayoutOptions) -> ColumnMap:
    names = table.names
    handle = _HANDLE(names)
    texts, variant, image = bind_all(_TEXTS, names), bind_all(_VARIANT, names), _IMAGE(names)
    if handle is None:
        raise UnreadableFile("The header has no column Handle or URL handle.", table.header_line)
    if "gtin" not in variant:
        raise ColumnsNotFound(
            "This file of Shopify has no barcodes: export it again with the column Barcode, or "
            "choose the column that holds the GTIN."
        )
    gtin_title = table.titles[variant["gtin"].places[0]].strip()
    reader = _Reader(handle, texts, variant, image, options, gtin_title)
    prepared = row_reader(table)
    pictures = {"image_url": image} if image else {}
    fields = {
        **dict.fromkeys(handle.places, GROUP),
        **used_fields({**texts, **pictures}),
        **used_fields({field: bound for field, bound in variant.items() if field == "gtin"}),
        **dict.fromkeys(variant["image"].places if "image" in variant else (), "image_url"),
    }
    if options.shop:
        offer = {"sku": "offer_sku", "price": "offer_price"}
        fields |= used_fields({offer[name]: variant[name] for name in offer if name in variant})
    return ColumnMap(
        parse=lambda cells: Record(""),
        ignored_columns=ignored_titles(table, fields),
        fields=fields,
        group_by=handle.places[0],
        parse_group=lambda lines: reader.records([(line, prepared(row)) for line, row in lines]),
    )


@dataclasses.dataclass(frozen=True)
class _Reader:
    """Reads the rows of one handle."""

    handle: Bound[str]
    texts: Mapping[str, Bound[str]]
    variant: Mapping[str, Bound[str]]
    image: Bound[str] | None
    options: LayoutOptions
    gtin_title: str

    def records(self, lines: Sequence[Line]) -> Iterator[tuple[int, Record | BadRow]]:
        """Yield a record for each variant; the first row is one."""
        top = lines[0][1]
        texts = {field: bound.of(top) for field, bound in self.texts.items()}
        images = [self.image.of(cells) for _, cells in lines] if self.image else []
        handle = self.handle.of(top)
        for number, (line, cells) in enumerate(lines):
            values = {field: bound.of(cells) for field, bound in self.variant.items()}
            if number and not any(values.values()):
                continue
            record = Record(values["gtin"], dict(texts), gtin_title=self.gtin_title)
            if not record.gtin:
                record.problems.append(_no_barcode(texts.get("name") or handle, values))
            if self.image or "image" in self.variant:
                own = [values.get("image", ""), images[number] if images else ""]
                record.images = [image for image in dict.fromkeys([*own, *images]) if image]
            if self.options.shop and texts.get("status") != ProductStatus.DRAFT:
                record.offers = [self._offer(handle, values, texts.get("status", ""))]
            yield line, record

    def _offer(self, handle: str, values: Mapping[str, str], status: str) -> dict[str, str]:
        offer = {
            "url": f"{self.options.shop.rstrip('/')}/products/{quote(handle)}",
            "sku": values.get("sku", ""),
        }
        # The file does not say the currency of the shop.
        if self.options.currency and "price" in values:
            offer["price"] = values["price"]
        if status == ProductStatus.DISCONTINUED:
            offer["status"] = OfferStatus.DISCONTINUED.value
        return completed_offer(offer, self.options, is_shop=True)


def _no_barcode(name: str, values: Mapping[str, str]) -> Problem:
    options = [values.get(f"option{number}", "") for number in (1, 2, 3)]
    option = " / ".join(text for text in options if text and text != _ONLY_VARIANT)
    which = f"{option[:60]!r} of {name[:60]!r}" if option else f"of {name[:60]!r}"
    return Problem("gtin", "missing", f"is missing: the variant {which} has no barcode")


LAYOUT = Layout("shopify", "Shopify", recognizes=_recognizes, open=_open)
