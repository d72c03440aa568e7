"""Objects as rows of a table: what the formats with named values (XML, JSON) have in common.

A file is read twice: first for the column titles, then for the rows. A value that an object has
several times is in several columns of the same title.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import IO, TextIO

from dashboard.imports import rejects
from dashboard.imports.files import MAX_ROWS, InputFile, UnreadableFile
from dashboard.imports.formats.base import column_name
from dashboard.imports.rejects import BadRow, Rejected

MAX_COLUMNS = 5_000
# Columns of the same title; as many as a product can have images.
MAX_REPEATS = 50
# Titles counted in the first reading, and their length; the most frequent ones become columns.
_MAX_COUNTED = 100_000
_MAX_TITLE_LENGTH = 255

# The values of an object, each with its title.
Values = list[tuple[str, str]]


def nested_title(path: str, separator: str, name: str) -> str:
    """Return the title of a value within another: its path.

    A title that is too long for a column is cut to one that is still too long: an object of a
    megabyte could otherwise have as many paths of half a megabyte.
    """
    return f"{path}{separator}{name}"[: _MAX_TITLE_LENGTH + 1]


class ObjectTable:
    """A table of objects, which ``read`` yields from the beginning each time it is called.

    The line of a row is the number of its object in the file.
    """

    suffix = ".csv"
    has_escaped_cells = False
    encoding = "utf-8-sig"
    errors = "surrogatepass"
    delimiter = None
    header_line = None

    def __init__(self, source: InputFile, read: Callable[[], Iterator[Values | BadRow]]) -> None:
        self.source = source
        self._read = read
        counts, repeats = _count(read())
        kept = {title for title, _ in counts.most_common(MAX_COLUMNS)}
        self._places: dict[str, range] = {}
        titles: list[str] = []
        for title in counts:
            if title in kept and len(titles) + repeats[title] <= MAX_COLUMNS:
                self._places[title] = range(len(titles), len(titles) + repeats[title])
                titles += [title] * repeats[title]
        self.titles: Sequence[str] = titles
        self.names = [column_name(title) for title in titles]
        left_out = len(counts) - len(self._places)
        self.notices: tuple[str, ...] = ()
        if left_out:
            self.notices = (f"Left out the {left_out:,} least frequent names of values.",)

    def rows(self) -> Iterator[tuple[int, list[str] | BadRow]]:
        """Yield the values of each object in the order of the titles; empty objects are skipped."""
        for number, values in enumerate(self._read(), start=1):
            if isinstance(values, BadRow):
                yield number, values
            elif values:
                yield number, self._cells(values)

    def write_rejects(self, file: TextIO, rejected: Iterator[Rejected]) -> None:
        """Write the titles and the rejected objects as CSV, with their numbers and reasons."""
        header = list(zip(self.titles, self.names, strict=True))
        rows = (
            (number, [] if isinstance(cells, BadRow) else cells) for number, cells in self.rows()
        )
        rejects.write_rows(csv.writer(file), header, rows, rejected)

    def _cells(self, values: Values) -> list[str]:
        cells = [""] * len(self.titles)
        used: dict[str, int] = {}
        for title, text in values:
            places = self._places.get(title)
            count = used.get(title, 0)
            if places is not None and count < len(places):
                cells[places[count]] = text
                used[title] = count + 1
        return cells


def _count(objects: Iterator[Values | BadRow]) -> tuple[Counter[str], Counter[str]]:
    """The titles in the order in which they appear, with the number of objects that have them.

    Also returns how often an object has them at most.
    """
    counts: Counter[str] = Counter()
    repeats: Counter[str] = Counter()
    for number, values in enumerate(objects, start=1):
        if number > MAX_ROWS:
            raise UnreadableFile(f"The file has more than {MAX_ROWS:,} rows.")
        if isinstance(values, BadRow):
            continue
        for title, count in Counter(title for title, _ in values).items():
            is_new = title not in counts
            if not is_new or (len(counts) < _MAX_COUNTED and len(title) <= _MAX_TITLE_LENGTH):
                counts[title] += 1
                repeats[title] = max(repeats[title], min(count, MAX_REPEATS))
    return counts, repeats


class MeteredStream:
    """A stream that refuses to read more than some bytes for one object.

    So a parser that collects an object holds no more than that. ``next_object`` starts again.
    """

    def __init__(self, stream: IO[bytes], max_bytes: int) -> None:
        self._stream = stream
        self._max_bytes = max_bytes
        self._count = 0

    def read(self, size: int = -1) -> bytes:
        """The next bytes; raises :class:`UnreadableFile`."""
        block = self._stream.read(size)
        self._count += len(block)
        if self._count > self._max_bytes:
            raise UnreadableFile(
                f"The file has an object, or a part outside of all objects, of more than "
                f"{self._max_bytes:,} bytes."
            )
        return block

    def next_object(self) -> None:
        """An object has been read."""
        self._count = 0
