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
    """The key by which brand names are compared: ignores case, width and repeated blanks.

    A database function, created by a migration.
    """

    function = "public.catalog_brand_key"
    arity = 1
    output_field = models.CharField()


class BrandQuerySet(models.QuerySet["Brand"]):
    """Queries and creation of brands."""

    def named(self, name: str) -> Self:
        """Return the brands with a name, compared by :class:`BrandKey`."""
        return self.filter(key=BrandKey(Cast(Value(nfc(name)), models.TextField())))

    def get_or_make(self, organization_id: UUID, name: str) -> Brand:
        """Return an organization's brand with a name; create it if there is none."""
        named = self.named(name).filter(organization=organization_id).order_by()
        brand = named.first()
        if brand is not None:
            return brand
        try:
            with transaction.atomic():
                return self.create(organization_id=organization_id, name=name)
        except IntegrityError:
            # Another transaction created it meanwhile.
            return named.get()


class Brand(models.Model):
    """A brand name of an organization."""

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
