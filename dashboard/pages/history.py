"""The history page: the numbers by day, as a table."""

from __future__ import annotations

import dataclasses
import datetime

from django.http import HttpRequest, HttpResponse

from closient.accounts.permissions import Access
from closient.db.replicas import reads_on_replica
from dashboard.forecast import Day, forecast
from dashboard.models import SampleRow, Snapshot
from dashboard.numbers import Stats, stats
from dashboard.pages.base import organization_page, render_page
from dashboard.pages.home import Card, cards, stats_query
from dashboard.pages.trends import COMING_DAYS, PAST_DAYS


@dataclasses.dataclass(frozen=True)
class DayRow:
    """The numbers of a day; ``None`` if a number did not exist yet."""

    date: datetime.date
    cells: list[tuple[Card, int | None]]
    is_demo: bool


@organization_page()
def show_history(request: HttpRequest, access: Access) -> HttpResponse:
    """Show the numbers of today, of each day with a snapshot, and of the forecast."""
    organization = access.organization
    query = stats_query(organization)
    today = query.day

    @reads_on_replica
    def read() -> tuple[Stats, list[Snapshot], list[Day]]:
        past = Snapshot.objects.of(organization).between(
            today - datetime.timedelta(days=PAST_DAYS), today - datetime.timedelta(days=1)
        )
        coming = forecast(query, days=COMING_DAYS, is_falling_named=False)
        return stats(query), list(past), coming

    numbers, snapshots, coming = read()
    columns = cards(organization, numbers)

    def row(day: datetime.date, values: Stats | Snapshot, *, is_demo: bool = False) -> DayRow:
        return DayRow(day, [(card, getattr(values, card.name)) for card in columns], is_demo)

    context = {
        "active_route": "page-home",
        "columns": columns,
        "today": row(today, numbers),
        "past": [row(one.date, one, is_demo=one.is_demo) for one in reversed(snapshots)],
        "is_demo": any(one.is_demo for one in snapshots),
        "coming": [row(day.date, day.numbers) for day in coming if day.date > today],
        "coming_days": COMING_DAYS,
        "past_days": PAST_DAYS,
        "has_sample": SampleRow.objects.of(organization).exists(),
    }
    return render_page(request, "dashboard/history.html", context)
