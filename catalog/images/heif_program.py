"""Decodes HEIC and AVIF: a program for a process with limits of its memory and time.

    python heif_program.py FORMAT MAX_PIXELS < FILE > PNG

writes the primary picture, upright, with its color profile. Exits with 3 if it has too many pixels
or needs too much memory, and with another status if it is damaged. The decoders of these formats
are large libraries in C++ that have had severe errors: a file that exploits one meets neither the
database nor the secrets of the service, as its process is started without its environment.
"""

from __future__ import annotations

import io
import resource
import sys
import warnings

MAX_MEMORY_BYTES = 2 * 1024 * 1024 * 1024
MAX_CPU_SECONDS = 30
TOO_MANY_PIXELS = 3


def main() -> int:
    """Convert the standard input; return the exit status."""
    for kind, limit in (
        (resource.RLIMIT_AS, MAX_MEMORY_BYTES),
        (resource.RLIMIT_CPU, MAX_CPU_SECONDS),
        (resource.RLIMIT_CORE, 0),
        # Nothing is written to files.
        (resource.RLIMIT_FSIZE, 0),
    ):
        resource.setrlimit(kind, (limit, limit))
    # After the limits.
    from PIL import Image, ImageOps  # noqa: PLC0415

    name, max_pixels = sys.argv[1], int(sys.argv[2])
    if name == "HEIF":
        import pillow_heif  # noqa: PLC0415

        pillow_heif.register_heif_opener(
            thumbnails=False, depth_images=False, aux_images=False, decode_threads=1
        )
    warnings.simplefilter("ignore")
    # Checked below, with a status that says so.
    Image.MAX_IMAGE_PIXELS = None
    with Image.open(io.BytesIO(sys.stdin.buffer.read()), formats=[name]) as picture:
        if picture.width * picture.height > max_pixels:
            return TOO_MANY_PIXELS
        profile = picture.info.get("icc_profile")
        upright = ImageOps.exif_transpose(picture)
    mode = "RGBA" if upright.has_transparency_data else "RGB"
    if upright.mode != "L":
        upright = upright.convert(mode)
    upright.info = {}
    upright.save(sys.stdout.buffer, "PNG", compress_level=1, icc_profile=profile)
    return 0


if __name__ == "__main__":
    try:
        status = main()
    except MemoryError:
        status = TOO_MANY_PIXELS
    sys.exit(status)
