"""Imports started on a page, by the API or by a source, and processed by the worker."""

from __future__ import annotations

import datetime
from typing import Any, Self
from uuid import UUID

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from catalog.models.import_source import MAX_ADDRESS_LENGTH, ImportSource
from closient.accounts.models import Organization
from closient.db.fields import organization_fk
from closient.db.ids import uuid7
from closient.db.tenancy import TenantForeignKey


class ImportStatus(models.TextChoices):
    """The status of an import."""

    WAITING = "waiting", "Waiting to be checked"
    CHECKING = "checking", "Being checked"
    MAPPING = "mapping", "Waiting for its columns"
    CHECKED = "checked", "Checked"
    CONFIRMED = "confirmed", "Waiting to be imported"
    IMPORTING = "importing", "Being imported"
    DONE = "done", "Imported"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Canceled"


# These wait for a worker.
QUEUED = (ImportStatus.WAITING, ImportStatus.CONFIRMED)
# A worker processes these, or died while processing them.
WORKING = (ImportStatus.CHECKING, ImportStatus.IMPORTING)
# These wait for a person.
ASKING = (ImportStatus.CHECKED, ImportStatus.MAPPING)
# These have ended; a failed one may be started again.
ENDED = (ImportStatus.DONE, ImportStatus.FAILED, ImportStatus.CANCELLED)


class ImportRunQuerySet(models.QuerySet["ImportRun"]):
    """Queries of import runs."""

    def of(self, organization: Organization | UUID) -> Self:
        """Return the runs of one organization, the newest first."""
        return self.filter(organization=organization).order_by("-created_at", "-id")

    def last_done(self, organization: Organization | UUID, since: datetime.datetime) -> Self:
        """Return the last import of an organization that changed products, as one row or none.

        It started at ``since`` or later, and the numbers before it are known.
        """
        done = self.filter(organization=organization, status=ImportStatus.DONE)
        known = done.filter(started_at__gte=since, numbers_before__isnull=False)
        return known.filter(Q(created__gt=0) | Q(updated__gt=0)).order_by("-started_at")[:1]

    def unfinished(self) -> Self:
        """Return the runs that have not ended."""
        return self.exclude(status__in=ENDED)


class ImportRun(models.Model):
    """A file, the result of its check, and the result of its import.

    Written only by ``dashboard.imports.runs`` and ``dashboard.imports.sources``. The file was
    uploaded, or comes from the address ``url``, and then ``file`` is empty until it is fetched. The
    file of a source is deleted once it is imported.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = organization_fk("import_runs")
    # Without a constraint: users are in the directory, and the run may be in another cell.
    asked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        related_name="+",
        db_constraint=False,
    )
    source = models.ForeignKey(
        ImportSource,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        null=True,
        related_name="runs",
    )
    name = models.CharField(max_length=255, help_text="The name of the file, or of the source.")
    size = models.BigIntegerField(help_text="In bytes.")
    file = models.CharField(max_length=100, blank=True, help_text="Its name in the import storage.")
    url = models.CharField(
        max_length=MAX_ADDRESS_LENGTH,
        blank=True,
        default="",
        db_default="",
        help_text="Where the file comes from; empty if it was uploaded.",
    )
    fetched: Any = models.JSONField(
        null=True, help_text="What identifies the fetched file: {etag, last_modified, sha256}."
    )
    layout = models.CharField(max_length=50, default="auto", db_default="auto")
    retailer = models.CharField(max_length=255, blank=True, default="", db_default="")
    shop = models.CharField(max_length=1000, blank=True, default="", db_default="")
    currency = models.CharField(max_length=3, blank=True, default="", db_default="")
    rejects_file = models.CharField(
        max_length=100, blank=True, help_text="Its name in the import storage; blank if none."
    )
    overwrite_blank = models.BooleanField(default=False, help_text="Empty cells clear the field.")
    skip_bad_rows = models.BooleanField(
        default=False, help_text="Valid rows are imported even if others are rejected."
    )
    confirms_itself = models.BooleanField(
        default=False, db_default=False, help_text="A clean check is confirmed without a person."
    )
    status = models.CharField(
        max_length=16, choices=ImportStatus, default=ImportStatus.WAITING, db_index=False
    )
    detail = models.TextField(
        blank=True, help_text="Why it failed, was canceled or waits for a person."
    )
    interruptions = models.PositiveSmallIntegerField(
        default=0, db_default=0, help_text="Workers that died while they processed it."
    )
    is_cancel_asked = models.BooleanField(default=False)
    found: Any = models.JSONField(
        null=True,
        help_text="The detected format: {format, encoding, delimiter, is_compressed, "
        "columns: [{column, field}], ignored: [column], samples: [{column, values}]}.",
    )
    # Numbers of rows: of the check until the import is done, then of the import.
    total = models.IntegerField(null=True)
    created = models.IntegerField(null=True)
    updated = models.IntegerField(null=True)
    unchanged = models.IntegerField(null=True)
    rejected = models.IntegerField(null=True)
    gone = models.IntegerField(
        null=True, help_text="Products or offers that the source no longer has; null if unknown."
    )
    problems: Any = models.JSONField(
        default=list, help_text="The first rejected rows: [{line, reason}]."
    )
    problem_groups: Any = models.JSONField(
        null=True,
        help_text="The rejected rows by broken rule: [{rule, count, line, example}], the most "
        "frequent first; line and example are the first row's.",
    )
    repairs: Any = models.JSONField(
        null=True, help_text="How many cells were repaired, by what was repaired."
    )
    tables: Any = models.JSONField(
        null=True, help_text="The rows created and updated by table: {table: {created, updated}}."
    )
    rows_done = models.IntegerField(default=0, help_text="Rows read so far in this step.")
    bytes_done = models.BigIntegerField(
        default=0, help_text="Bytes read so far; rows are written after the last."
    )
    mapping: Any = models.JSONField(
        null=True, help_text="The field of each column by its title, chosen for this run."
    )
    saves_mapping = models.BooleanField(
        default=False,
        db_default=False,
        help_text="The next check saves the mapping for files with the same header.",
    )
    preview: Any = models.JSONField(
        default=list, help_text="The first valid rows as they are imported."
    )
    numbers_before: Any = models.JSONField(
        null=True, help_text="The organization's numbers before the import, by name."
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    queued_at = models.DateTimeField(db_default=Now(), help_text="When it was queued.")
    started_at = models.DateTimeField(null=True, help_text="When a worker started this step.")
    ended_at = models.DateTimeField(null=True, help_text="When this step ended.")

    objects = ImportRunQuerySet.as_manager()

    class Meta:
        indexes = [
            # The list on the import page.
            models.Index(
                fields=["organization", "-created_at", "-id"], name="catalog_importrun_newest"
            ),
            # The queue, which workers poll every second.
            models.Index(
                fields=["queued_at"],
                condition=Q(status__in=(*QUEUED, *WORKING)),
                name="catalog_importrun_queue",
            ),
            # The last run of each source.
            models.Index(
                fields=["source", "-created_at", "-id"],
                condition=Q(source__isnull=False),
                name="catalog_importrun_source",
            ),
        ]
        constraints = [
            TenantForeignKey(name="catalog_importrun_organization_fk", field="organization"),
            TenantForeignKey(
                name="catalog_importrun_source_fk", field="source", on_delete="SET NULL"
            ),
            models.CheckConstraint(
                condition=Q(status__in=ImportStatus.values), name="catalog_importrun_status"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.get_status_display()})"

    @property
    def is_queued(self) -> bool:
        """Whether it waits for a worker."""
        return self.status in QUEUED

    @property
    def is_working(self) -> bool:
        """Whether a worker is checking or importing it."""
        return self.status in WORKING

    @property
    def is_writing(self) -> bool:
        """Whether the whole file has been read, so that only the database is working."""
        return self.is_working and self.bytes_done >= self.size > 0

    @property
    def percent_read(self) -> int:
        """How much of the file this step has read, 0 to 100."""
        return min(100, 100 * self.bytes_done // self.size) if self.size else 0
