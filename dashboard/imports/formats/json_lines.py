"""JSON Lines: one object a line (RFC 8259)."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any, NoReturn, TextIO

import ijson

from catalog.csv_columns import IMAGE_URL, IMAGE_URLS, TEXT_COLUMNS
from dashboard.imports.files import MAX_ROWS, InputFile, UnreadableFile
from dashboard.imports.formats.base import FileFormat
from dashboard.imports.rejects import LINE_KEY, REASON_KEY, BadRow, Rejected
from dashboard.imports.text_file import TextFile, starting_text

# In a rejects file: the text of a line that was not a JSON object.
TEXT_KEY = "_text"

# In the first object of a file of ours; other files with objects may call a GTIN otherwise.
GTIN_KEY = "gtin"
# In the objects of a rejects file, whether ours or not.
_ADDED_KEYS = frozenset({TEXT_KEY, LINE_KEY, REASON_KEY})
_OWN_KEYS = frozenset({*TEXT_COLUMNS, IMAGE_URL, IMAGE_URLS, "nutrition", "metadata"})
# Unless they have a name too: our own offers and certificates, which are tables (``own_parts``),
# and products of Google.
_FOREIGN_KEYS = frozenset({"channel", "retailer", "certification", "title"})

# What write_rejects added to a line that comes from a rejects file, without the comma before it.
_ADDED = re.compile(
    rf'"{LINE_KEY}": \d+, "{REASON_KEY}": "(?:[^"\\]|\\.)*+"\s*+\}}\s*+\Z',
)


_DIGITS = re.compile(rb"[0-9]{100,}")


class Number(str):
    """A JSON number as its digits: exact, and distinct from strings."""

    __slots__ = ()


class InvalidJson(ValueError):
    """The text is not valid JSON; the message is the reason."""


class JsonLinesFile:
    """The objects of a JSON Lines file."""

    suffix = ".jsonl"
    has_escaped_cells = False
    titles: Sequence[str] = ()
    names: Sequence[str] = ()
    header_line: int | None = None
    delimiter = None

    def __init__(self, source: InputFile) -> None:
        self.source = source
        self._text = TextFile(source)
        self.encoding = self._text.encoding
        self.errors = self._text.errors
        self.notices = self._text.notices

    def rows(self) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
        """Yield each object with its line; skips empty lines.

        Numbers are :class:`Number`.
        """
        for line, text in self._texts():
            yield line, parse_line(text)

    def write_rejects(self, file: TextIO, rejected: Iterator[Rejected]) -> None:
        """Write the rejected lines unchanged, with two more keys for line and reason.

        A line that was not an object is wrapped into one, as ``_text``.
        """
        with contextlib.closing(self._texts()) as texts:
            write_rejected_lines(file, texts, rejected, line_end=self._text.line_end)

    def _texts(self) -> Generator[tuple[int, str], None, None]:
        count = 0
        with contextlib.closing(self._text.lines()) as lines:
            for line, text in enumerate(lines, start=1):
                if stripped := text.strip("\ufeff \t\r\n"):
                    yield line, stripped
                    count += 1
                    if count > MAX_ROWS:
                        raise UnreadableFile(f"The file has more than {MAX_ROWS:,} rows.", line)


def write_rejected_lines(
    file: TextIO,
    texts: Iterator[tuple[int, str | Mapping[str, Any]]],
    rejected: Iterator[Rejected],
    *,
    line_end: str,
) -> None:
    """Write the texts of rejected rows unchanged, with two more keys for line and reason.

    A text that is not an object is wrapped into one, as ``_text``. ``texts`` are those of all rows
    by their lines; an object that is only a part of its line comes instead of the text.
    """
    for wanted in rejected:
        found = next(text for line, text in texts if line == wanted.line)
        text = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
        added = json.dumps({LINE_KEY: wanted.line, REASON_KEY: wanted.reason}, ensure_ascii=False)
        file.write(_with_members(text, added[1:]) + line_end)


def parse_line(text: str) -> dict[str, Any] | BadRow:
    """Return the object of a line."""
    try:
        value = exact_json(text, "the line")
    except InvalidJson as error:
        return BadRow(str(error))
    if not isinstance(value, dict):
        return BadRow("the line is not a JSON object")
    if TEXT_KEY in value:
        return BadRow(
            f"{TEXT_KEY} has a line that was not a JSON object: put the corrected object here"
        )
    return value


def exact_json(text: str, name: str) -> Any:
    """The value of a JSON text, with numbers as :class:`Number`.

    Raises :class:`InvalidJson`, whose message calls the text ``name``.
    """
    try:
        return json.loads(
            text,
            parse_float=Number,
            parse_int=Number,
            parse_constant=_refuse_constant,
            object_pairs_hook=members_of,
        )
    except json.JSONDecodeError as error:
        raise InvalidJson(
            f"{name} is not valid JSON: {error.msg} at character {error.pos + 1}"
        ) from None
    except RecursionError:
        raise InvalidJson(f"{name} is nested too deeply") from None


def members_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The members of a JSON object. Raises :class:`InvalidJson` if a key comes twice."""
    members: dict[str, Any] = {}
    for key, value in pairs:
        if key in members:
            raise InvalidJson(f"the key {key[:40]!r} comes twice in an object")
        members[key] = value
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidJson(f"{name} is not a JSON number")


def _with_members(text: str, members: str) -> str:
    """The text of an object with more members at its end, otherwise unchanged."""
    if not _is_object(text):
        whole = json.dumps({TEXT_KEY: text}, ensure_ascii=False)
        return f"{whole[:-1]}, {members}"
    added = _ADDED.search(text)
    body = text[: added.start()].rstrip().removesuffix(",") if added else text[:-1].rstrip()
    return f"{body}{members}" if body.endswith("{") else f"{body}, {members}"


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text, parse_int=str), dict)
    except (ValueError, RecursionError):
        return False


def first_keys(source: InputFile) -> set[str]:
    """The keys of the first object of a file, as far as its first bytes have them."""
    keys = set()
    start = starting_text(source).encode("utf-8", "replace")
    with contextlib.suppress(ijson.JSONError):
        # Numbers are not converted: the C code of the parser does not survive a very long one.
        for prefix, event, value in ijson.parse(_DIGITS.sub(b"0", start)):
            if event == "map_key" and not prefix:
                keys.add(value)
    return keys


def _is_own(source: InputFile) -> bool:
    """Whether the first object has a GTIN as ours do.

    Of a rejects file, whose first object may have none, the other lines are read, too.
    """
    start = starting_text(source)
    # A line with nothing else begins an object of several lines.
    if not start.startswith("{") or start.partition("\n")[0].strip() == "{":
        return False
    keys = first_keys(source)
    if keys and keys.isdisjoint((*_ADDED_KEYS, GTIN_KEY)):
        return False
    if GTIN_KEY not in keys:
        found = (parse_line(line) for line in start.splitlines())
        keys = keys.union(*(one for one in found if isinstance(one, dict))) - _ADDED_KEYS
    is_linked_data = any(key.startswith("@") for key in keys)
    is_foreign = "name" not in keys and not keys.isdisjoint(_FOREIGN_KEYS)
    return not (is_linked_data or is_foreign) and (GTIN_KEY in keys or keys <= _OWN_KEYS)


FORMAT = FileFormat(
    "jsonl",
    detect=_is_own,
    open=lambda source, is_header: JsonLinesFile(source),
)
