"""The one table of the dashboard: the seven numbers as they were, one row a day."""

from __future__ import annotations

import datetime
from typing import Any, Self
from uuid import UUID

from django.db import models
from django.db.models.functions import Now

from closient.accounts.models import Organization
from closient.db.tenancy import TenantForeignKey


class SnapshotQuerySet(models.QuerySet["Snapshot"]):
    """Reads of snapshots."""

    def of(self, organization: Organization | UUID) -> Self:
        """Return the snapshots of one organization."""
        return self.filter(organization=organization)

    def between(self, since: datetime.date, until: datetime.date) -> Self:
        """Return the snapshots of some days, both included, in their order."""
        return self.filter(date__range=(since, until)).order_by("date")


class Snapshot(models.Model):
    """The numbers of an organization when the first snapshot of its day was taken.

    Written by :mod:`dashboard.snapshots` alone, never updated, and never made up for a day that is
    over, but for the history of a demo catalogue. The columns are the fields of
    ``dashboard.numbers.Stats``.
    """

    # Its readers ask for a range of days of one organization.
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
    total_products = models.IntegerField()
    complete_products = models.IntegerField()
    avg_completeness = models.SmallIntegerField()
    active_offers = models.IntegerField()
    broken_offers = models.IntegerField()
    expiring_certifications = models.IntegerField()
    missing_images = models.IntegerField()
    is_demo = models.BooleanField(
        default=False,
        db_default=False,
        help_text="Made up for the past of a demo catalogue; pages say so.",
    )

    objects = SnapshotQuerySet.as_manager()

    class Meta:
        ordering = ["organization", "date"]
        constraints = [
            TenantForeignKey(name="dashboard_snapshot_organization_fk", field="organization"),
        ]

    def __str__(self) -> str:
        return f"{self.organization_id} on {self.date}"
