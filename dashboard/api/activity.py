"""The API of the history: the activity, the history of a product, and why numbers changed."""

from __future__ import annotations

import dataclasses
import datetime
import zoneinfo
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django.conf import settings
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from catalog.models import Product
from closient.accounts.api_views import OrganizationView
from closient.accounts.models import Organization
from closient.changes.models import Cause
from closient.http import openapi, pagination, parameters
from closient.http.fields import IdField
from closient.http.pagination import ListPage, page_of
from closient.http.problems import Problem
from dashboard.history.activity import ActivityList
from dashboard.history.explain import DAY, RULE, explain, recorded_since
from dashboard.history.product_history import CREATED, DELETED, product_history
from dashboard.numbers import NUMBERS

TAGS = ["History"]
ROW_KINDS = ("trade_item", "offer", "certification", "rule")


class CountsSerializer(serializers.Serializer[Any]):
    """How many rows of one kind a change created, changed and deleted."""

    created = serializers.IntegerField(
        min_value=0, help_text="Rows that are new.", style={"example": 0}
    )
    changed = serializers.IntegerField(
        min_value=0, help_text="Rows with other values.", style={"example": 142}
    )
    deleted = serializers.IntegerField(
        min_value=0, help_text="Rows that no longer exist.", style={"example": 0}
    )


class ActivityRowsSerializer(serializers.Serializer[Any]):
    """What a change did to the rows of each kind; kinds that it left alone are absent."""

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Return the counts of each kind."""
        return {
            kind: CountsSerializer(
                required=False,
                help_text=f"Rows of the kind `{kind}`.",
                style={"is_optional": True},
            )
            for kind in ROW_KINDS
        }

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """Return the kinds that were changed."""
        return {kind: dataclasses.asdict(counts) for kind, counts in instance.items()}


class ActivitySerializer(serializers.Serializer[Any]):
    """A change: one transaction, what caused it, and what it did."""

    id = IdField(source="change.id", help_text="Id of the change, for its undo.")
    at = serializers.DateTimeField(
        source="change.made_at", help_text="When.", style={"example": "2026-11-24T09:30:00.123456Z"}
    )
    cause = serializers.ChoiceField(
        source="change.cause",
        choices=Cause.values,
        help_text="What made it.",
        style={"example": Cause.IMPORT.value},
    )
    actor = serializers.CharField(
        source="change.actor",
        help_text="The person, API key or import; empty for URL checks.",
        style={"example": "Anna Bauer"},
    )
    reference = IdField(
        source="change.reference",
        allow_null=True,
        help_text="Id of the import, bulk edit or undone change behind it; or null.",
    )
    request_id = serializers.CharField(
        source="change.request_id",
        help_text="The `X-Request-ID` of the request that made it; empty without one.",
        style={"example": openapi.REQUEST_ID},
    )
    rows = ActivityRowsSerializer(help_text="How many rows it changed.")
    can_undo = serializers.BooleanField(
        help_text="Whether it replaced values and is young enough to be undone.",
        style={"example": True},
    )


ACTIVITY_PARAMETERS = (
    *(one.parameter for one in ActivityList.filters),
    *pagination.PARAMETERS,
)


class ActivityView(OrganizationView):
    """The changes of an organization."""

    query_parameters = ACTIVITY_PARAMETERS

    @extend_schema(
        operation_id="list_activity",
        summary="List the activity",
        description="What changed trade items, offers, certificates and the rule, and who or what "
        "caused it: the newest first. A write that changes nothing leaves no entry. Entries are "
        f"kept for {settings.KEEP_CHANGES_DAYS or 'ever'}"
        f"{' days' if settings.KEEP_CHANGES_DAYS else ''}.",
        tags=TAGS,
        parameters=[openapi.ORGANIZATION_ID, *(p.documented() for p in ACTIVITY_PARAMETERS)],
        responses=openapi.responses(
            page_of(ActivitySerializer),
            "A page.",
            "validation_error",
        ),
    )
    def get(self, request: Request, organization_id: UUID) -> Response:
        """Return a page."""
        page, values = ListPage.read(request, self.query_parameters)
        activity = ActivityList.of(self.organization, values)
        rows, total = activity.page(start=page.start, end=page.end, after=page.after)
        return page.answer(rows, total_count=total, show=_shown, position=activity.position)


def _shown(rows: Sequence[Any]) -> Any:
    return ActivitySerializer(rows, many=True).data


class NumberDifferencesSerializer(serializers.Serializer[Any]):
    """Each of the numbers; the average with two decimals."""

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Return a number for each."""
        return {
            number.name: serializers.FloatField(
                help_text=number.description, style={"example": -3.1}
            )
            if number.mean_over
            else serializers.IntegerField(
                help_text=number.description, style={"example": number.example}
            )
            for number in NUMBERS
        }


class PartSerializer(serializers.Serializer[Any]):
    """What one cause contributed."""

    cause = serializers.ChoiceField(
        choices=[*Cause.values, DAY, RULE],
        help_text="What it was. `day`: certificates became valid or expired, or came into the time "
        "in which they count as expiring. `rule`: the completeness rule was changed.",
        style={"example": Cause.IMPORT.value},
    )
    actor = serializers.CharField(
        help_text="The person, API key or import.", style={"example": "import of products.csv"}
    )
    change_id = IdField(
        allow_null=True, help_text="The change, if it is a single one; otherwise null."
    )
    reference = IdField(allow_null=True, help_text="Id of the import or bulk edit; or null.")
    changes = serializers.IntegerField(
        min_value=1, help_text="How many changes or days it sums up.", style={"example": 1}
    )
    gained = serializers.IntegerField(
        min_value=0, help_text="For `day`: products that became certified.", style={"example": 0}
    )
    lost = serializers.IntegerField(
        min_value=0,
        help_text="For `day`: products whose last valid certificate expired.",
        style={"example": 0},
    )
    first_at = serializers.DateTimeField(
        help_text="When it began.", style={"example": "2026-11-24T09:30:00.123456Z"}
    )
    last_at = serializers.DateTimeField(
        help_text="When it ended.", style={"example": "2026-11-24T09:30:00.123456Z"}
    )
    numbers = NumberDifferencesSerializer(help_text="What it added to each number.")


class ExplanationSerializer(serializers.Serializer[Any]):
    """Why the numbers are not what they were."""

    since = serializers.DateTimeField(
        help_text="Since when.", style={"example": "2026-11-24T09:30:00Z"}
    )
    before = NumberDifferencesSerializer(help_text="The numbers then.")
    after = NumberDifferencesSerializer(help_text="The numbers now.")
    parts = PartSerializer(
        many=True,
        help_text="The causes in the order in which they began. For each number they add up to the "
        "difference exactly.",
    )


SINCE = parameters.moment(
    "since",
    "Explains the difference between this time and now; the beginning of yesterday by default.",
    example="2026-11-24T09:30:00Z",
)


class ExplainView(OrganizationView):
    """Why the numbers changed."""

    query_parameters = (SINCE,)
    organization_related = ("completeness_rule",)

    @extend_schema(
        operation_id="explain_stats",
        summary="Explain the numbers",
        description="What changed the numbers since a time, by cause: each import, bulk edit and "
        "undo, the pages and the API by person and key, URL checks, changes of the rule, and days "
        "on which certificates expired. The parts add up to the difference, without a remainder.",
        tags=TAGS,
        parameters=[openapi.ORGANIZATION_ID, SINCE.documented()],
        responses=openapi.responses(ExplanationSerializer, "The parts.", "validation_error"),
    )
    def get(self, request: Request, organization_id: UUID) -> Response:
        """Return the explanation."""
        values = parameters.read_query(request.query_params, self.query_parameters)
        since = checked_since(self.organization, values)
        return Response(ExplanationSerializer(explain(self.organization, since)).data)


def checked_since(organization: Organization, values: Mapping[str, Any]) -> datetime.datetime:
    """Return the time of ``since``; by default the beginning of yesterday, or of the history.

    Raises a ``validation_error``.
    """
    now = timezone.now()
    recorded = recorded_since(organization)
    since: datetime.datetime | None = values["since"]
    if since is None:
        # The same all day, so that the response is too as long as nothing changes.
        yesterday = organization.today() - datetime.timedelta(days=1)
        zone = zoneinfo.ZoneInfo(organization.time_zone)
        since = max(recorded, datetime.datetime.combine(yesterday, datetime.time(), zone))
    days = settings.KEEP_CHANGES_DAYS
    if since > now:
        detail = "Must not be in the future."
        raise Problem(
            "validation_error", errors=[parameters.parameter_error("since", "range", detail)]
        )
    if days and since < now - datetime.timedelta(days=days):
        detail = f"The history is kept for {days} days: give a later time."
        raise Problem(
            "validation_error", errors=[parameters.parameter_error("since", "expired", detail)]
        )
    if since < recorded:
        detail = f"The history begins at {recorded.isoformat()}: give a later time."
        raise Problem(
            "validation_error", errors=[parameters.parameter_error("since", "expired", detail)]
        )
    return since


class FieldChangeSerializer(serializers.Serializer[Any]):
    """A value that changed."""

    kind = serializers.CharField(
        help_text="The kind of the row that has it.", style={"example": "trade_item"}
    )
    row_id = IdField(help_text="Id of that row.")
    field = serializers.CharField(help_text="Its name.", style={"example": "country_of_origin"})
    before = serializers.JSONField(help_text="The value before.", style={"example": ""})
    after = serializers.JSONField(help_text="The value after.", style={"example": "DE"})


class RowEventSerializer(serializers.Serializer[Any]):
    """A row that was created or deleted."""

    kind = serializers.CharField(help_text="Its kind.", style={"example": "offer"})
    row_id = IdField(help_text="Its id.")
    event = serializers.ChoiceField(
        choices=[CREATED, DELETED], help_text="What happened.", style={"example": CREATED}
    )


class HistoryEntrySerializer(serializers.Serializer[Any]):
    """A change of a trade item, or of what belongs to it."""

    at = serializers.DateTimeField(
        help_text="When.", style={"example": "2026-11-24T09:30:00.123456Z"}
    )
    cause = serializers.ChoiceField(
        choices=[*Cause.values, DAY],
        help_text="What made it. `day`: a certificate became valid or expired.",
        style={"example": Cause.PAGE.value},
    )
    actor = serializers.CharField(
        help_text="The person, API key or import.", style={"example": "Anna Bauer"}
    )
    change_id = IdField(allow_null=True, help_text="The change, for its undo; null for `day`.")
    certificates = serializers.ListField(
        child=serializers.CharField(),
        help_text="For `day`: the numbers of the certificates.",
        style={"example": []},
    )
    percentage_before = serializers.IntegerField(
        min_value=0, max_value=100, help_text="Completeness before.", style={"example": 71}
    )
    percentage_after = serializers.IntegerField(
        min_value=0, max_value=100, help_text="Completeness after.", style={"example": 84}
    )
    fields_changed = FieldChangeSerializer(
        source="fields", many=True, help_text="The values that changed."
    )
    rows = RowEventSerializer(many=True, help_text="Rows that were created or deleted.")


class ProductHistorySerializer(serializers.Serializer[Any]):
    """The history of a trade item."""

    data = HistoryEntrySerializer(  # type: ignore[assignment]
        many=True, help_text="The entries, the newest first."
    )


class ProductHistoryView(OrganizationView):
    """The history of a trade item."""

    organization_related = ("completeness_rule",)

    @extend_schema(
        operation_id="get_trade_item_history",
        summary="Get the history of a trade item",
        description="What changed the trade item, its offers and certificates, what caused it, and "
        "what its completeness became, by the current rule. Also days on which a certificate "
        "expired or became valid.",
        tags=TAGS,
        parameters=[openapi.ORGANIZATION_ID, openapi.GTIN],
        responses=openapi.responses(ProductHistorySerializer, "The entries."),
    )
    def get(self, request: Request, organization_id: UUID, gtin: str | None) -> Response:
        """Return the entries."""
        products = Product.objects.of(self.organization).select_related("summary")
        product = products.filter(gtin=gtin).first() if gtin else None
        if product is None:
            raise Problem("not_found")
        entries = product_history(self.organization, product)
        return Response(ProductHistorySerializer({"data": entries}).data)
