"""Sources of imports: addresses from which the worker fetches files again and again."""

from __future__ import annotations

import datetime
from typing import Any, Self
from uuid import UUID

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from catalog.models.changed import updated_by
from closient.accounts.models import Organization
from closient.db.fields import organization_fk
from closient.db.ids import uuid7
from closient.db.tenancy import TenantForeignKey
from closient.tally.timestamps import TouchTrigger, UpdatedAtField, created_before_updated
from closient.text.encryption import decrypt, encrypt
from closient.text.fields import NormalCharField

MAX_ADDRESS_LENGTH = 2000
# How a file is imported: columns of a source, and of the runs of its files.
IMPORT_OPTIONS = (
    *("layout", "mapping", "retailer", "shop", "currency"),
    *("overwrite_blank", "skip_bad_rows"),
)


class WhenGone(models.TextChoices):
    """What happens to rows that the source brought last time and not this time."""

    KEEP = "keep", "Keep them"
    DISCONTINUE = "discontinue", "Discontinue the products"
    OUT_OF_STOCK = "out_of_stock", "Mark their offers out of stock"


class Interval(models.IntegerChoices):
    """Hours between two fetches."""

    HOURLY = 1, "Every hour"
    SIX_HOURS = 6, "Every 6 hours"
    DAILY = 24, "Every 24 hours"


class FetchOutcome(models.TextChoices):
    """How the last fetch ended; empty before the first."""

    IMPORTING = "importing", "Imported"
    UNCHANGED = "unchanged", "Unchanged"
    FAILED = "failed", "Failed"


class ImportSourceQuerySet(models.QuerySet["ImportSource"]):
    """Queries of sources."""

    def of(self, organization: Organization | UUID) -> Self:
        """Return the sources of one organization."""
        return self.filter(organization=organization)


class ImportSource(models.Model):
    """An address with a file that is imported regularly.

    People write what they set through ``dashboard.imports.sources.editing``; the worker writes the
    rest.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = organization_fk("import_sources")
    name = NormalCharField(max_length=100, help_text="Empty for the host of the address.")
    url = models.CharField("address", max_length=MAX_ADDRESS_LENGTH, help_text="An https address.")
    username = models.CharField(max_length=255, blank=True, help_text="Empty for no login.")
    encrypted_password = models.TextField(blank=True, editable=False)
    layout = models.CharField(
        max_length=50, default="auto", help_text="Key of a layout; auto recognizes it."
    )
    retailer = NormalCharField(
        max_length=255, blank=True, help_text="Who offers the products of a file with offers."
    )
    shop = models.CharField(
        max_length=1000,
        blank=True,
        help_text="Address of the shop, for files without the addresses of product pages.",
    )
    currency = models.CharField(
        max_length=3,
        blank=True,
        default="",
        db_default="",
        help_text="Currency of prices without one (ISO 4217), such as EUR.",
    )
    mapping: Any = models.JSONField(
        null=True,
        blank=True,
        help_text="The field of each column by its title, instead of a layout.",
    )
    overwrite_blank = models.BooleanField(
        default=False, db_default=False, help_text="Empty cells clear the field."
    )
    skip_bad_rows = models.BooleanField(
        default=True,
        db_default=True,
        help_text="Valid rows are imported even if others are rejected.",
    )
    interval_hours = models.PositiveSmallIntegerField(choices=Interval, default=Interval.DAILY)
    when_gone = models.CharField(max_length=16, choices=WhenGone, default=WhenGone.KEEP)
    is_paused = models.BooleanField(default=False, db_default=False)
    # When the next fetch is due; a claim moves it ahead, and its exact value proves the ownership.
    # NULL: never.
    next_run_at = models.DateTimeField(null=True, db_default=Now(), editable=False)
    last_run_at = models.DateTimeField(null=True, editable=False)
    last_outcome = models.CharField(
        max_length=16, choices=FetchOutcome, blank=True, default="", db_default="", editable=False
    )
    failures = models.PositiveSmallIntegerField(
        default=0, db_default=0, editable=False, help_text="In a row."
    )
    detail = models.TextField(
        blank=True, default="", db_default="", editable=False, help_text="The last problem."
    )
    # Of the file that was imported last.
    etag = models.CharField(max_length=500, blank=True, default="", db_default="", editable=False)
    last_modified = models.CharField(
        max_length=100, blank=True, default="", db_default="", editable=False
    )
    sha256 = models.CharField(max_length=64, blank=True, default="", db_default="", editable=False)
    imported_rows = models.IntegerField(null=True, editable=False)
    imported_columns: Any = models.JSONField(
        null=True, editable=False, help_text="Its layout and columns: [layout, title, ...]."
    )
    imported_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = UpdatedAtField()
    updated_by = updated_by()

    objects = ImportSourceQuerySet.as_manager()

    class Meta:
        ordering = ["name", "id"]
        indexes = [
            # The lists of an organization.
            models.Index(fields=["organization", "name", "id"], name="catalog_importsource_list"),
            # Due sources, for which workers look every second.
            models.Index(
                fields=["next_run_at"],
                condition=Q(next_run_at__isnull=False),
                name="catalog_importsource_due",
            ),
        ]
        constraints = [
            created_before_updated("catalog_importsource_created_before_updated"),
            TenantForeignKey(name="catalog_importsource_organization_fk", field="organization"),
            models.UniqueConstraint(
                fields=["id", "organization"], name="catalog_importsource_tenant"
            ),
            models.CheckConstraint(
                # The second is the shop of `make run`.
                condition=Q(url__startswith="https://") | Q(url__startswith="http://127.0.0.1:"),
                name="catalog_importsource_https",
            ),
            models.CheckConstraint(
                condition=Q(interval_hours__in=Interval.values),
                name="catalog_importsource_interval",
            ),
            models.CheckConstraint(
                condition=Q(when_gone__in=WhenGone.values), name="catalog_importsource_when_gone"
            ),
        ]
        triggers = (
            TouchTrigger(
                "organization_id",
                "name",
                "url",
                "username",
                "encrypted_password",
                "layout",
                "retailer",
                "shop",
                "currency",
                "mapping",
                "overwrite_blank",
                "skip_bad_rows",
                "interval_hours",
                "when_gone",
                "is_paused",
            ),
        )

    def __str__(self) -> str:
        return str(self.name)

    @property
    def interval(self) -> datetime.timedelta:
        """The time between two fetches."""
        return datetime.timedelta(hours=self.interval_hours)

    @property
    def has_password(self) -> bool:
        """Whether a password is stored."""
        return bool(self.encrypted_password)

    @property
    def password(self) -> str:
        """The password; raises ``CannotDecrypt``. Only the fetch may read it."""
        return decrypt(self.encrypted_password)

    @password.setter
    def password(self, text: str) -> None:
        self.encrypted_password = encrypt(text)


class SourcedRow(models.Model):
    """A product or an offer that a source has brought.

    Written by ``dashboard.imports.sources.gone`` in the transaction of the import. The row that it
    names has no foreign key: a row that is deleted takes nothing along, and the next import
    forgets it.
    """

    pk = models.CompositePrimaryKey("organization_id", "source_id", "row_id")
    organization = organization_fk("sourced_rows")
    source = models.ForeignKey(
        ImportSource,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="rows",
    )
    row_id = models.UUIDField(help_text="The id of a product or of an offer.")
    is_offer = models.BooleanField()
    is_gone = models.BooleanField(
        default=False, db_default=False, help_text="The last file did not have it."
    )

    class Meta:
        constraints = [
            TenantForeignKey(name="catalog_sourcedrow_source_fk", field="source"),
        ]
        indexes = [
            # Whether another source brings a row that is gone from one.
            models.Index(fields=["organization", "row_id"], name="catalog_sourcedrow_row"),
        ]

    def __str__(self) -> str:
        return str(self.row_id)
