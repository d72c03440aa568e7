"""Open Food Facts: its official export, and the producers' one with a column for each language.

The columns are described in the site's own data-fields.txt. The names of the people who entered
the data (``creator``, ``last_modified_by``) are personal and never looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from catalog.countries import country_of_list
from catalog.nutrition import clean_amount
from closient.text.validators import InvalidText
from dashboard.imports.drafts import Draft, Layout, gtin_column

_LANGUAGE = r"(_[a-z]{2,3})?"
_SIGNS = re.compile(rf"(product_name|generic_name){_LANGUAGE}\Z|brands\Z|energy(-kj|-kcal)?_100g\Z")
_AMOUNT = re.compile(r"(?P<name>[a-z0-9-]+)(_100g)?(_value)?\Z")
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
# Columns of the same form that are no nutrients: shares, scores and properties.
_NO_NUTRIENT = re.compile(
    "acidity|carbon-footprint|chlorophyl|cocoa|collagen-meat-protein-ratio|fruits-vegetables.*|"
    r"glycemic-index|nova-group|nutrition-score.*|ph|quantity|water-hardness"
)


def is_open_food_facts(header: Sequence[str]) -> bool:
    """Return whether a header is one of Open Food Facts' exports."""
    return "code" in header and any(_SIGNS.match(column) for column in header)


class _Texts:
    """The cells of a part of the product: in one column, or in one for each language.

    False where the header has none of them.
    """

    def __init__(self, header: Sequence[str], column: str) -> None:
        pattern = re.compile(rf"{column}{_LANGUAGE}\Z")
        self._places = {
            (match[1] or "").removeprefix("_"): place
            for place, name in enumerate(header)
            if (match := pattern.match(name))
        }
        # Without a language first, then English, then as the columns stand.
        self._order = ["", "en", *self._places]

    def __bool__(self) -> bool:
        return bool(self._places)

    @property
    def places(self) -> list[int]:
        """The places of the columns."""
        return list(self._places.values())

    def of(self, cells: Sequence[str], language: str) -> str:
        """Return the text in the row's own language, else the first there is, else nothing."""
        for wanted in (language, *self._order):
            place = self._places.get(wanted)
            if place is not None and (text := cells[place].strip()):
                return text
        return ""


def open_food_facts_layout(header: Sequence[str]) -> Layout:
    """Return the layout of an export.

    Raises :class:`UnreadableFile` when two columns could be the GTIN.
    """
    gtin_place = gtin_column(header)
    language_place = header.index("lc") if "lc" in header else None
    amounts = _amount_columns(header)
    parts = _text_parts(header)

    def draft(cells: Sequence[str]) -> Draft:
        language = cells[language_place].strip() if language_place is not None else ""
        return Draft(
            cells[gtin_place],
            {part.field: part.text_of(cells, language) for part in parts},
            _amounts(cells, amounts) if amounts else None,
        )

    return Layout(
        draft,
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
    """A field of the product, the columns it comes from, and what it makes of them.

    The function takes a row's cells and its language.
    """

    field: str
    columns: tuple[_Texts, ...]
    text_of: Callable[[Sequence[str], str], str]


def _text_parts(header: Sequence[str]) -> list[_Part]:
    """Return each field of the product that the export has columns of."""
    # The English name of the category where the export has it, else the person's own words.
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
            "image_url",
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
    """Return (nutrient, unit, place of the amount, place of the unit) for each nutrient column.

    The official export has ``fat_100g`` in grams; the producers' one ``fat_100g_value`` (or
    ``fat_value``) beside ``fat_100g_unit``.
    """
    places: Mapping[str, int] = {column: place for place, column in enumerate(header)}
    found: dict[str, tuple[str, str, int, int | None]] = {}
    for place, column in enumerate(header):
        match = _AMOUNT.match(column)
        if not match or match["name"] == column or _NO_NUTRIENT.fullmatch(match["name"]):
            continue
        name = match["name"]
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
    """Return the nutrients of a row.

    The exports hold estimates that computed to less than nothing, and a few words where amounts
    belong: these say nothing about the product and are left out.
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
