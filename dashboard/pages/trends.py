"""The trend of each number: its history, and its forecast if nothing is edited."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence

from catalog.models import ImportRun
from dashboard.forecast import Day, forecast
from dashboard.models import Snapshot
from dashboard.numbers import NUMBERS, Stats, StatsQuery
from dashboard.pages.charts import TrendLine, line

PAST_DAYS = 90
COMING_DAYS = 90
# The chart starts at least this many days ago, even if the history is shorter.
_MIN_PAST_DAYS = 30


@dataclasses.dataclass(frozen=True)
class Trend:
    """The chart of a number, and its changes.

    ``gained`` is the change from ``since`` to today, ``coming`` the one from today to ``until``,
    ``day_gained`` and ``import_gained`` those since yesterday and since today's last import. Past
    changes are ``None`` without data. ``points`` are ``day:value`` pairs for ``page.js``, with
    days relative to today, like ``first`` and ``last``.
    """

    line: TrendLine
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
        """``gained`` as text."""
        return _words(self.gained or 0)

    @property
    def day_gained_words(self) -> str:
        """``day_gained`` as text."""
        return _words(self.day_gained or 0)

    @property
    def import_gained_words(self) -> str:
        """``import_gained`` as text."""
        return _words(self.import_gained or 0)

    @property
    def coming_words(self) -> str:
        """``coming`` as text."""
        return _words(self.coming)


@dataclasses.dataclass(frozen=True)
class Trends:
    """The trends by name of the number.

    ``yesterday`` is yesterday's snapshot and ``last_import`` today's last import that changed
    products, or ``None``. ``is_demo`` is whether the history is generated demo data.
    """

    by_name: Mapping[str, Trend]
    today: datetime.date
    yesterday: Snapshot | None
    last_import: ImportRun | None
    is_demo: bool


def trends(stats_query: StatsQuery, numbers: Stats, time_zone: datetime.tzinfo) -> Trends:
    """Return the trends, given today's numbers; three queries."""
    today = stats_query.day
    until = today + datetime.timedelta(days=COMING_DAYS)
    snapshots = list(
        Snapshot.objects.of(stats_query.organization_id).between(
            today - datetime.timedelta(days=PAST_DAYS), today - datetime.timedelta(days=1)
        )
    )
    midnight = datetime.datetime.combine(today, datetime.time(), tzinfo=time_zone)
    last_import = ImportRun.objects.last_done(stats_query.organization_id, midnight).first()
    days = forecast(stats_query, days=COMING_DAYS, is_falling_named=False)
    yesterday = snapshots[-1] if snapshots else None
    if yesterday is not None and yesterday.date != today - datetime.timedelta(days=1):
        yesterday = None
    before = last_import.numbers_before if last_import else {}
    return Trends(
        by_name={
            number.name: _trend(
                number.name,
                snapshots,
                getattr(numbers, number.name),
                days,
                today,
                until,
                yesterday=getattr(yesterday, number.name, None),
                before_import=before.get(number.name),
            )
            for number in NUMBERS
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
    # NULL: the number did not exist yet.
    past = [
        (snapshot.date, int(value))
        for snapshot in snapshots
        if (value := getattr(snapshot, name)) is not None
    ]
    coming: list[tuple[datetime.date, int]] = []
    for day in days:
        value = int(getattr(day.numbers, name))
        if value != (coming[-1][1] if coming else now):
            coming.append((day.date, value))
    youngest = today - datetime.timedelta(days=_MIN_PAST_DAYS)
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
    """Return a change with its sign (U+2212 for minus) and thousands separators."""
    sign = "+" if change > 0 else "\N{MINUS SIGN}" if change < 0 else "\N{PLUS-MINUS SIGN}"
    return f"{sign}{abs(change):,}"
