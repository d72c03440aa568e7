"""Pictures that people hand in: what is accepted, judged before anything is decoded."""

from __future__ import annotations

import warnings
from pathlib import PurePath
from typing import Any

from PIL import Image, UnidentifiedImageError

from catalog.texts import UnfitText

# SVG is not among them: it can carry script.
SUFFIXES = {
    "JPEG": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "GIF": (".gif",),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
}
MAX_BYTES = 10_000_000
MAX_PIXELS = 25_000_000


def check_image(file: Any) -> None:
    """Raise :class:`UnfitText` unless an uploaded file is a picture that is accepted.

    Reads the header alone. The content decides the type; a name that says otherwise is refused,
    since a web server would believe it.
    """
    if file.size > MAX_BYTES:
        raise UnfitText(f"has {file.size:,} bytes; at most {MAX_BYTES:,} are allowed")
    file.seek(0)
    try:
        with warnings.catch_warnings():
            # Pillow warns of large pictures: the limit here is lower.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(file, formats=list(SUFFIXES)) as picture:
                kind, (width, height) = str(picture.format), picture.size
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError):
        raise UnfitText(f"is no picture of the kinds {', '.join(SUFFIXES)}") from None
    finally:
        file.seek(0)
    if width * height > MAX_PIXELS:
        raise UnfitText(f"has {width * height:,} pixels; at most {MAX_PIXELS:,} are allowed")
    if PurePath(file.name).suffix.lower() not in SUFFIXES[kind]:
        raise UnfitText(f"is {kind}: give its name the ending {SUFFIXES[kind][0]}")
