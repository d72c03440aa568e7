"""The thumbnail of a product in a list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django import template

from catalog.models import ProductImage

register = template.Library()


@register.inclusion_tag("dashboard/thumbnail.html")
def thumbnail(images: Mapping[UUID, ProductImage], product: UUID, name: str) -> dict[str, Any]:
    """Show the thumbnail of a product, or a placeholder of the same size.

    ``images`` are the primary images by product (``ProductImageQuerySet.thumbnails_of``).
    """
    return {"image": images.get(product), "name": name}


@register.inclusion_tag("dashboard/thumbnail.html")
def product_thumbnail(images: Sequence[ProductImage], name: str) -> dict[str, Any]:
    """Show the thumbnail of a product whose images are at hand, in their order."""
    first = images[0] if images and images[0].thumbnail else None
    return {"image": first, "name": name}
