"""Reads a file as lines of text: detects compression and encoding, and enforces limits.

Files are streamed line by line; memory holds one line at most.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import zlib
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import IO, cast

MAX_LINE_LENGTH = 1_000_000
MAX_ROWS = 20_000_000
# Real catalogs compress to a tenth, at most to a fiftieth. Small files may compress further.
MAX_COMPRESSION = 200
UNJUDGED_CHARACTERS = 64 * 1024 * 1024
MAX_CHARACTERS = 64 * 1024 * 1024 * 1024

_HEAD_LENGTH = 8192
_GZIP = b"\x1f\x8b"
_FOREIGN = {
    b"PK\x03\x04": "an Excel workbook or a ZIP archive",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"%PDF": "a PDF",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    _GZIP: "gzip within gzip",
}


class UnreadableFile(ValueError):
    """A file cannot be read to its end, so none of it is imported.

    ``line`` is the physical line where the error is; None if it concerns the whole file.
    """

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason if line is None else f"line {line}: {reason}")
        self.line = line


class InputFile:
    """A text file: its encoding, and its lines as often as needed.

    Raises :class:`UnreadableFile` for a file that is not text.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._raw: IO[bytes] | None = None
        try:
            found = path.stat()
            with path.open("rb") as raw:
                self.is_compressed = raw.read(2) == _GZIP
        except OSError as error:
            raise UnreadableFile(f"{path} cannot be opened: {error.strerror}.") from error
        self.size = found.st_size
        self._identity = _identity(found)
        head = self._head()
        self.encoding = _encoding(head)
        # Invalid bytes reach the row that has them, which alone is rejected; written with the same
        # error handler they come out unchanged.
        self.errors = "surrogateescape" if self.encoding.startswith("utf-8") else "surrogatepass"
        text = head.decode(self.encoding, "replace").lstrip("\ufeff \t\r\n")
        if not text:
            raise UnreadableFile("The file is empty.")
        if text.startswith("["):
            raise UnreadableFile(
                "The file begins with [, as a JSON array does: write JSON Lines, one object a line."
            )
        self.is_json = text.startswith("{")
        self.line_end = _line_end(text)

    @property
    def bytes_read(self) -> int:
        """Bytes of the file that have been read, out of ``size``."""
        return self._raw.tell() if self._raw and not self._raw.closed else 0

    def lines(self) -> Generator[str, None, None]:
        """Yield the physical lines, each with its line end.

        Raises :class:`UnreadableFile` when a line is too long or the file is damaged.
        """
        number = 1
        characters = 0
        judged = UNJUDGED_CHARACTERS
        with (
            self._opened() as stream,
            io.TextIOWrapper(stream, self.encoding, self.errors, newline="") as text,
            _damage(lambda: number),
        ):
            while line := text.readline(MAX_LINE_LENGTH):
                if len(line) == MAX_LINE_LENGTH:
                    raise UnreadableFile(
                        f"The line is longer than {MAX_LINE_LENGTH:,} characters.", number
                    )
                yield line
                number += 1
                characters += len(line)
                if characters > judged:
                    self._judge(characters, number)
                    judged = characters + UNJUDGED_CHARACTERS

    def _judge(self, characters: int, line: int) -> None:
        if self.is_compressed and characters > MAX_COMPRESSION * self.bytes_read:
            raise UnreadableFile(
                f"The file unpacks to more than {MAX_COMPRESSION} times its size, "
                "which no catalog does. If it is a catalog, unpack it first.",
                line,
            )
        if characters > MAX_CHARACTERS:
            raise UnreadableFile("The file is too large: split it.", line)

    def _head(self) -> bytes:
        with self._opened() as stream, _damage(lambda: 1):
            head = stream.read(_HEAD_LENGTH)
        for signature, name in _FOREIGN.items():
            if head.startswith(signature):
                raise UnreadableFile(f"The file is not text: it looks like {name}. Save it as CSV.")
        return head

    @contextlib.contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        with self.path.open("rb") as raw:
            if _identity(os.fstat(raw.fileno())) != self._identity:
                raise UnreadableFile(f"{self.path} was changed while it was being imported.")
            self._raw = raw
            if self.is_compressed:
                with gzip.open(raw) as unpacked:
                    yield cast("IO[bytes]", unpacked)
            else:
                yield raw


def _identity(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _encoding(head: bytes) -> str:
    if head.startswith(b"\xef\xbb\xbf"):
        return "utf-8-sig"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    # The first character of a header or of a JSON object is ASCII, so one of two bytes is zero.
    if head[1:2] == b"\0" != head[:1]:
        return "utf-16-le"
    if head[:1] == b"\0" != head[1:2]:
        return "utf-16-be"
    return "utf-8"


def _line_end(text: str) -> str:
    first = text.splitlines(keepends=True)[0]
    return "\r\n" if first.endswith("\r\n") else "\n"


@contextlib.contextmanager
def _damage(line: Callable[[], int]) -> Iterator[None]:
    """Turn errors of decompression and decoding into one that names the line."""
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UnreadableFile("The gzip file is damaged or cut short.", line()) from error
    except UnicodeDecodeError as error:
        raise UnreadableFile(
            f"The file is not valid {error.encoding.upper()} text.", line()
        ) from error
