"""Pictures of products."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from catalog.models.product import Product, product_fk
from closient.db.fields import organization_fk
from closient.db.ids import uuid7
from closient.db.tenancy import TenantForeignKey
from closient.tally import triggers as tally
from closient.tally.declarations import Counter
from closient.text.fields import NormalCharField


class ProductImageQuerySet(models.QuerySet["ProductImage"]):
    """Queries of images, and the two steps of changing the primary one."""

    def of_product(self, product: Product) -> Self:
        """Return the images of one product."""
        return self.filter(organization=product.organization_id, product=product)

    def demote(self) -> None:
        """Unset the primary image, before another one becomes primary."""
        self.order_by().filter(is_primary=True).update(is_primary=False)

    def promote_next(self) -> None:
        """Make the first of a product's images primary; none is primary before."""
        first = self.order_by("priority", "-created_at", "-id").values_list("pk", flat=True)[:1]
        self.order_by().filter(pk__in=list(first)).update(is_primary=True)


class ProductImage(models.Model):
    """A picture of a product: either a stored file or an external URL.

    Images that an import has set are marked as imported: a later import replaces these only.
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
            models.CheckConstraint(
                condition=Q(image="") ^ Q(external_url=""),
                name="catalog_productimage_one_source",
                violation_error_message="Give either a file or an external URL, not both.",
            ),
        ]
        triggers = tally.triggers(Counter("product", "image_count"))

    def __str__(self) -> str:
        return self.title or self.external_url or str(self.image)
