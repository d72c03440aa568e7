"""The dashboard's own tables: past numbers, import mappings, bulk edits, first steps, views."""

from __future__ import annotations

import datetime
from typing import Any, Self
from uuid import UUID

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from catalog.models.changed import updated_by
from closient.accounts.models import Organization
from closient.db.fields import organization_fk
from closient.db.ids import parse_id, uuid7
from closient.db.tenancy import TenantForeignKey
from closient.text.fields import NormalCharField
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


class BulkEditStatus(models.TextChoices):
    """The status of a bulk edit."""

    WAITING = "waiting", "Waiting"
    RUNNING = "running", "Running"
    DONE = "done", "Done"
    FAILED = "failed", "Failed"


class BulkEditKind(models.TextChoices):
    """What a bulk edit changes; the words of the API's paths."""

    TRADE_ITEMS = "trade-items", "products"
    OFFERS = "offers", "offers"
    CERTIFICATIONS = "certifications", "certificates"


class BulkEditQuerySet(models.QuerySet["BulkEdit"]):
    """Reads of bulk edits."""

    def of(self, organization: Organization | UUID) -> Self:
        """Return the bulk edits of one organization, the newest first."""
        return self.filter(organization=organization).order_by("-id")


class BulkEdit(models.Model):
    """One change of many rows, or the undo of a change.

    It changes the rows with ``ids``, or those that match ``filter`` when it runs. The change in the
    history has the same id. Written only by :mod:`dashboard.bulk_edits.runs`.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = organization_fk("bulk_edits")
    # Without a constraint: users are in the directory, and the row may be in another cell.
    asked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        related_name="+",
        db_constraint=False,
    )
    actor = models.CharField(max_length=255, blank=True)
    kind = models.CharField(max_length=16, choices=BulkEditKind, blank=True)
    filter: Any = models.JSONField(null=True, help_text="The parameters of the list, as texts.")
    ids: Any = models.JSONField(null=True, help_text="The ids of the rows, as texts.")
    values: Any = models.JSONField(default=dict, help_text="What is set, as in the API.")
    undoes = models.UUIDField(null=True, help_text="The change that this one takes back.")
    status = models.CharField(max_length=16, choices=BulkEditStatus, default=BulkEditStatus.WAITING)
    detail = models.TextField(blank=True, help_text="Why it failed, or what an undo left alone.")
    matched = models.IntegerField(null=True, help_text="Rows that it is about.")
    done = models.IntegerField(default=0, help_text="Rows looked at so far.")
    changed = models.IntegerField(null=True, help_text="Rows that it changed.")
    numbers_before: Any = models.JSONField(null=True)
    numbers_after: Any = models.JSONField(null=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    ended_at = models.DateTimeField(null=True)

    objects = BulkEditQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["organization", "-id"], name="dashboard_bulkedit_newest"),
            # The queue, which workers poll.
            models.Index(
                fields=["created_at"],
                condition=Q(status__in=("waiting", "running")),
                name="dashboard_bulkedit_queue",
            ),
        ]
        constraints = [
            TenantForeignKey(name="dashboard_bulkedit_organization_fk", field="organization"),
            models.CheckConstraint(
                condition=Q(status__in=BulkEditStatus.values), name="dashboard_bulkedit_status"
            ),
            models.CheckConstraint(
                condition=Q(kind__in=[*BulkEditKind.values, ""]), name="dashboard_bulkedit_kind"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_status_display()} {self.kind} {self.id}"

    @property
    def row_ids(self) -> list[UUID] | None:
        """The ids of the rows, ``None`` if it is about those that match the filter."""
        return None if self.ids is None else [parse_id(text) for text in self.ids]

    @property
    def unchanged(self) -> int:
        """Rows that had the values already."""
        return (self.matched or 0) - (self.changed or 0)

    @property
    def is_ended(self) -> bool:
        """Whether it is done or has failed."""
        return self.status in (BulkEditStatus.DONE, BulkEditStatus.FAILED)


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


class SavedViewQuerySet(models.QuerySet["SavedView"]):
    """Reads of saved views."""

    def of(self, organization: Organization | UUID, list_name: str) -> Self:
        """Return the views of one list, by name."""
        return self.filter(organization=organization, list_name=list_name).order_by("name", "id")


class SavedView(models.Model):
    """The filters and the order of a list under a name, for everyone in the organization."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = organization_fk("saved_views")
    list_name = models.CharField(max_length=32, help_text="As in the address of the list.")
    name = NormalCharField(max_length=60)
    query = models.CharField(max_length=2_000, help_text="The query of the list, without a page.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_by = updated_by()

    objects = SavedViewQuerySet.as_manager()

    class Meta:
        constraints = [
            TenantForeignKey(name="dashboard_savedview_organization_fk", field="organization"),
            # Also the views of a list.
            models.UniqueConstraint(
                fields=["organization", "list_name", "name"],
                name="dashboard_savedview_name_unique",
                violation_error_message="The list has a view of this name already.",
            ),
        ]

    def __str__(self) -> str:
        return str(self.name)
