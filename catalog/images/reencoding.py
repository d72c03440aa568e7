"""Validation and re-encoding of uploaded images.

A file is validated by its content alone: its kind by the first bytes, its size in pixels by the
header. What is stored is re-encoded from the decoded pixels, which drops everything else:
location, camera, comments, and a second file appended to the first.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import io
import secrets
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import IO, Any

from django.core.files.base import ContentFile
from PIL import Image, ImageCms, JpegImagePlugin, PngImagePlugin
from PIL.Image import Transpose

from catalog.images import heif_program

MAX_BYTES = 10_000_000
# Summed over all frames of an animation.
MAX_PIXELS = 25_000_000
MAX_FRAMES = 500
# Each scan of a progressive JPEG costs a pass over all pixels, but only a few bytes. Real
# files have about ten.
MAX_SCANS = 100
# The longer side of a thumbnail: twice the pixels of the largest place on a page, for sharp
# screens.
THUMBNAIL_PIXELS = 320
ACCEPTED = "JPEG, PNG, GIF, WebP, HEIC, AVIF or BMP"

# Turn Pillow's warning into an exception, for every frame and before memory is allocated.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
warnings.simplefilter("error", Image.DecompressionBombWarning)

# Decoded images are large, and some take seconds: this limits how many one process decodes at once.
# Others are rejected at once, because a waiting thread serves no other request.
_decoding_slots = threading.BoundedSemaphore(2)

# Brands of files in the container of MPEG-4 (ISO/IEC 23008-12, section 10; AVIF, section 6), and
# Pillow's name of their kind. A brand in front of others counts first.
_BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"), "HEIF"),
}
# Shown to people: HEIF is the container, HEIC what phones call it.
_SHOWN_NAMES = {"HEIF": "HEIC"}
# What becomes of a kind that few programs read.
_CONVERTED = ("HEIF", "AVIF")
_CONVERSION_SECONDS = 60
_JPEG_QUALITY = 92
_MAX_BRANDS_BYTES = 512
# The first bytes of a file, and Pillow's name of its kind.
_BEGINNINGS = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
)
# The transposition that turns an image upright, by its orientation (Exif 2.32, section 4.6.4.A).
_UPRIGHT = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
_SIDEWAYS = {
    *(Transpose.TRANSPOSE, Transpose.ROTATE_270, Transpose.TRANSVERSE, Transpose.ROTATE_90)
}
_ORIENTATION = 0x0112
# Pixel modes by the color space of a profile (ICC.1:2022, section 7.2.6).
_MODES_OF_PROFILE = {
    "RGB": ("RGB", "RGBA", "P"),
    "GRAY": ("L", "LA", "I;16", "1"),
    "CMYK": ("CMYK",),
}

# In bytes: gamma, primaries, rendering intent of sRGB, and code points of video (ITU-T H.273).
_SIZES_OF_COLOR_CHUNKS = {b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"cICP": 4}


class RejectReason(enum.StrEnum):
    """Why a file is rejected."""

    TOO_LARGE = "too_large"
    UNKNOWN_KIND = "unknown_kind"
    TOO_MANY_PIXELS = "too_many_pixels"
    DAMAGED = "damaged"


class InvalidImage(ValueError):
    """A file is rejected; the message is a sentence that says why and what to do."""

    def __init__(self, reason: RejectReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class DecoderBusy(Exception):
    """Too many uploads at once; the same file may be accepted a moment later."""


class Kind(enum.Enum):
    """A kind of stored file: Pillow's name, the ending of its name, and its media type."""

    JPEG = ("JPEG", ".jpg", "image/jpeg")
    PNG = ("PNG", ".png", "image/png")
    GIF = ("GIF", ".gif", "image/gif")
    WEBP = ("WEBP", ".webp", "image/webp")

    def __init__(self, pillow: str, suffix: str, media_type: str) -> None:
        self.pillow = pillow
        self.suffix = suffix
        self.media_type = media_type


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture as it is stored: the bytes of its file, and its size in pixels."""

    kind: Kind
    content: bytes
    width: int
    height: int

    def as_file(self) -> ContentFile[bytes]:
        """Return the file under a new, unguessable name with the suffix of its kind."""
        file = ContentFile(self.content, name=secrets.token_hex(16) + self.kind.suffix)
        # Storages that keep a media type read it from here.
        file.content_type = self.kind.media_type  # type: ignore[attr-defined]
        return file


@dataclasses.dataclass(frozen=True)
class Thumbnail:
    """A small copy of a picture, and the size of the original in pixels."""

    picture: Picture
    width: int
    height: int


@dataclasses.dataclass
class _Decoded:
    """The upright pixels of each frame, and what else is needed to display them."""

    frames: list[Image.Image]
    # Of the upright picture; a thumbnail's frame may have been decoded at a part of the size.
    width: int
    height: int
    # Milliseconds of each frame; how often the animation plays, 0 for endlessly, None for once.
    durations: list[int]
    loop: int | None
    profile: bytes | None
    as_before: dict[str, Any]


def read_picture(file: IO[bytes], size: int) -> Picture:
    """Validate an uploaded file of ``size`` bytes and return the picture to store.

    JPEG, PNG, GIF and WebP keep their kind, animations included; BMP becomes PNG. HEIC and AVIF
    become JPEG in the colors of sRGB, or WebP if they are transparent; of an animation the primary
    picture stays. The picture is turned upright, and otherwise keeps its color profile. A JPEG is
    encoded with its own quantization tables, so it loses almost nothing. Raises
    :class:`InvalidImage`, and :class:`DecoderBusy` if this process is already decoding the maximum
    number of pictures.
    """
    if size > MAX_BYTES:
        raise InvalidImage(
            RejectReason.TOO_LARGE,
            f"The file has {size:,} bytes; at most {MAX_BYTES:,} are allowed.",
        )
    file.seek(0)
    content = file.read()
    name = _kind_of(content)
    with _decoding_slot():
        decoded = _decode(content, name)
        kind = _stored_kind(name, decoded)
        encoded = _encode(decoded, kind)
    return Picture(kind, encoded, decoded.width, decoded.height)


def make_thumbnail(content: bytes) -> Thumbnail:
    """Return a small copy of the first frame of a file, upright and in the colors of sRGB.

    It fits into a square of ``THUMBNAIL_PIXELS`` and is a WebP, whatever the kind of the file.
    Raises as :func:`read_picture`, but a file may have any size in bytes: limit it before.
    """
    name = _kind_of(content)
    with _decoding_slot():
        decoded = _decode(content, name, is_for_thumbnail=True)
        small = _small(decoded)
        file = io.BytesIO()
        small.save(file, Kind.WEBP.pillow, quality=80, method=4)
        small.close()
    picture = Picture(Kind.WEBP, file.getvalue(), *small.size)
    return Thumbnail(picture, decoded.width, decoded.height)


def _small(decoded: _Decoded) -> Image.Image:
    """Return the first frame as a thumbnail of plain RGB or RGBA."""
    frame = in_rgb(decoded.frames[0])
    profile = decoded.profile
    frame.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS), Image.Resampling.LANCZOS)
    return in_srgb(frame, profile)


def in_rgb(image: Image.Image) -> Image.Image:
    """Return an image with eight bits for each channel, without a palette: L, CMYK, RGB or RGBA."""
    if image.mode.startswith("I;16"):
        # The more significant of the two bytes; Pillow's own conversion clips.
        is_big_endian = image.mode.endswith("B")
        high = image.tobytes()[0 if is_big_endian else 1 :: 2]
        return Image.frombytes("L", image.size, high)
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image.copy() if image.mode in ("L", "CMYK", "RGB") else image.convert("RGB")


def in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return an image of :func:`in_rgb` as RGB or RGBA, from its color profile to sRGB."""
    mode = "RGBA" if image.mode == "RGBA" else "RGB"
    if profile is not None:
        with contextlib.suppress(ImageCms.PyCMSError, ValueError):
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            target = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, source, target, outputMode=mode)
            if converted is not None:
                return converted
    return image if image.mode == mode else image.convert(mode)


@contextlib.contextmanager
def _decoding_slot() -> Iterator[None]:
    if not _decoding_slots.acquire(blocking=False):
        raise DecoderBusy
    try:
        yield
    finally:
        _decoding_slots.release()


def _kind_of(content: bytes) -> str:
    """Return Pillow's name of the kind of file, detected from its first bytes."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WEBP"
    if content[4:8] == b"ftyp":
        brands = content[8 : min(int.from_bytes(content[:4]), _MAX_BRANDS_BYTES)]
        for start in range(0, len(brands), 4):
            if name := _BRANDS.get(brands[start : start + 4]):
                return name
    for beginning, name in _BEGINNINGS:
        if content.startswith(beginning):
            return name
    if b"<svg" in content[:4096].lower():
        raise InvalidImage(
            RejectReason.UNKNOWN_KIND,
            f"The file is SVG, which can contain scripts: use a {ACCEPTED} image.",
        )
    raise InvalidImage(RejectReason.UNKNOWN_KIND, f"The file is not a {ACCEPTED} image.")


def _stored_kind(name: str, decoded: _Decoded) -> Kind:
    if name in _CONVERTED:
        return Kind.WEBP if decoded.frames[0].mode == "RGBA" else Kind.JPEG
    return Kind.PNG if name == "BMP" else Kind[name]


def _decode(content: bytes, name: str, *, is_for_thumbnail: bool = False) -> _Decoded:
    if name in _CONVERTED:
        decoded = _decode(_converted(content, name), "PNG", is_for_thumbnail=is_for_thumbnail)
        decoded.frames = [in_srgb(in_rgb(decoded.frames[0]), decoded.profile)]
        decoded.profile = None
        decoded.as_before = {"quality": _JPEG_QUALITY}
        return decoded
    if name == "JPEG" and content.count(b"\xff\xda") > MAX_SCANS:
        raise InvalidImage(
            RejectReason.DAMAGED,
            f"The JPEG has more than {MAX_SCANS} scans: save the picture again.",
        )
    try:
        with Image.open(io.BytesIO(content), formats=[name]) as picture:
            return _read(picture, name, content, is_for_thumbnail=is_for_thumbnail)
    except InvalidImage:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_many_pixels() from None
    # Pillow's decoders raise many kinds of exceptions for damaged files.
    except Exception:
        raise _damaged(name) from None


def _converted(content: bytes, name: str) -> bytes:
    """Return a HEIC or AVIF as a PNG, upright and with its color profile."""
    # -I: nothing of the environment or of the folder of the program.
    command = [sys.executable, "-I", heif_program.__file__, name, str(MAX_PIXELS)]
    try:
        done = subprocess.run(  # noqa: S603
            command,
            input=content,
            capture_output=True,
            check=False,
            # Without the service's secrets.
            env={},
            timeout=_CONVERSION_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise _damaged(name) from None
    if done.returncode == heif_program.TOO_MANY_PIXELS:
        raise _too_many_pixels()
    if done.returncode:
        raise _damaged(name)
    return done.stdout


def _damaged(name: str) -> InvalidImage:
    return InvalidImage(
        RejectReason.DAMAGED,
        f"The file begins like {_SHOWN_NAMES.get(name, name)} and is damaged or incomplete: upload "
        "it again, or save the picture again.",
    )


def _too_many_pixels() -> InvalidImage:
    return InvalidImage(
        RejectReason.TOO_MANY_PIXELS,
        f"The picture has more than {MAX_PIXELS:,} pixels, all frames together: make it smaller.",
    )


def _read(picture: Any, name: str, content: bytes, *, is_for_thumbnail: bool) -> _Decoded:
    width, height = picture.size
    if is_for_thumbnail and name == "JPEG":
        # A JPEG can be decoded at a part of its size, in a fraction of the time.
        picture.draft(None, (2 * THUMBNAIL_PIXELS, 2 * THUMBNAIL_PIXELS))
    frames: list[Image.Image] = []
    durations = []
    pixels = 0
    while True:
        pixels += picture.width * picture.height
        if pixels > MAX_PIXELS:
            raise _too_many_pixels()
        if len(frames) == MAX_FRAMES:
            raise InvalidImage(
                RejectReason.TOO_MANY_PIXELS,
                f"The picture has more than {MAX_FRAMES} frames: leave some out.",
            )
        frames.append(picture.copy())
        durations.append(int(picture.info.get("duration") or 0))
        # Further pictures in a JPEG are for the camera.
        if name == "JPEG" or is_for_thumbnail:
            break
        try:
            picture.seek(len(frames))
        except EOFError:
            break
    if getattr(picture, "default_image", False) and len(frames) > 1:
        # The first picture of such a PNG is for viewers without support for animations.
        del frames[0], durations[0]
    loop = picture.info.get("loop")
    profile = _profile(picture)
    upright = _UPRIGHT.get(_orientation(picture))
    if upright is not None:
        frames = [frame.transpose(upright) for frame in frames]
        if upright in _SIDEWAYS:
            width, height = height, width
    as_before = _as_before(picture, name, content)
    return _Decoded(frames, width, height, durations, loop, profile, as_before)


def _orientation(picture: Any) -> int:
    try:
        return int(picture.getexif().get(_ORIENTATION, 1))
    # Without readable metadata the picture is not turned.
    except Exception:
        return 1


def _profile(picture: Any) -> bytes | None:
    """Return the color profile, re-encoded, if it is readable and fits the pixels."""
    raw = picture.info.get("icc_profile")
    if not raw:
        return None
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(raw))
        fitting = _MODES_OF_PROFILE.get(opened.profile.xcolor_space.strip(), ())
        return opened.tobytes() if picture.mode in fitting else None
    # Viewers ignore an unreadable profile, so the colors do not change.
    except Exception:
        return None


def _as_before(picture: Any, name: str, content: bytes) -> dict[str, Any]:
    """Return the options that encode a picture the way the upload was encoded."""
    if name == "JPEG":
        sampling = JpegImagePlugin.get_sampling(picture)
        return {
            "qtables": picture.quantization,
            "subsampling": sampling if sampling in (0, 1, 2) else 0,
            "progressive": "progressive" in picture.info,
        }
    if name == "WEBP":
        # The chunk of lossless pixels. A match elsewhere makes the file larger, but not worse.
        return {"lossless": b"VP8L" in content, "quality": 90, "method": 2}
    if name == "PNG":
        return {"pnginfo": _colors_of_png(content)}
    return {}


def _colors_of_png(content: bytes) -> PngImagePlugin.PngInfo:
    """Return the color space chunks of a PNG (PNG, third edition, section 11.3.2).

    The color profile is not among them: it is kept separately, as for every kind. Chunks of a
    wrong size are left out, since browsers ignore them.
    """
    kept = PngImagePlugin.PngInfo()
    offset = 8
    while offset + 12 <= len(content):
        size = int.from_bytes(content[offset : offset + 4])
        kind = content[offset + 4 : offset + 8]
        if kind in (b"PLTE", b"IDAT"):
            break
        end = offset + 8 + size
        if size == _SIZES_OF_COLOR_CHUNKS.get(kind):
            kept.add(kind, content[offset + 8 : end])
        offset = end + 4
    return kept


def _encode(decoded: _Decoded, kind: Kind) -> bytes:
    first, *others = frames = _plain(decoded.frames, kind)
    options = dict(decoded.as_before)
    if decoded.profile:
        options["icc_profile"] = decoded.profile
    if others:
        options |= {"save_all": True, "append_images": others, "duration": decoded.durations}
        if decoded.loop is not None:
            options["loop"] = decoded.loop
        if kind is Kind.GIF and first.mode == "RGBA":
            # Every frame is complete: clear the previous one, so that it does not show through.
            options["disposal"] = 2
    file = io.BytesIO()
    first.save(file, kind.pillow, **options)
    for frame in frames:
        frame.close()
    return file.getvalue()


def _plain(frames: list[Image.Image], kind: Kind) -> list[Image.Image]:
    """Return the frames in a mode that the kind of file supports, without other metadata."""
    if len(frames) > 1:
        mode = "RGBA" if any(frame.has_transparency_data for frame in frames) else "RGB"
        frames = [frame.convert(mode) for frame in frames]
        size = frames[0].size
        frames = [frame if frame.size == size else frame.crop((0, 0, *size)) for frame in frames]
    for frame in frames:
        transparency = frame.info.get("transparency")
        frame.info = {} if transparency is None else {"transparency": transparency}
    return frames
