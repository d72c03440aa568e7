"""Uploaded images look the same in a browser as before."""

from __future__ import annotations

import base64
import io
import struct
from typing import Any

import pytest
from PIL import Image, ImageCms, PngImagePlugin
from playwright.sync_api import Browser

from catalog.images.reencoding import read_picture
from tests.pictures import encoded, halves, opened

# Chromaticities in hundred-thousandths: white, red, green and blue, of Adobe RGB.
ADOBE = struct.pack(">8I", 31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000)
CHUNKS: dict[str, list[tuple[bytes, bytes]]] = {
    "linear": [(b"gAMA", struct.pack(">I", 100_000))],
    "old Macintosh": [(b"gAMA", struct.pack(">I", 55_556))],
    "primaries": [(b"gAMA", struct.pack(">I", 45_455)), (b"cHRM", ADOBE)],
    "sRGB": [(b"sRGB", b"\x00"), (b"gAMA", struct.pack(">I", 45_455))],
    # Display P3 with the transfer function of sRGB, full range.
    "code points": [(b"cICP", bytes([12, 13, 0, 1]))],
}
# Draws an image as a page does, and reads its pixels.
READ_PIXELS_SCRIPT = """async (content) => {
  const image = new Image();
  image.src = content;
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = image.width;
  canvas.height = image.height;
  const context = canvas.getContext("2d", {colorSpace: "srgb"});
  context.drawImage(image, 0, 0);
  return Array.from(context.getImageData(0, 0, image.width, image.height).data);
}"""


def pixels() -> Image.Image:
    """Return an image of many colors."""
    image = Image.new("RGB", (16, 16))
    image.putdata([(x * 17, y * 17, (x * y) % 256) for y in range(16) for x in range(16)])
    return image


def png_with(chunks: list[tuple[bytes, bytes]], image: Image.Image | None = None) -> bytes:
    info = PngImagePlugin.PngInfo()
    for kind, data in chunks:
        info.add(kind, data)
    return encoded(image or pixels(), "PNG", pnginfo=info)


def chunks_of(content: bytes) -> list[tuple[bytes, bytes]]:
    found, place = [], 8
    while place < len(content):
        size = int.from_bytes(content[place : place + 4])
        found.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + size]))
        place += size + 12
    return found


def stored(content: bytes) -> bytes:
    return read_picture(io.BytesIO(content), len(content)).content


def difference(one: list[int], other: list[int]) -> int:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


@pytest.fixture(scope="module")
def shown(chromium: Browser) -> Any:
    """Return the pixels that Chromium shows of an image."""
    context = chromium.new_context()
    page = context.new_page()

    def pixels_of(content: bytes, media_type: str) -> list[int]:
        encoded_content = base64.b64encode(content).decode()
        values: list[int] = page.evaluate(
            READ_PIXELS_SCRIPT, f"data:{media_type};base64,{encoded_content}"
        )
        return values

    yield pixels_of
    context.close()


@pytest.mark.parametrize("name", CHUNKS)
def test_png_keeps_its_color_chunks(name: str, shown: Any) -> None:
    content = png_with(CHUNKS[name])
    kept = stored(content)
    before = shown(content, "image/png")
    assert shown(kept, "image/png") == before
    # The chunks make a difference, except those that state the defaults.
    assert (before == shown(encoded(pixels(), "PNG"), "image/png")) == (name == "sRGB")
    assert [chunk for chunk in chunks_of(kept) if chunk in CHUNKS[name]] == CHUNKS[name]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16"])
def test_png_of_every_mode_keeps_its_gamma(mode: str, shown: Any) -> None:
    source = Image.new(mode, (4, 4), 12_345) if mode == "I;16" else halves((8, 8)).convert(mode)
    content = png_with(CHUNKS["linear"], source)
    assert shown(stored(content), "image/png") == shown(content, "image/png")


def test_animated_png_keeps_its_gamma() -> None:
    info = PngImagePlugin.PngInfo()
    info.add(*CHUNKS["linear"][0])
    frames = [halves(), halves().transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    content = encoded(frames[0], "PNG", save_all=True, append_images=frames[1:], pnginfo=info)
    kept = stored(content)
    assert CHUNKS["linear"][0] in chunks_of(kept)
    assert opened(kept).n_frames == 2  # type: ignore[attr-defined]


def test_chunks_that_browsers_ignore_are_removed() -> None:
    content = png_with(CHUNKS["linear"])
    place = content.index(b"gAMA") - 4
    rest = content[:place] + content[place + 16 :]
    end = rest.rindex(b"IEND") - 4
    after_the_pixels = rest[:end] + content[place : place + 16] + rest[end:]
    for wrong in (after_the_pixels, png_with([(b"gAMA", b"\x00" * 5)])):
        assert b"gAMA" in wrong
        assert b"gAMA" not in stored(wrong)


# Chromium ignores the orientation of a WebP.
@pytest.mark.parametrize(
    ("kind", "orientation"),
    [*((kind, n) for kind in ("JPEG", "PNG") for n in (1, 6, 8)), ("WEBP", 1)],
)
def test_profile_and_orientation_keep_the_appearance(
    kind: str, orientation: int, shown: Any
) -> None:
    # A profile whose colors differ from sRGB: red and blue are swapped.
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    table = {bytes(profile[place : place + 4]): place for place in range(132, 132 + 12 * 20, 12)}
    red, blue = table[b"rXYZ"], table[b"bXYZ"]
    profile[red + 4 : red + 12], profile[blue + 4 : blue + 12] = (
        profile[blue + 4 : blue + 12],
        profile[red + 4 : red + 12],
    )
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, Any] = {"icc_profile": bytes(profile), "exif": exif}
    if kind == "JPEG":
        options |= {"quality": 95, "subsampling": 0}
    if kind == "WEBP":
        options["lossless"] = True
    source = halves((32, 16))
    content = encoded(source, kind, **options)
    plain = encoded(source, kind, **{**options, "icc_profile": None})
    media_type = f"image/{kind.lower()}"
    before, after = shown(content, media_type), shown(stored(content), media_type)
    assert len(after) == len(before)
    # Encoding a JPEG again moves a value by very little.
    assert max(abs(a - b) for a, b in zip(before, after, strict=True)) <= (
        3 if kind == "JPEG" else 0
    )
    assert max(abs(a - b) for a, b in zip(before, shown(plain, media_type), strict=True)) > 30
