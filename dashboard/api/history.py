"""The history endpoint: the seven numbers in the snapshots of past days."""

from __future__ import annotations

import datetime
from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from closient.accounts.api_views import OrganizationView
from closient.db.replicas import reads_on_replica
from closient.http import openapi, parameters
from closient.http.problems import Problem
from dashboard.api.serializers import number_field
from dashboard.models import Snapshot, SnapshotQuerySet
from dashboard.numbers import NUMBERS

DEFAULT_DAYS = 90
MAX_DAYS = 1100

PARAMETERS = (
    parameters.date(
        "since",
        f"The first day, {DEFAULT_DAYS} days up to `until` by default.",
        example="2026-09-01",
    ),
    parameters.date(
        "until",
        "The last day, by default today in the organization's time zone. "
        f"At most {MAX_DAYS} days per request.",
        example="2026-11-24",
    ),
)
COLUMNS = ("date", *(number.name for number in NUMBERS))


class SnapshotSerializer(serializers.Serializer[Any]):
    """The numbers as they were on one day."""

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Return the day and the seven numbers."""
        return {
            "date": serializers.DateField(
                help_text="The day, in the organization's time zone.",
                style={"example": "2026-11-24"},
            ),
            **{
                number.name: number_field(number, allow_null=not number.has_full_history)
                for number in NUMBERS
            },
        }


class HistorySerializer(serializers.Serializer[Any]):
    """The numbers of past days."""

    days = SnapshotSerializer(
        many=True,
        help_text="The days that have a snapshot, in order. Days without a snapshot are left out.",
    )


class HistoryView(OrganizationView):
    """The numbers of past days."""

    query_parameters = PARAMETERS
    open_to_publishable_keys = True

    @extend_schema(
        operation_id="get_history",
        summary="Get the history",
        description="The seven numbers at the first snapshot of each day, under the rule at that "
        "time.",
        tags=["Dashboard"],
        parameters=[openapi.ORGANIZATION_ID, *(p.documented() for p in PARAMETERS)],
        responses=openapi.responses(HistorySerializer, "The days.", "validation_error"),
    )
    def get(self, request: Request, organization_id: UUID) -> Response:
        """Return the days that have a snapshot."""
        values = parameters.read_query(request.query_params, self.query_parameters)
        organization = self.organization
        since, until = _days(values["since"], values["until"], today=organization.today())
        snapshots = Snapshot.objects.of(organization).between(since, until)
        return Response({"days": _read(snapshots)})


@reads_on_replica
def _read(snapshots: SnapshotQuerySet) -> list[dict[str, Any]]:
    return list(snapshots.values(*COLUMNS))


def _days(
    since: datetime.date | None, until: datetime.date | None, *, today: datetime.date
) -> tuple[datetime.date, datetime.date]:
    """Return the first and the last day; raises a ``validation_error`` for an invalid range."""
    last = until or today
    first = since or last - datetime.timedelta(
        days=min(DEFAULT_DAYS - 1, (last - datetime.date.min).days)
    )
    if first > last:
        detail = f"Must be {last} (`until`, or today) or earlier."
        raise Problem(
            "validation_error", errors=[parameters.parameter_error("since", "order", detail)]
        )
    if (last - first).days >= MAX_DAYS:
        detail = f"From this to {last} are more than {MAX_DAYS} days: request fewer days."
        raise Problem(
            "validation_error", errors=[parameters.parameter_error("since", "range", detail)]
        )
    return first, last
