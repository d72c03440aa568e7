"""The interface of formats: parsed rows, and the column of each value."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TextIO

from catalog.csv_columns import GTIN_COLUMNS
from dashboard.imports.files import InputFile, UnreadableFile
from dashboard.imports.rejects import BadRow, Rejected


@dataclasses.dataclass(slots=True)
class ParsedRow:
    """A product as one row of a file describes it, not yet validated.

    Values that the file has no column for are absent (None for the last two); an empty string is
    an empty cell. ``nutrients`` are (name, unit, amount).
    """

    gtin: str
    texts: dict[str, str]
    nutrients: list[tuple[str, str, str]] | None = None
    metadata: dict[str, str] | None = None
    problems: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class ColumnMap:
    """The columns of a file for the fields.

    ``parse`` turns the content of a row into a :class:`ParsedRow`. ``fields`` are the fields by the
    index of their column, ``ignored_columns`` the names of columns that no field uses.
    """

    parse: Callable[[Any], ParsedRow]
    ignored_columns: tuple[str, ...] = ()
    fields: Mapping[int, str] = dataclasses.field(default_factory=dict)


class RowFile(Protocol):
    """An opened file, row by row; ``suffix`` is the one of its rejects file."""

    source: InputFile
    suffix: str

    @property
    def titles(self) -> Sequence[str]:
        """The column titles; none for JSON Lines."""

    @property
    def delimiter(self) -> str | None:
        """The delimiter of the cells; none for JSON Lines."""

    def rows(self) -> Iterator[tuple[int, Any | BadRow]]:
        """Yield the content of each row with the line where it begins."""

    def write_rejects(self, file: TextIO, rejected: Iterator[Rejected]) -> None:
        """Write the rejected rows as they were, with line and reason."""


@dataclasses.dataclass(frozen=True)
class FileFormat:
    """A format that can be imported.

    ``detect`` returns whether a file has this format; ``open`` returns its rows and its columns.
    Both raise :class:`UnreadableFile`.
    """

    name: str
    detect: Callable[[InputFile], bool]
    open: Callable[[InputFile], tuple[RowFile, ColumnMap]]


def gtin_column(header: Sequence[str]) -> int:
    """The index of the GTIN column.

    Raises :class:`UnreadableFile` if several columns could be the GTIN.
    """
    found = [index for index, column in enumerate(header) if column in GTIN_COLUMNS]
    exact = [index for index in found if header[index] == GTIN_COLUMNS[0]]
    candidates = exact or found
    if len(candidates) != 1:
        names = ", ".join(header[index] for index in candidates)
        raise UnreadableFile(f"Several columns can be the GTIN ({names}): name the right one gtin.")
    return candidates[0]
