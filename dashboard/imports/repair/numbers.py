"""Reads numbers as people and spreadsheets of any country write them.

A point is the decimal sign. A comma is, where the file uses decimal commas throughout: some number
proves it (``1,5``, ``1.046,50``), and none proves the point (``1.5``, ``1,046.50``). A comma or a
point before exactly three digits (``1,046``) proves neither.
"""

from __future__ import annotations

import functools
import re

DECIMAL_COMMAS = "decimal commas read"
THOUSANDS = "thousands separators removed"
UNITS = "units removed from amounts"

# What separates groups of three digits beside comma and point.
_BLANK_GROUPS = re.compile(r"(?<=[0-9])[ '\u00a0\u2009\u2019\u202f](?=[0-9]{3}(?![0-9]))")
_NUMBER = re.compile(r"[0-9.,][0-9.,' \u00a0\u2009\u2019\u202f]*")
_GROUPS = re.compile(r"[1-9][0-9]{0,2}(?:([.,])[0-9]{3})(?:\1[0-9]{3})*\Z")
_POINT_GROUPS = re.compile(r"[1-9][0-9]{0,2}(?:\.[0-9]{3})+\Z")
_COMMA_DECIMAL = re.compile(r"(?:[0-9]*|[1-9][0-9]{0,2}(?:\.[0-9]{3})+),[0-9]+\Z")
_POINT_DECIMAL = re.compile(r"[1-9][0-9]{0,2}(?:,[0-9]{3})+\.[0-9]+\Z|[0-9]*\.[0-9]+\Z")


class UnclearNumber(ValueError):
    """A text is no number, or could be two; ``rule`` is the broken rule in a few words."""

    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(reason)
        self.rule = rule


def decimal_sign_in(text: str) -> str:
    """The decimal sign that the number in a text proves: a point, a comma, or nothing."""
    match = _NUMBER.search(text)
    number = _BLANK_GROUPS.sub("", match[0]).strip() if match else ""
    if "." not in number and "," not in number:
        return ""
    grouped = _GROUPS.match(number)
    if grouped:
        # Two groups or more: the other sign is the decimal one.
        return ("," if grouped[1] == "." else ".") if number.count(grouped[1]) > 1 else ""
    if _COMMA_DECIMAL.match(number):
        return ","
    return "." if _POINT_DECIMAL.match(number) else ""


@functools.lru_cache(maxsize=10_000)
def is_plain(text: str) -> bool:
    """Whether a text is read the same in every file: it has no comma, blank or groups."""
    return "," not in text and not _POINT_GROUPS.match(text)


def read_number(text: str, *, decimal_commas: bool, repairs: list[str]) -> str:
    """A number with a decimal point and no groups; other texts come out as they are.

    ``decimal_commas``: the file uses them throughout. Adds what was repaired to ``repairs``. Raises
    :class:`UnclearNumber` for a comma that is not clear.
    """
    number = _BLANK_GROUPS.sub("", text)
    sign = decimal_sign_in(number)
    if decimal_commas and sign != ".":
        plain = number.replace(".", "").replace(",", ".")
        if "," in number:
            repairs.append(DECIMAL_COMMAS)
    elif "," in number and sign == ",":
        raise UnclearNumber(
            "decimal comma",
            "must be written with a decimal point, as 1.5: other numbers of the file have one",
        )
    elif "," in number and sign == "" and _GROUPS.match(number):
        raise UnclearNumber(
            "unclear comma",
            "has a comma that may be a decimal sign or separate thousands: write 1.046 or 1046",
        )
    else:
        plain = number.replace(",", "") if sign == "." else number
    if len(plain) < len(text):
        repairs.append(THOUSANDS)
    return f"0{plain}" if plain.startswith(".") else plain
