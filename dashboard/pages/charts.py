"""Coordinates of the inline SVG charts.

Charts stretch to the available width, so their units are not pixels; ``vector-effect`` keeps the
stroke width. Charts are hidden from screen readers: the page also states their content as text.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence

HEIGHT = 100
WIDTH = 300
# The height of the smallest nonzero bar, and the space between a line and the edge.
_MIN_BAR = 2
_MARGIN = 8

Point = tuple[datetime.date, int]


@dataclasses.dataclass(frozen=True)
class Bar:
    """A bar of a chart that is ``HEIGHT`` units high."""

    height: int

    @property
    def top(self) -> int:
        """The y coordinate of its upper edge; SVG counts from the top."""
        return HEIGHT - self.height


def bars(amounts: Sequence[int], *, highest: int = 0) -> list[Bar]:
    """Return a bar for each amount, scaled so that the largest (or ``highest``) is ``HEIGHT``."""
    most = max(highest, *amounts, 1)
    return [Bar(max(HEIGHT * amount // most, _MIN_BAR) if amount > 0 else 0) for amount in amounts]


@dataclasses.dataclass(frozen=True)
class TrendLine:
    """A number over time as SVG paths, in ``WIDTH`` by ``HEIGHT`` units.

    ``past`` and ``future`` meet at ``now``, a path of zero length drawn as a dot; ``ahead`` is the
    background of the future.
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
) -> TrendLine:
    """Return the line of a number from a first to a last day; both sequences are sorted by day.

    The past is connected point to point. Future points are the days on which the number changes,
    so the line is a step function. The scale starts at zero.
    """
    high = max(value for _, value in (*past, today, *future))
    days = max((last - first).days, 1)

    def x(day: datetime.date) -> int:
        return WIDTH * (day - first).days // days

    def y(value: int) -> int:
        return HEIGHT - _MARGIN - (HEIGHT - 2 * _MARGIN) * value // max(high, 1)

    day, now = today
    ahead = f"M{x(day)} {y(now)}" + "".join(f"H{x(on)}V{y(value)}" for on, value in future)
    behind = "L".join(f"{x(on)} {y(value)}" for on, value in (*past, today))
    return TrendLine(
        past=f"M{behind}" if past else "",
        future=f"{ahead}H{x(last)}",
        now=f"M{x(day)} {y(now)}h0",
        ahead=f"M{x(day)} 0H{WIDTH}V{HEIGHT}H{x(day)}Z",
    )


def compact(count: int, highest: int) -> str:
    """Return a count in at most six characters, in the unit of the highest count beside it.

    Whole numbers if the highest is below 10,000, else thousands (12.3k), else millions (1.2M);
    truncated, not rounded up.
    """
    if highest < 10_000 or not count:
        return f"{count:,}"
    unit, letter = (1_000, "k") if highest < 1_000_000 else (1_000_000, "M")
    tenths = count * 10 // unit
    return f"{tenths // 10}.{tenths % 10}{letter}" if tenths else f"<0.1{letter}"
