"""The activity of an organization: its changes, newest first, with what each one did."""

from __future__ import annotations

import dataclasses
import datetime
import zoneinfo
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Self
from uuid import UUID

from django.db import connection
from django.db.models import Count, Q
from django.utils import timezone

from closient.accounts.models import Organization
from closient.changes.models import ACTOR_LENGTH, Cause, Change, Deletion
from closient.db.replicas import reads_on_replica
from closient.http import cursors, parameters
from closient.http.cursors import Position
from closient.http.lists import Filter, RowList
from dashboard.history.undo import UNDO_FOR, undoable_columns
from dashboard.models import BulkEdit, BulkEditStatus


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
    if not datetime.date(2000, 1, 1) <= day <= datetime.date(2200, 1, 1):
        return Q(pk__in=[])
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
    replaced: set[UUID] = set()
    with connection.cursor() as cursor:
        cursor.execute(
            _ROWS,
            {
                "organization": organization_id,
                "ids": ids,
                "kinds": [*(columns := undoable_columns()), "rule"],
                "columns": sorted({name for names in columns.values() for name in names}),
            },
        )
        for change_id, kind, *counts, has_values in cursor:
            rows[change_id][kind] = Counts(*counts)
            if has_values and kind != "rule":
                replaced.add(change_id)
    deletions = Deletion.objects.of(organization_id).filter(change_id__in=ids).order_by()
    grouped = deletions.values_list("change_id", "kind").annotate(count=Count("row_id"))
    for change_id, kind, count in grouped:
        known = rows[change_id].get(kind, Counts())
        rows[change_id][kind] = dataclasses.replace(known, deleted=count)
    undone = BulkEdit.objects.of(organization_id).filter(undoes__in=ids, status=BulkEditStatus.DONE)
    can_undo = replaced - set(undone.values_list("undoes", flat=True))
    return [
        Activity(change, rows[change.id], change.made_at >= oldest and change.id in can_undo)
        for change in changes
    ]


# Of a change with more rows of a kind, only these are counted: an import may have a million.
MAX_COUNTED = 20_000
_ROWS = f"""
    SELECT c.id, k.kind,
        count(DISTINCT x.row_id) FILTER (WHERE x.is_new),
        count(DISTINCT x.row_id) FILTER (WHERE NOT x.is_new AND NOT x.is_gone),
        count(DISTINCT x.row_id) FILTER (WHERE x.is_gone),
        bool_or(x.has_values)
    FROM unnest(%(ids)s::uuid[]) AS c (id)
    CROSS JOIN unnest(%(kinds)s::text[]) AS k (kind)
    CROSS JOIN LATERAL (
        SELECT r.row_id, r.before IS NULL AS is_new,
            r.after IS NULL AND r.before IS NOT NULL AS is_gone,
            r.after IS NOT NULL AND r.before ?| %(columns)s::text[] AS has_values
        FROM changes_rowchange AS r
        WHERE r.organization_id = %(organization)s AND r.change_id = c.id AND r.kind = k.kind
        LIMIT {MAX_COUNTED}
    ) AS x
    GROUP BY c.id, k.kind
"""
