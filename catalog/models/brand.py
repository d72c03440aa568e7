"""Brands."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self
from uuid import UUID

from django.db import IntegrityError, connection, models, transaction
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

    def for_names(self, organization_id: UUID, names: Iterable[str]) -> dict[str, Brand]:
        """Return an organization's brand for each name, with only its key and a name.

        One query. Brands that do not exist yet are not saved; names that are compared as equal
        share one.
        """
        with connection.cursor() as cursor:
            cursor.execute(_KEYS_AND_BRANDS, [list(dict.fromkeys(names)), organization_id])
            rows = cursor.fetchall()
        brands: dict[str, Brand] = {}
        for name, key, brand_id in rows:
            if key not in brands:
                brand = Brand(organization_id=organization_id, name=name)
                if brand_id is not None:
                    brand.pk, brand._state.adding = brand_id, False
                brands[key] = brand
        return {name: brands[key] for name, key, _ in rows}


# Of each name: its key, and the id of the organization's brand with that key. In order, because
# concurrent transactions have to create brands in the same one.
_KEYS_AND_BRANDS = """
    SELECT n.name, n.key, b.id
    FROM (
        SELECT name, public.catalog_brand_key(name) AS key, place
        FROM unnest(%s::text[]) WITH ORDINALITY AS given (name, place)
    ) AS n
    LEFT JOIN public.catalog_brand AS b ON b.organization_id = %s AND b.key = n.key
    ORDER BY n.key, n.place
"""


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
