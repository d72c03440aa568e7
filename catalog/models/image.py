"""Pictures of products."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self
from uuid import UUID

import pgtrigger
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from catalog.models.product import Product, product_fk
from closient.accounts.models import Organization
from closient.db.fields import organization_fk
from closient.db.ids import uuid7
from closient.db.tenancy import TenantForeignKey
from closient.db.triggers import UnconditionalTrigger
from closient.db.url_hosts import host_of
from closient.tally import triggers as tally
from closient.tally.declarations import Counter
from closient.text.fields import NormalCharField


class ProductImageQuerySet(models.QuerySet["ProductImage"]):
    """Queries of images, and the two steps of changing the primary one."""

    def of_product(self, product: Product) -> Self:
        """Return the images of one product."""
        return self.filter(organization=product.organization_id, product=product)

    def thumbnails_of(
        self, organization: Organization | UUID, products: Iterable[UUID]
    ) -> dict[UUID, ProductImage]:
        """Return the primary images that have a thumbnail, by product; one query."""
        images = self.filter(organization=organization, product__in=list(products))
        found = images.filter(is_primary=True).exclude(thumbnail="").order_by()
        return {image.product_id: image for image in found.only("product", "thumbnail", "title")}

    def demote(self) -> None:
        """Unset the primary image, before another one becomes primary."""
        self.order_by().filter(is_primary=True).update(is_primary=False)

    def promote_next(self) -> None:
        """Make the first of a product's images primary; none is primary before."""
        first = self.order_by("priority", "-created_at", "-id").values_list("pk", flat=True)[:1]
        self.order_by().filter(pk__in=list(first)).update(is_primary=True)


class ResetThumbnail(UnconditionalTrigger):
    """Makes the thumbnail of a changed file or URL due now, whatever changes it."""

    name = "reset_thumbnail"
    when = pgtrigger.Before
    operation = pgtrigger.Update
    condition = pgtrigger.Condition(
        "NEW.external_url IS DISTINCT FROM OLD.external_url OR NEW.image IS DISTINCT FROM OLD.image"
    )

    def get_func(self, model: Any) -> str:
        """Return the body, which forgets what was measured of the earlier picture."""
        return """
            NEW.thumbnail = '';
            NEW.thumbnail_due_at = pg_catalog.now();
            NEW.thumbnail_failures = 0;
            NEW.thumbnail_problem = '';
            NEW.file_size = NULL;
            IF NEW.external_url <> '' THEN
                NEW.width = NULL;
                NEW.height = NULL;
            END IF;
            RETURN NEW;
        """


class ProductImage(models.Model):
    """A picture of a product: either a stored file or an external URL.

    Images that an import has set are marked as imported: a later import replaces these only.
    The worker writes ``thumbnail`` and what it has measured of the original, also of a picture on
    another server (``dashboard.thumbnails``).
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = organization_fk("product_images")
    product = product_fk("images")
    image = models.ImageField(
        upload_to="products/%Y/%m/",
        blank=True,
        width_field="width",
        height_field="height",
    )
    external_url = models.URLField(max_length=1000, blank=True)
    title = NormalCharField(max_length=255, blank=True)
    is_primary = models.BooleanField(default=False)
    priority = models.IntegerField(default=0, help_text="Smaller comes first.")
    width = models.PositiveIntegerField(null=True, blank=True, editable=False)
    height = models.PositiveIntegerField(null=True, blank=True, editable=False)
    is_imported = models.BooleanField(default=False, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    file_size = models.PositiveIntegerField(
        null=True, editable=False, help_text="Bytes of the original, once it was measured."
    )
    thumbnail = models.FileField(
        upload_to="products/%Y/%m/", blank=True, default="", db_default="", editable=False
    )
    # When the thumbnail is to be made. A claim moves it ahead, and its exact value proves the
    # ownership. NULL: it was made, or the worker has given up.
    thumbnail_due_at = models.DateTimeField(null=True, db_default=Now(), editable=False)
    thumbnail_failures = models.PositiveSmallIntegerField(
        default=0, db_default=0, editable=False, help_text="In a row."
    )
    thumbnail_problem = models.CharField(
        max_length=500,
        blank=True,
        default="",
        db_default="",
        editable=False,
        help_text="Why the last attempt to make the thumbnail failed.",
    )
    host = models.GeneratedField(
        expression=host_of("external_url"),
        output_field=models.CharField(max_length=253),
        db_persist=True,
    )

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
            # Thumbnails to make, by host.
            models.Index(
                fields=["host", "thumbnail_due_at"],
                condition=Q(thumbnail_due_at__isnull=False),
                name="catalog_productimage_due",
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
            models.CheckConstraint(
                condition=Q(image="") ^ Q(external_url=""),
                name="catalog_productimage_one_source",
                violation_error_message="Give either a file or an external URL, not both.",
            ),
        ]
        triggers = [*tally.triggers(Counter("product", "image_count")), ResetThumbnail()]

    def __str__(self) -> str:
        return self.title or self.external_url or str(self.image)

    @property
    def is_thumbnail_expected(self) -> bool:
        """Whether the worker is about to make the thumbnail for the first time."""
        return self.thumbnail_due_at is not None and not self.thumbnail_problem

    @property
    def original_url(self) -> str:
        """The URL of the picture itself: of the stored file, or the external one."""
        return str(self.external_url or self.image.url)
