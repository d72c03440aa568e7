"""The activity of an organization: its changes, newest first, with what each one did."""

from __future__ import annotations

import dataclasses
import datetime
import zoneinfo
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Self
from uuid import UUID

from django.db.models import Count, Q
from django.utils import timezone

from closient.accounts.models import Organization
from closient.changes.models import ACTOR_LENGTH, Cause, Change, Deletion, RowChange
from closient.db.replicas import reads_on_replica
from closient.http import cursors, parameters
from closient.http.cursors import Position
from closient.http.lists import Filter, RowList
from dashboard.history.undo import UNDO_FOR

# Kinds that are derived from the others.
_DERIVED = ("completeness",)


@dataclasses.dataclass(frozen=True)
class Counts:
    """How many rows of a kind a change created, changed and deleted."""

    created: int = 0
    changed: int = 0
    deleted: int = 0


@dataclasses.dataclass(frozen=True)
class Activity:
    """A change with the number of rows of each kind, and whether it can be undone now."""

    change: Change
    rows: Mapping[str, Counts]
    can_undo: bool

    @property
    def pk(self) -> Any:
        """The key of the change."""
        return self.change.pk


def _is_on(day: datetime.date, activity: Any) -> Q:
    start = datetime.datetime.combine(day, datetime.time(), activity.zone)
    return Q(made_at__gte=start, made_at__lt=start + datetime.timedelta(days=1))


ACTIVITY_FILTERS = (
    Filter(
        parameter=parameters.choice(
            "cause", "Changes with this cause.", words=Cause.values, example=Cause.IMPORT.value
        ),
        condition=lambda cause, _: Q(cause=cause),
        label="Cause",
        labels={cause.value: str(cause.label) for cause in Cause},
    ),
    Filter(
        parameter=parameters.text(
            "actor",
            "Changes by this person, API key or import, by the name in `actor`.",
            max_length=ACTOR_LENGTH,
            example="Anna Bauer",
        ),
        condition=lambda actor, _: Q(actor=actor),
        label="By",
    ),
    Filter(
        parameter=parameters.date(
            "day",
            "Changes on this day, in the organization's time zone.",
            example="2026-11-24",
        ),
        condition=_is_on,
        label="Day",
    ),
)


@dataclasses.dataclass(frozen=True)
class ActivityList(RowList):
    """The changes of an organization, newest first."""

    filters = ACTIVITY_FILTERS
    ordering = parameters.choice(
        "ordering", "Newest first.", words=["-made_at"], example="-made_at"
    )

    organization_id: UUID
    zone: zoneinfo.ZoneInfo
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    order = ("-made_at", "-id")

    @classmethod
    def of(cls, organization: Organization, values: Mapping[str, Any]) -> Self:
        """Return the list for query parameters."""
        return cls(organization.pk, zoneinfo.ZoneInfo(organization.time_zone), values)

    @reads_on_replica
    def page(
        self, *, start: int, end: int, after: Position | None = None
    ) -> tuple[list[Activity], int]:
        """Return the changes from ``start`` to ``end``, and the total; four queries."""
        changes = Change.objects.of(self.organization_id).filter(*self.conditions())
        page = cursors.rows_between(changes, self.order, start=start, end=end, after=after)
        return with_rows(self.organization_id, list(page)), changes.count()

    def position(self, activity: Activity) -> Position:
        """Return the position of a change in the order."""
        return cursors.position_of(activity.change, self.order)


def with_rows(organization_id: UUID, changes: Sequence[Change]) -> list[Activity]:
    """Return changes with what they did; two queries."""
    ids = [change.id for change in changes]
    oldest = timezone.now() - UNDO_FOR
    rows: dict[UUID, dict[str, Counts]] = defaultdict(dict)
    recorded = (
        RowChange.objects.filter(organization_id=organization_id, change_id__in=ids)
        .exclude(kind__in=_DERIVED)
        .order_by()
        .values_list("change_id", "kind")
        .annotate(
            created=Count("row_id", filter=Q(before__isnull=True), distinct=True),
            changed=Count(
                "row_id", filter=Q(before__isnull=False, after__isnull=False), distinct=True
            ),
            deleted=Count(
                "row_id", filter=Q(before__isnull=False, after__isnull=True), distinct=True
            ),
        )
    )
    for change_id, kind, *counts in recorded:
        rows[change_id][kind] = Counts(*counts)
    deletions = Deletion.objects.of(organization_id).filter(change_id__in=ids).order_by()
    grouped = deletions.values_list("change_id", "kind").annotate(count=Count("row_id"))
    for change_id, kind, count in grouped:
        known = rows[change_id].get(kind, Counts())
        rows[change_id][kind] = dataclasses.replace(known, deleted=count)
    return [
        Activity(
            change,
            rows[change.id],
            change.made_at >= oldest
            and any(count.changed for kind, count in rows[change.id].items() if kind != "rule"),
        )
        for change in changes
    ]
