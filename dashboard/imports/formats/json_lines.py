"""JSON Lines: one object a line (RFC 8259), in the shape of the API's product."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any, NoReturn, TextIO

from catalog.csv_columns import TEXT_COLUMNS
from dashboard.imports.files import MAX_ROWS, InputFile, UnreadableFile
from dashboard.imports.formats.base import ColumnMap, FileFormat, ParsedRow
from dashboard.imports.rejects import LINE_KEY, REASON_KEY, BadRow, Rejected

# In a rejects file: the text of a line that was not a JSON object.
TEXT_KEY = "_text"

# What write_rejects added to a line that comes from a rejects file.
_ADDED = re.compile(
    rf',?\s*"{LINE_KEY}": \d+, "{REASON_KEY}": "(?:[^"\\]|\\.)*"\s*\}}\s*\Z',
)


class Number(str):
    """A JSON number as its digits: exact, and distinct from strings."""

    __slots__ = ()


class InvalidJson(ValueError):
    """The text is not valid JSON; the message is the reason."""


class JsonLinesFile:
    """The objects of a JSON Lines file."""

    suffix = ".jsonl"
    titles: Sequence[str] = ()
    delimiter = None

    def __init__(self, source: InputFile) -> None:
        self.source = source

    def rows(self) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
        """Yield each object with its line; skips empty lines.

        Numbers are :class:`Number`.
        """
        for line, text in self._texts():
            yield line, _parse(text)

    def write_rejects(self, file: TextIO, rejected: Iterator[Rejected]) -> None:
        """Write the rejected lines unchanged, with two more keys for line and reason.

        A line that was not an object is wrapped into one, as ``_text``.
        """
        with contextlib.closing(self._texts()) as texts:
            for wanted in rejected:
                text = next(text for line, text in texts if line == wanted.line)
                added = json.dumps(
                    {LINE_KEY: wanted.line, REASON_KEY: wanted.reason}, ensure_ascii=False
                )
                file.write(_with_members(text, added[1:]) + self.source.line_end)

    def _texts(self) -> Generator[tuple[int, str], None, None]:
        count = 0
        with contextlib.closing(self.source.lines()) as lines:
            for line, text in enumerate(lines, start=1):
                if stripped := text.strip("\ufeff \t\r\n"):
                    yield line, stripped
                    count += 1
                    if count > MAX_ROWS:
                        raise UnreadableFile(f"The file has more than {MAX_ROWS:,} rows.", line)


def _parse(text: str) -> dict[str, Any] | BadRow:
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
    body = _ADDED.sub("", text) if _ADDED.search(text) else text[:-1].rstrip()
    return f"{body}{members}" if body.endswith("{") else f"{body}, {members}"


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text, parse_int=str), dict)
    except (ValueError, RecursionError):
        return False


def open_json_lines(source: InputFile) -> tuple[JsonLinesFile, ColumnMap]:
    """Open a file of objects in the shape of the API's product."""
    return JsonLinesFile(source), ColumnMap(parse_product)


def parse_product(item: Mapping[str, Any]) -> ParsedRow:
    """Return the product that an object describes."""
    row = ParsedRow("", {})
    row.gtin = _text_of(item, "gtin", row)
    row.texts = {
        column: _text_of(item, column, row)
        for column in TEXT_COLUMNS
        if column in item and column != "serving_size"
    }
    nutrition = item.get("nutrition") or {}
    if not isinstance(nutrition, dict):
        row.problems.append("nutrition: must be an object")
    else:
        _take_nutrition(nutrition, row, is_given="nutrition" in item)
    take_metadata(item.get("metadata"), row)
    return row


def take_metadata(metadata: object, row: ParsedRow) -> None:
    """Add metadata, a JSON object or null, to a row."""
    if metadata is not None and not isinstance(metadata, dict):
        row.problems.append("metadata: must be an object")
    elif metadata:
        row.metadata = {key: _text_of(metadata, key, row, "metadata.") for key in metadata}


def _take_nutrition(nutrition: Mapping[str, Any], row: ParsedRow, *, is_given: bool) -> None:
    if is_given:
        row.texts["serving_size"] = _text_of(nutrition, "serving_size", row, "nutrition.")
    nutrients = nutrition.get("nutrients")
    if nutrients is None:
        row.nutrients = [] if is_given else None
        return
    take_nutrients(nutrients, row, "nutrition.nutrients")


def take_nutrients(nutrients: object, row: ParsedRow, name: str) -> None:
    """Add a JSON list of nutrients to a row; problems call it ``name``."""
    if not isinstance(nutrients, list) or not all(isinstance(one, dict) for one in nutrients):
        row.problems.append(f"{name}: must be a list of objects")
        return
    row.nutrients = []
    for place, nutrient in enumerate(nutrients):
        prefix = f"{name}[{place}]."
        amount = nutrient.get("amount")
        if not isinstance(amount, str):
            row.problems.append(f"{prefix}amount: is missing")
            continue
        row.nutrients.append(
            (
                _text_of(nutrient, "name", row, prefix),
                _text_of(nutrient, "unit", row, prefix),
                str(amount),
            )
        )


def _text_of(item: Mapping[str, Any], key: str, row: ParsedRow, prefix: str = "") -> str:
    """The string of a member, empty for null; adds a problem for any other value."""
    value = item.get(key)
    if value is None:
        return ""
    if isinstance(value, str) and not isinstance(value, Number):
        return value
    row.problems.append(f"{prefix}{key[:40]!r}: must be a string (put it in quotes)")
    return ""


FORMAT = FileFormat("jsonl", detect=lambda source: source.is_json, open=open_json_lines)
