"""Declared columns: a layout as data.

A declaration names the columns of each field; :func:`declared_columns` finds them in the header of
a file. Its parts are functions that take the column names of a file and return what they found,
or ``None`` if the file has none of their columns:

* ``Find`` returns the indexes of columns: :func:`named`, :func:`numbered`, :func:`localized`,
  :func:`ending`.
* ``Text`` returns one text of a row: :func:`first`, :func:`computed`, :func:`constant`.
* ``Parts`` returns texts by field, for each offer or certificate of a row: :func:`one`,
  :func:`repeated`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

from closient.text.csv_safety import unescape_cell
from closient.text.normal import WHITE_SPACE
from closient.text.validators import InvalidText
from dashboard.imports.formats.base import Table
from dashboard.imports.layouts.base import ColumnMap, ColumnsNotFound, Layout, LayoutOptions
from dashboard.imports.records import Problem, Record
from dashboard.imports.rejects import LINE_KEY, REASON_KEY
from dashboard.imports.staging import CERTIFICATE_KEY, OFFER_KEY

T = TypeVar("T")
Names = Sequence[str]
Cells = Sequence[str]
# Returns the value of a text, empty for a text that says nothing; raises InvalidText.
Convert = Callable[[str], str]
# The host of an address, without the name of its web server.
_HOST = re.compile(r"(?:https?:)?//(?:[^/?#@]*@)?(?:www\.)?([^/?#:@]+)(?=[/?#:]|\Z)", re.IGNORECASE)


class Bound(NamedTuple, Generic[T]):
    """The columns that were found in a file, and the function from a row to the value."""

    places: tuple[int, ...]
    of: Callable[[Cells], T]


class BoundParts(NamedTuple):
    """The field of each column that was found, and the function from a row to its parts."""

    fields: dict[int, str]
    of: Callable[[Cells], list[dict[str, str]]]


Find = Callable[[Names], list[int]]
Text = Callable[[Names], Bound[str] | None]
Parts = Callable[[Names], BoundParts | None]

_NUMBER = r"[_ .-]?([0-9]{1,2})"
# In the order of preference; an attribute without a language comes first.
_LANGUAGES = ("", "en_us", "en_gb", "en")
_SEGMENT = re.compile(r"[:/.@]+")


def named(name: str) -> Find:
    """The columns with a name, which may come several times."""
    return lambda names: [place for place, each in enumerate(names) if each == name]


def numbered(name: str) -> Find:
    """The columns with a name and those with a number after it, in the order of the numbers."""
    pattern = re.compile(rf"{re.escape(name)}(?:{_NUMBER})?\Z")

    def find(names: Names) -> list[int]:
        found = {place: match for place, each in enumerate(names) if (match := pattern.match(each))}
        return sorted(found, key=lambda place: int(found[place][1] or 0))

    return find


def localized(name: str) -> Find:
    """The columns of an attribute in any language and channel, English ones first.

    They are named ``name``, ``name-en_US``, ``name-ecommerce`` or ``name-en_US-ecommerce``.
    """

    def rank(column: str) -> int:
        scopes = column.split("-")[1:]
        language = next((scope for scope in scopes if scope[:2].isalpha() and "_" in scope), "")
        known = [language, language[:2]]
        return next((i for i, each in enumerate(_LANGUAGES) if each in known), len(_LANGUAGES))

    def find(names: Names) -> list[int]:
        found = [i for i, each in enumerate(names) if each == name or each.startswith(f"{name}-")]
        # A unit is another attribute.
        found = [place for place in found if names[place] != f"{name}-unit"]
        return sorted(found, key=lambda place: rank(names[place]))

    return find


def ending(*segments: str) -> Find:
    """The columns whose path ends with these names, the shortest path first.

    The names of a path are separated by a colon, slash, dot or ``@``; case does not matter.
    """
    wanted = [segment.lower() for segment in segments]

    def find(names: Names) -> list[int]:
        paths = [_SEGMENT.split(name.lower()) for name in names]
        found = [place for place, path in enumerate(paths) if path[-len(wanted) :] == wanted]
        return sorted(found, key=lambda place: len(paths[place]))

    return find


def first(*columns: str | Find, convert: Convert | None = None) -> Text:
    """The first text of these columns that is not empty, before and after ``convert``."""

    def bind(names: Names) -> Bound[str] | None:
        places = _places(columns, names)
        if not places:
            return None

        def of(cells: Cells) -> str:
            for place in places:
                text = cells[place].strip(WHITE_SPACE)
                if text and convert:
                    text = convert(text)
                if text:
                    return text
            return ""

        return Bound(places, of)

    return bind


def computed(function: Callable[..., str], *texts: Text) -> Text:
    """A text computed from others, if the file has the columns of the first.

    Texts whose columns are missing are empty.
    """

    def bind(names: Names) -> Bound[str] | None:
        bounds = [text(names) for text in texts]
        if bounds[0] is None:
            return None
        places = tuple(place for bound in bounds if bound for place in bound.places)
        return Bound(places, lambda cells: function(*(b.of(cells) if b else "" for b in bounds)))

    return bind


def constant(text: str) -> Text:
    """The same text for each row."""
    return lambda names: Bound((), lambda cells: text)


def one(texts: Mapping[str, Text], *, needs: str | None = None) -> Parts:
    """One offer or certificate in a row.

    With ``needs`` rows in which that field is empty have none.
    """

    def bind(names: Names) -> BoundParts | None:
        bounds = bind_all(texts, names)
        if needs is not None and needs not in bounds:
            return None

        def of(cells: Cells) -> list[dict[str, str]]:
            part = {field: bound.of(cells) for field, bound in bounds.items()}
            return [part] if needs is None or part[needs] else []

        return BoundParts(used_fields(bounds), of)

    return bind


def repeated(
    columns: Mapping[str, str | Find], *, needs: str, convert: Mapping[str, Convert] | None = None
) -> Parts:
    """An offer or certificate for each value of the field ``needs``, whose column comes repeatedly.

    The values of another field belong to them by their number. If a row has more or fewer of them,
    it does not say to which: objects without a value leave no gap in repeated columns.
    """
    converts = convert or {}

    def bind(names: Names) -> BoundParts | None:
        places = {field: _places((column,), names) for field, column in columns.items()}
        if not places[needs]:
            return None

        def of(cells: Cells) -> list[dict[str, str]]:
            values = {
                field: [text for place in found if (text := cells[place].strip(WHITE_SPACE))]
                for field, found in places.items()
            }
            count = len(values[needs])
            known = {field: texts for field, texts in values.items() if len(texts) == count}
            return [
                {field: converts.get(field, str)(texts[number]) for field, texts in known.items()}
                for number in range(count)
            ]

        return BoundParts({place: field for field, found in places.items() for place in found}, of)

    return bind


@dataclasses.dataclass(frozen=True, kw_only=True)
class Declaration:
    """The columns of a layout.

    ``texts`` are the texts of the product by field, ``images`` the columns with addresses of
    images, of which ``keep`` keeps some. ``nutrients`` are by name and unit. ``rename`` changes the
    names of columns before they are compared. ``no_gtin`` is what a file says that has no column
    for the GTIN. With ``is_shop`` the file is one shop's: the host of an offer's address names a
    retailer that neither the file nor the options name.
    """

    gtin: Text
    texts: Mapping[str, Text] = dataclasses.field(default_factory=dict)
    images: Sequence[str | Find] = ()
    keep: Callable[[str], list[str]] = lambda cell: [cell]
    nutrients: Mapping[tuple[str, str], Text] = dataclasses.field(default_factory=dict)
    metadata: Mapping[str, Text] = dataclasses.field(default_factory=dict)
    offers: Parts | None = None
    is_shop: bool = False
    certificates: Sequence[Parts] = ()
    rename: Convert = str
    no_gtin: str = "The header has no column with the GTIN."


def declared_layout(
    name: str,
    title: str,
    recognizes: Callable[[Names], bool],
    declaration: Declaration,
    *,
    creates_products: bool = True,
) -> Layout:
    """The layout of a declaration."""
    return Layout(
        name,
        title,
        recognizes=recognizes,
        open=lambda table, options: declared_columns(table, declaration, options),
        creates_products=creates_products,
    )


def declared_columns(table: Table, declared: Declaration, options: LayoutOptions) -> ColumnMap:
    """The declared columns of a file.

    Raises :class:`ColumnsNotFound`.
    """
    names = [declared.rename(name) for name in table.names]
    gtin = declared.gtin(names)
    if gtin is None:
        raise ColumnsNotFound(declared.no_gtin)
    texts = bind_all(declared.texts, names)
    images = Images(declared.images, names, declared.keep)
    nutrients = [(*key, bound) for key, bound in bind_all(declared.nutrients, names).items()]
    metadata = bind_all(declared.metadata, names)
    offers = declared.offers(names) if declared.offers else None
    certificates = [bound for parts in declared.certificates if (bound := parts(names))]
    gtin_title = table.titles[gtin.places[0]].strip()
    prepared = row_reader(table)

    def parse(row: Cells) -> Record:
        cells = prepared(row)
        record = Record("", gtin_title=gtin_title)
        try:
            record.gtin = gtin.of(cells)
        except InvalidText as error:
            record.problems.append(Problem("gtin", "missing", str(error)))
        for field, bound in texts.items():
            try:
                record.texts[field] = bound.of(cells)
            except InvalidText as error:
                record.problems.append(Problem(field, "not valid", str(error)))
        record.images = images.of(cells)
        if nutrients:
            record.nutrients = [(name, unit, bound.of(cells)) for name, unit, bound in nutrients]
        if metadata:
            record.metadata = {key: bound.of(cells) for key, bound in metadata.items()}
        if offers:
            completed = [
                completed_offer(offer, options, is_shop=declared.is_shop)
                for offer in offers.of(cells)
            ]
            record.offers = _distinct(completed, OFFER_KEY)
        for bound_certificates in certificates:
            record.certificates += bound_certificates.of(cells)
        record.certificates = _distinct(record.certificates, CERTIFICATE_KEY)
        return record

    fields = used_fields({"gtin": gtin, **texts})
    fields |= dict.fromkeys(images.places, "image_url")
    fields |= used_fields({f"nutrient:{name}:{unit}": bound for name, unit, bound in nutrients})
    fields |= used_fields({f"metadata:{key}": bound for key, bound in metadata.items()})
    if offers:
        fields |= {place: f"offer_{field}" for place, field in offers.fields.items()}
    for found in certificates:
        fields |= found.fields
    return ColumnMap(parse, ignored_titles(table, fields), fields)


class Images:
    """The columns with the images of a row."""

    def __init__(
        self, columns: Sequence[str | Find], names: Names, keep: Callable[[str], list[str]]
    ) -> None:
        self.places = _places(columns, names)
        self._keep = keep

    def of(self, cells: Cells) -> list[str] | None:
        """The images of a row; none if the file has no column for them, or only other texts."""
        if not self.places:
            return None
        given = [text for place in self.places if (text := cells[place].strip(WHITE_SPACE))]
        kept = [image for text in given for image in self._keep(text)]
        return None if given and not kept else kept


def bind_all(texts: Mapping[T, Text], names: Names) -> dict[T, Bound[str]]:
    """The texts whose columns a file has, by their field."""
    return {field: bound for field, text in texts.items() if (bound := text(names))}


def used_fields(bounds: Mapping[str, Bound[str]]) -> dict[int, str]:
    """The fields by the index of their columns; the first field of a column counts."""
    found: dict[int, str] = {}
    for field, bound in bounds.items():
        for place in bound.places:
            found.setdefault(place, field)
    return found


def ignored_titles(table: Table, used: Mapping[int, str]) -> tuple[str, ...]:
    """The titles of the columns that no field uses, each once."""
    unused = (
        title.strip()
        for place, (title, name) in enumerate(zip(table.titles, table.names, strict=True))
        if place not in used and name not in (LINE_KEY, REASON_KEY)
    )
    return tuple(dict.fromkeys(title for title in unused if title))


def row_reader(table: Table) -> Callable[[Cells], Cells]:
    """The function that returns the cells of a row without what protects spreadsheets.

    Shops write an apostrophe before a cell that a spreadsheet would run as a formula, as our own
    exports do. Only delimited text needs it, and a workbook may have been saved from such a file.
    """
    if not table.has_escaped_cells:
        return lambda cells: cells
    # Nearly all rows have no apostrophe.
    return lambda cells: [unescape_cell(cell) for cell in cells] if "'" in "".join(cells) else cells


def completed_offer(
    offer: dict[str, str], options: LayoutOptions, *, is_shop: bool
) -> dict[str, str]:
    """An offer with what the file does not say: its retailer, and the currency of its price."""
    if not offer.get("retailer"):
        host = _HOST.match(offer.get("url", "")) if is_shop else None
        if retailer := options.retailer or (host and host[1].lower()):
            offer["retailer"] = retailer
    price = offer.get("price", "")
    if options.currency and price and not offer.get("currency") and not _has_letters(price):
        offer["currency"] = options.currency
    return offer


def _distinct(parts: list[dict[str, str]], key: Sequence[str]) -> list[dict[str, str]]:
    """The first of the parts of a row that are the same offer or certificate."""
    if len(parts) < 2:
        return parts
    found: dict[tuple[str, ...], dict[str, str]] = {}
    for part in parts:
        found.setdefault(tuple(part.get(field, "") for field in key), part)
    return list(found.values())


def _has_letters(text: str) -> bool:
    return any(character.isalpha() for character in text)


def _places(columns: Sequence[str | Find], names: Names) -> tuple[int, ...]:
    """The indexes of columns, each once."""

    def all_places() -> Iterator[int]:
        for column in columns:
            yield from (named(column) if isinstance(column, str) else column)(names)

    return tuple(dict.fromkeys(all_places()))
