"""The API of a trade item's images."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from django.urls import reverse
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from catalog.images import editing
from catalog.images.problems import problem_of_image
from catalog.images.reencoding import MAX_FRAMES
from catalog.images.serializers import (
    IMAGE_ID,
    WRITTEN_BY_WORKER,
    ImageChangeSerializer,
    ImageOrderSerializer,
    ImageSerializer,
    NewImageSerializer,
    OrderedImagesSerializer,
)
from catalog.images.storage import stored
from catalog.images.upload_lock import decode_for
from catalog.models import Product, ProductImage, ProductImageQuerySet
from closient.accounts.api_views import OrganizationView
from closient.db.transactions import run_with_retry
from closient.http import idempotency, openapi, pagination
from closient.http.lists import PagedList
from closient.http.problems import Problem
from closient.http.resources import (
    AllRows,
    ListEndpoint,
    Resource,
    ResourceSchema,
    RowEndpoint,
)
from closient.http.serializers import values_of

IMAGES = ResourceSchema(
    noun="trade_item_image",
    nouns="trade_item_images",
    a_noun="an image",
    serializer=ImageSerializer,
    tags=["Images"],
    path=(openapi.ORGANIZATION_ID, openapi.GTIN),
    row=IMAGE_ID,
    has_conflicts=False,
)


class ImageResource(OrganizationView, Resource):
    """The images of the trade item of the path."""

    serializer_class = ImageSerializer
    lookup_argument = "image_id"

    @cached_property
    def product(self) -> Product:
        """The trade item, with what its images need; raises ``not_found``."""
        products = (
            Product.objects.of(self.organization)
            .select_related("summary")
            .only("gtin", "organization", "summary__image_count")
        )
        gtin = self.kwargs["gtin"]
        product = products.filter(gtin=gtin).order_by().first() if gtin else None
        if product is None:
            raise Problem("not_found")
        return product

    def rows(self) -> ProductImageQuerySet:
        """Return the images of the trade item."""
        return ProductImage.objects.of_product(self.product)

    def context(self) -> dict[str, Any]:
        """The request, which absolute URLs need."""
        return {"request": self.request}

    def version_of(self, shown: Any) -> Any:
        """Return an image, or the list of them, without what the worker writes."""
        if "data" in shown:
            return [self.version_of(image) for image in shown["data"]]
        return {name: value for name, value in shown.items() if name not in WRITTEN_BY_WORKER}

    def address_of(self, row: ProductImage) -> str:
        """Return the URL of an image."""
        path = {name: self.kwargs[name] for name in ("organization_id", "gtin")}
        return reverse("trade-item-image", kwargs={**path, "image_id": row.pk})

    def handle_exception(self, exc: Exception) -> Response:
        """Return errors of image writes as problems."""
        return super().handle_exception(problem_of_image(exc) or exc)


@extend_schema_view(
    get=IMAGES.list(
        "The images of a trade item: the primary one first, then by priority, then the newest "
        "first.",
        summary="List a trade item's images",
        parameters=pagination.PARAMETERS,
        answer="A page of images.",
    ),
    post=IMAGES.create(
        "Adds an image to a trade item. The first image becomes the primary one; a new primary "
        "image replaces the old one as primary. The content determines the format. The "
        "stored file is re-encoded: upright, with its color profile, without location or other "
        "metadata; BMP becomes PNG, HEIC and AVIF become JPEG or WebP in sRGB. Animations keep "
        f"their frames, at most {MAX_FRAMES}. SVG is rejected (415), because it can contain "
        "scripts.",
        summary="Add an image",
        answer="The image.",
        request={"multipart/form-data": NewImageSerializer},
    ),
)
class ImagesView(ImageResource, ListEndpoint):
    """All images of a trade item."""

    query_parameters = pagination.PARAMETERS
    parser_classes = [MultiPartParser]

    def check_path(self) -> None:
        """Raise ``not_found`` without the trade item."""
        _ = self.product

    def row_list(self, values: Mapping[str, Any]) -> PagedList:
        """Return the images, which the trade item has counted."""
        return AllRows(self.rows(), total_count=self.product.summary.image_count)

    def post(self, request: Request, **kwargs: Any) -> Response:
        """Store a picture, then its row."""
        product = self.product
        new = values_of(NewImageSerializer(data=request.data))
        with stored(decode_for(self.organization.id, new["image"])) as picture:

            def write() -> Response:
                image = editing.add_image(
                    product,
                    picture,
                    title=new.get("title", ""),
                    is_primary=new.get("is_primary", False),
                )
                headers = {"Location": self.address_of(image)}
                return Response(self.shown(image), status=201, headers=headers)

            return idempotency.idempotent(request, self.organization.id, write)


@extend_schema_view(
    get=IMAGES.get("One image of a trade item."),
    patch=IMAGES.update(
        "Changes the title, or makes the image the primary one; the previous primary image is "
        "demoted. The primary image cannot be demoted directly: make another one primary.",
        request=ImageChangeSerializer,
    ),
    delete=IMAGES.delete(
        "Deletes an image and its file. If it was the primary image, the next one becomes primary: "
        "by priority, then the newest."
    ),
)
class ImageView(ImageResource, RowEndpoint):
    """One image of a trade item."""

    def given_for(self, row: ProductImage) -> dict[str, Any]:
        """Return the values of the body."""
        return values_of(ImageChangeSerializer(data=self.request.data, partial=True))

    def find_to_write(self) -> ProductImage:
        """Return the image with all images of the product locked, and its version checked."""
        image = editing.locked_image(self.product, self.kwargs["image_id"])
        self.check_version(lambda: self.shown(image))
        return image

    def change(self, row: ProductImage, values: dict[str, Any]) -> ProductImage:
        """Change the given fields."""
        return editing.change_image(row, **values)

    def remove(self, row: ProductImage) -> None:
        """Delete the row, then its file."""
        editing.remove_image(row)


class ImageOrderView(ImageResource):
    """The order of a trade item's images."""

    @extend_schema(
        operation_id="get_trade_item_image_order",
        summary="Get the images in order",
        description="All images of a trade item on one page, in their order. Its ETag is the "
        "version that `If-Match` names when the order is changed.",
        tags=IMAGES.tags,
        parameters=[*IMAGES.path],
        responses=openapi.responses(OrderedImagesSerializer, "All images, in order."),
    )
    def get(self, request: Request, **kwargs: Any) -> Response:
        """Return all images."""
        return Response(self._ordered())

    @extend_schema(
        operation_id="order_trade_item_images",
        summary="Put the images in order",
        description="Puts all images of a trade item in the given order; the first becomes the "
        "primary image. A list with missing, repeated or unknown ids is rejected.",
        tags=IMAGES.tags,
        parameters=[*IMAGES.path],
        request=ImageOrderSerializer,
        responses=openapi.written(
            200,
            OrderedImagesSerializer,
            "All images, in order.",
            "unsupported_media_type",
            "validation_error",
        ),
    )
    def put(self, request: Request, **kwargs: Any) -> Response:
        """Write the order."""
        product = self.product
        ids = values_of(ImageOrderSerializer(data=request.data))["ids"]

        def write() -> list[ProductImage]:
            if self.names_versions:
                editing.lock_images(product)
                self.check_version(self._ordered)
            return editing.put_in_order(product, ids)

        return Response({"data": self.shown_rows(run_with_retry(write))})

    def _ordered(self) -> dict[str, Any]:
        return {"data": self.shown_rows(list(self.rows()))}
