"""Trade items and what describes them: brands, products, images, and the rule that rates them."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any, Self
from uuid import UUID

from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchQuery, SearchVector, SearchVectorExact
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from catalog import completeness
from catalog.countries import clean_country
from catalog.gtin import HasValidCheckDigit, gtins_beginning_with, normalize_gtin
from catalog.metadata import clean_metadata
from catalog.nutrition import clean_nutrition
from catalog.texts import UnfitText
from closient.accounts.keys import new_key
from closient.accounts.models import Organization
from closient.accounts.tenancy import TenantForeignKey
from closient.tally import triggers as tally
from closient.tally.declarations import Account, Counter, During
from closient.tally.fields import DateMultiRangeField, Multirange, no_days


def of_organization(related_name: str) -> Any:
    """Return the field that makes a row belong to an organization."""
    return models.ForeignKey(
        Organization,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name=related_name,
    )


def put_right(row: models.Model, **cleaners: Callable[[Any], Any]) -> None:
    """Give fields that hold something the value that their cleaner makes of it.

    Raises ``ValidationError`` with what each cleaner that refused had to say.
    """
    refused = {}
    for field, cleaner in cleaners.items():
        value = getattr(row, field)
        if not value:
            continue
        try:
            setattr(row, field, cleaner(value))
        except UnfitText as clause:
            refused[field] = f"The {field} {clause}."
        except ValueError as sentence:
            refused[field] = str(sentence)
    if refused:
        raise ValidationError(refused)


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


class ProductStatus(models.TextChoices):
    """Where a product is in its life."""

    DRAFT = "draft"
    ACTIVE = "active"
    DISCONTINUED = "discontinued"


# Words as they stand, of any language. An index of trigrams would find parts of words too, but
# made every change of a product's facts half as dear again.
WORDS_OF_NAME = SearchVector("name", config="simple")


class ProductQuerySet(models.QuerySet["Product"]):
    """Reads of products."""

    def of(self, organization: Organization | UUID) -> Self:
        """Return the products of one organization."""
        return self.filter(organization=organization)

    def missing(self, *facts: str) -> Self:
        """Return the products that lack all the named facts (those that depend on no date)."""
        return self.filter(completeness.missing(*facts))

    def search(self, text: str) -> Self:
        """Return the products that a person looks for.

        Digits are a GTIN of any length or its beginning; else every word is a word of the name or
        the beginning of one, whatever its case.
        """
        ranges = gtins_beginning_with(text.strip())
        if ranges:
            return self.filter(Q(*[("gtin__range", bounds) for bounds in ranges], _connector=Q.OR))
        words = text.replace("\x00", " ").split()
        if not words:
            return self
        quoted = (word.replace("\\", "\\\\").replace("'", "''") for word in words)
        beginnings = " & ".join(f"'{word}':*" for word in quoted)
        query = SearchQuery(beginnings, config="simple", search_type="raw")
        return self.filter(SearchVectorExact(WORDS_OF_NAME, query))


class Product(models.Model):
    """A trade item: what a GTIN identifies (GS1 General Specifications, section 2.1).

    ``image_count``, ``active_offer_count`` and ``certified_during`` belong to triggers alone;
    ``facts`` is computed by the database from the row itself.
    """

    id = models.UUIDField(primary_key=True, default=new_key, editable=False)
    organization = of_organization("products")
    gtin = models.CharField("GTIN", max_length=14, help_text="GTIN-14, padded with zeros.")
    name = models.CharField(max_length=255, blank=True)
    description = models.TextField(blank=True)
    brand = models.ForeignKey(
        Brand,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        null=True,
        blank=True,
        related_name="products",
    )
    manufacturer = models.CharField(max_length=255, blank=True)
    category = models.CharField(max_length=255, blank=True)
    gpc_brick_code = models.CharField(
        "GPC brick code", max_length=8, blank=True, help_text="Eight digits."
    )
    country_of_origin = models.CharField(
        max_length=2, blank=True, help_text="ISO 3166-1 alpha-2, as DE."
    )
    net_content = models.CharField(max_length=100, blank=True)
    nutrition = models.JSONField(
        default=dict,
        blank=True,
        help_text='{"serving_size": "30 g", "nutrients": [{"name", "amount", "unit"}, ...]}',
    )
    status = models.CharField(max_length=16, choices=ProductStatus, default=ProductStatus.ACTIVE)
    metadata = models.JSONField(default=dict, blank=True, help_text="Texts by key.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(auto_now=True, db_default=Now(), editable=False)

    image_count = models.IntegerField(default=0, db_default=0, editable=False)
    active_offer_count = models.IntegerField(default=0, db_default=0, editable=False)
    certified_during = DateMultiRangeField(default=no_days, editable=False)
    facts = models.GeneratedField(
        expression=completeness.static_facts(),
        output_field=models.SmallIntegerField(),
        db_persist=True,
    )

    objects = ProductQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [
            # Products of one organization by what they lack: lists behind the numbers.
            models.Index(fields=["organization", "facts", "-id"], name="catalog_product_facts"),
            # Emptied by the database when a brand is deleted; lists by brand.
            models.Index(fields=["organization", "brand", "-id"], name="catalog_product_brand"),
            # Lists newest first, passing over products by what stands in the index.
            models.Index(
                fields=["organization", "-id"],
                include=["facts", "certified_during", "status"],
                name="catalog_product_newest",
            ),
            # Lists by name.
            models.Index(fields=["organization", "name", "-id"], name="catalog_product_name"),
            # Lists by last change.
            models.Index(
                fields=["organization", "-updated_at", "-id"], name="catalog_product_changed"
            ),
            # Search by words of the name.
            GinIndex(WORDS_OF_NAME, name="catalog_product_words"),
        ]
        constraints = [
            TenantForeignKey(name="catalog_product_organization_fk", field="organization"),
            TenantForeignKey(name="catalog_product_brand_fk", field="brand", on_delete="SET NULL"),
            # The GTIN first: the admin also searches one across organizations.
            models.UniqueConstraint(
                fields=["gtin", "organization"],
                name="catalog_product_gtin_unique",
                violation_error_message="The organization has a product with this GTIN already.",
            ),
            # What composite foreign keys refer to.
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
            *tally.triggers(
                Account(
                    "products",
                    bucket=("facts",),
                    during=During("certified_during", completeness.DATED_FACT.bit),
                )
            ),
            *tally.derived_columns(
                image_count="0",
                active_offer_count="0",
                certified_during="'{}'::datemultirange",
            ),
            tally.KeepOrganization(),
        ]

    def __str__(self) -> str:
        return f"{self.gtin} {self.name}".rstrip()

    def clean(self) -> None:
        """Give the GTIN, the country and the maps their stored form, or say why they have none."""
        put_right(
            self,
            gtin=normalize_gtin,
            country_of_origin=clean_country,
            nutrition=clean_nutrition,
            metadata=clean_metadata,
        )

    @property
    def brand_name(self) -> str:
        """The name of the product's brand, empty without one; a query if it was not selected."""
        return self.brand.name if self.brand else ""

    def fact_mask(self, day: datetime.date) -> int:
        """Return the product's facts on a day as a bitmask (see ``catalog.completeness``).

        Reads the columns as they were loaded.
        """
        days: Multirange[datetime.date] = self.certified_during
        is_certified = any(day in spell for spell in days)
        return int(self.facts) | (completeness.DATED_FACT.bit if is_certified else 0)


def of_product(related_name: str) -> Any:
    """Return the field that makes a row belong to a product, whose organization it shares."""
    return models.ForeignKey(
        Product,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name=related_name,
    )


class ProductImageQuerySet(models.QuerySet["ProductImage"]):
    """Reads of images, and the two steps by which the primary one changes."""

    def of_product(self, product: Product) -> Self:
        """Return the images of one product."""
        return self.filter(organization=product.organization_id, product=product)

    def demote(self) -> None:
        """Let none of these be primary: before another becomes it."""
        self.order_by().filter(is_primary=True).update(is_primary=False)

    def promote_next(self) -> None:
        """Make the first of a product's images primary, where none is."""
        first = self.order_by("priority", "-created_at", "-id").values_list("pk", flat=True)[:1]
        self.order_by().filter(pk__in=list(first)).update(is_primary=True)


class ProductImage(models.Model):
    """A picture of a product: a stored file, or one that stays at its address.

    The two are exclusive. An import keeps at most one image per product, marked as imported.
    """

    id = models.UUIDField(primary_key=True, default=new_key, editable=False)
    organization = of_organization("product_images")
    product = of_product("images")
    image = models.ImageField(
        upload_to="products/%Y/%m/",
        blank=True,
        width_field="width",
        height_field="height",
    )
    external_url = models.URLField(max_length=1000, blank=True)
    title = models.CharField(max_length=255, blank=True)
    is_primary = models.BooleanField(default=False)
    priority = models.IntegerField(default=0, help_text="Smaller comes first.")
    width = models.PositiveIntegerField(null=True, blank=True, editable=False)
    height = models.PositiveIntegerField(null=True, blank=True, editable=False)
    is_imported = models.BooleanField(default=False, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = ProductImageQuerySet.as_manager()

    class Meta:
        ordering = ["-is_primary", "priority", "-created_at", "-id"]
        indexes = [
            # A product's images in order; the cascade from products.
            models.Index(
                fields=[
                    "organization",
                    "product",
                    "-is_primary",
                    "priority",
                    "-created_at",
                    "-id",
                ],
                name="catalog_productimage_product",
            ),
        ]
        constraints = [
            TenantForeignKey(name="catalog_productimage_product_fk", field="product"),
            models.UniqueConstraint(
                fields=["product"],
                condition=Q(is_primary=True),
                name="catalog_productimage_one_primary",
                violation_error_message="A product has one primary image only.",
            ),
            models.UniqueConstraint(
                fields=["product"],
                condition=Q(is_imported=True),
                name="catalog_productimage_one_imported",
            ),
            models.CheckConstraint(
                condition=Q(image="") ^ Q(external_url=""),
                name="catalog_productimage_one_source",
                violation_error_message="Give either a file or an external URL, not both.",
            ),
        ]
        triggers = tally.triggers(Counter("product", "image_count"))

    def __str__(self) -> str:
        return self.title or self.external_url or str(self.image)


def weight_field(fact: str) -> Any:
    """Return the field that holds a fact's weight."""
    return models.PositiveSmallIntegerField(
        f"weight of {fact}",
        default=completeness.FACT_BY_NAME[fact].weight,
        validators=[MaxValueValidator(100)],
    )


class CompletenessRule(models.Model):
    """An organization's own weights and threshold; without one the published rule holds."""

    organization = models.OneToOneField(
        Organization,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        primary_key=True,
        related_name="completeness_rule",
    )
    name = weight_field("name")
    description = weight_field("description")
    brand = weight_field("brand")
    category = weight_field("category")
    images = weight_field("images")
    nutrition = weight_field("nutrition")
    certifications = weight_field("certifications")
    offers = weight_field("offers")
    country = weight_field("country")
    threshold = models.PositiveSmallIntegerField(
        default=completeness.DEFAULT_THRESHOLD,
        validators=[MinValueValidator(1), MaxValueValidator(100)],
        help_text="Percentage from which on a product counts as complete.",
    )

    class Meta:
        constraints = [
            TenantForeignKey(name="catalog_completenessrule_organization_fk", field="organization"),
            models.CheckConstraint(
                condition=Q(*[(f"{fact.name}__range", (0, 100)) for fact in completeness.FACTS]),
                name="catalog_completenessrule_weights",
                violation_error_message="Weights are whole numbers from 0 to 100.",
            ),
            models.CheckConstraint(
                condition=~Q(*[(fact.name, 0) for fact in completeness.FACTS]),
                name="catalog_completenessrule_not_all_zero",
                violation_error_message="At least one fact needs a weight above 0.",
            ),
            models.CheckConstraint(
                condition=Q(threshold__range=(1, 100)),
                name="catalog_completenessrule_threshold",
                violation_error_message="The threshold is a whole number from 1 to 100.",
            ),
        ]

    def __str__(self) -> str:
        return f"Completeness rule of {self.organization}"

    def as_rule(self) -> completeness.Rule:
        """Return the rule as it is applied."""
        return completeness.Rule(
            weights=tuple(getattr(self, fact.name) for fact in completeness.FACTS),
            threshold=self.threshold,
        )


def rule_of(organization: Organization) -> completeness.Rule:
    """Return the rule that holds for an organization: its own, or the published one.

    One query, or none where ``completeness_rule`` was selected along with the organization.
    """
    try:
        return organization.completeness_rule.as_rule()
    except CompletenessRule.DoesNotExist:
        return completeness.DEFAULT_RULE
