"""Reads dates in the orders of day, month and year that are in use.

A year comes first (``2026-12-31``), or last. If it is last, day and month can be mistaken for each
other: ``31/12/2026`` is clear, and ``03/04/2026`` is where clear dates of the file all have one
order. With points (``03.04.2026``) the day comes first unless the file shows otherwise, since no
country writes it in another order. Years have four digits.
"""

from __future__ import annotations

import datetime
import re

DATES = "dates read in another form than 2026-12-31"

_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")
_ISO_WITH_TIME = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})[T ][0-9]{2}:[0-9]{2}[0-9:.+Z-]*\Z")
_YEAR_FIRST = re.compile(r"([0-9]{4})([/.])([0-9]{1,2})\2([0-9]{1,2})\Z")
_YEAR_LAST = re.compile(r"([0-9]{1,2})([-/.])([0-9]{1,2})\2([0-9]{4})\Z")
_MONTH_NAMES = ("%d-%b-%Y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y")


class UnreadableDate(ValueError):
    """A text is no date, or could be two; ``rule`` is the broken rule in a few words."""

    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(reason)
        self.rule = rule


def order_in(text: str) -> bool | None:
    """Whether the day comes first in a date; None if the date does not show it."""
    match = _YEAR_LAST.match(text)
    if not match:
        return None
    first, second = int(match[1]), int(match[3])
    if (first > 12) == (second > 12):
        return None
    return first > 12


def needs_order(text: str) -> bool:
    """Whether a date can only be read with the order of the file's other dates."""
    return _YEAR_LAST.match(text) is not None and order_in(text) is None


def read_date(text: str, *, day_first: bool | None, repairs: list[str]) -> datetime.date:
    """Read a date.

    ``day_first`` is the order that the file shows, None if it shows none or both. Adds what was
    repaired to ``repairs``. Raises :class:`UnreadableDate`.
    """
    try:
        if _ISO.match(text):
            return datetime.date.fromisoformat(text)
        found = _other_form(text, day_first)
    except ValueError as error:
        if isinstance(error, UnreadableDate):
            raise
        found = None
    if found is None:
        raise UnreadableDate(
            "not a date", f"must be a date such as 2026-12-31 (found {text[:40]!a})"
        )
    repairs.append(DATES)
    return found


def _other_form(text: str, day_first: bool | None) -> datetime.date | None:
    """The date of a text in another form; raises ``ValueError`` for an impossible one."""
    if match := _ISO_WITH_TIME.match(text):
        return datetime.date.fromisoformat(match[1])
    if match := _YEAR_FIRST.match(text):
        return datetime.date(int(match[1]), int(match[3]), int(match[4]))
    if match := _YEAR_LAST.match(text):
        return _year_last(match, day_first)
    for form in _MONTH_NAMES:
        try:
            return datetime.datetime.strptime(text, form).date()
        except ValueError:
            continue
    return None


def _year_last(match: re.Match[str], day_first: bool | None) -> datetime.date:
    first, second, year = int(match[1]), int(match[3]), int(match[4])
    own = order_in(match[0])
    if own is None and first != second:
        own = day_first
        if own is None and match[2] == ".":
            own = True
        if own is None:
            raise UnreadableDate(
                "unclear day and month",
                "may be a day before a month or a month before a day: write it as 2026-12-31 "
                f"(found {match[0]!a})",
            )
    return datetime.date(year, second, first) if own else datetime.date(year, first, second)
