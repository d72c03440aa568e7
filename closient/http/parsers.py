"""Strict JSON (RFC 8259): rejects values that Python or PostgreSQL cannot process."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import IO, Any, Never

from django.conf import settings
from rest_framework.parsers import BaseParser

from closient.http.bodies import announced_length, max_body, too_large
from closient.http.problems import Problem

MAX_DEPTH = 32
# The largest 64-bit integer; many JSON readers lose digits of larger ones.
MAX_INTEGER = 2**63 - 1
MAX_INTEGER_DIGITS = 19

# A string (an unclosed one goes to the end) or a bracket.
_STRUCTURE = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)
_NOT_TEXT = re.compile("[\x00\ud800-\udfff]")


class StrictJsonParser(BaseParser):
    """Parses a JSON body in UTF-8; raises a ``bad_request`` problem with the reason."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return the value in the body."""
        limit = _max_body(parser_context or {})
        body = stream.read(limit + 1)
        if len(body) > limit:
            raise too_large(limit)
        return parse_json(body)


def _max_body(parser_context: Mapping[str, Any]) -> int:
    """Return the limit of the request's path; without a request that of most paths."""
    request = parser_context.get("request")
    if request is None:
        limit: int = settings.API_LARGEST_BODY
        return limit
    length = announced_length(request._request)
    return max_body(request.path_info, StrictJsonParser.media_type, length)


def parse_json(body: bytes) -> Any:
    """Return the value of a JSON text in UTF-8.

    Raises a ``bad_request`` :class:`Problem`, each with its own message, for other encodings, more
    than 32 levels, a name given twice in one object, NaN and the infinities, numbers out of range,
    and texts with a NUL or half a surrogate pair.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Problem("bad_request", f"Byte {error.start} of the body is not UTF-8.") from None
    _check_depth(text)
    try:
        value = _decoder.decode(text)
    except json.JSONDecodeError as error:
        raise Problem(
            "bad_request",
            f"The body is not valid JSON: line {error.lineno}, column {error.colno}.",
        ) from None
    if "\\u" in text:
        _check_texts(value)
    return value


def _check_depth(text: str) -> None:
    depth = 0
    for match in _STRUCTURE.finditer(text):
        if (mark := match[0]) in ("[", "{"):
            depth += 1
            if depth > MAX_DEPTH:
                raise Problem(
                    "bad_request", f"The body is nested more than {MAX_DEPTH} levels deep."
                )
        elif mark in ("]", "}"):
            depth -= 1


def _check_texts(value: Any) -> None:
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            if _NOT_TEXT.search(item):
                raise Problem(
                    "bad_request", "A string in the body contains a NUL or half a surrogate pair."
                )
        elif isinstance(item, dict):
            pending += item.keys()
            pending += item.values()
        elif isinstance(item, list):
            pending += item


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise Problem("bad_request", "An object in the body has two members of the same name.")
    return members


def _integer(text: str) -> int:
    if len(text.lstrip("-")) > MAX_INTEGER_DIGITS or abs(number := int(text)) > MAX_INTEGER:
        raise Problem("bad_request", "An integer in the body is out of range (64 bits).")
    return number


def _float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise Problem("bad_request", "A number in the body is out of range (64-bit float).")
    return number


def _constant(text: str) -> Never:
    raise Problem("bad_request", f"{text} is not a JSON value.")


_decoder = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_int=_integer,
    parse_float=_float,
    parse_constant=_constant,
)
