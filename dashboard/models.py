"""The dashboard's own tables: history of the numbers, mappings of columns, first steps."""

from __future__ import annotations

import datetime
from typing import Any, Self
from uuid import UUID

from django.db import models
from django.db.models.functions import Now

from closient.accounts.models import Organization
from closient.db.fields import organization_fk
from closient.db.ids import uuid7
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


class ImportMappingQuerySet(models.QuerySet["ImportMapping"]):
    """Reads of mappings."""

    def of(self, organization: Organization | UUID) -> Self:
        """Return the mappings of one organization, the last changed first."""
        return self.filter(organization=organization).order_by("-updated_at", "-id")


class ImportMapping(models.Model):
    """What the columns of files with a certain header mean to an organization.

    Written by :mod:`dashboard.imports.saved_mappings`; imports use it for the next such file.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = organization_fk("import_mappings")
    fingerprint = models.CharField(
        max_length=64, help_text="The SHA-256 of the names of the header's columns."
    )
    name = models.CharField(max_length=100, blank=True, help_text="For people.")
    columns: Any = models.JSONField(
        help_text="The target of each column by its title: {title: target}."
    )
    updated_at = models.DateTimeField(db_default=Now())

    objects = ImportMappingQuerySet.as_manager()

    class Meta:
        constraints = [
            TenantForeignKey(name="dashboard_importmapping_organization_fk", field="organization"),
            # Also the lookup by the header of a file, and the list of an organization.
            models.UniqueConstraint(
                fields=["organization", "fingerprint"],
                name="dashboard_importmapping_unique",
                violation_error_message="The organization has a mapping for this header already.",
            ),
        ]

    def __str__(self) -> str:
        return self.name or self.fingerprint[:12]


class HiddenChecklist(models.Model):
    """An organization whose members do not want to see the first steps on the overview."""

    organization: Any = models.OneToOneField(
        Organization,
        primary_key=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        related_name="hidden_checklist",
    )
    hidden_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            TenantForeignKey(
                name="dashboard_hiddenchecklist_organization_fk", field="organization"
            ),
        ]

    def __str__(self) -> str:
        return str(self.organization_id)


class SampleTable(models.TextChoices):
    """The tables that sample data is in."""

    BRAND = "brand"
    CERTIFICATION = "certification"
    PRODUCT = "product"
    IMAGE = "image"
    OFFER = "offer"
    CERTIFICATE = "certificate"


class SampleRowQuerySet(models.QuerySet["SampleRow"]):
    """Reads of sample rows."""

    def of(self, organization: Organization | UUID) -> Self:
        """Return the sample rows of one organization."""
        return self.filter(organization=organization)

    def ids_in(self, table: SampleTable) -> Any:
        """Return the ids of the rows of one table."""
        return self.filter(table=table).values_list("row_id", flat=True)


class SampleRow(models.Model):
    """A row that was added as sample data.

    Written by :mod:`dashboard.demo.sample`. The row that it names has no foreign key: its own
    table may have deleted it.
    """

    pk = models.CompositePrimaryKey("organization_id", "row_id")
    organization = organization_fk("sample_rows")
    row_id = models.UUIDField()
    table = models.CharField(max_length=16, choices=SampleTable)

    objects = SampleRowQuerySet.as_manager()

    class Meta:
        constraints = [
            TenantForeignKey(name="dashboard_samplerow_organization_fk", field="organization"),
        ]

    def __str__(self) -> str:
        return f"{self.table} {self.row_id}"
