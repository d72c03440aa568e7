"""The interface of layouts: which column of a table means what."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from catalog.csv_columns import GTIN_COLUMNS
from dashboard.imports.files import UnreadableFile
from dashboard.imports.formats.base import Table
from dashboard.imports.records import Record
from dashboard.imports.rejects import BadRow

NO_GTIN_COLUMN = (
    f"The header has none of the columns {', '.join(GTIN_COLUMNS)}; one of them has to hold the "
    "GTIN."
)


class ColumnsNotFound(UnreadableFile):
    """A file lacks a column that its layout or mapping needs; the message says what to do."""


# In the fields of a ColumnMap: a column that says which rows belong together.
GROUP = "group"
# A row of a group: the line where it begins, and its cells.
Line = tuple[int, Sequence[str]]


@dataclasses.dataclass(frozen=True)
class ColumnMap:
    """The columns of one file for the fields of a layout.

    ``parse`` returns the record of a row. ``fields`` are the fields by the index of their column,
    ``ignored_columns`` the titles of columns that no field uses.

    ``table`` is the file if it has to be read in another way than as the table that was opened.

    With ``parse_group``, consecutive rows with the same cell in the column ``group_by`` belong
    together (:mod:`dashboard.imports.groups`): it returns their records, each with the line of its
    own row, and ``parse`` is not used.
    """

    parse: Callable[[Any], Record]
    ignored_columns: tuple[str, ...] = ()
    fields: Mapping[int, str] = dataclasses.field(default_factory=dict)
    group_by: int = 0
    parse_group: Callable[[Sequence[Line]], Iterator[tuple[int, Record | BadRow]]] | None = None
    table: Table | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayoutOptions:
    """What a file does not say about its own rows.

    ``retailer`` is who offers the products of a file with offers. ``shop`` is the address of a shop
    whose export has no addresses of its product pages (``https://shop.example.com``); without it
    such a file gives no offers. ``currency`` (ISO 4217) is that of prices without one.
    """

    retailer: str = ""
    shop: str = ""
    currency: str = ""


@dataclasses.dataclass(frozen=True)
class Layout:
    """The columns that a program writes, and what they mean.

    ``recognizes`` returns whether column names (:func:`column_name`) are this layout's. ``open``
    returns the columns of a table; raises :class:`UnreadableFile`. ``title`` names it for people.
    A layout that does not ``create_products`` has rows of offers or certificates: their product
    must exist, and several rows may have the same one.
    """

    name: str
    title: str
    recognizes: Callable[[Sequence[str]], bool]
    open: Callable[[Table, LayoutOptions], ColumnMap]
    creates_products: bool = True


def gtin_column(header: Sequence[str]) -> int:
    """The index of the GTIN column.

    Raises :class:`UnreadableFile` if no column or several could be the GTIN.
    """
    found = [index for index, column in enumerate(header) if column in GTIN_COLUMNS]
    if not found:
        raise UnreadableFile(NO_GTIN_COLUMN)
    exact = [index for index in found if header[index] == GTIN_COLUMNS[0]]
    candidates = exact or found
    if len(candidates) != 1:
        names = ", ".join(header[index] for index in candidates)
        raise UnreadableFile(f"Several columns can be the GTIN ({names}): name the right one gtin.")
    return candidates[0]
