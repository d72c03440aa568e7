"""Serializers of images."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from catalog.images.reencoding import ACCEPTED, MAX_BYTES, MAX_PIXELS, THUMBNAIL_PIXELS
from catalog.models import ProductImage
from closient.db.ids import parse_id
from closient.http import openapi
from closient.http.fields import IdField, TextField
from closient.http.serializers import StrictFields

IMAGE_ID = openapi.id_parameter("image_id", "the image")
TITLE_LENGTH = 255


class ImageUrlField(serializers.URLField):
    """The URL of the stored file, or the external URL."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(source="*", read_only=True, **kwargs)

    def to_representation(self, value: Any) -> str:
        """Return an absolute URL. Needs the request in the serializer's context."""
        image: ProductImage = value
        address: str = self.context["request"].build_absolute_uri(image.original_url)
        return image.external_url or address


class ThumbnailUrlField(serializers.URLField):
    """The URL of the thumbnail, ``None`` without one."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(read_only=True, allow_null=True, **kwargs)

    def to_representation(self, value: Any) -> str | None:  # type: ignore[override]
        """Return an absolute URL. Needs the request in the serializer's context."""
        if not value:
            return None
        address: str = self.context["request"].build_absolute_uri(value.url)
        return address


class ImageSerializer(serializers.Serializer[ProductImage]):
    """An image of a trade item."""

    id = IdField(help_text="Id of the image.")
    title = serializers.CharField(
        read_only=True, help_text="What the image shows; may be empty.", style={"example": "Front"}
    )
    is_primary = serializers.BooleanField(
        read_only=True,
        help_text="Whether it is the primary image; each trade item has exactly one.",
        style={"example": True},
    )
    priority = serializers.IntegerField(
        read_only=True,
        help_text="Position among the images that are not primary: smaller first, then newer.",
        style={"example": 0},
    )
    created = serializers.DateTimeField(
        source="created_at",
        read_only=True,
        help_text="When it was added, in UTC.",
        style={"example": "2026-11-24T09:30:00.000000Z"},
    )
    image_url = ImageUrlField(
        help_text="URL of the picture: a file of this service, or the location of an imported "
        "image.",
        style={
            "example": "https://dashboard.example.com/media/products/2026/11/"
            "9f86d081884c7d659a2feaa0c55ad015.jpg"
        },
    )
    width = serializers.IntegerField(
        read_only=True,
        min_value=1,
        allow_null=True,
        help_text="Width of the original in pixels; null until an image on another server was "
        "fetched.",
        style={"example": 1200},
    )
    height = serializers.IntegerField(
        read_only=True,
        min_value=1,
        allow_null=True,
        help_text="Height of the original in pixels; null until an image on another server was "
        "fetched.",
        style={"example": 800},
    )
    file_size = serializers.IntegerField(
        read_only=True,
        min_value=1,
        allow_null=True,
        help_text="Bytes of the original; null until it was measured.",
        style={"example": 182044},
    )
    thumbnail_url = ThumbnailUrlField(
        source="thumbnail",
        help_text="URL of a small copy on this service: a WebP of at most "
        f"{THUMBNAIL_PIXELS} x {THUMBNAIL_PIXELS} pixels; null until it was made.",
        style={
            "example": "https://dashboard.example.com/media/products/2026/11/"
            "6b86b273ff34fce19d6b804eff5a3f57.webp"
        },
    )
    thumbnail_problem = serializers.CharField(
        read_only=True,
        help_text="Why there is no thumbnail yet, after an attempt has failed; otherwise empty.",
        style={"example": ""},
    )


# What the worker writes. It is no part of the version that If-Match compares.
WRITTEN_BY_WORKER = frozenset(
    {"width", "height", "file_size", "thumbnail_url", "thumbnail_problem"}
)


def _title() -> TextField:
    return TextField(
        max_length=TITLE_LENGTH,
        required=False,
        allow_blank=True,
        help_text=f"What the image shows, in at most {TITLE_LENGTH} characters.",
        style={"example": "Front"},
    )


class NewImageSerializer(StrictFields, serializers.Serializer[Any]):
    """A form with a picture."""

    ignored_fields = tuple(ImageSerializer().fields)

    image = serializers.FileField(
        help_text=f"The file: {ACCEPTED}, at most {MAX_BYTES:,} bytes and {MAX_PIXELS:,} pixels. "
        "The content determines the format, not the file name.",
        style={"example": "(the bytes of front.jpg)"},
    )
    title = _title()
    is_primary = serializers.BooleanField(
        required=False,
        help_text="Whether it becomes the primary image; the first image always does.",
        style={"example": False},
    )


class ImageChangeSerializer(StrictFields, serializers.Serializer[Any]):
    """The changeable fields of an image; its other fields are ignored in request bodies."""

    ignored_fields = tuple(ImageSerializer().fields)

    title = _title()
    is_primary = serializers.BooleanField(
        required=False,
        help_text="true makes it the primary image instead of the current one.",
        style={"example": True},
    )


@extend_schema_field(openapi.ORGANIZATION_ID.type)
class ImageIdField(serializers.Field[UUID, Any, str, Any]):
    """The id of an image in a body."""

    default_error_messages = {
        "invalid": "Must be an id: a shortuuid of 22 characters or a UUID with hyphens."
    }

    def to_internal_value(self, data: Any) -> UUID:
        """Return the key."""
        try:
            return parse_id(data)
        except (ValueError, TypeError):
            self.fail("invalid")


class ImageOrderSerializer(StrictFields, serializers.Serializer[Any]):
    """All images of a trade item in the new order."""

    ids = serializers.ListField(
        child=ImageIdField(),
        help_text="The ids of all images of the trade item, each once. The first one becomes the "
        "primary image.",
        style={"example": ["KwSysDpxcBU9FNhGkn2dCf", "3mJr7AoUXx2Wqd4fEr8bGh"]},
    )


class OrderedImagesSerializer(serializers.Serializer[Any]):
    """All images of a trade item, in order."""

    data = ImageSerializer(  # type: ignore[assignment]
        many=True, help_text="The images, in their new order."
    )
