"""Pictures of the demo's products: drawings of packages with the name of the product."""

from __future__ import annotations

import colorsys
import functools
import io
import zlib
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from catalog.images.reencoding import Kind, Picture, Thumbnail, make_thumbnail
from catalog.images.storage import store
from dashboard.demo.rows import Entry, ImageRow
from dashboard.demo.vocabulary import Package

# Pixels: most pictures are large enough for every channel, one in six is not.
SIDE = 1000
SMALL_SIDE = 400
SMALL_ONE_IN = 6
_WHITE = (255, 255, 255)


class Drawing(NamedTuple):
    """A picture and its thumbnail."""

    picture: Picture
    thumbnail: Thumbnail


class DemoPictures:
    """Stores a picture for each image of the demo catalog."""

    def add_to(self, entry: Entry) -> Entry:
        """Return an entry whose images have stored files, which this writes."""
        side = SMALL_SIDE if int(entry.product.gtin[:-1]) % SMALL_ONE_IN == 0 else SIDE
        drawing = draw(entry.package, entry.item, side)
        return entry._replace(images=[_with_file(image, drawing) for image in entry.images])


def _with_file(image: ImageRow, drawing: Drawing) -> ImageRow:
    picture, thumbnail = drawing
    return image._replace(
        external_url="",
        image=store(picture),
        width=picture.width,
        height=picture.height,
        file_size=len(picture.content),
        thumbnail=store(thumbnail.picture),
    )


@functools.cache
def draw(package: Package, item: str, side: int) -> Drawing:
    """Return the picture of an item in its package on white, a square of a side in pixels."""
    image = Image.new("RGB", (SIDE, SIDE), _WHITE)
    # The same color each time, another one for most items.
    hue = zlib.crc32(item.encode()) % 360 / 360
    _PACKAGES[package](ImageDraw.Draw(image), hue, item)
    if side != SIDE:
        image = image.resize((side, side), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, Kind.JPEG.pillow, quality=85)
    content = file.getvalue()
    return Drawing(Picture(Kind.JPEG, content, side, side), make_thumbnail(content))


def _color(hue: float, lightness: float, saturation: float = 0.45) -> tuple[int, int, int]:
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, saturation)
    return round(red * 255), round(green * 255), round(blue * 255)


def _label(
    draw: ImageDraw.ImageDraw, item: str, hue: float, box: tuple[int, int, int, int]
) -> None:
    """Draw the name of an item on a light field."""
    left, top, right, bottom = box
    draw.rounded_rectangle(box, 18, fill=_color(hue, 0.95))
    words = item.split()
    half = (len(words) + 1) // 2
    lines = [" ".join(words[:half]), " ".join(words[half:])] if len(words) > 1 else words
    size = min(
        110,
        int(1.6 * (right - left) / max(map(len, lines))),
        int((bottom - top) / (1.4 * len(lines))),
    )
    middle = (left + right) / 2, (top + bottom) / 2
    draw.multiline_text(
        middle,
        "\n".join(lines),
        _color(hue, 0.25),
        ImageFont.load_default(size),
        anchor="mm",
        align="center",
    )


def _box(draw: ImageDraw.ImageDraw, hue: float, item: str) -> None:
    draw.polygon([(720, 110), (800, 160), (800, 880), (720, 930)], fill=_color(hue, 0.35))
    draw.rectangle((220, 110, 720, 930), fill=_color(hue, 0.5))
    draw.rectangle((220, 110, 720, 180), fill=_color(hue, 0.4))
    draw.ellipse((330, 650, 610, 870), fill=_color((hue + 0.1) % 1, 0.75))
    _label(draw, item, hue, (250, 260, 690, 590))


def _bag(draw: ImageDraw.ImageDraw, hue: float, item: str) -> None:
    draw.polygon(
        [(240, 150), (760, 150), (730, 220), (790, 900), (210, 900), (270, 220)],
        fill=_color(hue, 0.45),
    )
    draw.rectangle((240, 90, 760, 160), fill=_color(hue, 0.33))
    draw.polygon([(230, 700), (770, 640), (790, 900), (210, 900)], fill=_color(hue, 0.6))
    _label(draw, item, hue, (290, 300, 710, 620))


def _bar(draw: ImageDraw.ImageDraw, hue: float, item: str) -> None:
    draw.rectangle((90, 330, 910, 670), fill=_color(hue, 0.32))
    for x in (90, 850):
        draw.rectangle((x, 330, x + 60, 670), fill=_color(0.12, 0.6, 0.35))
    _label(draw, item, hue, (210, 380, 790, 620))


def _bottle(draw: ImageDraw.ImageDraw, hue: float, item: str) -> None:
    draw.rectangle((440, 70, 560, 150), fill=_color(hue, 0.25))
    draw.polygon([(450, 150), (550, 150), (700, 380), (300, 380)], fill=_color(hue, 0.55))
    draw.rounded_rectangle((300, 340, 700, 940), 40, fill=_color(hue, 0.55))
    draw.rectangle((300, 480, 700, 810), fill=_color(hue, 0.4))
    _label(draw, item, hue, (315, 510, 685, 780))


def _can(draw: ImageDraw.ImageDraw, hue: float, item: str) -> None:
    draw.ellipse((150, 600, 850, 800), fill=_color(0.6, 0.6, 0.05))
    draw.rectangle((150, 340, 850, 700), fill=_color(hue, 0.45))
    draw.ellipse((150, 240, 850, 440), fill=_color(0.6, 0.78, 0.05))
    draw.ellipse((190, 262, 810, 418), fill=_color(0.6, 0.88, 0.05))
    _label(draw, item, hue, (260, 460, 740, 690))


def _wedge(draw: ImageDraw.ImageDraw, hue: float, item: str) -> None:
    draw.polygon([(120, 420), (820, 220), (880, 420)], fill=_color(0.13, 0.85, 0.8))
    draw.rectangle((120, 420, 880, 800), fill=_color(0.13, 0.7, 0.8))
    draw.rectangle((120, 480, 880, 740), fill=_color(hue, 0.45))
    _label(draw, item, hue, (220, 505, 780, 715))


_PACKAGES = {
    Package.BOX: _box,
    Package.BAG: _bag,
    Package.BAR: _bar,
    Package.BOTTLE: _bottle,
    Package.CAN: _can,
    Package.WEDGE: _wedge,
}
