"""Uploaded images: stored unchanged, encoded again, or rejected."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image, ImageOps

from catalog.images.reencoding import (
    MAX_BYTES,
    MAX_FRAMES,
    InvalidImage,
    Kind,
    Picture,
    RejectReason,
    read_picture,
)
from tests import pictures
from tests.pictures import BLUE, GREEN, RED, color, encoded, halves, is_like, moving, opened

PIXELS = "The picture has more than 25,000,000 pixels, all frames together: make it smaller."


def read(content: bytes) -> Picture:
    return read_picture(io.BytesIO(content), len(content))


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("JPEG", Kind.JPEG),
        ("PNG", Kind.PNG),
        ("GIF", Kind.GIF),
        ("WEBP", Kind.WEBP),
        ("BMP", Kind.PNG),
    ],
)
def test_image_keeps_its_format(given: str, stored: Kind) -> None:
    kept = read(pictures.picture(given))
    image = opened(kept.content)
    assert (kept.kind, kept.width, kept.height) == (stored, 32, 16)
    assert (image.format, image.size, getattr(image, "n_frames", 1)) == (stored.name, (32, 16), 1)
    assert is_like(color(image, (4, 8)), RED)
    assert is_like(color(image, (28, 8)), BLUE)


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        *[(mode, "PNG") for mode in ("1", "L", "LA", "P", "I;16", "RGB", "RGBA")],
        *[(mode, "JPEG") for mode in ("L", "RGB", "CMYK")],
        *[(mode, "WEBP") for mode in ("RGB", "RGBA")],
        *[(mode, "GIF") for mode in ("L", "P")],
        *[(mode, "BMP") for mode in ("1", "L", "P", "RGB", "RGBA")],
    ],
)
def test_image_keeps_its_pixels_in_every_mode(mode: str, kind: str) -> None:
    flat = mode == "I;16"
    source = Image.new(mode, (4, 4), 12_345) if flat else halves((8, 8)).convert(mode)
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    if kind == "JPEG":
        options = {"quality": 95}
    content = encoded(source, kind, **options)
    before, after = opened(content), opened(read(content).content)
    before.load()
    assert after.mode == before.mode
    left, right = ((place, before.height // 2) for place in (0, before.width - 1))
    for place in (left, right):
        assert before.getpixel(place) == pytest.approx(after.getpixel(place), abs=3)


def test_transparent_pixels_stay_transparent() -> None:
    source = Image.new("RGBA", (8, 8), (*RED, 0))
    source.paste((*BLUE, 255), (4, 0, 8, 8))
    for kind in ("PNG", "WEBP", "GIF"):
        image = opened(read(encoded(source, kind)).content).convert("RGBA")
        assert image.getpixel((1, 1))[3] == 0, kind
        assert image.getpixel((6, 1))[3] == 255, kind


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_photo_is_rotated_and_loses_its_location(kind: str) -> None:
    given = pictures.photo_of_a_phone(kind)
    for metadata in (b"Phone of Alice", b"GPSLatitude"):
        assert metadata in given
    kept = read(given)
    image = opened(kept.content)
    image.load()
    assert (kept.width, kept.height) == image.size == (16, 32)
    # The rotation was applied to the pixels.
    assert is_like(color(image, (8, 4)), RED)
    assert is_like(color(image, (8, 28)), BLUE)
    assert dict(image.getexif()) == {}
    for metadata in (b"Phone", b"Alice", b"GPS", b"xmpmeta", b"Exif"):
        assert metadata not in kept.content
    assert image.info["icc_profile"][36:40] == b"acsp"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_applied(orientation: int) -> None:
    given = pictures.photo_of_a_phone("PNG", orientation)
    upright = ImageOps.exif_transpose(opened(given))
    kept = opened(read(given).content)
    assert kept.size == upright.size
    assert kept.tobytes() == upright.tobytes()


def test_invalid_profile_is_removed() -> None:
    given = pictures.picture("PNG", icc_profile=pictures.HTML * 10)
    assert "icc_profile" not in opened(read(given).content).info


def test_profile_of_another_color_space_is_removed() -> None:
    profile = opened(pictures.photo_of_a_phone("PNG")).info["icc_profile"]
    given = encoded(Image.new("L", (4, 4)), "PNG", icc_profile=profile)
    assert "icc_profile" not in opened(read(given).content).info


def test_repeated_uploads_of_a_jpeg_keep_its_quality() -> None:
    given = encoded(Image.effect_noise((256, 256), 60), "JPEG", quality=55)
    content = given
    for _ in range(5):
        content = read(content).content
    assert opened(content).quantization == opened(given).quantization
    assert abs(len(content) - len(given)) < len(given) / 20
    before, after = opened(given).tobytes(), opened(content).tobytes()
    differences = [abs(a - b) for a, b in zip(before, after, strict=True)]
    assert sum(differences) / len(differences) < 1


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_animation_keeps_its_frames(kind: str) -> None:
    frames = [halves(left=shade) for shade in (RED, GREEN, BLUE)]
    options: dict[str, Any] = {"duration": [100, 200, 300], "loop": 3}
    if kind == "WEBP":
        options["lossless"] = True
    image: Any = opened(read(moving(kind, frames, **options)).content)
    assert image.n_frames == 3
    durations = []
    for number, shade in enumerate((RED, GREEN, BLUE)):
        image.seek(number)
        image.load()
        durations.append(image.info["duration"])
        assert is_like(color(image, (4, 8)), shade)
    assert durations == [100, 200, 300]
    assert image.info["loop"] == 3


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_animation_clears_each_frame_before_the_next(kind: str) -> None:
    frames = []
    for left in (0, 8):
        frame = Image.new("RGBA", (16, 8), (0, 0, 0, 0))
        frame.paste((*RED, 255), (left, 0, left + 8, 8))
        frames.append(frame)
    given = moving(kind, frames, duration=100, disposal=1 if kind == "PNG" else 2)
    before: Any
    after: Any
    before, after = opened(given), opened(read(given).content)
    for number in range(2):
        before.seek(number)
        after.seek(number)
        for place in ((2, 2), (12, 2)):
            shown = [image.convert("RGBA").getpixel(place)[3] for image in (before, after)]
            assert shown[0] == shown[1], (number, place)


def test_default_image_of_an_animated_png_is_not_a_frame() -> None:
    frames = [halves(left=shade) for shade in (GREEN, RED, BLUE)]
    image: Any = opened(read(moving("PNG", frames, duration=100, default_image=True)).content)
    assert image.n_frames == 2
    assert is_like(color(image, (4, 8)), RED)


def test_second_image_of_a_camera_is_removed() -> None:
    frames = [halves(left=RED), halves(left=GREEN)]
    given = moving("MPO", frames)
    assert opened(given).format == "MPO"
    kept = read(given)
    assert opened(kept.content).format == "JPEG"
    assert is_like(color(opened(kept.content), (4, 8)), RED)


def test_gif_that_contains_html_is_stored_as_a_plain_gif() -> None:
    given = pictures.gif_that_is_html()
    assert given.count(b"<script>") == 2
    kept = read(given)
    assert opened(kept.content).format == "GIF"
    assert b"script" not in kept.content


@pytest.mark.parametrize(
    ("content", "reason", "message"),
    [
        (
            bytes(MAX_BYTES + 1),
            RejectReason.TOO_LARGE,
            "The file has 10,000,001 bytes; at most 10,000,000",
        ),
        (
            b"",
            RejectReason.UNKNOWN_KIND,
            "The file is not a JPEG, PNG, GIF, WebP, HEIC, AVIF or BMP image.",
        ),
        (pictures.HTML, RejectReason.UNKNOWN_KIND, "The file is not a JPEG"),
        (
            pictures.SVG,
            RejectReason.UNKNOWN_KIND,
            "The file is SVG, which can contain scripts: use",
        ),
        (pictures.picture("TIFF"), RejectReason.UNKNOWN_KIND, "The file is not a JPEG"),
        (
            b"GIF89a" + pictures.HTML,
            RejectReason.DAMAGED,
            "The file begins like GIF and is damaged",
        ),
        (
            pictures.picture("JPEG")[:300],
            RejectReason.DAMAGED,
            "The file begins like JPEG and is damaged",
        ),
        (
            pictures.picture("JPEG")[:-40],
            RejectReason.DAMAGED,
            "The file begins like JPEG and is damaged",
        ),
        (
            pictures.picture("PNG")[:60],
            RejectReason.DAMAGED,
            "The file begins like PNG and is damaged",
        ),
        (
            pictures.picture("WEBP")[:-9],
            RejectReason.DAMAGED,
            "The file begins like WEBP and is damaged",
        ),
        (
            pictures.picture("BMP")[:100],
            RejectReason.DAMAGED,
            "The file begins like BMP and is damaged",
        ),
        (lambda: pictures.png_of_one_color(13_000, 13_000), RejectReason.TOO_MANY_PIXELS, PIXELS),
        (lambda: pictures.png_of_one_color(5_001, 5_000), RejectReason.TOO_MANY_PIXELS, PIXELS),
        (pictures.gif_that_grows, RejectReason.TOO_MANY_PIXELS, PIXELS),
        (
            lambda: moving(
                "WEBP", [Image.new("RGB", (3_000, 3_000), shade) for shade in (RED, BLUE, 0)]
            ),
            RejectReason.TOO_MANY_PIXELS,
            PIXELS,
        ),
        (
            lambda: moving(
                "GIF", [Image.new("RGB", (2, 2), (RED, BLUE)[n % 2]) for n in range(MAX_FRAMES + 1)]
            ),
            RejectReason.TOO_MANY_PIXELS,
            "The picture has more than 500 frames: leave some out.",
        ),
        (
            pictures.png_with_a_text_bomb,
            RejectReason.DAMAGED,
            "The file begins like PNG and is damaged",
        ),
        (pictures.jpeg_of_many_scans, RejectReason.DAMAGED, "The JPEG has more than 100 scans"),
    ],
    ids=[
        "bytes",
        "empty",
        "html",
        "svg",
        "tiff",
        "gif of html",
        "jpeg header",
        "jpeg cut",
        "png cut",
        "webp cut",
        "bmp cut",
        "169 megapixels",
        "just above",
        "gif that grows",
        "frames together",
        "many frames",
        "text bomb",
        "scans",
    ],
)
def test_invalid_image_is_rejected_with_a_reason(
    content: bytes | Callable[[], bytes], reason: RejectReason, message: str
) -> None:
    content = content if isinstance(content, bytes) else content()
    with pytest.raises(InvalidImage) as refusal:
        read(content)
    assert refusal.value.reason is reason
    assert str(refusal.value).startswith(message)


def test_image_of_maximum_size_is_accepted() -> None:
    kept = read(pictures.png_of_one_color(5_000, 5_000))
    assert (kept.width, kept.height) == (5_000, 5_000)


def test_truncated_image_is_rejected() -> None:
    """Every prefix of a file is rejected or is a complete image; nothing crashes."""
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "BMP"):
        whole = (
            pictures.photo_of_a_phone(kind) if kind in ("JPEG", "PNG") else pictures.picture(kind)
        )
        for length in range(0, len(whole), 7):
            try:
                kept = read(whole[:length])
            except InvalidImage:
                continue
            assert (kept.width, kept.height) in {(32, 16), (16, 32)}


def test_stored_file_has_a_random_name_and_the_suffix_of_its_content() -> None:
    kept = read(pictures.picture("PNG"))
    names = {kept.as_file().name for _ in range(3)}
    assert len(names) == 3
    assert all(name is not None and len(name) == 36 and name.endswith(".png") for name in names)
