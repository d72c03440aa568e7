"""Writes of product images: add, change, delete and reorder.

Each locks the product first, which serializes the writes of one product's images: a product with
images has exactly one primary image at every commit. They run in the caller's transaction
(``closient.db.transactions.run_with_retry``) and delete files only after its commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django.db.models import Max

from catalog.images.storage import StoredPicture, discard_after_commit
from catalog.models import Product, ProductImage, ProductImageQuerySet
from closient.text.validators import InvalidField


class NoSuchProduct(LookupError):
    """The product has been deleted."""


class NoSuchImage(LookupError):
    """The product has no image with this ID."""


def lock_images(product: Product) -> ProductImageQuerySet:
    """Lock a product's images until the transaction ends, and return them.

    Raises :class:`NoSuchProduct`.
    """
    products = Product.objects.of(product.organization_id).filter(pk=product.pk)
    # The same lock as in the tally triggers.
    if not products.order_by().select_for_update(no_key=True).values_list("pk"):
        raise NoSuchProduct
    return ProductImage.objects.of_product(product)


def locked_image(product: Product, image_id: UUID | None) -> ProductImage:
    """Lock a product's images, and return the one with an id.

    Raises :class:`NoSuchImage` and :class:`NoSuchProduct`.
    """
    images = lock_images(product)
    image = images.filter(pk=image_id).order_by().first() if image_id else None
    if image is None:
        raise NoSuchImage
    return image


def _of_same_product(image: ProductImage) -> ProductImageQuerySet:
    return ProductImage.objects.filter(organization=image.organization_id, product=image.product_id)


def add_image(
    product: Product, stored: StoredPicture, *, title: str, is_primary: bool
) -> ProductImage:
    """Create the row of a stored picture and return it.

    The first image is always primary. If the images were put in order, the
    new one comes last, otherwise first among those that are not primary. Raises
    :class:`NoSuchProduct`.
    """
    stored.has_row = False
    images = lock_images(product)
    last = images.order_by().aggregate(last=Max("priority"))["last"]
    if is_primary:
        images.demote()
    image = ProductImage.objects.create(
        organization_id=product.organization_id,
        product_id=product.pk,
        image=stored.name,
        width=stored.picture.width,
        height=stored.picture.height,
        title=title,
        is_primary=is_primary or last is None,
        priority=last + 1 if last else 0,
    )
    stored.has_row = True
    return image


def change_image(
    image: ProductImage, *, title: str | None = None, is_primary: bool | None = None
) -> ProductImage:
    """Change the given fields of an image from :func:`locked_image`, and return it.

    Raises ``InvalidField`` for a primary image that is to be demoted.
    """
    changed = []
    if title is not None and title != image.title:
        image.title = title
        changed.append("title")
    if is_primary is not None and is_primary != image.is_primary:
        if not is_primary:
            sentence = (
                "A trade item with images has a primary one: make another one primary instead."
            )
            raise InvalidField(sentence, field="is_primary", code="primary")
        _of_same_product(image).demote()
        image.is_primary = True
        changed.append("is_primary")
    if changed:
        image.save(update_fields=changed)
    return image


def remove_image(image: ProductImage) -> None:
    """Delete an image from :func:`locked_image`, and its file after the commit.

    Promotes the next one if it was primary.
    """
    image.delete()
    if image.is_primary:
        _of_same_product(image).promote_next()
    discard_after_commit(image.image, image.thumbnail)


def put_in_order(product: Product, ids: Sequence[UUID]) -> list[ProductImage]:
    """Reorder a product's images and return them in order; the first becomes primary.

    ``ids`` lists every image of the product exactly once; otherwise raises ``InvalidField``. Also
    raises :class:`NoSuchProduct`.
    """
    images = lock_images(product)
    by_id = {image.pk: image for image in images.order_by()}
    if len(ids) != len(by_id) or set(ids) != by_id.keys():
        sentence = "Must list the id of each image of the trade item once."
        raise InvalidField(sentence, field="ids", code="other_images")
    ordered = [by_id[key] for key in ids]
    if ordered and not ordered[0].is_primary:
        images.demote()
    for priority, image in enumerate(ordered):
        image.priority, image.is_primary = priority, priority == 0
    ProductImage.objects.bulk_update(ordered, ["priority", "is_primary"])
    return ordered
