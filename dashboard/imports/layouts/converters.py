"""Converters of cells, for declarations of layouts (:mod:`dashboard.imports.layouts.columns`)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from offers.models import OfferStatus

_ADDRESS = re.compile(r"(https?:)?//\S", re.IGNORECASE)
_NOT_LETTERS = re.compile(r"[^a-z]+")
_NUMBER = re.compile(r"[0-9]+[.,][0-9]*\Z")
# Between the values of a cell. A backslash keeps a comma in its value.
_COMMA = re.compile(r"(?<!\\),\s*")
_BETWEEN_ADDRESSES = re.compile(r"(?<!\\),(?:\s+|(?=(?:https?:/)?/))", re.IGNORECASE)

# The words of Google's specification and of schema.org's ItemAvailability, and those of a status.
_AVAILABILITY = {
    "active": OfferStatus.ACTIVE.value,
    "instock": OfferStatus.ACTIVE.value,
    "available": OfferStatus.ACTIVE.value,
    "limitedavailability": OfferStatus.ACTIVE.value,
    "onlineonly": OfferStatus.ACTIVE.value,
    "instoreonly": OfferStatus.ACTIVE.value,
    "preorder": OfferStatus.ACTIVE.value,
    "presale": OfferStatus.ACTIVE.value,
    "backorder": OfferStatus.ACTIVE.value,
    "madetoorder": OfferStatus.ACTIVE.value,
    "outofstock": OfferStatus.OUT_OF_STOCK.value,
    "soldout": OfferStatus.OUT_OF_STOCK.value,
    "reserved": OfferStatus.OUT_OF_STOCK.value,
    "unavailable": OfferStatus.OUT_OF_STOCK.value,
    "discontinued": OfferStatus.DISCONTINUED.value,
    "seasonal": OfferStatus.SEASONAL.value,
}
# Units as programs write them in full.
_UNITS = {
    "milligram": "mg",
    "gram": "g",
    "kilogram": "kg",
    "ounce": "oz",
    "pound": "lb",
    "milliliter": "ml",
    "centiliter": "cl",
    "liter": "l",
    "fluid_ounce": "fl oz",
    # UN/ECE Recommendation 20, as GS1 messages write them.
    "mgm": "mg",
    "grm": "g",
    "kgm": "kg",
    "onz": "oz",
    "lbr": "lb",
    "mlt": "ml",
    "clt": "cl",
    "ltr": "l",
    "oza": "fl oz",
    "h87": "pcs",
}


def choice(values: Mapping[str, str]) -> Callable[[str], str]:
    """A converter of known words in any case; other words stay, and are rejected by name."""
    return lambda text: values.get(text.lower(), text)


def availability(text: str) -> str:
    """The offer status of an availability: ``in stock``, ``out_of_stock``, ``schema.org/InStock``.

    Other words stay, and are rejected by name.
    """
    word = _NOT_LETTERS.sub("", text.rstrip("/").rpartition("/")[2].rpartition(":")[2].lower())
    return _AVAILABILITY.get(word, text)


def words(text: str) -> str:
    """The text, unless it is only a number: the number of a category in a taxonomy."""
    return "" if text.isdecimal() else text


def first_item(text: str) -> str:
    """The first of several values that commas separate."""
    return _COMMA.split(text)[0].replace("\\,", ",")


def addresses(text: str) -> list[str]:
    """Those of several values separated by commas that are addresses, not paths in a shop.

    A comma without a blank after it is part of an address, unless another address or a path of the
    shop follows.
    """
    values = (each.replace("\\,", ",") for each in _BETWEEN_ADDRESSES.split(text))
    return [each for each in values if is_address(each)]


def is_address(text: str) -> bool:
    """Whether a text is an http or https address; the scheme may be missing before ``//``."""
    return bool(_ADDRESS.match(text))


def amount(number: str, unit: str) -> str:
    """A number with its unit: ``30.0`` and ``g`` give ``30 g``; empty without a number."""
    if not number:
        return ""
    if _NUMBER.match(number):
        number = number.rstrip("0").rstrip(".,")
    return f"{number} {_UNITS.get(unit.lower(), unit)}".strip()


def barcode(text: str) -> str:
    """A barcode without the apostrophe that keeps its digits in a spreadsheet."""
    return text.removeprefix("'")
