"""The layouts that can be imported: one entry here each."""

from __future__ import annotations

from collections.abc import Sequence

from catalog.csv_columns import GTIN_COLUMNS
from dashboard.imports.files import UnreadableFile
from dashboard.imports.formats.base import Table
from dashboard.imports.layouts import open_food_facts, own_csv, own_json, own_parts
from dashboard.imports.layouts.base import Layout

AUTO = "auto"
# In the order in which column names are compared with them: those with more particular names first.
LAYOUTS = {
    layout.name: layout
    for layout in (
        own_json.LAYOUT,
        open_food_facts.LAYOUT,
        own_parts.OFFERS,
        own_parts.CERTIFICATES,
        own_csv.LAYOUT,
    )
}


def recognized(names: Sequence[str]) -> Layout | None:
    """The layout that recognizes column names, if one does."""
    return next((layout for layout in LAYOUTS.values() if layout.recognizes(names)), None)


def is_header(names: Sequence[str]) -> bool:
    """Whether column names are the header of a layout."""
    return recognized(names) is not None


def layout_of(table: Table, name: str = AUTO) -> Layout:
    """The layout of a name, or with ``auto`` the one that recognizes a table's columns.

    Raises :class:`UnreadableFile` if none does.
    """
    if name != AUTO:
        return LAYOUTS[name]
    layout = recognized(table.names)
    if layout is None:
        raise UnreadableFile(
            f"The header has none of the columns {', '.join(GTIN_COLUMNS)}; one of them has to "
            "hold the GTIN.",
            table.header_line,
        )
    return layout
