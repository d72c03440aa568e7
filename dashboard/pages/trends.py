"""The trend of each of the seven numbers: how it changed, and how it will if nothing is edited."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence

from catalog.models import ImportRun
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

    ``gained`` and ``since`` are ``None`` where there is no snapshot yet, ``day_gained`` (the change
    since yesterday's) where there is none of yesterday. ``points`` are the days and values of the
    line, as ``page.js`` reads them: days from today and values.
    """

    line: Line
    points: str
    first: int
    last: int
    day_gained: int | None
    import_gained: int | None
    gained: int | None
    since: datetime.date | None
    coming: int
    until: datetime.date

    @property
    def gained_words(self) -> str:
        """The change up to today."""
        return _words(self.gained or 0)

    @property
    def day_gained_words(self) -> str:
        """The change since yesterday."""
        return _words(self.day_gained or 0)

    @property
    def import_gained_words(self) -> str:
        """The change since the last import of today."""
        return _words(self.import_gained or 0)

    @property
    def coming_words(self) -> str:
        """The change from today on."""
        return _words(self.coming)


@dataclasses.dataclass(frozen=True)
class Trends:
    """The trend of each number by its name, and what all of them look back to.

    ``yesterday`` is the snapshot of yesterday, ``last_import`` the last import of today that
    changed products; ``None`` where there is none. ``is_demo``: the past is made up.
    """

    by_name: Mapping[str, Trend]
    today: datetime.date
    yesterday: Snapshot | None
    last_import: ImportRun | None
    is_demo: bool


def trends(question: Question, numbers: Stats, time_zone: datetime.tzinfo) -> Trends:
    """Return the trends, today's numbers being known; three queries."""
    today = question.day
    until = today + datetime.timedelta(days=COMING_DAYS)
    snapshots = list(
        Snapshot.objects.of(question.organization_id).between(
            today - datetime.timedelta(days=PAST_DAYS), today - datetime.timedelta(days=1)
        )
    )
    midnight = datetime.datetime.combine(today, datetime.time(), tzinfo=time_zone)
    last_import = ImportRun.objects.last_done(question.organization_id, midnight).first()
    days = forecast(question, days=COMING_DAYS, is_falling_named=False)
    yesterday = snapshots[-1] if snapshots else None
    if yesterday is not None and yesterday.date != today - datetime.timedelta(days=1):
        yesterday = None
    before = last_import.numbers_before if last_import else {}
    return Trends(
        by_name={
            field.name: _trend(
                field.name,
                snapshots,
                getattr(numbers, field.name),
                days,
                today,
                until,
                yesterday=getattr(yesterday, field.name, None),
                before_import=before.get(field.name),
            )
            for field in dataclasses.fields(Stats)
        },
        today=today,
        yesterday=yesterday,
        last_import=last_import,
        is_demo=any(snapshot.is_demo for snapshot in snapshots),
    )


def _trend(  # noqa: PLR0913, PLR0917 - the same for each name
    name: str,
    snapshots: Sequence[Snapshot],
    now: int,
    days: Sequence[Day],
    today: datetime.date,
    until: datetime.date,
    *,
    yesterday: int | None,
    before_import: int | None,
) -> Trend:
    past = [(snapshot.date, int(getattr(snapshot, name))) for snapshot in snapshots]
    coming: list[tuple[datetime.date, int]] = []
    for day in days:
        value = int(getattr(day.numbers, name))
        if value != (coming[-1][1] if coming else now):
            coming.append((day.date, value))
    youngest = today - datetime.timedelta(days=_LEAST_PAST)
    first = min(past[0][0], youngest) if past else youngest
    return Trend(
        line=line(past, (today, now), coming, first=first, last=until),
        points=",".join(
            f"{(day - today).days}:{value}" for day, value in (*past, (today, now), *coming)
        ),
        first=(first - today).days,
        last=(until - today).days,
        day_gained=None if yesterday is None else now - yesterday,
        import_gained=None if before_import is None else now - before_import,
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
