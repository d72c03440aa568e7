"""Deleted rows, recorded by the database in the transaction that deletes them."""

from __future__ import annotations

from typing import Any, Self
from uuid import UUID

from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models.functions import Now

from closient.db.tenancy import TenantForeignKey

KIND_LENGTH = 32


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
    deleted_at = models.DateTimeField(db_default=Now())

    objects = DeletionQuerySet.as_manager()

    class Meta:
        indexes = [
            # The change feed of one organization.
            models.Index(
                fields=["organization", "deleted_at", "row_id"], name="changes_deletion_feed"
            ),
            # Rows that are too old to be kept. Rows come in the order of time.
            BrinIndex(fields=["deleted_at"], name="changes_deletion_age"),
        ]
        constraints = [
            TenantForeignKey(name="changes_deletion_organization_fk", field="organization"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.row_id} at {self.deleted_at:%Y-%m-%d %H:%M}"
