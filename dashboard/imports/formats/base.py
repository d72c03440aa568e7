"""The interface of formats: how the bytes of a file become the rows of a table."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TextIO

from dashboard.imports.files import InputFile
from dashboard.imports.rejects import BadRow, Rejected

# Whether column names are those of a header: a layout recognizes them.
IsHeader = Callable[[Sequence[str]], bool]


class Table(Protocol):
    """An opened file as a table: columns with titles, and rows of cells below them.

    Whatever the format, a cell is text. A value that is repeated (an element of XML, a list of
    JSON) is in several columns of the same title; a nested one has a title with its path
    (``shipping:country``). So a layout does not depend on the format, and rejected rows of any
    format can be written as a table. The one exception is our own JSON, whose rows are objects and
    whose ``titles`` are empty.

    ``has_escaped_cells``: an apostrophe before what a spreadsheet would run as a formula is not
    part of the text (:mod:`closient.text.csv_safety`). ``suffix``, ``encoding`` and ``errors`` are
    those of the rejects file. ``notices`` are sentences on what was done to read the file (``Read
    as Windows-1252.``).
    """

    source: InputFile
    has_escaped_cells: bool
    suffix: str
    encoding: str
    errors: str

    @property
    def header_line(self) -> int | None:
        """The line of the titles; none if the file has no header."""

    @property
    def titles(self) -> Sequence[str]:
        """The column titles as they are in the file."""

    @property
    def names(self) -> Sequence[str]:
        """The titles as layouts compare them (:func:`column_name`)."""

    @property
    def delimiter(self) -> str | None:
        """The delimiter of the cells; none if the file is not delimited text."""

    @property
    def notices(self) -> Sequence[str]:
        """Sentences on what was done to read the file."""

    def rows(self) -> Iterator[tuple[int, Any | BadRow]]:
        """Yield the cells of each row with the line where it begins; can be called again.

        Cells are as many as titles. Lines increase. The line of a workbook's row is its number in
        the sheet, that of XML and JSON the line where the element begins or else its number.
        """

    def write_rejects(self, file: TextIO, rejected: Iterator[Rejected]) -> None:
        """Write the rejected rows as they were, with line and reason."""


@dataclasses.dataclass(frozen=True)
class FileFormat:
    """A format that can be imported.

    ``detect`` returns whether a file has this format. ``open`` returns its table; the function that
    it gets tells a header from the title rows above it. Both raise :class:`UnreadableFile`.
    """

    name: str
    detect: Callable[[InputFile], bool]
    open: Callable[[InputFile, IsHeader], Table]


def column_name(title: str) -> str:
    """Return a title for matching: in lower case, with underscores for blanks.

    The part after a colon is the user's own name and stays as it is.
    """
    known, colon, own = title.partition(":")
    return f"{'_'.join(known.split()).lower()}{colon}{own.strip()}"
