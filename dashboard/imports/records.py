"""Records: what one row of a file, or a group of rows, says about a product."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple


class Problem(NamedTuple):
    """Why a record is rejected; ``field`` is empty if it concerns the whole row.

    ``rule`` names the broken rule in a few words, the same for all values that break it
    (``wrong check digit``): problems are grouped by it. ``text`` is the reason for this value.
    """

    field: str
    rule: str
    text: str

    @property
    def label(self) -> str:
        """The broken rule with its field, by which problems are grouped."""
        return f"{self.field}: {self.rule}" if self.field else self.rule

    def __str__(self) -> str:
        return f"{self.field}: {self.text}" if self.field else self.text


@dataclasses.dataclass(slots=True)
class Record:
    """A product, its images, offers and certificates as a file gives them, not yet validated.

    What the file has no column for is absent (``None`` for the lists of images, nutrients and
    metadata); an empty text, or an empty list of images, is an empty cell. ``texts`` are fields of
    the product by name. ``nutrients`` are (name, unit, amount). An offer is its texts by field
    (``OFFER_FIELDS``), as is a certificate (``CERTIFICATE_FIELDS``). ``gtin_title`` is the title of
    the column with the GTIN, which decides how eight digits are read (UPC-E).
    """

    gtin: str
    texts: dict[str, str] = dataclasses.field(default_factory=dict)
    nutrients: list[tuple[str, str, str]] | None = None
    metadata: dict[str, str] | None = None
    images: list[str] | None = None
    offers: list[dict[str, str]] = dataclasses.field(default_factory=list)
    certificates: list[dict[str, str]] = dataclasses.field(default_factory=list)
    problems: list[Problem] = dataclasses.field(default_factory=list)
    gtin_title: str = ""


# The texts of an offer in a record. ``price`` may hold the currency too (``15.00 USD``).
OFFER_FIELDS = ("channel", "retailer", "store", "sku", "url", "price", "currency", "status")
# The texts of a certificate in a record. ``certification`` is the code.
CERTIFICATE_FIELDS = (
    "certification",
    "label",
    "certificate_number",
    "issuing_body",
    "valid_from",
    "expiry_date",
    "verification_status",
    "verification_url",
)
