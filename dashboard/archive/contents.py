"""What an archive contains: the names of its files, their shape, and their limits."""

from __future__ import annotations

import re

from catalog.images.reencoding import Kind

# Of the manifest, so that no other ZIP file is mistaken for an archive.
FORMAT = "closient-archive"
VERSION = 1

MANIFEST = "manifest.json"
TRADE_ITEMS = "trade-items.jsonl"
OFFERS = "offers.jsonl"
CERTIFICATIONS = "certifications.jsonl"
RULE = "rule.json"
# Brands without products, and certifications without certificates.
UNUSED_BRANDS = "unused-brands.jsonl"
UNUSED_CERTIFICATIONS = "unused-certifications.jsonl"
# In any order.
FILES = (
    *(MANIFEST, TRADE_ITEMS, OFFERS, CERTIFICATIONS, RULE),
    *(UNUSED_BRANDS, UNUSED_CERTIFICATIONS),
)

_SUFFIXES = "|".join(re.escape(kind.suffix) for kind in Kind)
IMAGE_NAME = re.compile(rf"images/[0-9a-f]{{32}}(?:{_SUFFIXES})\Z")

# In bytes, unpacked. A trade item with the longest texts has less than a megabyte; its images have
# one or two kilobytes each.
MAX_LINE = 16 * 1024 * 1024
MAX_LINES_FILE = 64 * 1024**3
MAX_JSON_FILE = 1024 * 1024
MAX_IMAGES = 5_000_000
MAX_ROWS = 20_000_000
