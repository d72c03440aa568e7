"""Delimited files: RFC 4180, also with tabs or semicolons."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Generator, Iterator, Sequence
from typing import TextIO

from dashboard.imports.files import MAX_ROWS, InputFile, UnreadableFile
from dashboard.imports.formats.base import FileFormat, IsHeader, column_name
from dashboard.imports.rejects import LINE_KEY, REASON_KEY, BadRow, Rejected

DELIMITERS = ("\t", ",", ";")


class DelimitedFile:
    """A header and the rows below it."""

    suffix = ".csv"
    notices: Sequence[str] = ()

    def __init__(self, source: InputFile, is_header: IsHeader) -> None:
        self.source = source
        self.encoding = source.encoding
        self.errors = source.errors
        self.delimiter = _delimiter(next(source.lines()), is_header)
        self.header_line, self.titles = next(self._cells(), (1, []))
        self.names = [column_name(title) for title in self.titles]

    def rows(self) -> Iterator[tuple[int, list[str] | BadRow]]:
        """Yield each row with the line where it begins; skips rows without any text."""
        width = len(self.names)
        cells_of_all = self._cells()
        next(cells_of_all)
        for line, cells in cells_of_all:
            if len(cells) == width:
                yield line, cells
            elif len(cells) > width and not any(cells[width:]):
                yield line, cells[:width]
            else:
                yield line, BadRow(f"the row has {len(cells)} cells, the header {width}")

    def write_rejects(self, file: TextIO, rejected: Iterator[Rejected]) -> None:
        """Write the header and the rejected rows unchanged.

        Two more columns have the line and the reason; an import ignores them.
        """
        writer = csv.writer(file, delimiter=self.delimiter, lineterminator=self.source.line_end)
        kept = [
            place for place, name in enumerate(self.names) if name not in (LINE_KEY, REASON_KEY)
        ]
        writer.writerow([*(self.titles[place] for place in kept), LINE_KEY, REASON_KEY])
        with contextlib.closing(self._cells()) as rows:
            for wanted in rejected:
                cells = next(cells for line, cells in rows if line == wanted.line)
                cells += [""] * (len(self.names) - len(cells))
                whole = [cells[place] for place in kept] + cells[len(self.names) :]
                writer.writerow([*whole, wanted.line, wanted.reason])

    def _cells(self) -> Generator[tuple[int, list[str]], None, None]:
        """Yield the cells of the header and of each row that is not empty, with their line."""
        with contextlib.closing(self.source.lines()) as lines:
            reader = csv.reader(lines, delimiter=self.delimiter, strict=True)
            count = 0
            while True:
                line = reader.line_num + 1
                try:
                    cells = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    raise UnreadableFile(_explanation(error), line) from error
                if any(cells):
                    yield line, cells
                    count += 1
                    if count > MAX_ROWS + 1:
                        raise UnreadableFile(f"The file has more than {MAX_ROWS:,} rows.", line)


def _delimiter(first_line: str, is_header: IsHeader) -> str:
    """The delimiter with which the line is a header, else the most frequent one."""

    def fitness(delimiter: str) -> tuple[bool, int]:
        cells = next(csv.reader([first_line], delimiter=delimiter), [])
        names = [column_name(cell) for cell in cells]
        return is_header(names), len(names)

    return max(DELIMITERS, key=fitness)


def _explanation(error: csv.Error) -> str:
    text = str(error)
    if "field larger" in text:
        return (
            f"In the row that begins here a cell is longer than {csv.field_size_limit():,} "
            "characters; perhaps its quotation mark is never closed."
        )
    if "unexpected end" in text:
        return "In the row that begins here a quotation mark is never closed."
    if "expected after" in text:
        return (
            "In the row that begins here text follows a closing quotation mark; "
            'within a quoted cell a quotation mark is written twice ("").'
        )
    return f"The row that begins here is not valid CSV ({text})."


FORMAT = FileFormat("delimited", detect=lambda source: not source.is_json, open=DelimitedFile)
