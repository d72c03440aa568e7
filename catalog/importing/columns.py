"""Our own CSV: which column becomes which part of a product."""

from __future__ import annotations

from collections.abc import Sequence

from catalog.importing.drafts import TEXT_COLUMNS, Draft, Layout, gtin_column
from catalog.importing.formats import UnreadableFile
from catalog.importing.rejects import LINE_KEY, REASON_KEY

NUTRIENT_PREFIX = "nutrient:"
METADATA_PREFIX = "metadata:"


def own_layout(header: Sequence[str]) -> Layout:
    """Return the layout of our own CSV.

    Raises :class:`UnreadableFile` when two columns are the same part of a product.
    """
    places = {gtin_column(header): "gtin"}
    nutrients: list[tuple[str, str, int]] = []
    metadata: list[tuple[str, int]] = []
    ignored = []
    texts: dict[str, int] = {}
    for place, column in enumerate(header):
        if column in TEXT_COLUMNS:
            _only_once(column, column in texts)
            texts[column] = place
        elif column.startswith(NUTRIENT_PREFIX):
            name, _, unit = column.removeprefix(NUTRIENT_PREFIX).rpartition(":")
            _only_once(column, any(known == name for known, _, _ in nutrients))
            if not name:
                raise UnreadableFile(
                    f"The column {column!r} has no unit: write it as nutrient:fat:g."
                )
            nutrients.append((name.strip(), unit.strip(), place))
        elif column.startswith(METADATA_PREFIX):
            key = column.removeprefix(METADATA_PREFIX)
            _only_once(column, any(known == key for known, _ in metadata))
            metadata.append((key, place))
        elif place not in places and column not in (LINE_KEY, REASON_KEY):
            ignored.append(column)
    (gtin_place,) = places
    text_places = list(texts.items())

    def draft(cells: Sequence[str]) -> Draft:
        return Draft(
            cells[gtin_place],
            {column: cells[place] for column, place in text_places},
            [(name, unit, cells[place]) for name, unit, place in nutrients] or None,
            {key: cells[place] for key, place in metadata} or None,
        )

    return Layout(draft, tuple(ignored))


def _only_once(column: str, is_known: bool) -> None:
    if is_known:
        raise UnreadableFile(f"The column {column!r} comes twice in the header.")
