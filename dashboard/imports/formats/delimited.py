"""Delimited text: RFC 4180, also with other delimiters and the liberties that spreadsheets allow.

A record that is valid in RFC 4180 is read as such. Otherwise text after a closing quotation mark,
and quotation marks after a backslash, are taken if the record then has as many cells as the header.
A quotation mark that is never closed costs one line: its row is rejected, and reading goes on at
the next physical line.
"""

from __future__ import annotations

import contextlib
import csv
import itertools
import re
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from operator import itemgetter
from typing import NamedTuple, TextIO

from closient.text.csv_safety import unescape_cell
from dashboard.imports import rejects
from dashboard.imports.files import MAX_ROWS, InputFile, UnreadableFile
from dashboard.imports.formats.base import FileFormat, IsHeader, column_name
from dashboard.imports.formats.header import (
    HEADER_ROWS,
    check_width,
    find_header,
    skipped_notice,
)
from dashboard.imports.rejects import BadRow, Rejected
from dashboard.imports.text_file import MAX_LINE_LENGTH, TextFile

DELIMITERS = ("\t", ",", ";", "|")
# The longest record of several lines. Longer ones have a quotation mark that is never closed.
_MAX_RECORD_LENGTH = MAX_LINE_LENGTH
# Characters that may be read again after such marks, and times the characters read so far.
_MAX_READ_AGAIN = 64 * 1024 * 1024
_MAX_TIMES_READ = 4
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*\Z', re.IGNORECASE)
_GTIN_LIKE = re.compile(r"\D*\d{8,14}\D*\Z")
_BACKSLASH = '\\"'
# Lines of a record from which another may begin.
_MAX_STARTS = 50
NEVER_CLOSED = "a quotation mark is opened in this row and never closed"
_TEXT_AFTER_QUOTE = (
    "text follows a closing quotation mark, and the row does not have as many cells as the header; "
    'within a quoted cell a quotation mark is written twice ("")'
)
_TOO_LONG = f"a cell is longer than {csv.field_size_limit():,} characters"


class _Record(NamedTuple):
    """The cells of a record with its first and last physical line.

    A record that cannot be read has a reason, and the parts of its only line as cells.
    """

    line: int
    last_line: int
    cells: list[str]
    reason: str | None = None


class DelimitedFile:
    """A header and the rows below it."""

    suffix = ".csv"
    has_escaped_cells = True

    def __init__(self, source: InputFile, is_header: IsHeader) -> None:
        self.source = source
        self._text = TextFile(source)
        self.encoding = self._text.encoding
        self.errors = self._text.errors
        self.delimiter, header, skipped = _find_header(self._text, is_header)
        self.header_line, self._last_header_line, titles, _ = header
        self.titles = [unescape_cell(title) for title in titles]
        check_width(len(self.titles), self.header_line)
        self.names = [column_name(title) for title in self.titles]
        self.notices = (*self._text.notices, *skipped_notice(skipped))

    def rows(self) -> Iterator[tuple[int, list[str] | BadRow]]:
        """Yield each row with the line where it begins; skips rows without any text.

        Missing cells at the end of a row are empty.
        """
        width = len(self.titles)
        for line, _, cells, reason in self._records():
            if reason is not None:
                yield line, BadRow(reason)
            elif len(cells) == width:
                yield line, cells
            elif len(cells) < width:
                yield line, cells + [""] * (width - len(cells))
            elif any(cells[width:]):
                yield line, BadRow(f"the row has {len(cells)} cells, the header {width}")
            else:
                yield line, cells[:width]

    def write_rejects(self, file: TextIO, rejected: Iterator[Rejected]) -> None:
        """Write the header and the rejected rows with their lines and reasons.

        A row that cannot be read comes out as the parts of its line between delimiters.
        """
        with contextlib.closing(self._records()) as records:
            rejects.write_rows(
                csv.writer(file, delimiter=self.delimiter, lineterminator=self._text.line_end),
                list(zip(self.titles, self.names, strict=True)),
                ((record.line, record.cells) for record in records),
                rejected,
                is_escaped=True,
            )

    def _records(self) -> Generator[_Record, None, None]:
        """Yield the records below the header that are not empty."""
        reader = _RecordReader(self.delimiter, len(self.titles))
        with contextlib.closing(self._text.lines()) as lines:
            yield from reader.records(lines, skip=self._last_header_line)


class _RecordReader:
    """Reads records of some width; without a width, of any."""

    def __init__(self, delimiter: str, width: int | None = None) -> None:
        self._delimiter = delimiter
        self._width = width
        self._lines: Iterator[str] = iter(())
        # Lines that were read, and turned out to belong to later records.
        self._ahead: deque[str] = deque()
        self._read_again = 0

    def records(self, lines: Iterator[str], *, skip: int) -> Generator[_Record, None, None]:
        """Yield the records that are not empty, after ``skip`` physical lines."""
        self._lines = itertools.islice(lines, skip, None)
        self._ahead.clear()
        limit = csv.field_size_limit()
        number = skip
        count = 0
        characters = 0
        while (text := self._next_line()) is not None:
            number += 1
            first = number
            characters += len(text)
            reason = None
            if '"' not in text:
                cells = self._parts(text)
                if len(text) > limit and max(map(len, cells)) > limit:
                    reason = _TOO_LONG
            else:
                cells, reason, further = self._quoted(text)
                number += further
                if self._read_again > _MAX_READ_AGAIN + _MAX_TIMES_READ * characters:
                    raise UnreadableFile(
                        "Up to here too many quotation marks are never closed: write a quotation "
                        'mark within a quoted cell twice ("").',
                        first,
                    )
            if any(cells):
                yield _Record(first, number, cells, reason)
                count += 1
                if count > MAX_ROWS:
                    raise UnreadableFile(f"The file has more than {MAX_ROWS:,} rows.", first)

    def _next_line(self) -> str | None:
        return self._ahead.popleft() if self._ahead else next(self._lines, None)

    def _parts(self, text: str) -> list[str]:
        """The parts of a line between delimiters, with their quotation marks."""
        return text.rstrip("\r\n").split(self._delimiter)

    def _quoted(self, first: str) -> tuple[list[str], str | None, int]:
        """The cells of a record with quotation marks, which begins with this line.

        Also returns why it cannot be read, if so, and how many further lines it has.
        """
        for attempt in (self._standard, self._with_backslashes, self._with_text_after_quotes):
            with contextlib.suppress(csv.Error):
                cells, further = attempt(first)
                return cells, None, further
        return self._parts(first), self._reason(first), 0

    def _reason(self, line: str) -> str:
        """Why a line alone is not a record."""
        try:
            next(csv.reader([line], delimiter=self._delimiter, strict=True))
        except csv.Error as error:
            if "field larger" in str(error):
                return _TOO_LONG
            if "expected after" in str(error):
                return _TEXT_AFTER_QUOTE
        return NEVER_CLOSED

    def _standard(self, first: str) -> tuple[list[str], int]:
        def is_right(cells: list[str], taken: Sequence[str]) -> bool:
            if len(taken) == 1 or self._width is None:
                return True
            if self._fits(cells):
                return not self._are_numbered_rows(taken)
            return not self._has_whole_rows(taken[1:])

        return self._try(first, is_right)

    def _with_backslashes(self, first: str) -> tuple[list[str], int]:
        def is_right(cells: list[str], taken: Sequence[str]) -> bool:
            return (
                any(_BACKSLASH in text for text in taken)
                and (len(taken) == 1 or self._width is None or self._fits(cells))
                and not self._are_numbered_rows(taken)
            )

        return self._try(first, is_right, convert=lambda text: text.replace(_BACKSLASH, '""'))

    def _with_text_after_quotes(self, first: str) -> tuple[list[str], int]:
        def is_right(cells: list[str], taken: Sequence[str]) -> bool:
            if self._width is None:
                return len(taken) == 1
            return self._fits(cells) and not self._has_whole_rows(taken[1:])

        return self._try(first, is_right, strict=False)

    def _try(
        self,
        first: str,
        is_right: Callable[[list[str], Sequence[str]], bool],
        *,
        strict: bool = True,
        convert: Callable[[str], str] = str,
    ) -> tuple[list[str], int]:
        """The cells of a record and the number of its further lines.

        Raises :class:`csv.Error` if the record does not end or ``is_right`` is false; then those
        lines will be read again.
        """
        taken = [first]
        is_closed = True

        def record() -> Iterator[str]:
            nonlocal is_closed
            yield convert(first)
            length = len(first)
            while length <= _MAX_RECORD_LENGTH and (text := self._next_line()) is not None:
                taken.append(text)
                length += len(text)
                yield convert(text)
            is_closed = False

        error = csv.Error()
        try:
            cells = next(csv.reader(record(), delimiter=self._delimiter, strict=strict))
            if is_closed and is_right(cells, taken):
                return cells, len(taken) - 1
        except csv.Error as reason:
            error = reason
        self._ahead.extendleft(reversed(taken[1:]))
        self._read_again += sum(map(len, taken))
        raise error

    def _fits(self, cells: list[str]) -> bool:
        """Whether a record has as many cells as the header, without empty ones at its end."""
        width = self._width or 0
        return len(cells) == width or (len(cells) > width and not any(cells[width:]))

    def _has_whole_rows(self, lines: Sequence[str]) -> bool:
        """Whether a record with as many cells as the header begins with one of these lines."""
        if self._width == 1:
            return False
        for place in range(min(len(lines), _MAX_STARTS)):
            try:
                cells = next(csv.reader(lines[place:], delimiter=self._delimiter, strict=True))
            except csv.Error:
                # Its end may be behind these lines.
                cells = self._parts(lines[place])
            if len(cells) == self._width:
                return True
        return False

    def _are_numbered_rows(self, lines: Sequence[str]) -> bool:
        """Whether all lines of a record are rows with a number like a GTIN in the same column.

        Then the quotation marks at both ends of the record are parts of texts (``TV 55"``), between
        which a record that is valid in RFC 4180 would hide all other rows.
        """
        if len(lines) == 1:
            return False
        first, *others = lines
        numbered = [bool(_GTIN_LIKE.match(part)) for part in self._parts(first)]
        try:
            for cells in csv.reader(others, delimiter=self._delimiter, strict=True):
                if len(cells) != self._width:
                    return False
                numbered = [
                    is_number and bool(_GTIN_LIKE.match(cell))
                    for is_number, cell in zip(numbered, cells, strict=False)
                ]
        except csv.Error:
            return False
        return any(numbered)


def _find_header(text: TextFile, is_header: IsHeader) -> tuple[str, _Record, int]:
    """The delimiter, the header, and the number of rows above it.

    The delimiter is the one with which a layout recognizes a header first, or the most columns of
    it; else the one with which most of the first rows have as many cells as the header.
    """
    separator, skip = _separator_line(text)
    found: list[tuple[tuple[int, int, int], tuple[str, _Record, int]]] = []
    for delimiter in separator or DELIMITERS:
        with contextlib.closing(text.lines()) as lines:
            reader = _RecordReader(delimiter)
            first = list(itertools.islice(reader.records(lines, skip=skip), HEADER_ROWS))
        rows = [record.cells for record in first]
        place, is_recognized = find_header(rows, is_header)
        header = first[place] if first else _Record(1, 1, [])
        width = len(header.cells)
        fitness = (
            (1, -header.line, width)
            if is_recognized
            else (0, sum(len(cells) == width for cells in rows) if width > 1 else 0, width)
        )
        found.append((fitness, (delimiter, header, place)))
    return max(found, key=itemgetter(0))[1]


def _separator_line(text: TextFile) -> tuple[str, int]:
    """The delimiter that a line ``sep=;`` above the header names, and the lines up to it."""
    with contextlib.closing(text.lines()) as lines:
        for number, line in enumerate(itertools.islice(lines, HEADER_ROWS), start=1):
            if line.strip():
                match = _SEPARATOR_LINE.match(line)
                return (match[1], number) if match else ("", 0)
    return "", 0


FORMAT = FileFormat("delimited", detect=lambda source: True, open=DelimitedFile)
