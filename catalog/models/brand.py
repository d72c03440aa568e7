"""Brands."""

from __future__ import annotations

from typing import Self
from uuid import UUID

from django.db import IntegrityError, models, transaction
from django.db.models import Q, Value
from django.db.models.functions import Cast, Now

from closient.db.fields import organization_fk
from closient.db.ids import uuid7
from closient.db.tenancy import TenantForeignKey
from closient.text.fields import NormalCharField
from closient.text.normal import nfc


class BrandKey(models.Func):
    """What brand names are compared by: not their case, width, or number of blanks.

    A function of the database, made by a migration.
    """

    function = "public.catalog_brand_key"
    arity = 1
    output_field = models.CharField()


class BrandQuerySet(models.QuerySet["Brand"]):
    """Reads of brands, and making them."""

    def named(self, name: str) -> Self:
        """Return the brands of a name, however it is written."""
        return self.filter(key=BrandKey(Cast(Value(nfc(name)), models.TextField())))

    def get_or_make(self, organization_id: UUID, name: str) -> Brand:
        """Return an organization's brand of a name, a new one where there is none."""
        named = self.named(name).filter(organization=organization_id).order_by()
        brand = named.first()
        if brand is not None:
            return brand
        try:
            with transaction.atomic():
                return self.create(organization_id=organization_id, name=name)
        except IntegrityError:
            # Someone else made it meanwhile.
            return named.get()


class Brand(models.Model):
    """A brand name under which an organization sells."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = organization_fk("brands")
    name = NormalCharField(max_length=255)
    key = models.GeneratedField(
        expression=BrandKey("name"),
        output_field=models.CharField(max_length=255),
        db_persist=True,
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = BrandQuerySet.as_manager()

    class Meta:
        ordering = ["name", "id"]
        constraints = [
            TenantForeignKey(name="catalog_brand_organization_fk", field="organization"),
            models.UniqueConstraint(
                fields=["organization", "key"],
                name="catalog_brand_name_unique",
                violation_error_message="The organization has a brand of this name already.",
            ),
            # What composite foreign keys refer to.
            models.UniqueConstraint(fields=["organization", "id"], name="catalog_brand_tenant"),
            models.CheckConstraint(condition=~Q(name=""), name="catalog_brand_name_filled"),
        ]

    def __str__(self) -> str:
        return str(self.name)
