"""Rejected rows, and the file they are written to so that they can be corrected."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TextIO

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


def default_path(path: Path, suffix: str) -> Path:
    """The rejects file of a file: next to it, as ``products.rejects.csv``."""
    name = path.name.removesuffix(".gz")
    stem, dot, ending = name.rpartition(".")
    return path.with_name(f"{stem}.rejects{dot}{ending}" if stem else f"{name}.rejects{suffix}")


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
