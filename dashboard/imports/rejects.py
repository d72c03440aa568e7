"""Rows that are refused, and the file they are written to so that they can be mended."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TextIO

# Two columns (or keys) that a rejects file has besides the input's own; an import skips them.
LINE_KEY = "_line"
REASON_KEY = "_reason"


class BadRow(NamedTuple):
    """Stands where a row cannot even be taken apart."""

    reason: str


class Rejected(NamedTuple):
    """A refused row: the line where it begins, and why as one text, field by field."""

    line: int
    reason: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}"


class UnwritableRejects(ValueError):
    """The rejects file cannot be written, so nothing was imported."""


def default_path(path: Path, suffix: str) -> Path:
    """Return where the rejects of a file go: beside it, as ``products.rejects.csv``."""
    name = path.name.removesuffix(".gz")
    stem, dot, ending = name.rpartition(".")
    return path.with_name(f"{stem}.rejects{dot}{ending}" if stem else f"{name}.rejects{suffix}")


@contextlib.contextmanager
def replacing(
    path: Path, *, encoding: str, errors: str
) -> Iterator[Callable[[], contextlib.AbstractContextManager[TextIO]]]:
    """Give a function that opens a new text file, which takes the place of ``path`` at the end.

    Whoever looks sees the old file or the whole new one. Where the block fails, or the function
    was never called, nothing changes. The function raises :class:`UnwritableRejects`.
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
