"""Images for tests, created here: valid, broken and hostile ones."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

from PIL import Image, ImageCms, PngImagePlugin

RED, GREEN, BLUE = (200, 30, 30), (30, 200, 30), (30, 30, 200)
SVG = (
    b'<?xml version="1.0"?><!-- a picture -->'
    b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
)
HTML = b"<html><script>alert(document.domain)</script></html>"
# The GPS location of Berlin, as a phone writes it into each photo.
PLACE = {1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 18.0)}
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description '
    b'exif:GPSLatitude="52,31.2N"/></x:xmpmeta>'
)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def halves(size: tuple[int, int] = (32, 16), left: Any = RED, right: Any = BLUE) -> Image.Image:
    """Return an image whose left and right halves differ."""
    image = Image.new("RGB", size, left)
    image.paste(right, (size[0] // 2, 0, *size))
    return image


def picture(kind: str = "PNG", size: tuple[int, int] = (32, 16), **options: Any) -> bytes:
    return encoded(halves(size), kind, **options)


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def color(image: Image.Image, place: tuple[int, int]) -> Any:
    return image.convert("RGB").getpixel(place)


def is_like(found: Any, wanted: Any) -> bool:
    """Return whether two colors look the same."""
    return all(abs(a - b) < 24 for a, b in zip(found, wanted, strict=True))


def photo_of_a_phone(kind: str = "JPEG", orientation: int = 6) -> bytes:
    """Return a rotated photo with a GPS location, a color profile and more metadata."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "Phone of Alice"
    exif.get_ifd(0x8825).update(PLACE)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    options: dict[str, Any] = {"exif": exif.tobytes(), "icc_profile": profile, "xmp": XMP}
    if kind == "JPEG":
        options["comment"] = b"taken by Alice"
    if kind == "PNG":
        options["pnginfo"] = texts = PngImagePlugin.PngInfo()
        texts.add_itxt("XML:com.adobe.xmp", XMP.decode())
        texts.add_text("Author", "Alice")
    return picture(kind, **options)


def png_of_one_color(width: int, height: int) -> bytes:
    """Return a PNG of one bit per pixel: 169 megapixels in 20 KB."""
    compressor = zlib.compressobj(9)
    row = bytes(1 + (width + 7) // 8)
    rows = b"".join(compressor.compress(row) for _ in range(height)) + compressor.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", rows) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_with_a_text_bomb() -> bytes:
    """Return a PNG with a comment that unpacks to 100 MB."""
    png = picture()
    text = b"Comment\0\0" + zlib.compress(bytes(100_000_000), 9)
    return png[:33] + _chunk(b"zTXt", text) + png[33:]


def jpeg_of_many_scans() -> bytes:
    """Return a progressive JPEG of 16 megapixels with a thousand copies of its last scan."""
    jpeg = encoded(Image.new("L", (4000, 4000), 128), "JPEG", progressive=True)
    last = jpeg.rindex(b"\xff\xda")
    return jpeg[:last] + jpeg[last:-2] * 1_000 + b"\xff\xd9"


def gif_that_is_html() -> bytes:
    """Return a GIF whose comment and tail are a page with a script."""
    return encoded(halves(), "GIF", comment=b"*/=1;" + HTML) + HTML


def moving(kind: str, frames: list[Image.Image], **options: Any) -> bytes:
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)


def gif_that_grows() -> bytes:
    """Return a GIF of 1 x 1 pixel whose second frame claims 65,535 x 65,535."""
    frames = [Image.new("RGB", (1, 1), shade) for shade in (RED, BLUE)]
    gif = bytearray(moving("GIF", frames, duration=100, disposal=2))
    second = gif.index(b"\x2c", gif.index(b"\x2c") + 10)
    gif[second + 5 : second + 9] = b"\xff\xff\xff\xff"
    return bytes(gif)
