"""Reads a file as lines of text: detects the encoding, and limits the length of a line.

Files are streamed line by line; memory holds one line at most.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import re
from collections.abc import Generator
from typing import NoReturn

import charset_normalizer

from dashboard.imports.code_pages import CODE_PAGES, code_pages_of
from dashboard.imports.files import InputFile, UnreadableFile

MAX_LINE_LENGTH = 1_000_000

_UTF_8 = "utf-8"
# In this order: the mark of UTF-32 begins with that of UTF-16.
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_BLANK = "\ufeff \t\r\n"
# How much of the text with other characters than ASCII decides on the encoding, and how much of
# that is judged by its letters.
_BLOCK_LENGTH = 1024 * 1024
_JUDGED_LENGTH = 64 * 1024
# The characters of UTF-8 outside of ASCII (RFC 3629), without the rarest forms.
_UTF_8_CHARACTER = re.compile(
    rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}"
)
_NOT_ASCII = re.compile(rb"[\x80-\xff]")
READ_AS = "Read as {name}, because it is not valid UTF-8."
UNKNOWN_ENCODING = (
    "The text is not valid UTF-8, and not in a known code page: rows with other characters than "
    "those of ASCII are rejected. Save the file as UTF-8."
)


class TextFile:
    """A file as text: its encoding, and its lines as often as needed.

    Bytes that are invalid in the encoding reach the row that has them, which alone is rejected;
    written with the same error handler (``errors``) they come out unchanged. ``notices`` are
    sentences on the encoding. Raises :class:`UnreadableFile` for a file without text.
    """

    def __init__(self, source: InputFile) -> None:
        self.source = source
        start = starting_text(source)
        if not start:
            raise UnreadableFile("The file is empty.")
        self.line_end = _line_end(start)
        self.notices: tuple[str, ...] = ()
        self.encoding = encoding_of_start(source.head)
        if self.encoding == _UTF_8:
            self.encoding, self.notices = _encoding(source)
        is_wide = self.encoding.startswith(("utf-16", "utf-32"))
        self.errors = "surrogatepass" if is_wide else "surrogateescape"

    def lines(self) -> Generator[str, None, None]:
        """Yield the physical lines, each with its line end.

        Raises :class:`UnreadableFile` when a line is too long or the file is damaged.
        """
        number = 1
        try:
            with (
                self.source.opened() as stream,
                io.TextIOWrapper(stream, self.encoding, self.errors, newline="") as text,
            ):
                while line := text.readline(MAX_LINE_LENGTH):
                    if len(line) == MAX_LINE_LENGTH:
                        _refuse_length(number)
                    yield line.lstrip("\ufeff") if number == 1 else line
                    number += 1
        except UnicodeDecodeError as error:
            raise UnreadableFile(
                f"The file is not valid {error.encoding.upper()} text.", number
            ) from error
        except UnreadableFile as error:
            if error.line is not None:
                raise
            raise UnreadableFile(str(error), number) from error


def _refuse_length(number: int) -> NoReturn:
    raise UnreadableFile(f"The line is longer than {MAX_LINE_LENGTH:,} characters.", number)


def starting_text(source: InputFile) -> str:
    """The first characters of a file after blanks and byte order marks."""
    return source.head.decode(encoding_of_start(source.head), "replace").lstrip(_BLANK)


def encoding_of_start(head: bytes) -> str:
    """The encoding by the first bytes; UTF-8 if they do not show another."""
    for mark, encoding in _MARKS.items():
        if head.startswith(mark):
            return encoding
    # The first character of a header, of XML and of JSON is ASCII, so the others are zero.
    is_zero = tuple(byte == 0 for byte in head[:4])
    if is_zero == (False, True, True, True):
        return "utf-32-le"
    if is_zero == (True, True, True, False):
        return "utf-32-be"
    if is_zero[:2] == (False, True):
        return "utf-16-le"
    if is_zero[:2] == (True, False):
        return "utf-16-be"
    return _UTF_8


def _encoding(source: InputFile) -> tuple[str, tuple[str, ...]]:
    """UTF-8 or a code page, with notices.

    A text that is UTF-8 but for a few bytes has more valid characters than invalid bytes; one in a
    code page has hardly any. Which code page it is, is decided by its letters.
    """
    sample = _sample(source)
    with contextlib.suppress(UnicodeDecodeError):
        sample.decode()
        return _UTF_8, ()
    characters = _UTF_8_CHARACTER.findall(sample)
    invalid = len(_NOT_ASCII.findall(sample)) - sum(map(len, characters))
    if invalid <= len(characters):
        return _UTF_8, ()
    lines = b"\n".join(line for line in sample.splitlines() if not line.isascii())
    judged = lines[:_JUDGED_LENGTH]
    for encoding in code_pages_of(judged):
        # Random bytes fit by chance.
        if charset_normalizer.from_bytes(judged, cp_isolation=[encoding]).best():
            return encoding, (READ_AS.format(name=CODE_PAGES[encoding]),)
    return _UTF_8, (UNKNOWN_ENCODING,)


def _sample(source: InputFile) -> bytes:
    """The first part of the file with other bytes than ASCII; empty if there are none."""
    with source.opened() as stream:
        while block := stream.read(_BLOCK_LENGTH):
            if not block.isascii():
                # To the end of a line, so that no character is cut in two.
                return block + stream.readline(_BLOCK_LENGTH)
    return b""


def _line_end(text: str) -> str:
    first = text.splitlines(keepends=True)[0]
    return "\r\n" if first.endswith("\r\n") else "\n"
