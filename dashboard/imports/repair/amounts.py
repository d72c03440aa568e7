"""Reads the amounts of nutrients."""

from __future__ import annotations

import functools
import re

from catalog.nutrition import AMOUNT
from closient.text.normal import WHITE_SPACE
from dashboard.imports.repair.conventions import Conventions
from dashboard.imports.repair.numbers import UNITS, UnclearNumber, is_plain, read_number

# Everything that may be a number; "<0.5" and "traces" are none.
_NUMBER = re.compile(r"[0-9., '\u00a0\u2009\u2019\u202f]+\Z")
_EXPONENT = re.compile(r"[eE][+-]?[0-9]")
_WITH_UNIT = re.compile(
    r"(?P<number>[0-9.,][^A-Za-z%\u00b5\u03bc]*?)\s*(?P<unit>[A-Za-z%\u00b5\u03bc].*)\Z"
)


# In characters. The pattern takes time with the square of it, and the cache keeps the texts.
_MAX_LENGTH = 200


# Files repeat amounts.
@functools.lru_cache(maxsize=10_000)
def _is_point_decimal(text: str) -> bool:
    return AMOUNT.match(text) is not None


def is_plain_amount(text: str) -> bool:
    """Whether an amount comes out of :func:`read_amount` unchanged, whatever the file shows."""
    return len(text) <= _MAX_LENGTH and _is_point_decimal(text) and is_plain(text)


def read_amount(text: str, unit: str, conventions: Conventions, repairs: list[str]) -> str:
    """An amount with a decimal point and without its unit; texts that are none come out unchanged.

    Raises :class:`UnclearNumber` if it has another unit than its column, or an unclear comma.
    """
    if len(text) > _MAX_LENGTH:
        return text
    if is_plain_amount(text) or (_is_point_decimal(text) and not conventions.decimal_commas):
        return text
    number = text
    match = _WITH_UNIT.match(text)
    if match and not _is_point_decimal(text) and not _EXPONENT.match(match["unit"]):
        if match["unit"].strip(WHITE_SPACE).casefold() != unit.strip(WHITE_SPACE).casefold():
            raise UnclearNumber(
                "another unit",
                f"must be a number of 0 or more in {unit[:20]}, for example 1.5",
            )
        number = match["number"].rstrip(WHITE_SPACE)
    if not _NUMBER.match(number):
        return text
    read = read_number(number, decimal_commas=conventions.decimal_commas, repairs=repairs)
    if number != text:
        repairs.append(UNITS)
    return read
