"""The forecast endpoint: the numbers of coming days if nothing is edited."""

from __future__ import annotations

import dataclasses
from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from catalog.models import effective_rule
from closient.accounts.api_views import OrganizationView
from closient.http import openapi, parameters
from dashboard.api.serializers import StatsSerializer
from dashboard.forecast import MAX_FIRST_FALLING, Day, forecast
from dashboard.numbers import StatsQuery

DEFAULT_DAYS = 90

PARAMETERS = (
    parameters.integer(
        "days",
        f"How many days to look ahead, {DEFAULT_DAYS} by default.",
        minimum=1,
        maximum=365,
        example=30,
    ),
)


class FallingSerializer(serializers.Serializer[Any]):
    """A product that falls below the threshold."""

    gtin = serializers.CharField(help_text="Its GTIN-14.", style={"example": "04012345678901"})
    name = serializers.CharField(help_text="Its name.", style={"example": "Oat drink 1 l"})
    percentage_before = serializers.IntegerField(
        min_value=0,
        max_value=100,
        help_text="Its completeness with the certificate.",
        style={"example": 80},
    )
    percentage_after = serializers.IntegerField(
        min_value=0,
        max_value=100,
        help_text="Its completeness without the certificate.",
        style={"example": 75},
    )


class ForecastDaySerializer(StatsSerializer):
    """The numbers on one day."""

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Return the fields: the day, the seven numbers and the falling products."""
        return {
            "date": serializers.DateField(
                help_text="The day, in the organization's time zone.",
                style={"example": "2026-12-05"},
            ),
            **super().get_fields(),
            "falling_below": serializers.IntegerField(
                min_value=0,
                help_text="Products that fall below the threshold this day because a certificate "
                "expired the day before.",
                style={"example": 3},
            ),
            "first_falling": FallingSerializer(
                many=True,
                help_text=f"Up to {MAX_FIRST_FALLING} of those products, the oldest ones.",
            ),
        }


class ForecastSerializer(serializers.Serializer[Any]):
    """The forecast: days on which certificates that start or expire change the numbers."""

    days = ForecastDaySerializer(
        many=True,
        help_text="Today and each day on which something changes, in order. A day's numbers "
        "apply until the next day listed.",
    )


class ForecastView(OrganizationView):
    """The numbers on the coming days."""

    query_parameters = PARAMETERS
    open_to_publishable_keys = True

    organization_related = ("completeness_rule",)

    @extend_schema(
        operation_id="get_forecast",
        summary="Get the forecast",
        description="The seven numbers today and on each of the next days on which any of them "
        "changes, or on which a product falls below the threshold because a certificate expires, "
        "if nothing is edited. A day's numbers equal those of `as_of` that day.",
        tags=["Dashboard"],
        parameters=[openapi.ORGANIZATION_ID, *(p.documented() for p in PARAMETERS)],
        responses=openapi.responses(ForecastSerializer, "The days.", "validation_error"),
    )
    def get(self, request: Request, organization_id: UUID) -> Response:
        """Return the days on which something changes."""
        values = parameters.read_query(request.query_params, self.query_parameters)
        organization = self.organization
        stats_query = StatsQuery(
            organization.id, effective_rule(organization), organization.today()
        )
        days = forecast(stats_query, days=values["days"] or DEFAULT_DAYS)
        return Response({"days": [_shown(day) for day in days]})


def _shown(day: Day) -> dict[str, Any]:
    return {
        "date": day.date,
        **dataclasses.asdict(day.numbers),
        "falling_below": day.falling_below,
        "first_falling": [dataclasses.asdict(product) for product in day.first_falling],
    }
