"""The overview of an organization: the numbers, and what to fix first."""

from __future__ import annotations

import dataclasses
import zoneinfo
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone

from catalog.models import effective_rule
from closient.accounts.models import Organization
from closient.accounts.permissions import Access
from closient.db.replicas import reads_on_replica
from dashboard.demo.sample import PRODUCTS
from dashboard.numbers import NUMBERS, Stats, StatsQuery, stats
from dashboard.pages.base import organization_page, render_page
from dashboard.pages.panels import panels
from dashboard.pages.setup import setup_of
from dashboard.pages.trends import Trend, Trends, trends


@dataclasses.dataclass(frozen=True)
class Card:
    """A number on the overview, with the URL of the list behind it."""

    name: str
    label: str
    value: int
    unit: str
    url: str
    trend: Trend | None


def stats_query(organization: Organization) -> StatsQuery:
    """Return the query for today's numbers under the organization's rule."""
    return StatsQuery(
        organization_id=organization.id, rule=effective_rule(organization), day=organization.today()
    )


def cards(organization: Organization, numbers: Stats, drawn: Trends | None = None) -> list[Card]:
    """Return a card for each number, with its trend if trends are given."""
    return [
        Card(
            name=number.name,
            label=number.label,
            value=getattr(numbers, number.name),
            unit=number.unit,
            url=reverse(number.page, args=[organization.id])
            + (f"?{number.query}" if number.query else ""),
            trend=drawn.by_name[number.name] if drawn else None,
        )
        for number in NUMBERS
    ]


@organization_page()
def show_home(request: HttpRequest, access: Access) -> HttpResponse:
    """Show the whole page, read in one transaction; an empty catalog gets the first steps."""
    context = _read_home(access)
    template = "dashboard/home.html" if "cards" in context else "dashboard/home_empty.html"
    return render_page(request, template, {"active_route": "page-home", **context})


@organization_page()
def show_numbers(request: HttpRequest, access: Access) -> HttpResponse:
    """Render only the numbers, which the page requests every 15 seconds."""
    organization = access.organization
    numbers = stats(stats_query(organization))
    context = {"cards": cards(organization, numbers), "computed_at": timezone.now()}
    response = render_page(request, "dashboard/numbers.html", context)
    if "empty" in request.GET and numbers.total_products:
        response.headers["HX-Refresh"] = "true"
    return response


@organization_page()
def show_panels(request: HttpRequest, access: Access) -> HttpResponse:
    """Render the panels below the numbers, and as out-of-band swaps the trends and first steps."""
    context = _read_overview(access)
    return render_page(request, "dashboard/panels.html", {**context, "is_trends_too": True})


@reads_on_replica
def _read_home(access: Access) -> dict[str, Any]:
    """Return the context of the overview; without products only that of the first steps."""
    query = stats_query(access.organization)
    numbers = stats(query)
    if numbers.total_products:
        return _overview(access, query, numbers)
    return {"setup": setup_of(access), "sample_size": PRODUCTS}


@reads_on_replica
def _read_overview(access: Access) -> dict[str, Any]:
    query = stats_query(access.organization)
    return _overview(access, query, stats(query))


def _overview(access: Access, query: StatsQuery, numbers: Stats) -> dict[str, Any]:
    organization = access.organization
    drawn = trends(query, numbers, zoneinfo.ZoneInfo(organization.time_zone))
    return {
        "cards": cards(organization, numbers, drawn),
        "trends": drawn,
        "computed_at": timezone.now(),
        "setup": setup_of(access),
        **panels(organization, query),
    }
