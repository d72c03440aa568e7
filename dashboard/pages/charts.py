"""Geometry of the small drawings: numbers in, coordinates of inline SVG out.

Drawings are stretched to the width they get, so their units are no pixels; strokes keep their width
by ``vector-effect``. What a drawing says stands beside it in words: drawings are for the eye alone.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence

TALL = 100
WIDE = 300
# What is there at all can be seen, and a line does not touch the edge.
_LEAST = 2
_MARGIN = 8

Point = tuple[datetime.date, int]


@dataclasses.dataclass(frozen=True)
class Bar:
    """A bar that stands on the ground of a drawing ``TALL`` units high."""

    height: int

    @property
    def top(self) -> int:
        """Where it ends: coordinates count downwards."""
        return TALL - self.height


def bars(amounts: Sequence[int], *, highest: int = 0) -> list[Bar]:
    """Return a bar for each amount; the largest, or ``highest`` if that is more, is ``TALL``."""
    most = max(highest, *amounts, 1)
    return [Bar(max(TALL * amount // most, _LEAST) if amount > 0 else 0) for amount in amounts]


@dataclasses.dataclass(frozen=True)
class Line:
    """A number over time as SVG paths, on ``WIDE`` by ``TALL`` units.

    ``past`` and ``future`` meet at ``now``, a path of no length that is drawn as a dot; ``ahead``
    is the ground of what is to come.
    """

    past: str
    future: str
    now: str
    ahead: str


def line(
    past: Sequence[Point],
    today: Point,
    future: Sequence[Point],
    *,
    first: datetime.date,
    last: datetime.date,
) -> Line:
    """Return the line of a number from a first to a last day; both sequences are in their order.

    The past is known by the day and drawn from one to the next. A day to come is one on which the
    number changes, so that the line goes on level until then. The scale starts at zero.
    """
    high = max(value for _, value in (*past, today, *future))
    days = max((last - first).days, 1)

    def x(day: datetime.date) -> int:
        return WIDE * (day - first).days // days

    def y(value: int) -> int:
        return TALL - _MARGIN - (TALL - 2 * _MARGIN) * value // max(high, 1)

    day, now = today
    ahead = f"M{x(day)} {y(now)}" + "".join(f"H{x(on)}V{y(value)}" for on, value in future)
    behind = "L".join(f"{x(on)} {y(value)}" for on, value in (*past, today))
    return Line(
        past=f"M{behind}" if past else "",
        future=f"{ahead}H{x(last)}",
        now=f"M{x(day)} {y(now)}h0",
        ahead=f"M{x(day)} 0H{WIDE}V{TALL}H{x(day)}Z",
    )


def compact(count: int, highest: int) -> str:
    """Return a count in the form that fits the highest one beside it, in at most six characters.

    Whole numbers below 10,000, else thousands (12.3k), else millions (1.2M); cut off rather than
    rounded up.
    """
    if highest < 10_000 or not count:
        return f"{count:,}"
    unit, letter = (1_000, "k") if highest < 1_000_000 else (1_000_000, "M")
    tenths = count * 10 // unit
    return f"{tenths // 10}.{tenths % 10}{letter}" if tenths else f"<0.1{letter}"
