"""Rejected rows, and the file they are written to so that they can be corrected."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TextIO

from closient.text.csv_safety import escape_cell, unescape_cell

if TYPE_CHECKING:
    from _csv import Writer

# Two columns (or keys) that a rejects file adds to those of the input; imports ignore them.
LINE_KEY = "_line"
REASON_KEY = "_reason"


class BadRow(NamedTuple):
    """A row that cannot be parsed."""

    reason: str


class Rejected(NamedTuple):
    """A rejected row: the line where it begins, and the reason, field by field."""

    line: int
    reason: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}"


class UnwritableRejects(ValueError):
    """The rejects file cannot be written, so nothing was imported."""


_NUMBER = re.compile(r"[+-]?[0-9]+([.,][0-9]+)?")
# The endings of files in the formats of rejects files.
_ENDINGS = {
    ".csv": (".csv", ".tsv", ".tab", ".txt"),
    ".jsonl": (".jsonl", ".ndjson", ".json", ".txt"),
}


def default_path(path: Path, suffix: str) -> Path:
    """The rejects file of a file: next to it, as ``products.rejects.csv``.

    It keeps the ending of the file (``.tsv``) if it has the same format, else gets ``suffix``.
    """
    return path.with_name(default_name(path.name, suffix))


def default_name(name: str, suffix: str) -> str:
    """The name of the rejects file of a file with any name, as in :func:`default_path`."""
    name = name.removesuffix(".gz").removesuffix(".zip")
    stem, dot, ending = name.rpartition(".")
    is_kept = f"{dot}{ending}".lower() in _ENDINGS[suffix]
    return f"{stem or name}.rejects{dot + ending if stem and is_kept else suffix}"


def write_rows(
    writer: Writer,
    header: Sequence[tuple[str, str]],
    rows: Iterator[tuple[int, Sequence[str]]],
    rejected: Iterator[Rejected],
    *,
    is_escaped: bool = False,
) -> None:
    """Write a header and the rejected rows with a writer of the module ``csv``.

    ``header`` are the titles of the input with their names. Two more columns have the line and the
    reason; an import ignores them. ``rows`` are all rows of the input.

    Titles and cells that a spreadsheet would run as formulas are escaped, as in an export: the rows
    of a source come from others. ``is_escaped`` says whether those of the input may be already.
    """
    width = len(header)
    kept = [place for place, (_, name) in enumerate(header) if name not in (LINE_KEY, REASON_KEY)]
    titles = (escape_cell(unescape_cell(header[place][0])) for place in kept)
    writer.writerow([*titles, LINE_KEY, REASON_KEY])
    for wanted in rejected:
        cells = next(cells for line, cells in rows if line == wanted.line)
        cells = [*cells, *[""] * (width - len(cells))]
        whole = [*(cells[place] for place in kept), *cells[width:]]
        plain = map(unescape_cell, whole) if is_escaped else whole
        writer.writerow([*map(_escaped, plain), wanted.line, escape_cell(wanted.reason)])


def _escaped(cell: str) -> str:
    """A cell as no formula; a number is none."""
    return cell if _NUMBER.fullmatch(cell) else escape_cell(cell)


@contextlib.contextmanager
def replacing(
    path: Path, *, encoding: str, errors: str
) -> Iterator[Callable[[], contextlib.AbstractContextManager[TextIO]]]:
    """Yield a function that opens a new text file, which replaces ``path`` at the end of the block.

    Readers see the old file or the complete new one. If the block fails, or the function was not
    called, nothing changes. The function raises :class:`UnwritableRejects`.
    """
    written: list[Path] = []

    @contextlib.contextmanager
    def opened() -> Iterator[TextIO]:
        try:
            handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
            written.append(Path(name))
            with open(handle, "w", encoding=encoding, errors=errors, newline="") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise UnwritableRejects(
                f"The rejects cannot be written to {path}: {error.strerror}."
            ) from error

    try:
        yield opened
        for temporary in written:
            temporary.replace(path)
    finally:
        for temporary in written:
            temporary.unlink(missing_ok=True)
