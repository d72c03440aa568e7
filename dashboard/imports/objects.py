"""JSON Lines: objects in the shape of the API's product."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from catalog.csv_columns import TEXT_COLUMNS
from dashboard.imports.drafts import Draft, Layout
from dashboard.imports.jsonlines import Number


def object_layout() -> Layout:
    """Return the layout of JSON Lines."""
    return Layout(_draft_of_object)


def _draft_of_object(row: Mapping[str, Any]) -> Draft:
    draft = Draft("", {})
    draft.gtin = _text_of(row, "gtin", draft)
    draft.texts = {
        column: _text_of(row, column, draft)
        for column in TEXT_COLUMNS
        if column in row and column != "serving_size"
    }
    nutrition = row.get("nutrition") or {}
    if not isinstance(nutrition, dict):
        draft.problems.append("nutrition: must be an object")
    else:
        _take_nutrition(nutrition, draft, is_given="nutrition" in row)
    take_metadata(row.get("metadata"), draft)
    return draft


def take_metadata(metadata: object, draft: Draft) -> None:
    """Put metadata, a JSON object or null, into a draft."""
    if metadata is not None and not isinstance(metadata, dict):
        draft.problems.append("metadata: must be an object")
    elif metadata:
        draft.metadata = {key: _text_of(metadata, key, draft, "metadata.") for key in metadata}


def _take_nutrition(nutrition: Mapping[str, Any], draft: Draft, *, is_given: bool) -> None:
    if is_given:
        draft.texts["serving_size"] = _text_of(nutrition, "serving_size", draft, "nutrition.")
    nutrients = nutrition.get("nutrients")
    if nutrients is None:
        draft.nutrients = [] if is_given else None
        return
    take_nutrients(nutrients, draft, "nutrition.nutrients")


def take_nutrients(nutrients: object, draft: Draft, name: str) -> None:
    """Put a JSON list of nutrients, which problems call by its name, into a draft."""
    if not isinstance(nutrients, list) or not all(isinstance(item, dict) for item in nutrients):
        draft.problems.append(f"{name}: must be a list of objects")
        return
    draft.nutrients = []
    for place, nutrient in enumerate(nutrients):
        prefix = f"{name}[{place}]."
        amount = nutrient.get("amount")
        if not isinstance(amount, str):
            draft.problems.append(f"{prefix}amount: is missing")
            continue
        draft.nutrients.append(
            (
                _text_of(nutrient, "name", draft, prefix),
                _text_of(nutrient, "unit", draft, prefix),
                str(amount),
            )
        )


def _text_of(row: Mapping[str, Any], key: str, draft: Draft, prefix: str = "") -> str:
    """Return a member's text, nothing for null; notes a problem for any other value."""
    value = row.get(key)
    if value is None:
        return ""
    if isinstance(value, str) and not isinstance(value, Number):
        return value
    draft.problems.append(f"{prefix}{key[:40]!r}: must be a string (put it in quotes)")
    return ""
