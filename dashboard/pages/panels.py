"""The panels below the numbers: fixes, distribution, broken offers, expiring certificates."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import uuid
from typing import Any
from urllib.parse import urlencode

from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from catalog.completeness import FACT_BY_NAME, Rule
from certifications.models import EXPIRING_WITHIN, CertificationAssignment
from closient.accounts.models import Organization
from closient.tally.models import TallyEntry
from dashboard.bulk_edits.grid import COLUMNS
from dashboard.distribution import Distribution, counts_by_mask, distribution
from dashboard.numbers import StatsQuery
from dashboard.opportunities import (
    FactSet,
    Opportunity,
    fact_sets,
    lifted_range,
    opportunities_among,
)
from dashboard.pages.charts import Bar, bars, compact
from offers.lists import WorstRetailer, worst_retailers
from offers.models import Offer
from offers.url_checks.schedule.due import overdue_count

RETAILERS_SHOWN = 6
SETS_SHOWN = 3
TIMELINE_DAYS = 90
# The facts that are edited in the grid of products; the others are set for all at once.
EDITED_FIELDS = set(COLUMNS)
# The page shows "1,000 or more" above this: counting all of them would be slow.
MAX_OVERDUE = 1_000
# The time spans below the timeline, in days, and their urgency.
_SPANS = {7: "bad", 30: "warn", EXPIRING_WITHIN: "soon", TIMELINE_DAYS: "later"}


@dataclasses.dataclass(frozen=True)
class HistogramColumn:
    """A column of the histogram: the products in a band of percentages.

    ``after`` is the number under another rule, in the preview of the rule editor.
    """

    low: int
    high: int
    products: int
    bar: Bar
    is_complete: bool
    address: str
    after: int | None = None
    bar_after: Bar | None = None
    is_complete_after: bool = False
    highest: int = 0

    @property
    def shown_count(self) -> str:
        """The number of products (``after``, if set) in a short form."""
        return compact(self.products if self.after is None else self.after, self.highest)

    @property
    def label(self) -> str:
        """The percentages of the band."""
        return str(self.low) if self.low == self.high else f"{self.low}\N{EN DASH}{self.high}"


@dataclasses.dataclass(frozen=True)
class Fix:
    """An opportunity, with links to the products it completes and to all products without it.

    ``share`` is its effect in percent of the largest one. ``is_exact`` is whether the first list
    contains exactly the products that it completes.
    """

    opportunity: Opportunity
    share: int
    is_exact: bool
    address: str
    missing_address: str
    edit_address: str


@dataclasses.dataclass(frozen=True)
class SetFix:
    """Facts that complete products only together, with a link to these products."""

    facts: FactSet
    label: str
    is_exact: bool
    address: str

    @property
    def name(self) -> str:
        """The facts, joined for the id of the link."""
        return "-".join(self.facts.facts)


@dataclasses.dataclass(frozen=True)
class BrokenRetailer:
    """A retailer with broken offers, and a link to their list."""

    broken: WorstRetailer
    address: str


@dataclasses.dataclass(frozen=True)
class ExpiryDay:
    """The certificates that expire on a day: a bar of the timeline, and the URL of their list.

    ``x`` is its coordinate in the timeline.
    """

    date: datetime.date
    count: int
    address: str
    x: int
    bar: Bar
    urgency: str

    @property
    def label(self) -> str:
        """The label of the bar: "9 Dec 2026: 2 certificates"."""
        noun = "certificate" if self.count == 1 else "certificates"
        return f"{self.date.day} {self.date:%b %Y}: {self.count:,} {noun}"

    @property
    def svg(self) -> SafeString:
        """The bar as an SVG link that covers the height of the chart.

        Rendering ninety of these in the template took a third of the time of the page.
        """
        return format_html(
            '<a id="expires-{day}" href="{address}" aria-label="{label}"><title>{label}</title>'
            '<rect class="timeline-day" x="{x}" width="1" height="100"/>'
            '<rect class="urgency-{urgency}" x="{x}" y="{y}" width="0.8" height="{height}"/></a>',
            day=self.date.isoformat(),
            address=self.address,
            label=self.label,
            x=self.x,
            urgency=self.urgency,
            y=self.bar.top,
            height=self.bar.height,
        )


@dataclasses.dataclass(frozen=True)
class Span:
    """The number of certificates that expire within ``days``, and the URL of their list."""

    days: int
    count: int
    urgency: str
    address: str


def panels(organization: Organization, stats_query: StatsQuery) -> dict[str, Any]:
    """Return the context of the panels; six queries."""
    by_mask = counts_by_mask(organization.id, stats_query.day)
    retailers = worst_retailers(organization.id, at_most=RETAILERS_SHOWN + 1)
    found = distribution(by_mask, stats_query.rule)
    return {
        "rule": stats_query.rule,
        "distribution": found,
        "columns": columns(organization, stats_query.rule, found),
        "fixes": _fixes(
            organization, stats_query.rule, opportunities_among(by_mask, stats_query.rule)
        ),
        "sets": _sets(
            organization, stats_query.rule, fact_sets(by_mask, stats_query.rule, at_most=SETS_SHOWN)
        ),
        "retailers": [
            BrokenRetailer(
                broken,
                list_address(
                    "page-offers", organization, url_status="failing", retailer=broken.retailer
                ),
            )
            for broken in retailers[:RETAILERS_SHOWN]
        ],
        "is_more_retailers": len(retailers) > RETAILERS_SHOWN,
        "overdue": overdue_count(organization, at_most=MAX_OVERDUE),
        "max_overdue": MAX_OVERDUE,
        "failing_address": list_address("page-offers", organization, url_status="failing"),
        "has_offers": Offer.objects.of(organization).exists(),
        "has_certificates": CertificationAssignment.objects.of(organization).exists(),
        **_timeline(organization, stats_query.day),
    }


def list_address(route: str, organization: Organization, **query: Any) -> str:
    """Return the URL of a list with filters."""
    return f"{_list_path(route, organization.id)}?{urlencode(query)}"


@functools.lru_cache(maxsize=1024)
def _list_path(route: str, organization_id: uuid.UUID) -> str:
    """Return the path of a list, cached: a page links to lists about fifty times."""
    return reverse(route, args=[organization_id])


def columns(
    organization: Organization,
    rule: Rule,
    now: Distribution,
    *,
    other: Rule | None = None,
    then: Distribution | None = None,
) -> list[HistogramColumn]:
    """Return the columns of a histogram, with those of another rule (``other`` and ``then``).

    A column is complete if all percentages of its band are.
    """
    after = [band.products for band in then.bands] if then else []
    heights = bars([band.products for band in now.bands], highest=max(after, default=0))
    heights_after = bars(after, highest=max(band.products for band in now.bands)) if then else []
    return [
        HistogramColumn(
            low=band.low,
            high=band.high,
            products=band.products,
            bar=heights[index],
            is_complete=band.low >= rule.threshold,
            address=list_address(
                "page-products",
                organization,
                min_completeness=band.low,
                max_completeness=band.high,
            ),
            after=after[index] if then else None,
            bar_after=heights_after[index] if then else None,
            is_complete_after=other is not None and band.low >= other.threshold,
            highest=max(after or [band.products for band in now.bands], default=0),
        )
        for index, band in enumerate(now.bands)
    ]


def _fixes(organization: Organization, rule: Rule, found: list[Opportunity]) -> list[Fix]:
    most = max((opportunity.lifts_to_complete for opportunity in found), default=0)
    fixes = []
    for opportunity in found:
        if not opportunity.missing:
            continue
        lifted = lifted_range((FACT_BY_NAME[opportunity.fact],), rule)
        span: dict[str, Any] = {"complete": "false"}
        if lifted:
            span = {"min_completeness": lifted[0], "max_completeness": lifted[1]}
        missing = {"missing": opportunity.fact}
        field = FACT_BY_NAME[opportunity.fact].field
        columns = {"fields": field} if field in EDITED_FIELDS else {}
        fixes.append(
            Fix(
                opportunity=opportunity,
                share=100 * opportunity.lifts_to_complete // most if most else 0,
                is_exact=lifted is not None,
                address=list_address("page-products", organization, **span, **missing),
                missing_address=list_address("page-products", organization, **missing),
                edit_address=list_address(
                    "page-products-edit", organization, **span, **missing, **columns
                )
                if field
                else "",
            )
        )
    return fixes


def _sets(organization: Organization, rule: Rule, found: list[FactSet]) -> list[SetFix]:
    fixes = []
    for one in found:
        lifted = lifted_range(tuple(FACT_BY_NAME[name] for name in one.facts), rule)
        span: dict[str, Any] = {"complete": "false"}
        if lifted:
            span = {"min_completeness": lifted[0], "max_completeness": lifted[1]}
        address = list_address("page-products", organization, **span, missing=",".join(one.facts))
        *first, last = one.facts
        label = f"{', '.join(first)} and {last}".capitalize()
        fixes.append(SetFix(one, label, is_exact=lifted is not None, address=address))
    return fixes


def _timeline(organization: Organization, today: datetime.date) -> dict[str, Any]:
    """Return the context of the expiry timeline: counts by day and by span; one query."""
    until = today + datetime.timedelta(days=TIMELINE_DAYS)
    counts = TallyEntry.objects.of(organization.id).counts_by_day(
        "certification_expiry", today, until=until
    )
    ahead = {(day - today).days: count for day, count in counts.items()}
    heights = bars(list(ahead.values())) if ahead else []
    certificates = reverse("page-certifications", args=[organization.id])
    return {
        "timeline_days": TIMELINE_DAYS,
        "expiry_days": [
            ExpiryDay(
                date=(day := today + datetime.timedelta(days=days)),
                count=count,
                address=f"{certificates}?expires_on={day}",
                x=days - 1,
                bar=bar,
                urgency=next(urgency for span, urgency in _SPANS.items() if days <= span),
            )
            for (days, count), bar in zip(ahead.items(), heights, strict=True)
        ],
        "expiry_spans": [
            Span(
                days=span,
                count=sum(count for days, count in ahead.items() if days <= span),
                urgency=urgency,
                address=list_address("page-certifications", organization, expiring_within=span),
            )
            for span, urgency in _SPANS.items()
        ],
    }
