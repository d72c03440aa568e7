"""Uploads of HEIC and AVIF: stored as JPEG or WebP, upright and in the colors of sRGB."""

from __future__ import annotations

import io
import struct
from typing import Any

import pillow_heif
import pytest
from PIL import Image

from catalog.images.reencoding import (
    InvalidImage,
    Kind,
    Picture,
    RejectReason,
    make_thumbnail,
    read_picture,
)
from tests.pictures import BLUE, GREEN, RED, color, encoded, halves, is_like, opened
from tests.test_thumbnails import swapped_profile

KINDS = ("HEIF", "AVIF")


def file_of(kind: str, image: Image.Image, **options: Any) -> bytes:
    """Return an image as HEIC or AVIF."""
    if kind == "AVIF":
        return encoded(image, kind, quality=90, **options)
    file = io.BytesIO()
    pillow_heif.from_pillow(image).save(file, quality=90, **options)
    return file.getvalue()


def read(content: bytes) -> Picture:
    return read_picture(io.BytesIO(content), len(content))


@pytest.mark.parametrize("kind", KINDS)
def test_photo_becomes_a_jpeg_in_srgb(kind: str) -> None:
    source = halves((128, 64), RED, GREEN)
    exif = Image.Exif()
    exif[0x010F] = "Phone of Alice"
    exif[0x0112] = 6
    profile = swapped_profile()
    if kind == "HEIF":
        source.info["icc_profile"] = profile
    options = {} if kind == "HEIF" else {"icc_profile": profile}
    kept = read(file_of(kind, source, exif=exif.tobytes(), **options))
    image = opened(kept.content)
    # A quarter turn to the right: what was left is at the top now; the profile swaps the colors.
    assert (kept.kind, kept.width, kept.height) == (Kind.JPEG, 64, 128)
    assert (image.format, image.size, "icc_profile" in image.info) == ("JPEG", (64, 128), False)
    assert is_like(color(image, (32, 10)), GREEN)
    assert is_like(color(image, (32, 118)), RED)
    assert not image.getexif()
    assert b"Alice" not in kept.content


@pytest.mark.parametrize("kind", KINDS)
def test_transparent_picture_becomes_webp(kind: str) -> None:
    source = Image.new("RGBA", (64, 64), (*RED, 0))
    source.paste((*BLUE, 255), (32, 0, 64, 64))
    content = file_of(kind, source)
    kept = read(content)
    image = opened(kept.content).convert("RGBA")
    assert kept.kind is Kind.WEBP
    assert image.getpixel((4, 32))[3] < 10  # type: ignore[index]
    assert is_like(color(image, (60, 32)), BLUE)
    assert make_thumbnail(content).picture.width == 64


def test_kind_is_found_among_several_brands() -> None:
    content = file_of("HEIF", halves((64, 64)))
    size = int.from_bytes(content[:4])
    brands = b"mif1" + content[12:size]
    assert read(content[:8] + brands + content[size:]).kind is Kind.JPEG
    # A film has the same container.
    film = struct.pack(">I", 20) + b"ftypisom" + bytes(4) + b"mp41" + bytes(100)
    with pytest.raises(InvalidImage) as rejected:
        read(film)
    assert rejected.value.reason is RejectReason.UNKNOWN_KIND


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_and_huge_files_are_refused(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = file_of(kind, halves((256, 256)))
    shown = {"HEIF": "HEIC"}.get(kind, kind)
    for damaged in (content[: len(content) // 2], content[:32] + bytes(2_000)):
        with pytest.raises(InvalidImage, match=f"begins like {shown} and is damaged") as rejected:
            read(damaged)
        assert rejected.value.reason is RejectReason.DAMAGED
    monkeypatch.setattr("catalog.images.reencoding.MAX_PIXELS", 256 * 255)
    with pytest.raises(InvalidImage) as rejected:
        read(content)
    assert rejected.value.reason is RejectReason.TOO_MANY_PIXELS


@pytest.mark.slow
def test_picture_beyond_the_limit_of_the_library_has_too_many_pixels() -> None:
    # More than twice Pillow's own limit, for which it raises an error.
    huge = file_of("AVIF", Image.new("L", (14_000, 13_000)), speed=10)
    with pytest.raises(InvalidImage) as rejected:
        read(huge)
    assert rejected.value.reason is RejectReason.TOO_MANY_PIXELS
