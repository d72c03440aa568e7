"""The layouts that can be imported: one entry here each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dashboard.imports.files import UnreadableFile
from dashboard.imports.formats.base import Table
from dashboard.imports.formats.json_objects import JsonTable
from dashboard.imports.layouts import (
    akeneo,
    amazon,
    etsy,
    google,
    gs1,
    magento,
    open_food_facts,
    own_csv,
    own_json,
    own_parts,
    prestashop,
    schema_org,
    shopify,
    square,
    usda,
    woocommerce,
)
from dashboard.imports.layouts.base import NO_GTIN_COLUMN, Layout
from dashboard.imports.layouts.mapping import InvalidMapping, guess, samples

AUTO = "auto"
# In the order in which column names are compared with them. Those of a program are recognized by
# names that no other program writes together, so their order among each other does not matter. Our
# own come last: they take every file with a GTIN column, the products after offers and
# certificates, which have a GTIN too.
LAYOUTS = {
    layout.name: layout
    for layout in (
        own_json.LAYOUT,
        open_food_facts.LAYOUT,
        google.LAYOUT,
        shopify.LAYOUT,
        woocommerce.LAYOUT,
        prestashop.LAYOUT,
        magento.LAYOUT,
        square.LAYOUT,
        amazon.LAYOUT,
        akeneo.LAYOUT,
        usda.LAYOUT,
        etsy.LAYOUT,
        schema_org.LAYOUT,
        gs1.LAYOUT,
        own_parts.OFFERS,
        own_parts.CERTIFICATES,
        own_csv.LAYOUT,
    )
}


class UnknownLayout(UnreadableFile):
    """The columns of a file have to be mapped by hand: no layout recognizes them, or the one that
    does finds no GTIN.

    ``format`` is the name of the file's format, ``table`` the file, and ``suggestion`` the mapping
    that its titles and values suggest, which may be incomplete. ``advice`` says what is missing in
    a file of a known layout.
    """

    def __init__(self, table: Table, advice: str = "") -> None:
        super().__init__(advice or NO_GTIN_COLUMN, table.header_line)
        self.format = ""
        self.table = table
        self.advice = advice
        self.suggestion: Mapping[str, str] = guess(table.titles, samples(table, 20))


def recognized(names: Sequence[str]) -> Layout | None:
    """The layout of a table that recognizes column names, if one does."""
    tables = (layout for layout in LAYOUTS.values() if layout is not own_json.LAYOUT)
    return next((layout for layout in tables if layout.recognizes(names)), None)


def is_header(names: Sequence[str]) -> bool:
    """Whether column names are the header of a layout."""
    return recognized(names) is not None


def check_layout(layout: str, mapping: Mapping[str, str] | None) -> None:
    """Raise :class:`InvalidMapping` if a file gets a layout and a mapping at once."""
    if mapping and layout != AUTO:
        raise InvalidMapping(f"A mapping takes the place of the layout: use the layout {AUTO}.")


def layout_of(table: Table, name: str = AUTO) -> Layout:
    """The layout of a name, or with ``auto`` the one that recognizes a table's columns.

    Raises :class:`UnknownLayout` if none does, and :class:`UnreadableFile` if the layout is for
    another format.
    """
    if not table.titles:
        return own_json.LAYOUT
    has_objects = isinstance(table, JsonTable)
    if name == own_json.LAYOUT.name and not has_objects:
        raise UnreadableFile("The file is a table, not JSON: choose another layout.")
    if name != AUTO:
        return LAYOUTS[name]
    layout = recognized(table.names)
    if layout is own_csv.LAYOUT and has_objects and own_json.LAYOUT.recognizes(table.names):
        return own_json.LAYOUT
    if layout is None:
        raise UnknownLayout(table)
    return layout
