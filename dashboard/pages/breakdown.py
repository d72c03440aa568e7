"""The breakdown: the numbers by brand, category, retailer, country of origin or status."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from catalog.countries import country_names
from closient.accounts.models import Organization
from closient.accounts.permissions import Access
from closient.http import pagination
from dashboard.breakdown import (
    BY,
    ORDERING,
    Breakdown,
    BreakdownPage,
    BreakdownRow,
    Dimension,
    list_query,
)
from dashboard.numbers import NUMBERS, Number
from dashboard.pages.base import organization_page, render_page
from dashboard.pages.filter_form import ListQuery, error_sentences, read_list_query
from dashboard.pages.resources import Column, Heading
from dashboard.templatetags.labels import status_label

_LABELS = {
    Dimension.BRAND: "Brand",
    Dimension.CATEGORY: "Category",
    Dimension.RETAILER: "Retailer",
    Dimension.COUNTRY: "Country of origin",
    Dimension.STATUS: "Status",
}
_WITHOUT = {
    Dimension.BRAND: "No brand",
    Dimension.CATEGORY: "No category",
    Dimension.RETAILER: "No retailer named",
    Dimension.COUNTRY: "No country of origin",
}
_BY_NAME = {number.name: number for number in NUMBERS}
# The products that are not complete, as a list.
_INCOMPLETE = dataclasses.replace(
    _BY_NAME["complete_products"], label="Not complete", query="complete=false"
)
# Headings where the label of the number is too long for a table.
_HEADINGS = {
    "complete_products": "Complete",
    "avg_completeness": "Average",
    "missing_images": "Without images",
    "expiring_certifications": "Expiring",
}


@dataclasses.dataclass(frozen=True)
class Cell:
    """A number of a row, and the address of the list behind it."""

    label: str
    value: int
    unit: str
    url: str


@dataclasses.dataclass(frozen=True)
class ShownRow:
    """A row as the page shows it."""

    label: str
    incomplete: Cell
    cells: Sequence[Cell]
    average_gain: float


@organization_page()
def show_breakdown(request: HttpRequest, access: Access) -> HttpResponse:
    """Show a page of the breakdown."""
    query = read_list_query(request.GET, (BY, ORDERING, *pagination.PARAMETERS), ())
    breakdown = Breakdown.of(access.organization, query.values)
    page = query.page
    found = breakdown.page(start=page.start, end=page.end)
    path = reverse("page-breakdown", args=[access.organization.id])
    dimension = breakdown.dimension

    def shown(row: BreakdownRow) -> ShownRow:
        return _shown(access.organization, dimension, row)

    context = {
        "active_route": "page-home",
        "path": path,
        "errors": error_sentences(query, ()),
        "tabs": [
            (label, query.change(by=other.value, ordering=query.texts.get("ordering")), other)
            for other, label in _LABELS.items()
        ],
        "dimension": dimension,
        "dimension_label": _LABELS[dimension],
        "headings": _headings(query, breakdown),
        "rows": [shown(row) for row in found.rows],
        "total": found.total,
        "worst": shown(found.worst) if found.worst else None,
        "whole_row": _whole_row(access.organization, found),
        "is_overlapping": dimension.overlaps,
        "first_page": query.change(),
        "first": page.start + 1,
        "last": page.start + len(found.rows),
        "previous": query.change(page=page.number - 1) if page.number > 1 else None,
        "next": query.change(page=page.number + 1) if page.end < found.total else None,
    }
    status = 422 if query.errors else 200
    return render_page(request, "dashboard/breakdown.html", context, status=status)


def _headings(query: ListQuery, breakdown: Breakdown) -> list[Heading]:
    """Return the headings; the first click shows the highest numbers, a second the lowest."""
    columns = [
        ("value", Column(_LABELS[breakdown.dimension])),
        ("incomplete_products", Column(_INCOMPLETE.label, css="number")),
        ("average_gain", Column("Costs the average", css="number")),
        *((number.name, Column(_heading(number), css="number")) for number in NUMBERS),
    ]
    result = []
    for name, column in columns:
        order = {name: "ascending", f"-{name}": "descending"}.get(breakdown.ordering, "")
        is_falling_next = order == "ascending" or (not order and name != "value")
        next_order = f"-{name}" if is_falling_next else name
        result.append(Heading(column, order, query.change(ordering=next_order)))
    return result


def _heading(number: Number) -> str:
    return _HEADINGS.get(number.name, number.label)


def _shown(organization: Organization, dimension: Dimension, row: BreakdownRow) -> ShownRow:
    def cell(number: Number, value: int) -> Cell:
        return _cell(organization, number, value, list_query(dimension, row.value, number))

    return ShownRow(
        label=_label(dimension, row.value),
        incomplete=cell(_INCOMPLETE, row.incomplete_products),
        cells=[cell(number, getattr(row.numbers, number.name)) for number in NUMBERS],
        average_gain=row.average_gain,
    )


def _whole_row(organization: Organization, found: BreakdownPage) -> ShownRow:
    """Return the row of the whole organization."""
    whole = found.whole

    def cell(number: Number, value: int) -> Cell:
        return _cell(organization, number, value, number.query)

    return ShownRow(
        label=str(organization.name),
        incomplete=cell(_INCOMPLETE, whole.total_products - whole.complete_products),
        cells=[cell(number, getattr(whole, number.name)) for number in NUMBERS],
        average_gain=found.average_gain,
    )


def _cell(organization: Organization, number: Number, value: int, query: str) -> Cell:
    url = reverse(number.page, args=[organization.id]) + (f"?{query}" if query else "")
    return Cell(_heading(number), value, number.unit, url)


def _label(dimension: Dimension, value: str) -> str:
    if not value:
        return _WITHOUT[dimension]
    if dimension is Dimension.COUNTRY:
        return dict(country_names()).get(value, value)
    return status_label(value) if dimension is Dimension.STATUS else value
