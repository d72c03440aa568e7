"""The history: changes with their causes, and what they changed.

The database writes it in the transaction of each change (:mod:`closient.changes.triggers`).
"""

from __future__ import annotations

from typing import Any, Self
from uuid import UUID

from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from closient.changes.triggers import ForgetRecords
from closient.db.tenancy import TenantForeignKey

KIND_LENGTH = 32
ACTOR_LENGTH = 255


class Cause(models.TextChoices):
    """What made a change."""

    PAGE = "page", "Page"
    API = "api", "API"
    ADMIN = "admin", "Admin"
    IMPORT = "import", "Import"
    SOURCE = "source", "Source"
    BULK_EDIT = "bulk_edit", "Bulk edit"
    UNDO = "undo", "Undo"
    URL_CHECK = "url_check", "URL check"
    DATABASE = "database", "Command or SQL"


class ChangeQuerySet(models.QuerySet["Change"]):
    """Reads of changes."""

    def of(self, organization: Any) -> Self:
        """Return the changes of one organization's rows."""
        return self.filter(organization=organization)


class Change(models.Model):
    """One transaction that changed rows of an organization, with its cause.

    Written by the database when it records the first row of the transaction, so a transaction that
    changes nothing has none. ``reference`` is the import, bulk edit or undone change behind it.
    ``made_at`` is the time of that first statement. Deleting a change deletes what it recorded.
    """

    pk = models.CompositePrimaryKey("organization_id", "id")
    organization: Any = models.ForeignKey(
        "accounts.Organization",
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="changes",
    )
    id = models.UUIDField()
    cause = models.CharField(max_length=16, choices=Cause)
    actor = models.CharField(
        max_length=ACTOR_LENGTH, blank=True, help_text="The person, API key or file; or empty."
    )
    reference = models.UUIDField(null=True)
    request_id = models.CharField(max_length=200, blank=True)
    made_at = models.DateTimeField(db_default=Now())

    objects = ChangeQuerySet.as_manager()

    class Meta:
        indexes = [
            # The history of one organization.
            models.Index(fields=["organization", "made_at", "id"], name="changes_change_newest"),
            # Changes that are too old to be kept. Rows come in the order of time.
            BrinIndex(fields=["made_at"], name="changes_change_age"),
        ]
        constraints = [
            TenantForeignKey(name="changes_change_organization_fk", field="organization"),
            models.CheckConstraint(
                condition=Q(cause__in=Cause.values), name="changes_change_cause"
            ),
        ]
        triggers = [ForgetRecords()]

    def __str__(self) -> str:
        return f"{self.get_cause_display()} by {self.actor or 'unknown'}"


class RowChange(models.Model):
    """A row that a change created or changed, in the order of the statements.

    ``kind`` is what clients call the rows. ``before`` and ``after`` have the columns that changed,
    with their values. Of a row that was created ``before`` is null, and of one that was deleted
    ``after``; the other is null too unless the recorder keeps the values of such rows. Deleted
    rows of the change feed are in :class:`Deletion`.
    """

    id = models.BigAutoField(primary_key=True)
    # No foreign keys: they would be checked for each of a hundred thousand rows.
    organization_id = models.UUIDField()
    change_id = models.UUIDField()
    kind = models.CharField(max_length=KIND_LENGTH)
    row_id = models.UUIDField()
    product_id = models.UUIDField()
    before: Any = models.JSONField(null=True)
    after: Any = models.JSONField(null=True)

    class Meta:
        indexes = [
            # The history of one product.
            models.Index(
                fields=["organization_id", "product_id", "id"], name="changes_rowchange_product"
            ),
            # What a change did, and its undo.
            models.Index(
                fields=["organization_id", "change_id", "kind"], name="changes_rowchange_change"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.row_id}"


class CountChange(models.Model):
    """What a change added to the tally: a copy of the entries that it posted.

    The current entries without these are those from before the change.
    """

    id = models.BigAutoField(primary_key=True)
    # No foreign keys, as in the tally.
    organization_id = models.UUIDField()
    change_id = models.UUIDField()
    account = models.CharField(max_length=32)
    bucket = models.CharField(max_length=64)
    effective_on = models.DateField()
    amount = models.IntegerField()

    class Meta:
        indexes = [
            models.Index(
                fields=["organization_id", "change_id"], name="changes_countchange_change"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.account} {self.bucket} {self.amount:+d}"


class DeletionQuerySet(models.QuerySet["Deletion"]):
    """Reads of deletions."""

    def of(self, organization: Any) -> Self:
        """Return the deletions of one organization's rows."""
        return self.filter(organization=organization)

    def gtins(self, product_ids: list[UUID]) -> dict[UUID, str]:
        """Return the GTINs of deleted products by their ids."""
        products = self.filter(row_id__in=product_ids).exclude(gtin="")
        return dict(products.values_list("row_id", "gtin"))


class Deletion(models.Model):
    """A row that no longer exists. Only the triggers of :mod:`closient.changes.triggers` write it.

    ``product_id`` is the product that it belonged to, the row itself for a product. Only products
    have a ``gtin`` here: when a product takes its rows along, it is gone before them.
    """

    pk = models.CompositePrimaryKey("organization_id", "row_id")
    organization: Any = models.ForeignKey(
        "accounts.Organization",
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="deletions",
    )
    row_id = models.UUIDField()
    kind = models.CharField(max_length=KIND_LENGTH)
    product_id = models.UUIDField()
    gtin = models.CharField(max_length=14, blank=True)
    change_id = models.UUIDField(null=True)
    deleted_at = models.DateTimeField(db_default=Now())

    objects = DeletionQuerySet.as_manager()

    class Meta:
        indexes = [
            # The change feed of one organization.
            models.Index(
                fields=["organization", "deleted_at", "row_id"], name="changes_deletion_feed"
            ),
            # The history of one product.
            models.Index(
                fields=["organization", "product_id", "deleted_at"], name="changes_deletion_product"
            ),
            # What a change deleted.
            models.Index(fields=["organization", "change_id"], name="changes_deletion_change"),
            # Rows that are too old to be kept. Rows come in the order of time.
            BrinIndex(fields=["deleted_at"], name="changes_deletion_age"),
        ]
        constraints = [
            TenantForeignKey(name="changes_deletion_organization_fk", field="organization"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.row_id} at {self.deleted_at:%Y-%m-%d %H:%M}"
