"""Reads the web addresses of a cell as browsers read them."""

from __future__ import annotations

import re

from closient.text.urls import is_plain_web_address
from dashboard.imports.repair.invisible import strip_blanks

SCHEME = "addresses that begin with // read as https"
BLANKS = "blanks in addresses encoded"

# Between the addresses in one cell. Any other comma or blank is part of an address. Each run of
# separators is read once, as cells may be long.
_SEPARATOR = re.compile(r"(?<![\s,;|])[\s,;|]++(?=(?:https?:)?//)", re.IGNORECASE)
_AUTHORITY = re.compile(r"(?:https?:)?//[^/?#\\]*", re.IGNORECASE)
_BLANK = re.compile(r"[ \u00a0\u2000-\u200a\u202f\u3000]")


def is_plain(cell: str) -> bool:
    """Whether a cell is one web address that needs no repair, as nearly all are.

    Without separators :func:`split_addresses` has nothing to split, and :func:`read_address`
    changes only blanks and addresses without a scheme.
    """
    return "," not in cell and ";" not in cell and "|" not in cell and is_plain_web_address(cell)


def split_addresses(cell: str) -> list[str]:
    """The addresses of a cell in their order; an empty list for an empty cell."""
    parts = (strip_blanks(part).rstrip(",;|") for part in _SEPARATOR.split(cell))
    return [strip_blanks(part) for part in parts if part]


def read_address(text: str, repairs: list[str]) -> str:
    """An address as it can be requested; adds what was repaired to ``repairs``.

    Blanks after the host are percent-encoded, and ``//host`` is ``https://host``. An address that
    cannot be repaired comes out as it is.
    """
    if text.startswith("//"):
        repairs.append(SCHEME)
        text = f"https:{text}"
    host = _AUTHORITY.match(text)
    if host and _BLANK.search(text, host.end()):
        repairs.append(BLANKS)
        rest = _BLANK.sub(
            lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), text[host.end() :]
        )
        text = f"{host[0]}{rest}"
    return text
