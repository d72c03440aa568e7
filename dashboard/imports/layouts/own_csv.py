"""Our own CSV, as exports write it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from catalog.csv_columns import (
    EXPORT_ONLY,
    GTIN_COLUMNS,
    IMAGE_URL,
    METADATA,
    NUTRIENTS,
    TEXT_COLUMNS,
)
from dashboard.imports.files import UnreadableFile
from dashboard.imports.formats.base import Table
from dashboard.imports.formats.json_lines import InvalidJson, exact_json
from dashboard.imports.layouts.base import ColumnMap, Layout, LayoutOptions, gtin_column
from dashboard.imports.layouts.columns import row_reader
from dashboard.imports.layouts.fields import FIELDS
from dashboard.imports.layouts.mapping import guess, samples
from dashboard.imports.layouts.own_json import take_metadata, take_nutrients
from dashboard.imports.records import Problem, Record
from dashboard.imports.rejects import LINE_KEY, REASON_KEY

NUTRIENT_PREFIX = "nutrient:"
METADATA_PREFIX = "metadata:"
# Instead of one column for each nutrient or key.
_JSON_COLUMNS: Mapping[str, Callable[[Any, Record], None]] = {
    NUTRIENTS: lambda value, record: take_nutrients(value, record, NUTRIENTS),
    METADATA: take_metadata,
}


def own_columns(table: Table, options: LayoutOptions) -> ColumnMap:
    """The columns of our own CSV.

    Raises :class:`UnreadableFile` if two columns are the same field.
    """
    header = table.names
    gtin_place = gtin_column(header)
    gtin_title = header[gtin_place]
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
    image_place = texts.pop(IMAGE_URL, None)
    text_places = list(texts.items())

    prepared = row_reader(table)

    def parse(row: Sequence[str]) -> Record:
        cells = prepared(row)
        record = Record(
            cells[gtin_place],
            {column: cells[place] for column, place in text_places},
            [(name, unit, cells[place]) for name, unit, place in nutrients] or None,
            {key: cells[place] for key, place in metadata} or None,
            gtin_title=gtin_title,
        )
        if image_place is not None:
            url = cells[image_place]
            record.images = [url] if url.strip() else []
        for column, place in objects.items():
            _take_json(column, cells[place], record)
        return record

    return ColumnMap(parse, tuple(ignored), fields)


def suggested(table: Table, columns: ColumnMap) -> dict[str, str]:
    """A mapping with more columns than those of our names, if titles and values suggest one.

    Every file with a column ``ean`` is read as our own CSV, also those of other programs.
    """
    if set(EXPORT_ONLY) <= set(table.names):
        return {}
    found = {table.titles[place].strip(): field for place, field in columns.fields.items()}
    if not set(found.values()) <= set(FIELDS):
        # A mapping by hand is for other programs.
        return {}
    guessed = guess(table.titles, samples(table, 20))
    used = set(found.values())
    more = {title: field for title, field in guessed.items() if field not in used}
    return {**found, **more} if more else {}


def _take_json(column: str, cell: str, record: Record) -> None:
    """Add the JSON of a cell to a record; an empty cell changes nothing."""
    if not cell.strip():
        return
    try:
        _JSON_COLUMNS[column](exact_json(cell, "the cell"), record)
    except InvalidJson as error:
        record.problems.append(Problem(column, "not valid JSON", str(error)))


def _only_once(column: str, is_known: bool) -> None:
    if is_known:
        raise UnreadableFile(f"The column {column!r} comes twice in the header.")


LAYOUT = Layout(
    "csv",
    "CSV",
    recognizes=lambda names: not set(GTIN_COLUMNS).isdisjoint(names),
    open=own_columns,
)
