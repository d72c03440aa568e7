"""Brands."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from catalog.models.belonging import of_organization
from closient.accounts.keys import new_key
from closient.accounts.tenancy import TenantForeignKey


class Brand(models.Model):
    """A brand name under which an organization sells."""

    id = models.UUIDField(primary_key=True, default=new_key, editable=False)
    organization = of_organization("brands")
    name = models.CharField(max_length=255)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["name", "id"]
        constraints = [
            TenantForeignKey(name="catalog_brand_organization_fk", field="organization"),
            models.UniqueConstraint(
                fields=["organization", "name"],
                name="catalog_brand_name_unique",
                violation_error_message="The organization has a brand of this name already.",
            ),
            # What composite foreign keys refer to.
            models.UniqueConstraint(fields=["organization", "id"], name="catalog_brand_tenant"),
            models.CheckConstraint(condition=~Q(name=""), name="catalog_brand_name_filled"),
        ]

    def __str__(self) -> str:
        return self.name
