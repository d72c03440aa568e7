"""Our own CSV, as exports write it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from catalog.csv_columns import GTIN_COLUMNS, METADATA, NUTRIENTS, TEXT_COLUMNS
from closient.text.csv_safety import unescape_cell
from dashboard.imports.files import InputFile, UnreadableFile
from dashboard.imports.formats.base import ColumnMap, FileFormat, ParsedRow, gtin_column
from dashboard.imports.formats.delimited import DelimitedFile
from dashboard.imports.formats.json_lines import (
    InvalidJson,
    exact_json,
    take_metadata,
    take_nutrients,
)
from dashboard.imports.rejects import LINE_KEY, REASON_KEY

NUTRIENT_PREFIX = "nutrient:"
METADATA_PREFIX = "metadata:"
# Instead of one column for each nutrient or key.
_JSON_COLUMNS: Mapping[str, Callable[[Any, ParsedRow], None]] = {
    NUTRIENTS: lambda value, row: take_nutrients(value, row, NUTRIENTS),
    METADATA: take_metadata,
}


def open_own_csv(source: InputFile) -> tuple[DelimitedFile, ColumnMap]:
    """Open a file with the columns of our own CSV; raises :class:`UnreadableFile`."""
    file = DelimitedFile(source, GTIN_COLUMNS)
    return file, own_columns(file.header)


def own_columns(header: Sequence[str]) -> ColumnMap:
    """The columns of our own CSV.

    Raises :class:`UnreadableFile` if two columns are the same field.
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

    def parse(cells: Sequence[str]) -> ParsedRow:
        row = ParsedRow(
            unescape_cell(cells[gtin_place]),
            {column: unescape_cell(cells[place]) for column, place in text_places},
            [(name, unit, unescape_cell(cells[place])) for name, unit, place in nutrients] or None,
            {key: unescape_cell(cells[place]) for key, place in metadata} or None,
        )
        for column, place in objects.items():
            _take_json(column, unescape_cell(cells[place]), row)
        return row

    return ColumnMap(parse, tuple(ignored), fields)


def _take_json(column: str, cell: str, row: ParsedRow) -> None:
    """Add the JSON of a cell to a row; an empty cell changes nothing."""
    if not cell.strip():
        return
    try:
        _JSON_COLUMNS[column](exact_json(cell, "the cell"), row)
    except InvalidJson as error:
        row.problems.append(f"{column}: {error}")


def _only_once(column: str, is_known: bool) -> None:
    if is_known:
        raise UnreadableFile(f"The column {column!r} comes twice in the header.")


FORMAT = FileFormat("csv", detect=lambda source: not source.is_json, open=open_own_csv)
