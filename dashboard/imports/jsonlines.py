"""Rows of a JSON Lines file, one object a line (RFC 8259), and the refused ones of it."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Generator, Iterator
from typing import Any, NoReturn, TextIO

from dashboard.imports.formats import MAX_ROWS, InputFile, UnreadableFile
from dashboard.imports.rejects import LINE_KEY, REASON_KEY, BadRow, Rejected

# Holds the text of a line that was no JSON object, in a rejects file.
TEXT_KEY = "_text"

# What write_rejects has added to a line, should the line come from a rejects file.
_ADDED = re.compile(
    rf',?\s*"{LINE_KEY}": \d+, "{REASON_KEY}": "(?:[^"\\]|\\.)*"\s*\}}\s*\Z',
)


class Number(str):
    """A JSON number by its digits: an exact value, and never mistaken for a text."""

    __slots__ = ()


class UnfitJson(ValueError):
    """A text is no JSON that is taken; the message says why."""


class JsonLinesFile:
    """The objects of a JSON Lines file."""

    suffix = ".jsonl"

    def __init__(self, source: InputFile) -> None:
        self.source = source

    def rows(self) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
        """Yield each line's object with the line's number; empty lines are left out.

        Numbers are :class:`Number`.
        """
        for line, text in self._texts():
            yield line, _parse(text)

    def write_rejects(self, file: TextIO, rejected: Iterator[Rejected]) -> None:
        """Write the rejected lines as they were, with line and reason as two more keys.

        A line that was no object is wrapped into one, as the text ``_text``.
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
    except UnfitJson as error:
        return BadRow(str(error))
    if not isinstance(value, dict):
        return BadRow("the line is not a JSON object")
    if TEXT_KEY in value:
        return BadRow(f"{TEXT_KEY} holds a line that was no JSON object: put the object in place")
    return value


def exact_json(text: str, name: str) -> Any:
    """Return the value of a JSON text, its numbers as :class:`Number`.

    Raises :class:`UnfitJson`, which calls the text by its ``name``.
    """
    try:
        return json.loads(
            text,
            parse_float=Number,
            parse_int=Number,
            parse_constant=_refuse_constant,
            object_pairs_hook=_members,
        )
    except json.JSONDecodeError as error:
        raise UnfitJson(
            f"{name} is not valid JSON: {error.msg} at character {error.pos + 1}"
        ) from None
    except RecursionError:
        raise UnfitJson(f"{name} is nested too deeply") from None


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for key, value in pairs:
        if key in members:
            raise UnfitJson(f"the key {key[:40]!r} comes twice in an object")
        members[key] = value
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise UnfitJson(f"{name} is not a JSON number")


def _with_members(text: str, members: str) -> str:
    """Return the object's text, otherwise untouched, with more members at its end."""
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
