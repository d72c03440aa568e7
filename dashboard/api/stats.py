"""The stats endpoint: the seven numbers."""

from __future__ import annotations

import dataclasses
import datetime
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from catalog.models import effective_rule
from certifications.models import EXPIRING_WITHIN
from closient.accounts.api_views import OrganizationView
from closient.http import openapi, parameters
from closient.http.problems import Problem
from dashboard.api.serializers import StatsSerializer
from dashboard.numbers import StatsQuery, stats

MAX_YEARS_AHEAD = 5

STATS_PARAMETERS = (
    parameters.date(
        "as_of",
        "The numbers as they will be on this day if nothing is edited: from today, in the "
        f"organization's time zone, up to {MAX_YEARS_AHEAD} years ahead.",
        example="2027-01-31",
    ),
    parameters.integer(
        "expiring_within",
        f"How many days ahead a certificate counts as expiring, {EXPIRING_WITHIN} by default.",
        minimum=1,
        maximum=365,
        example=90,
    ),
    parameters.integer(
        "complete_at",
        "Products with at least this percentage count as complete, instead of the organization's "
        "own threshold.",
        minimum=1,
        maximum=100,
        example=95,
    ),
)


class StatsView(OrganizationView):
    """The seven numbers of an organization."""

    query_parameters = STATS_PARAMETERS
    open_to_publishable_keys = True

    organization_related = ("completeness_rule",)

    @extend_schema(
        operation_id="get_dashboard_statistics",
        summary="Get dashboard statistics",
        description="Seven numbers on the health of an organization's product data: exact and "
        "live at every commit, at any size.",
        tags=["Dashboard"],
        parameters=[
            openapi.ORGANIZATION_ID,
            *(parameter.documented() for parameter in STATS_PARAMETERS),
        ],
        responses=openapi.responses(StatsSerializer, "The seven numbers.", "validation_error"),
    )
    def get(self, request: Request, organization_id: UUID) -> Response:
        """Return the numbers, today or on another day."""
        values = parameters.read_query(request.query_params, self.query_parameters)
        organization = self.organization
        rule = effective_rule(organization)
        if values["complete_at"] is not None:
            rule = dataclasses.replace(rule, threshold=values["complete_at"])
        stats_query = StatsQuery(
            organization_id=organization.id,
            rule=rule,
            day=_day(values["as_of"], today=organization.today()),
            expiring_within=values["expiring_within"] or EXPIRING_WITHIN,
        )
        return Response(dataclasses.asdict(stats(stats_query)))


def _day(as_of: datetime.date | None, *, today: datetime.date) -> datetime.date:
    """Return the requested day; raises a ``validation_error`` out of range."""
    if as_of is None:
        return today
    latest = _years_after(today, MAX_YEARS_AHEAD)
    if not today <= as_of <= latest:
        detail = f"Must be from {today} (today in the organization's time zone) to {latest}."
        raise Problem(
            "validation_error", errors=[parameters.parameter_error("as_of", "range", detail)]
        )
    return as_of


def _years_after(day: datetime.date, years: int) -> datetime.date:
    """Return the same date some years later, 28 February if there is no 29 February."""
    try:
        return day.replace(year=day.year + years)
    except ValueError:
        return day.replace(year=day.year + years, day=28)
