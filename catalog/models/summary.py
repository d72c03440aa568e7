"""What is derived about products, in a narrow table beside them."""

from __future__ import annotations

import datetime
from typing import Self
from uuid import UUID

from django.db import models
from psycopg.types.multirange import Multirange

from catalog import completeness
from catalog.models.product import Product, ProductStatus
from closient.accounts.models import Organization
from closient.changes.triggers import RecordUpdates
from closient.db.fields import organization_fk
from closient.tally import triggers as tally
from closient.tally.declarations import Account, DatedBit
from closient.tally.fields import DateMultiRangeField, NoDays, no_days

# On these days the product also has the fact that depends on the date.
_CERTIFIED = DatedBit("certified_during", completeness.DATED_FACT.bit)


class ProductSummaryQuerySet(models.QuerySet["ProductSummary"]):
    """Reads of summaries."""

    def of(self, organization: Organization | UUID) -> Self:
        """Return the summaries of one organization's products."""
        return self.filter(organization=organization)


class ProductSummary(models.Model):
    """What is derived about a product, from its own columns and from rows that belong to it.

    Only triggers write it: those of products insert and delete it and copy ``own_facts`` and
    ``status``; those of images, offers and certificates maintain the other columns. It is a table
    beside products because they have long rows with many indexes, which each change would write
    again. The foreign keys have no constraints, because a cascade deletes row by row.
    """

    product = models.OneToOneField(
        Product,
        primary_key=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        related_name="summary",
    )
    organization = organization_fk("+")
    status = models.CharField(max_length=16, choices=ProductStatus)
    own_facts = models.SmallIntegerField()
    image_count = models.IntegerField(default=0, db_default=0)
    active_offer_count = models.IntegerField(default=0, db_default=0)
    certified_during = DateMultiRangeField(default=no_days, db_default=NoDays())
    facts = models.GeneratedField(
        expression=completeness.static_facts(),
        output_field=models.SmallIntegerField(),
        db_persist=True,
    )

    objects = ProductSummaryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "product summaries"
        indexes = [
            # Products of an organization by missing facts and status: lists behind numbers.
            models.Index(
                fields=["organization", "facts", "status", "-product"], name="catalog_summary_facts"
            ),
            # Lists newest first, filtered by columns of the index. Without certified_during, so
            # that certificates change no index.
            models.Index(
                fields=["organization", "-product"],
                include=["facts", "status"],
                name="catalog_summary_newest",
            ),
        ]
        triggers = [
            *tally.triggers(
                Account("products", bucket=("facts",), during=_CERTIFIED),
                # The active products, which most are, are the difference between the accounts.
                Account(
                    "products_by_status",
                    bucket=("status", "facts"),
                    during=_CERTIFIED,
                    exclude={"status": ProductStatus.ACTIVE.value},
                ),
            ),
            RecordUpdates(
                "completeness",
                derived=("facts", "image_count", "certified_during"),
                row="product_id",
                product="product_id",
            ),
            tally.OnlyTriggersWrite(),
        ]

    def __str__(self) -> str:
        return f"{self.product_id}: facts {self.facts}"

    def fact_mask(self, day: datetime.date) -> int:
        """Return the product's facts on a day as a bitmask (see ``catalog.completeness``)."""
        days: Multirange[datetime.date] = self.certified_during
        is_certified = any(day in spell for spell in days)
        return int(self.facts) | (completeness.DATED_FACT.bit if is_certified else 0)
