"""The home of an organization: the seven numbers, and what to fix first."""

from __future__ import annotations

import dataclasses
import zoneinfo
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone

from catalog.models import rule_of
from closient.accounts.models import Organization
from closient.accounts.permissions import Access
from closient.db.transactions import snapshot
from dashboard.pages.base import organization_page, show
from dashboard.pages.panels import panels
from dashboard.pages.trends import Trend, Trends, trends
from dashboard.stats import EXPIRING_WITHIN, Question, Stats, stats


@dataclasses.dataclass(frozen=True)
class Card:
    """A number on the home page, and where the rows behind it are listed."""

    name: str
    label: str
    value: int
    unit: str
    address: str
    trend: Trend | None


# What each number is called, and the list behind it: the route and its query.
_CARDS = {
    "total_products": ("Products", "", "page-products", ""),
    "complete_products": ("Complete products", "", "page-products", "complete=true"),
    "avg_completeness": ("Average completeness", "%", "page-products", "ordering=completeness"),
    "active_offers": ("Active offers", "", "page-offers", "status=active"),
    "broken_offers": ("Broken offers", "", "page-offers", "url_status=failing"),
    "expiring_certifications": (
        "Expiring certifications",
        "",
        "page-certifications",
        f"expiring_within={EXPIRING_WITHIN}",
    ),
    "missing_images": ("Products without images", "", "page-products", "missing=images"),
}


def question_of(organization: Organization) -> Question:
    """Return what a page asks: the numbers of today under the organization's rule."""
    return Question(
        organization_id=organization.id, rule=rule_of(organization), day=organization.today()
    )


def cards(organization: Organization, numbers: Stats, drawn: Trends | None = None) -> list[Card]:
    """Return the seven numbers, each with its list and, where it is drawn, its trend."""
    values: dict[str, Any] = dataclasses.asdict(numbers)
    return [
        Card(
            name=name,
            label=label,
            value=values[name],
            unit=unit,
            address=reverse(route, args=[organization.id]) + (f"?{query}" if query else ""),
            trend=drawn.by_name[name] if drawn else None,
        )
        for name, (label, unit, route, query) in _CARDS.items()
    ]


@organization_page()
def show_home(request: HttpRequest, access: Access) -> HttpResponse:
    """Show the whole page: one state of the catalogue, or what to do first where it is empty."""
    organization = access.organization
    question = question_of(organization)
    with snapshot():
        numbers = stats(question)
        is_empty = not numbers.total_products
        context = {} if is_empty else _everything(organization, question, numbers)
    template = "dashboard/home_empty.html" if is_empty else "dashboard/home.html"
    return show(request, template, {"place": "page-home", **context})


@organization_page()
def show_numbers(request: HttpRequest, access: Access) -> HttpResponse:
    """Show the numbers alone: what the page asks for every few seconds."""
    organization = access.organization
    numbers = stats(question_of(organization))
    context = {"cards": cards(organization, numbers), "computed_at": timezone.now()}
    response = show(request, "dashboard/numbers.html", context)
    if "empty" in request.GET and numbers.total_products:
        response.headers["HX-Refresh"] = "true"
    return response


@organization_page()
def show_panels(request: HttpRequest, access: Access) -> HttpResponse:
    """Show what stands below the numbers, and beside it their trends, to be put in their places."""
    organization = access.organization
    question = question_of(organization)
    with snapshot():
        context = _everything(organization, question, stats(question))
    return show(request, "dashboard/panels.html", {**context, "is_trends_too": True})


def _everything(organization: Organization, question: Question, numbers: Stats) -> dict[str, Any]:
    drawn = trends(question, numbers, zoneinfo.ZoneInfo(organization.time_zone))
    return {
        "cards": cards(organization, numbers, drawn),
        "trends": drawn,
        "computed_at": timezone.now(),
        **panels(organization, question),
    }
