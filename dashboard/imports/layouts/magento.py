"""Magento 2: the export of products.

A shop's own attributes are in the column ``additional_attributes``, the GTIN among them. Rows with
a store view translate the row above them with the same SKU; they give no product.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

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
    Images,
    Text,
    bind_all,
    first,
    ignored_titles,
    row_reader,
    used_fields,
)
from dashboard.imports.records import Problem, Record
from dashboard.imports.rejects import BadRow

# Codes that shops give to the attribute.
_GTIN_CODES = (
    "gtin",
    "gtin13",
    "gtin14",
    "ean",
    "ean13",
    "ean_code",
    "upc",
    "upc_code",
    "barcode",
    "bar_code",
    "isbn",
)
# Not from the middle of a word, which may be long.
_CODE = r"(?<![A-Za-z0-9_])[A-Za-z][A-Za-z0-9_]*+"
# ean=1, "notes=a, b" (the pair in quotation marks, as its value has commas), and notes="a, b".
_PAIR = re.compile(
    rf'"(?P<quoted_code>{_CODE})=(?P<in_pair>(?:[^"]|"")*)"(?=,|\Z)'
    rf'|(?P<code>{_CODE})=(?:"(?P<in_value>(?:[^"]|"")*)"(?=,|\Z)'
    rf'|(?P<plain>.*?)(?=,"?{_CODE}=|\Z))',
    re.DOTALL,
)
# Attributes of the additional ones, and the columns that some exports have for them.
_ATTRIBUTES = {"brand": ("brand",), "manufacturer": ("manufacturer",)}
_TEXTS: Mapping[str, Text] = {
    "name": first("name"),
    "description": first("description", "short_description"),
    "category": first("categories", convert=converters.first_item),
    "country_of_origin": first("country_of_manufacture"),
    "status": first("product_online", convert=converters.choice({"1": "active", "2": "draft"})),
}
_ADDITIONAL = "additional_attributes"
_IMAGES = ("base_image", "additional_images")


def attributes(text: str) -> dict[str, str]:
    """The attributes of a cell such as ``ean=4006381333931,"notes=a, b"``, by code."""
    found = {}
    for match in _PAIR.finditer(text):
        code = match["quoted_code"] or match["code"]
        quoted = match["in_pair"] if match["in_pair"] is not None else match["in_value"]
        found[code.lower()] = match["plain"] if quoted is None else quoted.replace('""', '"')
    return found


def _open(table: Table, options: LayoutOptions) -> ColumnMap:
    names = table.names
    if "sku" not in names:
        raise UnreadableFile("The header has no column sku.", table.header_line)
    sku = names.index("sku")
    additional = names.index(_ADDITIONAL) if _ADDITIONAL in names else None
    view = names.index("store_view_code") if "store_view_code" in names else None
    texts = bind_all(_TEXTS, names)
    images = Images(_IMAGES, names, converters.addresses)
    # Other programs write attributes into columns of their code.
    codes = {*_GTIN_CODES, *(code for codes in _ATTRIBUTES.values() for code in codes)}
    own = {code: names.index(code) for code in codes if code in names}
    if additional is None and own.keys().isdisjoint(_GTIN_CODES):
        raise ColumnsNotFound(
            "This file of Magento has no GTINs: export it with the column additional_attributes, "
            "or choose the column that holds the GTIN."
        )
    prepared = row_reader(table)

    def parse_group(lines: Sequence[Line]) -> Iterator[tuple[int, Record | BadRow]]:
        # An export of one store view has no other rows.
        line, row = next((each for each in lines if not is_view(each[1])), lines[0])
        cells = prepared(row)
        values = attributes(cells[additional]) if additional is not None else {}
        values |= {code: text for code, place in own.items() if (text := cells[place].strip())}
        record = Record(
            next((values[code] for code in _GTIN_CODES if values.get(code)), ""),
            {field: bound.of(cells) for field, bound in texts.items()},
            images=images.of(cells),
            gtin_title=next((code for code in _GTIN_CODES if values.get(code)), ""),
        )
        for field, codes in _ATTRIBUTES.items():
            record.texts[field] = next((values[code] for code in codes if values.get(code)), "")
        if not record.gtin:
            record.problems.append(
                Problem(
                    "gtin",
                    "missing",
                    "is missing: additional_attributes has none of the attributes "
                    f"{', '.join(_GTIN_CODES)}",
                )
            )
        yield line, record

    def is_view(cells: Sequence[str]) -> bool:
        return view is not None and bool(cells[view].strip())

    fields = {
        **dict.fromkeys([sku] if view is None else [sku, view], GROUP),
        **used_fields(texts),
        **dict.fromkeys(images.places, "image_url"),
        **{place: _field(code) for code, place in own.items()},
        **({additional: "gtin"} if additional is not None else {}),
    }
    return ColumnMap(
        parse=lambda cells: Record(""),
        ignored_columns=ignored_titles(table, fields),
        fields=fields,
        group_by=sku,
        parse_group=parse_group,
    )


def _field(code: str) -> str:
    return next((field for field, codes in _ATTRIBUTES.items() if code in codes), "gtin")


LAYOUT = Layout(
    "magento",
    "Magento 2",
    recognizes=lambda names: {"sku", "attribute_set_code"} <= set(names),
    open=_open,
)
