"""The breakdown endpoint: the numbers of each brand, category, retailer, country or status."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from closient.accounts.api_views import OrganizationView
from closient.http import openapi, pagination
from closient.http.pagination import ListPage, page_of
from dashboard.api.serializers import StatsSerializer
from dashboard.breakdown import BY, ORDERING, Breakdown, BreakdownRow

BREAKDOWN_PARAMETERS = (BY, ORDERING, *pagination.PARAMETERS)


class BreakdownRowSerializer(StatsSerializer):
    """The seven numbers of a part of the organization, and what it contributes."""

    value = serializers.CharField(
        allow_blank=True,
        help_text="The brand, category, retailer, country code or status, as the filters of the "
        "lists take it; empty for trade items without one, or offers of no named retailer.",
        style={"example": "Haferhof"},
    )
    incomplete_products = serializers.IntegerField(
        min_value=0,
        help_text="Products that do not reach the threshold.",
        style={"example": 270},
    )
    average_gain = serializers.FloatField(
        min_value=0,
        max_value=100,
        help_text="Points that the organization's average would gain if these products were all "
        "at 100 percent, rounded half up to two decimals: what the row costs the average.",
        style={"example": 3.12},
    )


class BreakdownView(OrganizationView):
    """The numbers by brand, category, retailer, country or status."""

    query_parameters = BREAKDOWN_PARAMETERS

    organization_related = ("completeness_rule",)

    @extend_schema(
        operation_id="get_breakdown",
        summary="Break the numbers down",
        description="The seven numbers by brand, category, retailer, country of origin or status "
        "of the trade items, as of today; by default those with the most incomplete products "
        "first. Each number is the `total_count` of the list behind it with the row's `value` as a "
        "filter (offers and certifications have the status as `trade_item_status`). The rows sum "
        "to the numbers of the organization, except the average. By retailer, trade items and "
        "certificates count for each retailer that has an offer of the trade item, so these rows "
        "overlap, and trade items without offers are in none; offers sum.",
        tags=["Dashboard"],
        parameters=[
            openapi.ORGANIZATION_ID,
            *(parameter.documented() for parameter in BREAKDOWN_PARAMETERS),
        ],
        responses=openapi.responses(
            page_of(BreakdownRowSerializer), "A page of rows.", "validation_error"
        ),
    )
    def get(self, request: Request, organization_id: UUID) -> Response:
        """Return a page of rows."""
        page, values = ListPage.read(request, self.query_parameters)
        breakdown = Breakdown.of(self.organization, values)
        found = breakdown.page(start=page.start, end=page.end, after=page.after)
        return page.answer(
            found.rows, total_count=found.total, show=_shown, position=breakdown.position
        )


def _shown(rows: Sequence[BreakdownRow]) -> list[dict[str, Any]]:
    return [
        {
            "value": row.value,
            **dataclasses.asdict(row.numbers),
            "incomplete_products": row.incomplete_products,
            "average_gain": row.average_gain,
        }
        for row in rows
    ]
