"""Validates the fields, nutrients, metadata and images of a record's product."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence

from catalog.countries import country_code
from catalog.models import Brand, Product, ProductImage, ProductStatus
from catalog.nutrition import MAX_NUTRIENTS, SERVING_SIZE_LENGTH, clean_nutrient
from closient.text import metadata
from closient.text.normal import WHITE_SPACE, nfc
from closient.text.validators import InvalidText
from dashboard.imports.records import Record
from dashboard.imports.repair.amounts import is_plain_amount, read_amount
from dashboard.imports.repair.gtin import ZEROS, UnusableGtin, read_gtin
from dashboard.imports.repair.html_text import HTML, html_to_text, is_html
from dashboard.imports.repair.invisible import strip_blanks
from dashboard.imports.repair.numbers import UnclearNumber
from dashboard.imports.validate.check import (
    MAX_SHOWN,
    NotAValue,
    RecordCheck,
    choice,
    is_plain_text,
    length_of,
)

MAX_IMAGES = 50
# The JSON of a value.
to_json = json.JSONEncoder(ensure_ascii=False).encode
# Characters of a value that is kept for the next rows.
_MAX_KNOWN = 200
_LENGTHS = {
    **{
        field: length_of(Product, field)
        for field in ("name", "description", "manufacturer", "category", "net_content", "status")
    },
    "gpc_brick_code": 255,
    "country_of_origin": 255,
    "brand": length_of(Brand, "name"),
    "serving_size": SERVING_SIZE_LENGTH,
}
_IMAGE_URL_LENGTH = length_of(ProductImage, "external_url")
_GPC_BRICK = re.compile(r"[0-9]{8}\Z")
_SHORT_NUMBER = re.compile(r"[0-9]{1,2}\Z")
_STATUS = choice(ProductStatus.values)


def check_gtin(check: RecordCheck, record: Record) -> str | None:
    """The GTIN-14 of a record; None if it has none that can be used."""
    try:
        found = read_gtin(record.gtin, record.gtin_title)
    except UnusableGtin as error:
        if strip_blanks(record.gtin):
            check.reject("gtin", error.rule, str(error))
        elif not any(problem.field == "gtin" for problem in record.problems):
            check.reject("gtin", "missing", "is missing")
        return None
    check.repairs.extend(found.repairs)
    return found.gtin


def check_texts(check: RecordCheck, given: Mapping[str, str]) -> dict[str, str | None]:
    """The texts of a product by field; None leaves a field as it is."""
    found: dict[str, str | None] = {}
    for field, cell in given.items():
        if field in _READERS:
            known = _plain_value(field, cell) if len(cell) <= _MAX_KNOWN else ""
        elif field == "description" and is_html(cell):
            known = ""
        else:
            known = cell if is_plain_text(cell, _LENGTHS[field]) else ""
        found[field] = known or check.changed(_text(check, field, cell))
    return found


# Files repeat these values.
@functools.lru_cache(maxsize=10_000)
def _plain_value(field: str, cell: str) -> str:
    """The value of a cell that is valid and needs no repair; empty for others."""
    if not is_plain_text(cell, _LENGTHS[field]):
        return ""
    repairs: list[str] = []
    try:
        value = _READERS[field](cell, repairs)
    except InvalidText:
        return ""
    return "" if repairs else value


def _text(check: RecordCheck, field: str, cell: str) -> str:
    length = _LENGTHS[field]
    if field == "description":
        if is_html(cell):
            check.repairs.append(HTML)
            cell = html_to_text(cell)
        return check.text(field, cell, length, several_lines=True)
    reader = _READERS.get(field)
    if reader is None:
        return check.text(field, cell, length)
    return check.text(field, cell, length, read=lambda text: reader(text, check.repairs))


def _country(text: str, repairs: list[str]) -> str:
    code = country_code(text)
    # Numeric codes have three digits: 040 is Austria.
    if code is None and _SHORT_NUMBER.match(text):
        code = country_code(text.zfill(3))
        if code:
            repairs.append(ZEROS)
    if code is None:
        raise NotAValue(
            "not a country",
            "must be a country: its ISO 3166-1 code, such as DE, or its name "
            f"(found {text[:MAX_SHOWN]!a})",
        )
    return code


def _gpc_brick_code(text: str, repairs: list[str]) -> str:
    if not _GPC_BRICK.match(text):
        raise NotAValue("not a GPC brick code", "must be a GPC brick code of eight digits")
    return text


def _status(text: str, repairs: list[str]) -> str:
    return _STATUS(text)


# The fields whose texts are more than texts; a reader adds what it repairs.
_READERS = {
    "country_of_origin": _country,
    "gpc_brick_code": _gpc_brick_code,
    "status": _status,
}


def check_images(check: RecordCheck, given: Sequence[str] | None) -> list[str] | None:
    """The addresses of a record's images, each once, in their order; None without a column."""
    if given is None:
        return None
    found = [url for cell in given for url in check.addresses("image_url", cell, _IMAGE_URL_LENGTH)]
    urls = list(dict.fromkeys(found)) if len(found) > 1 else found
    if len(urls) > MAX_IMAGES:
        check.reject(
            "image_url",
            "too many images",
            f"has {len(urls):,} images; at most {MAX_IMAGES} are allowed",
        )
    return urls if urls or check.overwrite_blank else None


def check_nutrients(
    check: RecordCheck, given: Sequence[tuple[str, str, str]] | None
) -> list[str] | None:
    """The nutrients of a record as they are stored, each as JSON; None without a column."""
    if given is None:
        return None
    nutrients = []
    for name, unit, cell in given:
        if len(name) + len(unit) + len(cell) <= _MAX_KNOWN and (
            known := _plain_nutrient(name, unit, cell)
        ):
            nutrients.append(known)
            continue
        text = cell.strip(WHITE_SPACE)
        if not text:
            continue
        try:
            amount = read_amount(text, unit, check.conventions, check.repairs)
            nutrients.append(_nutrient(name, unit, amount))
        except InvalidText as error:
            check.reject(f"nutrient {name[:MAX_SHOWN]!a}", "not valid", str(error))
        except UnclearNumber as error:
            check.reject(f"nutrient {name[:MAX_SHOWN]!a}", error.rule, str(error))
    if len(nutrients) > MAX_NUTRIENTS:
        check.reject(
            "nutrition",
            "too many nutrients",
            f"has {len(nutrients):,} nutrients; at most {MAX_NUTRIENTS} are allowed",
        )
    return nutrients


def _nutrient(name: str, unit: str, amount: str) -> str:
    """The JSON of a nutrient with an amount that was read; raises :class:`InvalidText`."""
    return to_json(clean_nutrient(name, amount, unit))


# Files repeat amounts, and each row has several.
@functools.lru_cache(maxsize=10_000)
def _plain_nutrient(name: str, unit: str, cell: str) -> str:
    """The JSON of a nutrient that is valid and read the same in every file; empty for others."""
    if not is_plain_amount(cell):
        return ""
    try:
        return _nutrient(name, unit, cell)
    except InvalidText:
        return ""


def check_metadata(check: RecordCheck, given: Mapping[str, str] | None) -> dict[str, str]:
    """The metadata of a record as it is stored; an empty text is an empty cell."""
    values: dict[str, str] = {}
    if not given:
        return values
    for name, cell in given.items():
        key, value = nfc(name), nfc(cell.strip(WHITE_SPACE))
        try:
            metadata.check_key(key)
            metadata.check_value(value)
        except InvalidText as error:
            check.reject(f"metadata {key[:MAX_SHOWN]!a}", "not valid", str(error))
        values[key] = value
    try:
        metadata.check_size(sum(1 for value in values.values() if value))
    except InvalidText as error:
        check.reject("metadata", "too many keys", str(error))
    return values
