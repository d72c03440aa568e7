"""Validates one row: returns it as it goes into the staging table, or as rejected."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

from django.db import models

from catalog.countries import country_code
from catalog.gtin import InvalidGtin, normalize_gtin
from catalog.models import Brand, Product, ProductImage, ProductStatus
from catalog.nutrition import MAX_NUTRIENTS, SERVING_SIZE_LENGTH, clean_nutrient
from closient.db.ids import uuid7
from closient.text import metadata
from closient.text.normal import WHITE_SPACE, nfc
from closient.text.urls import is_web_address
from closient.text.validators import DESCRIPTION_LENGTH, InvalidText, check_text
from dashboard.imports.formats.base import ParsedRow

_GPC_BRICK = re.compile(r"[0-9]{8}\Z")
_MAX_SHOWN = 40
_MAX_PROBLEMS = 10


class Row(NamedTuple):
    """A row of the staging table (see ``staging.py``), in the order of its columns.

    None leaves a field of the product as it is. ``nutrition`` and ``metadata`` are JSON objects
    that are merged into the product's; a null in them removes the key. A row with a ``problem`` is
    rejected.
    """

    line: int
    gtin: str | None = None
    problem: str | None = None
    name: str | None = None
    description: str | None = None
    brand: str | None = None
    manufacturer: str | None = None
    category: str | None = None
    gpc_brick_code: str | None = None
    country_of_origin: str | None = None
    net_content: str | None = None
    nutrition: str | None = None
    status: str | None = None
    metadata: str | None = None
    image_url: str | None = None
    # The id of what the row creates: a product, its brand, its image.
    new_key: UUID | None = None


def _length(model: type[models.Model], field: str) -> int:
    length: int | None = getattr(model._meta.get_field(field), "max_length", None)
    return length or DESCRIPTION_LENGTH


_LENGTHS = {
    **{
        field: _length(Product, field)
        for field in ("name", "description", "manufacturer", "category", "net_content", "status")
    },
    "gpc_brick_code": 255,
    "country_of_origin": 255,
    "brand": _length(Brand, "name"),
    "image_url": _length(ProductImage, "external_url"),
    "serving_size": SERVING_SIZE_LENGTH,
}
_encode = json.JSONEncoder(ensure_ascii=False).encode


def clean_row(line: int, parsed: ParsedRow, *, overwrite_blank: bool) -> Row:
    """A parsed row as a row of the staging table.

    With ``overwrite_blank`` an empty cell clears the product's field; without, it changes nothing.
    """
    problems = list(parsed.problems)
    gtin = _gtin(parsed.gtin, problems)
    texts: dict[str, str | None] = {}
    for field, text in parsed.texts.items():
        value = _text(field, text, problems)
        texts[field] = value if value or overwrite_blank else None
    # An empty cell removes a part that is null here.
    nutrition = {
        "serving_size": texts.pop("serving_size", None),
        "nutrients": _nutrients(parsed.nutrients, problems),
    }
    given = {part: value for part, value in nutrition.items() if value is not None}
    values = _metadata(parsed.metadata, problems)
    if problems:
        return bad_row(line, problems, gtin)
    # A product always has a status.
    texts["status"] = texts.get("status") or None
    return Row(
        line=line,
        gtin=gtin,
        nutrition=_merge_object(given, overwrite_blank=overwrite_blank),
        metadata=_merge_object(values, overwrite_blank=overwrite_blank),
        new_key=uuid7(),
        **texts,
    )


def bad_row(line: int, problems: list[str], gtin: str | None = None) -> Row:
    """The row of the staging table for a rejected row; its GTIN still counts as used."""
    more = len(problems) - _MAX_PROBLEMS
    shown = problems[:_MAX_PROBLEMS] + ([f"and {more} more problems"] if more > 0 else [])
    return Row(line=line, gtin=gtin, problem="; ".join(shown))


def _gtin(text: str, problems: list[str]) -> str | None:
    if not text:
        problems.append("gtin: is missing")
        return None
    try:
        return normalize_gtin(text)
    except InvalidGtin as error:
        shown = text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."
        problems.append(f"gtin: {str(error).removesuffix('.')} (found {shown!a})")
        return None


def _text(field: str, text: str, problems: list[str]) -> str:
    """The value of a cell as it is stored: in NFC, stripped and validated."""
    text = nfc(text.strip(WHITE_SPACE))
    if not text:
        return ""
    rule = _RULES.get(field)
    try:
        check_text(text, _LENGTHS[field], several_lines=field == "description")
        return rule(text) if rule else text
    except InvalidText as error:
        problems.append(f"{field}: {error}")
        return ""


def _country(text: str) -> str:
    code = country_code(text)
    if code is None:
        raise InvalidText("must be a country: its ISO 3166-1 code, such as DE, or its English name")
    return code


def _gpc_brick_code(text: str) -> str:
    if not _GPC_BRICK.match(text):
        raise InvalidText("must be a GPC brick code of eight digits")
    return text


def _status(text: str) -> str:
    status = text.lower()
    if status not in ProductStatus.values:
        raise InvalidText(f"is none of {', '.join(ProductStatus.values)}")
    return status


def _image_url(text: str) -> str:
    if not is_web_address(text):
        raise InvalidText("must be a complete http or https URL")
    return text


_RULES = {
    "country_of_origin": _country,
    "gpc_brick_code": _gpc_brick_code,
    "status": _status,
    "image_url": _image_url,
}


def _nutrients(
    given: list[tuple[str, str, str]] | None, problems: list[str]
) -> list[dict[str, str]] | None:
    if given is None:
        return None
    nutrients = []
    for name, unit, cell in given:
        if amount := cell.strip(WHITE_SPACE):
            try:
                nutrients.append(clean_nutrient(name, amount, unit))
            except InvalidText as error:
                problems.append(f"nutrient {name[:_MAX_SHOWN]!a}: {error}")
    if len(nutrients) > MAX_NUTRIENTS:
        problems.append(
            f"nutrition: has {len(nutrients):,} nutrients; at most {MAX_NUTRIENTS} are allowed"
        )
    return nutrients


def _metadata(given: dict[str, str] | None, problems: list[str]) -> dict[str, str]:
    values: dict[str, str] = {}
    for name, cell in (given or {}).items():
        key, value = nfc(name), nfc(cell.strip(WHITE_SPACE))
        try:
            metadata.check_key(key)
            metadata.check_value(value)
        except InvalidText as error:
            problems.append(f"metadata {key[:_MAX_SHOWN]!a}: {error}")
        values[key] = value
    try:
        metadata.check_size(sum(1 for value in values.values() if value))
    except InvalidText as error:
        problems.append(f"metadata: {error}")
    return values


def _merge_object(value: Mapping[str, Any], *, overwrite_blank: bool) -> str | None:
    """The JSON object to merge into the product's; None if it would change nothing."""
    if overwrite_blank:
        changes = {key: part or None for key, part in value.items()}
    else:
        changes = {key: part for key, part in value.items() if part}
    return _encode(changes) if changes else None
