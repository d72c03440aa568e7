"""Open Food Facts: its official export, the producers' one with a column for each language, and the
dump of JSON objects, in which the nutrients have paths such as ``nutriments.fat_100g``.

The columns are described in the site's own data-fields.txt. The names of the people who entered
the data (``creator``, ``last_modified_by``) are personal and never read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from catalog.countries import country_of_list
from catalog.csv_columns import IMAGE_URL
from catalog.nutrition import clean_amount
from closient.text.csv_safety import unescape_cell
from closient.text.validators import InvalidText
from dashboard.imports.formats.base import Table
from dashboard.imports.layouts.base import ColumnMap, Layout, LayoutOptions, gtin_column
from dashboard.imports.records import Record

_LANGUAGE = r"(_[a-z]{2,3})?"
_SIGNS = re.compile(
    rf"(product_name|generic_name){_LANGUAGE}\Z|brands\Z|(nutriments\.)?energy(-kj|-kcal)?_100g\Z"
)
# In the dump, amounts without _100g may be those of a portion.
_AMOUNT = re.compile(
    r"nutriments\.(?P<dumped>[a-z0-9-]+)_100g\Z|(?P<name>[a-z0-9-]+)(_100g)?(_value)?\Z"
)
_PLAIN_PARTS = {
    "name": "product_name",
    "description": "generic_name",
    "net_content": "quantity",
    "serving_size": "serving_size",
}
# The export gives amounts in grams per 100 g, except these.
_OTHER_UNITS = {
    "energy": "kJ",
    "energy-kj": "kJ",
    "energy-kcal": "kcal",
    "energy-from-fat": "kJ",
    "alcohol": "% vol",
}
# Columns of the same form that are not nutrients: shares, scores and properties.
_NOT_NUTRIENT = re.compile(
    "acidity|carbon-footprint|chlorophyl|cocoa|collagen-meat-protein-ratio|fruits-vegetables.*|"
    r"glycemic-index|nova-group|nutrition-score.*|ph|quantity|water-hardness"
)


def is_open_food_facts(names: Sequence[str]) -> bool:
    """Whether column names are those of an export."""
    return "code" in names and any(_SIGNS.match(column) for column in names)


class _Texts:
    """The columns of a field: one, or one for each language.

    False if the header has none of them.
    """

    def __init__(self, header: Sequence[str], column: str) -> None:
        pattern = re.compile(rf"{column}{_LANGUAGE}\Z")
        self._places = {
            (match[1] or "").removeprefix("_"): place
            for place, name in enumerate(header)
            if (match := pattern.match(name))
        }
        # Without a language first, then English, then in the order of the columns.
        self._order = ["", "en", *self._places]

    def __bool__(self) -> bool:
        return bool(self._places)

    @property
    def places(self) -> list[int]:
        """The places of the columns."""
        return list(self._places.values())

    def of(self, cells: Sequence[str], language: str) -> str:
        """The text in the row's own language, else the first one, else an empty string."""
        for wanted in (language, *self._order):
            place = self._places.get(wanted)
            if place is not None and (text := cells[place].strip()):
                return text
        return ""


def export_columns(table: Table, options: LayoutOptions) -> ColumnMap:
    """The columns of an export.

    Raises :class:`UnreadableFile` if two columns could be the GTIN.
    """
    header = table.names
    gtin_place = gtin_column(header)
    language_place = header.index("lc") if "lc" in header else None
    amounts = _amount_columns(header)
    parts = _text_parts(header)
    # The site writes no apostrophes before formulas, but rejects files do.
    read = unescape_cell if table.has_escaped_cells else str

    def parse(cells: Sequence[str]) -> Record:
        language = cells[language_place].strip() if language_place is not None else ""
        texts = {part.field: read(part.text_of(cells, language)) for part in parts}
        image = texts.pop(IMAGE_URL, None)
        return Record(
            cells[gtin_place],
            texts,
            _amounts(cells, amounts) if amounts else None,
            images=None if image is None else [image] if image else [],
        )

    return ColumnMap(
        parse,
        fields={
            gtin_place: "gtin",
            **{
                place: part.field
                for part in parts
                for texts in part.columns
                for place in texts.places
            },
            **{place: f"nutrient:{name}" for name, _, place, _ in amounts},
            **{place: f"nutrient:{name}" for name, _, _, place in amounts if place is not None},
        },
    )


class _Part(NamedTuple):
    """A field of the product, its columns, and the function from cells and language to its text."""

    field: str
    columns: tuple[_Texts, ...]
    text_of: Callable[[Sequence[str], str], str]


def _text_parts(header: Sequence[str]) -> list[_Part]:
    """The fields of the product that the export has columns for."""
    # The English name of the category if the export has it, else the contributor's words.
    main_category = _Texts(header, "main_category_en")
    categories = _Texts(header, "categories_en") or _Texts(header, "categories")
    brands, images = _Texts(header, "brands"), _Texts(header, "image_front_url")
    image, origins = _Texts(header, "image_url"), _Texts(header, "origins")
    places = _Texts(header, "manufacturing_places")

    def category(cells: Sequence[str], language: str) -> str:
        return main_category.of(cells, language) or _last(categories.of(cells, language))

    def country(cells: Sequence[str], language: str) -> str:
        found = (country_of_list(part.of(cells, language)) for part in (origins, places))
        return next((code for code in found if code), "")

    every = [
        _Part("brand", (brands,), lambda cells, lc: brands.of(cells, lc).split(",")[0]),
        _Part("category", (main_category, categories), category),
        _Part("country_of_origin", (origins, places), country),
        _Part(
            IMAGE_URL,
            (image, images),
            lambda cells, lc: image.of(cells, lc) or images.of(cells, lc),
        ),
    ]
    for field, column in _PLAIN_PARTS.items():
        texts = _Texts(header, column)
        every.append(_Part(field, (texts,), texts.of))
    return [part for part in every if any(part.columns)]


def _last(text: str) -> str:
    return text.rpartition(",")[2].strip()


def _amount_columns(header: Sequence[str]) -> list[tuple[str, str, int, int | None]]:
    """The nutrient columns as (nutrient, unit, index of the amount, index of the unit).

    The official export has ``fat_100g`` in grams; the producers' one ``fat_100g_value`` (or
    ``fat_value``) beside ``fat_100g_unit``.
    """
    places: Mapping[str, int] = {column: place for place, column in enumerate(header)}
    found: dict[str, tuple[str, str, int, int | None]] = {}
    for place, column in enumerate(header):
        match = _AMOUNT.match(column)
        name = (match["dumped"] or match["name"]) if match else column
        if name == column or _NOT_NUTRIENT.fullmatch(name):
            continue
        unit_place = (
            places.get(f"{column.removesuffix('_value')}_unit")
            if column.endswith("_value")
            else None
        )
        found.setdefault(name, (name, _OTHER_UNITS.get(name, "g"), place, unit_place))
    if "energy-kj" in found:
        found.pop("energy", None)
    return list(found.values())


def _amounts(
    cells: Sequence[str], columns: Sequence[tuple[str, str, int, int | None]]
) -> list[tuple[str, str, str]]:
    """The nutrients of a row.

    The exports have estimates below zero, and sometimes words instead of amounts: both are skipped,
    since they say nothing about the product.
    """
    nutrients = []
    for name, unit, place, unit_place in columns:
        if text := cells[place].strip():
            try:
                clean_amount(text)
            except InvalidText:
                continue
            given = cells[unit_place].strip() if unit_place is not None else ""
            nutrients.append((name, given or unit, text))
    return nutrients


LAYOUT = Layout(
    "openfoodfacts",
    "Open Food Facts export",
    recognizes=is_open_food_facts,
    open=export_columns,
)
