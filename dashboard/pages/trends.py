"""How each of the seven numbers came about, and where it goes if nobody does anything."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence

from dashboard.forecast import Day, forecast
from dashboard.models import Snapshot
from dashboard.pages.charts import Line, line
from dashboard.stats import Question, Stats

PAST_DAYS = 90
COMING_DAYS = 90
# A young history gets at least so much room, lest a few days fill the drawing.
_LEAST_PAST = 30


@dataclasses.dataclass(frozen=True)
class Trend:
    """The line of a number, and by how much it has changed ``since`` and will have ``until``.

    ``gained`` and ``since`` are ``None`` where there is no snapshot yet.
    """

    line: Line
    gained: int | None
    since: datetime.date | None
    coming: int
    until: datetime.date

    @property
    def gained_words(self) -> str:
        """The change up to today."""
        return _words(self.gained or 0)

    @property
    def coming_words(self) -> str:
        """The change from today on."""
        return _words(self.coming)


def trends(question: Question, numbers: Stats) -> dict[str, Trend]:
    """Return the trend of each number by its name, today's being known; two queries."""
    today = question.day
    until = today + datetime.timedelta(days=COMING_DAYS)
    snapshots = list(
        Snapshot.objects.of(question.organization_id).between(
            today - datetime.timedelta(days=PAST_DAYS), today - datetime.timedelta(days=1)
        )
    )
    days = forecast(question, days=COMING_DAYS, is_falling_named=False)
    return {
        field.name: _trend(field.name, snapshots, getattr(numbers, field.name), days, today, until)
        for field in dataclasses.fields(Stats)
    }


def _trend(  # noqa: PLR0913, PLR0917 - the same for each name
    name: str,
    snapshots: Sequence[Snapshot],
    now: int,
    days: Sequence[Day],
    today: datetime.date,
    until: datetime.date,
) -> Trend:
    past = [(snapshot.date, int(getattr(snapshot, name))) for snapshot in snapshots]
    coming: list[tuple[datetime.date, int]] = []
    for day in days:
        value = int(getattr(day.numbers, name))
        if value != (coming[-1][1] if coming else now):
            coming.append((day.date, value))
    youngest = today - datetime.timedelta(days=_LEAST_PAST)
    return Trend(
        line=line(
            past,
            (today, now),
            coming,
            first=min(past[0][0], youngest) if past else youngest,
            last=until,
        ),
        gained=now - past[0][1] if past else None,
        since=past[0][0] if past else None,
        coming=(coming[-1][1] if coming else now) - now,
        until=until,
    )


def _words(change: int) -> str:
    return signed(change) if change else "no change"


def signed(change: int) -> str:
    """Return a change with its sign (a real minus) and thousands kept apart."""
    sign = "+" if change > 0 else "\N{MINUS SIGN}" if change < 0 else "\N{PLUS-MINUS SIGN}"
    return f"{sign}{abs(change):,}"
