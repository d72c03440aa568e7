"""Our own CSV: which column becomes which part of a product."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from catalog.csv_columns import METADATA, NUTRIENTS, TEXT_COLUMNS
from closient.text.csv_safety import meant
from dashboard.imports.drafts import Draft, Layout, gtin_column
from dashboard.imports.formats import UnreadableFile
from dashboard.imports.jsonlines import UnfitJson, exact_json
from dashboard.imports.objects import take_metadata, take_nutrients
from dashboard.imports.rejects import LINE_KEY, REASON_KEY

NUTRIENT_PREFIX = "nutrient:"
METADATA_PREFIX = "metadata:"
# Instead of one column for each nutrient or key.
_JSON_COLUMNS: Mapping[str, Callable[[Any, Draft], None]] = {
    NUTRIENTS: lambda value, draft: take_nutrients(value, draft, NUTRIENTS),
    METADATA: take_metadata,
}


def own_layout(header: Sequence[str]) -> Layout:
    """Return the layout of our own CSV.

    Raises :class:`UnreadableFile` when two columns are the same part of a product.
    """
    gtin_place = gtin_column(header)
    fields = {gtin_place: "gtin"}
    nutrients: list[tuple[str, str, int]] = []
    metadata: list[tuple[str, int]] = []
    ignored = []
    texts: dict[str, int] = {}
    objects: dict[str, int] = {}
    for place, column in enumerate(header):
        if column in TEXT_COLUMNS:
            _only_once(column, column in texts)
            texts[column] = place
            fields[place] = column
        elif column.startswith(NUTRIENT_PREFIX):
            name, _, unit = column.removeprefix(NUTRIENT_PREFIX).rpartition(":")
            _only_once(column, any(known == name for known, _, _ in nutrients))
            if not name:
                raise UnreadableFile(
                    f"The column {column!r} has no unit: write it as nutrient:fat:g."
                )
            nutrients.append((name.strip(), unit.strip(), place))
            fields[place] = column
        elif column.startswith(METADATA_PREFIX):
            key = column.removeprefix(METADATA_PREFIX)
            _only_once(column, any(known == key for known, _ in metadata))
            metadata.append((key, place))
            fields[place] = column
        elif column in _JSON_COLUMNS:
            _only_once(column, column in objects)
            objects[column] = place
            fields[place] = column
        elif place != gtin_place and column not in (LINE_KEY, REASON_KEY):
            ignored.append(column)
    for column, others in ((NUTRIENTS, nutrients), (METADATA, metadata)):
        if others and column in objects:
            raise UnreadableFile(
                f"The header has a column {column!r} for all of them and columns for single ones: "
                "leave out the one or the others."
            )
    text_places = list(texts.items())

    def draft(cells: Sequence[str]) -> Draft:
        draft = Draft(
            meant(cells[gtin_place]),
            {column: meant(cells[place]) for column, place in text_places},
            [(name, unit, meant(cells[place])) for name, unit, place in nutrients] or None,
            {key: meant(cells[place]) for key, place in metadata} or None,
        )
        for column, place in objects.items():
            _take_json(column, meant(cells[place]), draft)
        return draft

    return Layout(draft, tuple(ignored), fields)


def _take_json(column: str, cell: str, draft: Draft) -> None:
    """Put what a cell of JSON holds into a draft; an empty one says nothing."""
    if not cell.strip():
        return
    try:
        _JSON_COLUMNS[column](exact_json(cell, "the cell"), draft)
    except UnfitJson as error:
        draft.problems.append(f"{column}: {error}")


def _only_once(column: str, is_known: bool) -> None:
    if is_known:
        raise UnreadableFile(f"The column {column!r} comes twice in the header.")
