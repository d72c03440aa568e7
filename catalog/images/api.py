"""The endpoints of a trade item's images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from catalog.images import editing
from catalog.images.decoding import decode_for
from catalog.images.storage import StorageFailed, stored
from catalog.images.validation import MAX_FRAMES, NoRoom, RejectReason, UnfitImage
from catalog.models import Product, ProductImage
from closient.accounts.views import OrganizationView
from closient.db.transactions import run_with_retry
from closient.http import cursors, idempotency, openapi, pagination
from closient.http.exceptions import RETRY_AFTER
from closient.http.fields import values_of
from closient.http.problems import FieldError, Problem
from catalog.images.serializers import (
    IMAGE_ID,
    ImageChangeSerializer,
    ImageOrderSerializer,
    ImageSerializer,
    NewImageSerializer,
    OrderedImagesSerializer,
)

TAGS = ["Images"]
PATH = [openapi.ORGANIZATION_ID, openapi.GTIN]
_ERROR_CODES = {
    RejectReason.TOO_LARGE: "payload_too_large",
    RejectReason.UNKNOWN_KIND: "unsupported_media_type",
}


class OfTradeItemView(OrganizationView):
    """A view of the images of the trade item in the path."""

    def product(self, gtin: str | None) -> Product:
        """Return the trade item, with what its images need; raises ``not_found``."""
        products = Product.objects.of(self.organization).only("gtin", "organization", "image_count")
        product = products.filter(gtin=gtin).order_by().first() if gtin else None
        if product is None:
            raise Problem("not_found")
        return product

    def shown(self, images: Any, *, many: bool = False) -> Any:
        """Return one or several images, serialized."""
        return ImageSerializer(images, many=many, context={"request": self.request}).data


@contextmanager
def image_problems() -> Iterator[None]:
    """Raise the errors of image writes as problems."""
    try:
        yield
    except (editing.NoSuchProduct, editing.NoSuchImage):
        raise Problem("not_found") from None
    except editing.StaysPrimary:
        detail = "A trade item with images has a primary one: make another one primary instead."
        raise _invalid("#/is_primary", "primary", detail) from None
    except editing.OtherImages:
        detail = "Must list the id of each image of the trade item once."
        raise _invalid("#/ids", "other_images", detail) from None
    except StorageFailed:
        detail = "The image could not be stored; nothing was changed. Try again shortly."
        raise Problem("unavailable", detail, retry_after=RETRY_AFTER) from None
    except NoRoom:
        detail = "Too many images are being uploaded; nothing was changed. Try again shortly."
        raise Problem("unavailable", detail, retry_after=RETRY_AFTER) from None
    except UnfitImage as error:
        error_code = _ERROR_CODES.get(error.reason)
        if error_code:
            raise Problem(error_code, str(error)) from None
        raise _invalid("#/image", error.reason, str(error)) from None


def _invalid(pointer: str, code: str, detail: str) -> Problem:
    return Problem("validation_error", errors=[FieldError(pointer, code, detail)])


class ImagesView(OfTradeItemView):
    """All images of a trade item."""

    query_parameters = pagination.PARAMETERS

    parser_classes = [MultiPartParser]

    @extend_schema(
        operation_id="list_trade_item_images",
        summary="List a trade item's images",
        description="The images of a trade item: the primary one first, then by priority, then "
        "the newest first.",
        tags=TAGS,
        parameters=[*PATH, *(parameter.documented() for parameter in pagination.PARAMETERS)],
        responses=openapi.responses(
            pagination.page_of(ImageSerializer), "A page of images.", "validation_error"
        ),
    )
    def get(self, request: Request, organization_id: UUID, gtin: str | None) -> Response:
        """Return a page of images."""
        product = self.product(gtin)
        page, _ = pagination.ListPage.read(request, self.query_parameters)
        order: Any = ProductImage._meta.ordering
        images = cursors.rows_between(
            ProductImage.objects.of_product(product),
            order,
            start=page.start,
            end=page.end,
            after=page.after,
        )
        return page.answer(
            images,
            total_count=product.image_count,
            show=lambda rows: self.shown(rows, many=True),
            position=lambda image: cursors.position_of(image, order),
        )

    @extend_schema(
        operation_id="create_trade_item_image",
        summary="Add an image",
        description="Adds an image to a trade item. The first image becomes the primary one; a new "
        "primary image replaces the old one as primary. The content decides the type of the file. "
        "The stored file is re-encoded: upright, with its color profile, without location or "
        f"other metadata; BMP becomes PNG. Animations keep their frames, at most {MAX_FRAMES}. SVG "
        "is rejected (415), because it can contain scripts.",
        tags=TAGS,
        parameters=[*PATH, idempotency.PARAMETER, idempotency.REPLAYED_HEADER],
        request={"multipart/form-data": NewImageSerializer},
        responses=openapi.written(
            201,
            ImageSerializer,
            "The image.",
            "unsupported_media_type",
            "validation_error",
            "conflict",
        ),
    )
    def post(self, request: Request, organization_id: UUID, gtin: str | None) -> Response:
        """Store a picture, then its row."""
        product = self.product(gtin)
        new = values_of(NewImageSerializer(data=request.data))
        with image_problems(), stored(decode_for(self.organization.id, new["image"])) as keeping:

            def write() -> Response:
                image = editing.add_image(
                    product,
                    keeping,
                    title=new.get("title", ""),
                    is_primary=new.get("is_primary", False),
                )
                return Response(
                    self.shown(image), status=201, headers={"Location": self._address(image)}
                )

            return idempotency.idempotent(request, self.organization.id, write)

    def _address(self, image: ProductImage) -> str:
        return reverse("trade-item-image", kwargs={**self.kwargs, "image_id": image.pk})


class ImageView(OfTradeItemView):
    """One image of a trade item."""

    @extend_schema(
        operation_id="get_trade_item_image",
        summary="Get an image",
        description="One image of a trade item.",
        tags=TAGS,
        parameters=[*PATH, IMAGE_ID],
        responses=openapi.responses(ImageSerializer, "The image."),
    )
    def get(
        self, request: Request, organization_id: UUID, gtin: str | None, image_id: UUID | None
    ) -> Response:
        """Return the image."""
        return Response(self.shown(self.image(self.product(gtin), image_id)))

    def image(self, product: Product, image_id: UUID | None) -> ProductImage:
        """Return an image of a product; raises ``not_found``."""
        images = ProductImage.objects.of_product(product)
        image = images.filter(pk=image_id).order_by().first() if image_id else None
        if image is None:
            raise Problem("not_found")
        return image

    @extend_schema(
        operation_id="update_trade_item_image",
        summary="Change an image",
        description="Changes the title, or makes the image the primary one; the previous primary "
        "image is demoted. The primary image cannot be demoted directly: make another one "
        "primary.",
        tags=TAGS,
        parameters=[*PATH, IMAGE_ID],
        request=ImageChangeSerializer,
        responses=openapi.written(
            200, ImageSerializer, "The image.", "unsupported_media_type", "validation_error"
        ),
    )
    def patch(
        self, request: Request, organization_id: UUID, gtin: str | None, image_id: UUID | None
    ) -> Response:
        """Change what the body gives."""
        product = self.product(gtin)
        # What is not there is 404 whatever the body says.
        self.image(product, image_id)
        changes = values_of(ImageChangeSerializer(data=request.data, partial=True))

        def write() -> ProductImage:
            self._check_version(product, image_id)
            return editing.change_image(product, image_id, **changes)

        with image_problems():
            return Response(self.shown(run_with_retry(write)))

    @extend_schema(
        operation_id="delete_trade_item_image",
        summary="Delete an image",
        description="Deletes an image and its file. If it was the primary image, the next one "
        "becomes primary: by priority, then the newest.",
        tags=TAGS,
        parameters=[*PATH, IMAGE_ID],
        responses=openapi.written(204, None, "Deleted."),
    )
    def delete(
        self, request: Request, organization_id: UUID, gtin: str | None, image_id: UUID | None
    ) -> Response:
        """Delete the row, then its file."""
        product = self.product(gtin)

        def write() -> None:
            self._check_version(product, image_id)
            editing.remove_image(product, image_id)

        with image_problems():
            run_with_retry(write)
        return Response(status=204)

    def _check_version(self, product: Product, image_id: UUID | None) -> None:
        if self.names_versions:
            editing.lock_images(product)
            self.check_version(lambda: self.shown(self.image(product, image_id)))


class ImageOrderView(OfTradeItemView):
    """The order of a trade item's images."""

    @extend_schema(
        operation_id="get_trade_item_image_order",
        summary="Get the images in order",
        description="All images of a trade item on one page, in their order. Its ETag is the "
        "version that `If-Match` names when the order is changed.",
        tags=TAGS,
        parameters=PATH,
        responses=openapi.responses(OrderedImagesSerializer, "All images, in order."),
    )
    def get(self, request: Request, organization_id: UUID, gtin: str | None) -> Response:
        """Return all images."""
        return Response(self._ordered(self.product(gtin)))

    @extend_schema(
        operation_id="order_trade_item_images",
        summary="Put the images in order",
        description="Puts all images of a trade item in the given order; the first becomes the "
        "primary image. A list with missing, repeated or unknown ids is rejected.",
        tags=TAGS,
        parameters=PATH,
        request=ImageOrderSerializer,
        responses=openapi.written(
            200,
            OrderedImagesSerializer,
            "All images, in order.",
            "unsupported_media_type",
            "validation_error",
        ),
    )
    def put(self, request: Request, organization_id: UUID, gtin: str | None) -> Response:
        """Write the order."""
        product = self.product(gtin)
        ids = values_of(ImageOrderSerializer(data=request.data))["ids"]

        def write() -> list[ProductImage]:
            if self.names_versions:
                editing.lock_images(product)
                self.check_version(lambda: self._ordered(product))
            return editing.put_in_order(product, ids)

        with image_problems():
            images = run_with_retry(write)
        return Response({"data": self.shown(images, many=True)})

    def _ordered(self, product: Product) -> dict[str, Any]:
        return {"data": self.shown(ProductImage.objects.of_product(product), many=True)}
