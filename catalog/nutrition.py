"""Nutrition of a product: a serving size and nutrients, each with an exact amount and a unit.

Stored as ``{"serving_size": "30 g", "nutrients": [...]}``, each nutrient as
``{"name": "fat", "amount": "1.5", "unit": "g"}``; unknown parts are absent, and no
known part is ``{}``. Amounts are decimal strings: binary floats would not round-trip.
"""

from __future__ import annotations

import functools
import re
from decimal import Decimal

from closient.text.normal import nfc, nfc_all
from closient.text.validators import InvalidText, check_text

MAX_NUTRIENTS = 100
NAME_LENGTH = 100
UNIT_LENGTH = 20
SERVING_SIZE_LENGTH = 100

NUTRITION_PARTS = {"serving_size", "nutrients"}
NUTRIENT_PARTS = {"name", "amount", "unit"}

AMOUNT_DIGITS = 12
AMOUNT = re.compile(rf"\+?[0-9]{{1,{AMOUNT_DIGITS}}}(\.[0-9]{{1,30}})?([eE][+-]?[0-9]{{1,2}})?\Z")
_DIGITS_ALLOWED = 40


# Files repeat amounts, and each row of an import has several.
@functools.lru_cache(maxsize=10_000)
def clean_amount(text: str) -> str:
    """Return an amount as a decimal string without exponent, sign or redundant zeros.

    Raises :class:`InvalidText` unless the text is a number of 0 or more, written with a point.
    """
    if not AMOUNT.match(text):
        raise InvalidText("must be a number of 0 or more, for example 1.5")
    plain = format(Decimal(text), "f").lstrip("+")
    if "." in plain:
        plain = plain.rstrip("0").rstrip(".")
    plain = plain.lstrip("0") or "0"
    if len(plain) > _DIGITS_ALLOWED:
        raise InvalidText(f"has more than {_DIGITS_ALLOWED} digits")
    return f"0{plain}" if plain.startswith(".") else plain


def clean_nutrient(name: str, amount: str, unit: str) -> dict[str, str]:
    """Return a nutrient in its stored form.

    Raises :class:`InvalidText`; the message names the part.
    """
    name, unit = nfc(name), nfc(unit)
    if not name:
        raise InvalidText("has no name")
    for part, text, length in (("name", name, NAME_LENGTH), ("unit", unit, UNIT_LENGTH)):
        try:
            check_text(text, length)
        except InvalidText as error:
            raise InvalidText(f"{part} {error}") from None
    return {"name": name, "amount": clean_amount(amount), "unit": unit}


def clean_nutrition(value: object) -> dict[str, object]:
    """Return complete nutrition data in its stored form; amounts may also be numbers.

    Raises :class:`InvalidText`; the message names the part.
    """
    value = nfc_all(value)
    if not isinstance(value, dict):
        raise InvalidText('must be an object, such as {"serving_size": "30 g", "nutrients": []}')
    unknown = ", ".join(sorted(f"{key[:40]!a}" for key in value.keys() - NUTRITION_PARTS))
    if unknown:
        raise InvalidText(f"has {unknown}; its parts are serving_size and nutrients")
    serving_size = value.get("serving_size", "")
    if not isinstance(serving_size, str):
        raise InvalidText("part serving_size must be a string")
    try:
        check_text(serving_size, SERVING_SIZE_LENGTH)
    except InvalidText as error:
        raise InvalidText(f"part serving_size {error}") from None
    nutrients = value.get("nutrients", [])
    if not isinstance(nutrients, list):
        raise InvalidText("part nutrients must be a list")
    if len(nutrients) > MAX_NUTRIENTS:
        raise InvalidText(f"has {len(nutrients):,} nutrients; at most {MAX_NUTRIENTS} are allowed")
    cleaned = {
        "serving_size": serving_size,
        "nutrients": [_nutrient(number, item) for number, item in enumerate(nutrients, start=1)],
    }
    return {part: known for part, known in cleaned.items() if known}


def _nutrient(number: int, item: object) -> dict[str, str]:
    try:
        return clean_nutrient(*_parts_of_nutrient(item))
    except InvalidText as error:
        raise InvalidText(f"nutrient {number} {error}") from None


def _parts_of_nutrient(item: object) -> tuple[str, str, str]:
    if not isinstance(item, dict) or item.keys() != NUTRIENT_PARTS:
        raise InvalidText("must be an object with exactly name, amount and unit")
    name, amount, unit = item["name"], item["amount"], item["unit"]
    if not isinstance(name, str) or not isinstance(unit, str):
        raise InvalidText("has a name or unit that is not a string")
    if isinstance(amount, bool) or not isinstance(amount, str | int | float):
        raise InvalidText("has an amount that is not a number")
    return name, str(amount), unit
