"""The pages of the history: the activity, why the numbers changed, and the history of a product."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from closient.accounts.models import Organization
from closient.accounts.permissions import Access
from closient.changes.models import Cause
from dashboard.history.activity import Activity, ActivityList, Counts
from dashboard.history.explain import DAY, RULE, Part, explain, recorded_since
from dashboard.history.product_history import Entry, product_history
from dashboard.numbers import NUMBERS
from dashboard.pages import filter_form
from dashboard.pages.base import organization_page, render_page
from dashboard.pages.products import PRODUCT
from dashboard.pages.trends import signed

CAUSES = {cause.value: str(cause.label) for cause in Cause} | {
    DAY: "Certificates",
    RULE: "Completeness rule",
}
KINDS = {
    "trade_item": ("product", "products"),
    "offer": ("offer", "offers"),
    "certification": ("certificate", "certificates"),
    "rule": ("rule", "rules"),
    "completeness": ("product", "products"),
}
# Spans of the explanation, in days, with their labels.
SPANS = {1: "Last 24 hours", 7: "Last 7 days", 30: "Last 30 days", 90: "Last 90 days"}
MAX_VALUE = 120


def counted(kind: str, count: int) -> str:
    """Return a number of rows in words."""
    return f"{count:,} {KINDS[kind][0 if count == 1 else 1]}"


def words_of(rows: Mapping[str, Counts]) -> str:
    """Return what a change did to rows, in words."""
    parts = []
    for kind, counts in rows.items():
        if kind == "rule":
            parts.append("the completeness rule changed")
            continue
        done = [
            f"{getattr(counts, verb):,} {verb}"
            for verb in ("created", "changed", "deleted")
            if getattr(counts, verb)
        ]
        total = counts.created + counts.changed + counts.deleted
        parts.append(
            f"{counted(kind, total)} {done[0].split()[1]}"
            if len(done) == 1
            else f"{KINDS[kind][1]}: {', '.join(done)}"
        )
    return "; ".join(parts) or "completeness only"


@dataclasses.dataclass(frozen=True)
class ActivityRow:
    """A change as the page shows it."""

    activity: Activity
    cause: str
    what: str


@organization_page()
def show_activity(request: HttpRequest, access: Access) -> HttpResponse:
    """Show the changes of an organization, with an undo where it is possible."""
    query = filter_form.read_list_query(
        request.GET, ActivityList.parameters(), ActivityList.filters
    )
    activity = ActivityList.of(access.organization, query.values)
    page = query.page
    rows, total = ([], 0) if query.errors else activity.page(start=page.start, end=page.end)
    context = {
        "active_route": "page-activity",
        "rows": [ActivityRow(row, CAUSES[row.change.cause], words_of(row.rows)) for row in rows],
        "total": total,
        "errors": filter_form.error_sentences(query, ActivityList.filters),
        "controls": filter_form.controls(query, ActivityList.filters),
        "chips": filter_form.chips(query, ActivityList.filters),
        "path": request.path,
        "previous": query.change(page=page.number - 1) if page.number > 1 else "",
        "next": query.change(page=page.number + 1) if page.end < total else "",
    }
    return render_page(
        request, "dashboard/activity.html", context, status=422 if query.errors else 200
    )


@dataclasses.dataclass(frozen=True)
class PartRow:
    """A part of an explanation as the page shows it; the differences are those of the columns."""

    part: Part
    label: str
    differences: Sequence[str]


def _label(part: Part) -> str:
    if part.cause == DAY:
        found = [
            f"{count:,} product{'' if count == 1 else 's'} {verb}"
            for count, verb in (
                (part.lost, "lost the last valid certificate"),
                (part.gained, "became certified"),
            )
            if count
        ]
        return "Certificates by date" + (f": {', '.join(found)}" if found else "")
    label = CAUSES[part.cause]
    if part.cause == RULE:
        return f"{label} changed" + (f" by {part.actor}" if part.actor else "")
    label = f"{label}: {part.actor}" if part.actor else label
    return label if part.changes == 1 else f"{label} ({part.changes:,} changes)"


def shown_difference(value: int | Decimal) -> str:
    """Return a difference with its sign; empty for none."""
    if not value:
        return ""
    if isinstance(value, Decimal):
        sign = "+" if value > 0 else "\N{MINUS SIGN}"
        return f"{sign}{abs(value):.2f}"
    return signed(value)


def spans_kept(organization: Organization) -> dict[int, str]:
    """Return the spans that the history covers; always the first."""
    age = timezone.now() - recorded_since(organization)
    kept = settings.KEEP_CHANGES_DAYS or max(SPANS)
    return {
        days: label
        for days, label in SPANS.items()
        if days == 1 or (days <= kept and datetime.timedelta(days=days) <= age)
    }


@organization_page()
def show_explanation(request: HttpRequest, access: Access) -> HttpResponse:
    """Show what changed the numbers in a span of days, by cause."""
    spans = spans_kept(access.organization)
    days = {str(span): span for span in spans}.get(request.GET.get("days", ""), 1)
    since = max(timezone.now() - datetime.timedelta(days=days), recorded_since(access.organization))
    found = explain(access.organization, since)
    moved = [n for n in NUMBERS if any(part.numbers[n.name] for part in found.parts)]
    context = {
        "active_route": "page-activity",
        "found": found,
        "days": days,
        "spans": spans,
        "moved": [
            (
                number,
                found.before[number.name],
                found.after[number.name],
                shown_difference(found.after[number.name] - found.before[number.name]),
            )
            for number in moved
        ],
        "rows": [
            PartRow(part, _label(part), [shown_difference(part.numbers[n.name]) for n in moved])
            for part in found.parts
        ],
    }
    return render_page(request, "dashboard/explain.html", context)


@dataclasses.dataclass(frozen=True)
class Line:
    """One thing that an entry of a product's history did."""

    what: str
    before: str = ""
    after: str = ""


@dataclasses.dataclass(frozen=True)
class EntryRow:
    """An entry as the page shows it."""

    entry: Entry
    cause: str
    lines: Sequence[Line]


def _shown(value: Any) -> str:
    if value in (None, "", {}, []):
        return "empty"
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
    return text if len(text) <= MAX_VALUE else f"{text[:MAX_VALUE]}..."


def _lines(entry: Entry) -> list[Line]:
    lines = [Line(f"{KINDS[event.kind][0].capitalize()} {event.event}") for event in entry.rows]
    for change in entry.fields:
        name = change.field.replace("_", " ")
        of_product = change.kind in ("trade_item", "completeness")
        what = name if of_product else f"{KINDS[change.kind][0]}: {name}"
        lines.append(Line(what.capitalize(), _shown(change.before), _shown(change.after)))
    if entry.cause == DAY:
        named = ", ".join(entry.certificates)
        verb = "expired" if entry.percentage_after < entry.percentage_before else "became valid"
        lines.append(Line(f"Certificate {named} {verb}".replace("  ", " ")))
    return lines


@organization_page()
def show_product_history(request: HttpRequest, access: Access, gtin: str | None) -> HttpResponse:
    """Show what happened to a product, and what caused it."""
    product = PRODUCT.find(access, gtin)
    entries = product_history(access.organization, product)
    context = {
        "active_route": "page-products",
        "product": product,
        "entries": [EntryRow(entry, CAUSES[entry.cause], _lines(entry)) for entry in entries],
    }
    return render_page(request, "dashboard/product_history.html", context)
