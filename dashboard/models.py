"""The dashboard's only table: past values of the numbers, one row per organization and day."""

from __future__ import annotations

import datetime
from typing import Any, Self
from uuid import UUID

from django.db import models
from django.db.models.functions import Now

from closient.accounts.models import Organization
from closient.db.tenancy import TenantForeignKey
from dashboard.numbers import NUMBERS, Number


class SnapshotQuerySet(models.QuerySet["Snapshot"]):
    """Reads of snapshots."""

    def of(self, organization: Organization | UUID) -> Self:
        """Return the snapshots of one organization."""
        return self.filter(organization=organization)

    def between(self, since: datetime.date, until: datetime.date) -> Self:
        """Return the snapshots from one day to another, both inclusive, in order."""
        return self.filter(date__range=(since, until)).order_by("date")


class Snapshot(models.Model):
    """The numbers of an organization when the first snapshot of the day was taken.

    Only :mod:`dashboard.snapshots` writes snapshots, and nothing updates them. Past days are never
    filled in, except for the history of a demo catalog. There is a column for each number.
    """

    # All queries read a range of days of one organization.
    pk = models.CompositePrimaryKey("organization_id", "date")
    organization: Any = models.ForeignKey(
        Organization,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="snapshots",
    )
    date = models.DateField(help_text="In the organization's time zone.")
    taken_at = models.DateTimeField(db_default=Now())
    is_demo = models.BooleanField(
        default=False,
        db_default=False,
        help_text="Invented for the past of a demo catalog; pages show a note.",
    )

    objects = SnapshotQuerySet.as_manager()

    class Meta:
        ordering = ["organization", "date"]
        constraints = [
            TenantForeignKey(name="dashboard_snapshot_organization_fk", field="organization"),
        ]

    def __str__(self) -> str:
        return f"{self.organization_id} on {self.date}"


def _column(number: Number) -> Any:
    is_percentage = number.maximum == 100
    field = models.SmallIntegerField if is_percentage else models.IntegerField
    return field(null=not number.has_full_history)


for _number in NUMBERS:
    Snapshot.add_to_class(_number.name, _column(_number))
