"""Our own JSON: objects in the shape of the API's product, as JSON Lines, in an array or a list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from catalog.csv_columns import IMAGE_URL, IMAGE_URLS, METADATA, TEXT_COLUMNS
from dashboard.imports.formats.json_lines import Number
from dashboard.imports.formats.json_objects import JsonTable
from dashboard.imports.layouts.base import ColumnMap, Layout
from dashboard.imports.records import Problem, Record

NOT_AN_OBJECT = "not an object"
# What a table cannot hold in one cell: objects and lists.
_NESTED = frozenset(("nutrition", METADATA, IMAGE_URLS))


def parse_product(item: Mapping[str, Any]) -> Record:
    """The record of an object in the shape of the API's product."""
    record = Record("")
    record.gtin = _text_of(item, "gtin", record)
    record.texts = {
        column: _text_of(item, column, record)
        for column in TEXT_COLUMNS
        if column in item and column not in ("serving_size", IMAGE_URL)
    }
    record.images = _images_of(item, record)
    nutrition = item.get("nutrition") or {}
    if not isinstance(nutrition, dict):
        record.problems.append(Problem("nutrition", NOT_AN_OBJECT, "must be an object"))
    else:
        _take_nutrition(nutrition, record, is_given="nutrition" in item)
    take_metadata(item.get("metadata"), record)
    return record


def _images_of(item: Mapping[str, Any], record: Record) -> list[str] | None:
    """The addresses of all images, or the only one; None if the object has neither."""
    first = _text_of(item, IMAGE_URL, record)
    urls = item.get(IMAGE_URLS)
    if urls is None:
        return ([first] if first else []) if IMAGE_URL in item else None
    if not isinstance(urls, list) or not all(_is_text(url) for url in urls):
        record.problems.append(
            Problem(IMAGE_URLS, "not a list of strings", "must be a list of strings")
        )
        return None
    if IMAGE_URL in item and first != (urls[0] if urls else ""):
        record.problems.append(
            Problem(
                IMAGE_URL,
                f"not the first of {IMAGE_URLS}",
                f"is not the first of {IMAGE_URLS}: change both, or leave one of them out",
            )
        )
    return urls


def take_metadata(metadata: object, record: Record) -> None:
    """Add metadata, a JSON object or null, to a record."""
    if metadata is not None and not isinstance(metadata, dict):
        record.problems.append(Problem("metadata", NOT_AN_OBJECT, "must be an object"))
    elif metadata:
        record.metadata = {key: _text_of(metadata, key, record, "metadata.") for key in metadata}


def _take_nutrition(nutrition: Mapping[str, Any], record: Record, *, is_given: bool) -> None:
    if is_given:
        record.texts["serving_size"] = _text_of(nutrition, "serving_size", record, "nutrition.")
    nutrients = nutrition.get("nutrients")
    if nutrients is None:
        record.nutrients = [] if is_given else None
        return
    take_nutrients(nutrients, record, "nutrition.nutrients")


def take_nutrients(nutrients: object, record: Record, name: str) -> None:
    """Add a JSON list of nutrients to a record; problems call it ``name``."""
    if not isinstance(nutrients, list) or not all(isinstance(one, dict) for one in nutrients):
        record.problems.append(Problem(name, "not a list of objects", "must be a list of objects"))
        return
    record.nutrients = []
    for place, nutrient in enumerate(nutrients):
        prefix = f"{name}[{place}]."
        amount = nutrient.get("amount")
        if not isinstance(amount, str):
            record.problems.append(Problem(f"{prefix}amount", "missing", "is missing"))
            continue
        record.nutrients.append(
            (
                _text_of(nutrient, "name", record, prefix),
                _text_of(nutrient, "unit", record, prefix),
                str(amount),
            )
        )


def _text_of(item: Mapping[str, Any], key: str, record: Record, prefix: str = "") -> str:
    """The string of a member, empty for null; adds a problem for any other value."""
    value = item.get(key)
    if value is None:
        return ""
    if _is_text(value):
        return str(value)
    shown = key if key.isidentifier() else repr(key[:40])
    record.problems.append(
        Problem(f"{prefix}{shown}", "not a string", "must be a string (put it in quotes)")
    )
    return ""


def _is_text(value: object) -> bool:
    return isinstance(value, str) and not isinstance(value, Number)


LAYOUT = Layout(
    "jsonl",
    "JSON of products",
    recognizes=lambda names: (
        "gtin" in names and any(name.partition(".")[0] in _NESTED for name in names)
    ),
    open=lambda table, options: ColumnMap(
        parse_product, table=table.objects if isinstance(table, JsonTable) else table
    ),
)
