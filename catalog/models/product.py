"""Trade items: what a GTIN identifies."""

from __future__ import annotations

import datetime
from typing import Any, Self
from uuid import UUID

from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from catalog import completeness
from catalog.countries import clean_country
from catalog.gtin import HasValidCheckDigit, gtins_beginning_with, normalize_gtin
from catalog.models.brand import Brand
from catalog.models.changed import updated_by
from catalog.nutrition import clean_nutrition
from catalog.search import Finds, SearchWords
from closient.accounts.models import Organization
from closient.changes.triggers import recorders
from closient.db.fields import normalize_fields, organization_fk
from closient.db.ids import uuid7
from closient.db.tenancy import TenantForeignKey
from closient.tally import triggers as tally
from closient.tally.declarations import Summary
from closient.tally.timestamps import TouchTrigger, UpdatedAtField, created_before_updated
from closient.text.fields import NormalCharField, NormalJSONField, NormalTextField
from closient.text.metadata import clean_metadata


class ProductStatus(models.TextChoices):
    """The life cycle status of a product."""

    DRAFT = "draft"
    ACTIVE = "active"
    DISCONTINUED = "discontinued"


def found_by(text: str) -> Q:
    """Return the condition for products that match a search text; a blank one matches all.

    Digits match GTINs of any length that begin with them, and the GTIN of which they are the end
    after its leading zeros, which spreadsheets drop. Otherwise every word must match a word of the
    name or its beginning (see :mod:`catalog.search`).
    """
    digits = text.strip()
    ranges = gtins_beginning_with(digits)
    if ranges:
        padded = digits.zfill(14)
        ranges.append((padded, padded))
        return Q(*[("gtin__range", bounds) for bounds in ranges], _connector=Q.OR)
    text = text.replace("\x00", " ")
    return Q(Finds("name", text)) if text.strip() else Q()


class ProductQuerySet(models.QuerySet["Product"]):
    """Reads of products."""

    def of(self, organization: Organization | UUID) -> Self:
        """Return the products of one organization."""
        return self.filter(organization=organization)

    def search(self, text: str) -> Self:
        """Return the products that match a search text (:func:`found_by`)."""
        return self.filter(found_by(text))


class Product(models.Model):
    """A trade item: what a GTIN identifies (GS1 General Specifications, section 2.1).

    ``own_facts`` are the facts that its own columns have, a generated column; what is derived from
    other rows is in its ``summary``.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = organization_fk("products")
    gtin = models.CharField("GTIN", max_length=14, help_text="GTIN-14, padded with zeros.")
    name = NormalCharField(max_length=255, blank=True)
    description = NormalTextField(blank=True)
    brand = models.ForeignKey(
        Brand,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        null=True,
        blank=True,
        related_name="products",
    )
    manufacturer = NormalCharField(max_length=255, blank=True)
    category = NormalCharField(max_length=255, blank=True)
    gpc_brick_code = models.CharField(
        "GPC brick code", max_length=8, blank=True, help_text="Eight digits."
    )
    country_of_origin = models.CharField(
        max_length=2, blank=True, help_text="ISO 3166-1 alpha-2, such as DE."
    )
    net_content = NormalCharField(max_length=100, blank=True, help_text="Net content of one item.")
    nutrition = NormalJSONField(
        default=dict,
        blank=True,
        help_text='{"serving_size": "30 g", "nutrients": [{"name", "amount", "unit"}, ...]}',
    )
    status = models.CharField(max_length=16, choices=ProductStatus, default=ProductStatus.ACTIVE)
    metadata = NormalJSONField(default=dict, blank=True, help_text="Your own keys and texts.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = UpdatedAtField()
    updated_by = updated_by()

    own_facts = models.GeneratedField(
        expression=completeness.own_facts(),
        output_field=models.SmallIntegerField(),
        db_persist=True,
    )

    objects = ProductQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [
            # Emptied by the database when a brand is deleted; lists by brand.
            models.Index(fields=["organization", "brand", "-id"], name="catalog_product_brand"),
            # Lists by category and by country, and the breakdowns by them.
            models.Index(
                fields=["organization", "category", "-id"], name="catalog_product_category"
            ),
            models.Index(
                fields=["organization", "country_of_origin", "-id"], name="catalog_product_country"
            ),
            # Lists by name.
            models.Index(fields=["organization", "name", "-id"], name="catalog_product_name"),
            # Lists by last change, and of what has changed since a time; the change feed.
            models.Index(
                fields=["organization", "-updated_at", "-id"], name="catalog_product_changed"
            ),
            # Search by words of the name.
            GinIndex(SearchWords("name"), name="catalog_product_words"),
        ]
        constraints = [
            created_before_updated("catalog_product_created_before_updated"),
            TenantForeignKey(name="catalog_product_organization_fk", field="organization"),
            TenantForeignKey(name="catalog_product_brand_fk", field="brand", on_delete="SET NULL"),
            # The GTIN first: the admin also searches one across organizations.
            models.UniqueConstraint(
                fields=["gtin", "organization"],
                name="catalog_product_gtin_unique",
                violation_error_message="The organization has a product with this GTIN already.",
            ),
            # What composite foreign keys refer to; lists newest first.
            models.UniqueConstraint(fields=["organization", "id"], name="catalog_product_tenant"),
            models.CheckConstraint(
                condition=Q(gtin__regex=r"^[0-9]{14}$")
                & ~Q(gtin="00000000000000")
                & Q(HasValidCheckDigit("gtin")),
                name="catalog_product_gtin_valid",
                violation_error_message="The GTIN is not valid.",
            ),
            models.CheckConstraint(
                condition=Q(gpc_brick_code="") | Q(gpc_brick_code__regex=r"^[0-9]{8}$"),
                name="catalog_product_gpc_brick_code",
                violation_error_message="A GPC brick code has eight digits.",
            ),
            models.CheckConstraint(
                condition=Q(country_of_origin="") | Q(country_of_origin__regex=r"^[A-Z]{2}$"),
                name="catalog_product_country_of_origin",
                violation_error_message="A country is two capital letters (ISO 3166-1 alpha-2).",
            ),
            models.CheckConstraint(
                condition=Q(status__in=ProductStatus.values),
                name="catalog_product_status",
            ),
        ]
        triggers = [
            TouchTrigger(
                "organization_id",
                "gtin",
                "name",
                "description",
                "brand_id",
                "manufacturer",
                "category",
                "gpc_brick_code",
                "country_of_origin",
                "net_content",
                "nutrition",
                "status",
                "metadata",
            ),
            *tally.triggers(Summary("summary", copies=("own_facts", "status"))),
            tally.KeepOrganization(),
            *recorders(
                "trade_item",
                columns=(
                    "gtin",
                    "name",
                    "description",
                    "brand_id",
                    "manufacturer",
                    "category",
                    "gpc_brick_code",
                    "country_of_origin",
                    "net_content",
                    "nutrition",
                    "status",
                    "metadata",
                ),
                product="id",
                has_gtin=True,
            ),
        ]

    def __str__(self) -> str:
        return f"{self.gtin} {self.name}".rstrip()

    def clean(self) -> None:
        """Normalize GTIN, country, nutrition and metadata. Raises ``ValidationError``."""
        normalize_fields(
            self,
            gtin=normalize_gtin,
            country_of_origin=clean_country,
            nutrition=clean_nutrition,
            metadata=clean_metadata,
        )

    @property
    def brand_name(self) -> str:
        """The brand's name, empty without a brand; runs a query unless the brand was loaded."""
        return self.brand.name if self.brand else ""

    def fact_mask(self, day: datetime.date) -> int:
        """Return the product's facts on a day as a bitmask (see ``catalog.completeness``).

        Runs a query unless the summary was loaded.
        """
        return self.summary.fact_mask(day)


def of_products_found_by(text: str) -> Q:
    """Return the condition for rows whose product matches a search text."""
    return Q(product__in=Product.objects.search(text).order_by().values("pk"))


def product_fk(related_name: str) -> Any:
    """Return a foreign key to the product that a row belongs to, in the same organization."""
    return models.ForeignKey(
        Product,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name=related_name,
    )
