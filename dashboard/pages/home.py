"""The home of an organization: the seven numbers, and what to fix first."""

from __future__ import annotations

import dataclasses
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone

from catalog.models import rule_of
from closient.accounts.permissions import Access
from dashboard.pages.base import organization_page, show
from dashboard.stats import EXPIRING_WITHIN, Question, stats


@dataclasses.dataclass(frozen=True)
class Card:
    """A number on the home page, and where the rows behind it are listed."""

    name: str
    label: str
    value: int
    unit: str
    address: str


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


def cards(access: Access) -> list[Card]:
    """Return the seven numbers of today, each with its list."""
    organization = access.organization
    question = Question(
        organization_id=organization.id, rule=rule_of(organization), day=organization.today()
    )
    numbers: dict[str, Any] = dataclasses.asdict(stats(question))
    return [
        Card(
            name=name,
            label=label,
            value=numbers[name],
            unit=unit,
            address=reverse(route, args=[organization.id]) + (f"?{query}" if query else ""),
        )
        for name, (label, unit, route, query) in _CARDS.items()
    ]


@organization_page()
def show_home(request: HttpRequest, access: Access) -> HttpResponse:
    """Show the whole page."""
    context = {"place": "page-home", "cards": cards(access), "computed_at": timezone.now()}
    return show(request, "dashboard/home.html", context)


@organization_page()
def show_numbers(request: HttpRequest, access: Access) -> HttpResponse:
    """Show the numbers alone, to be put in the place of older ones."""
    context = {"cards": cards(access), "computed_at": timezone.now()}
    return show(request, "dashboard/numbers.html", context)
