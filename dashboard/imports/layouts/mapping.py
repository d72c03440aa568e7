"""Mapping by hand: which field each column of a file is, for files that no layout recognizes.

A mapping is a dictionary from the titles of columns to targets: a field of ``FIELDS``,
``nutrient:NAME:UNIT`` or ``metadata:KEY``. A title that begins with ``=`` is a value that all rows
have: ``{"=energy-label": "certification"}``. Several columns may have the same target: the first
that is not empty counts, and all of them for images.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from catalog.countries import country_code
from catalog.gtin import InvalidGtin, normalize_gtin
from catalog.models import ProductStatus
from closient.text.normal import WHITE_SPACE
from dashboard.imports.files import UnreadableFile
from dashboard.imports.formats.base import Table, column_name
from dashboard.imports.layouts import converters
from dashboard.imports.layouts.base import ColumnMap, ColumnsNotFound, Layout, LayoutOptions
from dashboard.imports.layouts.columns import (
    Declaration,
    Text,
    constant,
    declared_columns,
    first,
    one,
)
from dashboard.imports.layouts.fields import (
    FIELDS,
    GTIN,
    IMAGE_URL,
    METADATA_PREFIX,
    NUTRIENT_PREFIX,
    OFFER,
    certificate_field,
    folded,
    offer_field,
)
from dashboard.imports.rejects import LINE_KEY, REASON_KEY, BadRow
from offers.models import Channel, OfferStatus

NAME = "mapping"
FIXED = "="
MAX_COLUMNS = 500
MAX_TITLE_LENGTH = 500
# Rows that samples are taken from.
MAX_SAMPLE_ROWS = 200
# The share of GTINs among the values of a column that holds them.
_MOSTLY = 0.6
_IMAGE_PATH = re.compile(r"\.(jpe?g|png|gif|webp|avif|svg|tiff?)\Z", re.IGNORECASE)
# A GTIN, also one that a spreadsheet has damaged: its import says what is wrong with it.
_LIKE_GTIN = re.compile(r"[0-9][0-9 .,-]{4,}[0-9E]")
# PostgreSQL stores no NUL, and UTF-8 no half of a surrogate pair.
_NOT_STORED = re.compile("[\x00\ud800-\udfff]")
_NUMBER_AT_END = re.compile(r"[0-9]{1,2}\Z")
_PLAIN_NUMBER = re.compile(r"[0-9]+([.,][0-9]+)?\Z")
# What titles add: Preis (EUR); C:Brand, attributes.ean; name_de, Titel-fr_FR; Produkt-Kategorie.
_IN_BRACKETS = re.compile(r"\([^()]*+\)|\[[^\[\]]*+\]")
_PATH = re.compile(r"[:.>/]+")
_LANGUAGE = re.compile(
    r"(?<![\s_.-])[\s_.-]++(de|en|fr|es|it|nl|pl|pt|sv|da|nb|no|fi|cs|sk|hu|ro|tr|deutsch|englisch|english)"
    r"([_-][A-Za-z]{2})?\Z",
    re.IGNORECASE,
)
_PREFIX = re.compile(
    r"\A(product|produkt|produit|producto|prodotto|produto|artikel|article|art\u00edculo|articolo"
    r"|item|variant|meta|pa)[\s_-]*(?=\w)",
    re.IGNORECASE,
)
# A type may be the kind of a row, and a short description repeats the name.
_SECOND_CHOICE = re.compile(r"\btype\b|short|kurz|court|corta|curta|breve|kort|kr\u00f3tki")
_WORDS = re.compile(r"[\W\d_]+")
_GTIN_WORDS = frozenset(("gtin", "ean", "upc", "barcode", "strichcode", "gencod"))
# The number of a case, a pallet or another product is not the product's.
_NO_GTIN_WORDS = frozenset(
    re.findall(
        r"\w+",
        "case pack pallet outer inner master shipper parent box tray type image status karton vpe "
        "umkarton palette kolli koli lage typ carton colis caja cartone doos omdoos",
    )
)
# Of descriptions that may be names.
_MAX_NAME_LENGTH = 120
_TARGETS = (
    f"a target is one of {', '.join(FIELDS)}, {NUTRIENT_PREFIX}NAME:UNIT or {METADATA_PREFIX}KEY"
)


class InvalidMapping(ValueError):
    """A mapping cannot be used; the message says why, for the user."""


def check_mapping(mapping: Mapping[Any, Any]) -> dict[str, str]:
    """Return a mapping without blanks around its texts; raises :class:`InvalidMapping`."""
    if len(mapping) > MAX_COLUMNS:
        raise InvalidMapping(f"A mapping has at most {MAX_COLUMNS} columns.")
    cleaned: dict[str, str] = {}
    for title, target in mapping.items():
        if not isinstance(title, str) or not isinstance(target, str):
            raise InvalidMapping("A mapping must be an object of strings: column title to field.")
        if not title.strip() or len(title) > MAX_TITLE_LENGTH:
            raise InvalidMapping(
                f"The title of a column has 1 to {MAX_TITLE_LENGTH} characters (found "
                f"{title[:40]!a})."
            )
        if any(map(_NOT_STORED.search, (title, target))):
            raise InvalidMapping(f"{title[:40]!a} has a character that is not valid Unicode.")
        cleaned[title.strip()] = _target(target.strip())
    targets = set(cleaned.values())
    if GTIN not in targets:
        raise InvalidMapping("No column is mapped to gtin: the GTIN says which product a row is.")
    if targets == {GTIN}:
        raise InvalidMapping("Only the GTIN is mapped: map at least one more column.")
    offers = {target for target in targets if offer_field(target)}
    if offers and not offers & {"offer_url", "offer_channel"}:
        raise InvalidMapping(
            "An online offer needs the URL of its page: map a column to offer_url."
        )
    if any(certificate_field(target) for target in targets) and "certification" not in targets:
        raise InvalidMapping(
            "A certificate needs its certification: map a column to certification, or give one for "
            "all rows with =CODE."
        )
    return cleaned


def parse_mapping(lines: Iterable[str]) -> dict[str, str]:
    """Return the mapping of texts like ``COLUMN=FIELD``; raises :class:`InvalidMapping`.

    A title may contain ``=``, a target cannot.
    """
    mapping: dict[str, str] = {}
    for line in lines:
        title, equals, target = line.rpartition("=")
        if not equals or not title.strip():
            raise InvalidMapping(f'{line[:60]!r}: write it as "COLUMN=FIELD".')
        if title.strip() in mapping:
            raise InvalidMapping(f"The column {title.strip()[:60]!r} is mapped twice.")
        mapping[title.strip()] = target
    return check_mapping(mapping)


def shown_mapping(mapping: Mapping[str, str]) -> str:
    """Return a mapping as lines for :func:`parse_mapping`."""
    return "\n".join(f"{_in_one_line(title)}={target}" for title, target in mapping.items())


def _in_one_line(title: str) -> str:
    # A title of several lines is compared without them.
    return title if title.startswith(FIXED) else " ".join(title.split())


def _target(target: str) -> str:
    if target in FIELDS:
        return target
    if target.startswith(NUTRIENT_PREFIX):
        name, _, unit = target.removeprefix(NUTRIENT_PREFIX).rpartition(":")
        if name.strip() and unit.strip():
            return target
    elif target.startswith(METADATA_PREFIX) and target.removeprefix(METADATA_PREFIX).strip():
        if FIXED in target:
            raise InvalidMapping(f"{target[:60]!a}: a key of metadata cannot have {FIXED} here.")
        return target
    raise InvalidMapping(f"There is no field {target[:60]!a}: {_TARGETS}.")


def mapped_layout(mapping: Mapping[str, str]) -> Layout:
    """The layout of a mapping; raises :class:`InvalidMapping`.

    It creates products if the mapping has a field of the product besides the GTIN.
    """
    cleaned = check_mapping(mapping)
    declaration = _declaration(cleaned)

    def open_table(table: Table, options: LayoutOptions) -> ColumnMap:
        if not table.titles:
            raise UnreadableFile("The file has no columns, so they cannot be mapped.")
        for title in cleaned:
            if not title.startswith(FIXED) and column_name(title) not in table.names:
                shown = ", ".join(each.strip() for each in table.titles if each.strip())
                raise ColumnsNotFound(
                    f"The mapping names a column {title!r}, which the file does not have. Its "
                    f"columns are: {shown[:1000] or 'none'}."
                )
        return declared_columns(table, declaration, options)

    return Layout(
        NAME,
        "Mapping by hand",
        recognizes=lambda names: False,
        open=open_table,
        creates_products=any(
            target != GTIN and not offer_field(target) and not certificate_field(target)
            for target in cleaned.values()
        ),
    )


def names_of(mapping: Mapping[str, str]) -> set[str]:
    """The names of the columns that a mapping needs."""
    return {column_name(title) for title in mapping if not title.startswith(FIXED)}


def _declaration(mapping: Mapping[str, str]) -> Declaration:
    titles: dict[str, list[str]] = {}
    for title, target in mapping.items():
        titles.setdefault(target, []).append(title)
    texts = {target: _text(target, columns) for target, columns in titles.items()}
    offer = {field: text for target, text in texts.items() if (field := offer_field(target))}
    certificate = {
        field: text for target, text in texts.items() if (field := certificate_field(target))
    }
    needs = "url" if "url" in offer and "channel" not in offer else None
    return Declaration(
        gtin=texts[GTIN],
        texts={
            target: text
            for target, text in texts.items()
            if target not in (GTIN, IMAGE_URL)
            and target in FIELDS
            and not offer_field(target)
            and not certificate_field(target)
        },
        images=[column_name(title) for title in titles.get(IMAGE_URL, [])],
        nutrients={
            (name.strip(), unit.strip()): text
            for target, text in texts.items()
            if target.startswith(NUTRIENT_PREFIX)
            for name, _, unit in [target.removeprefix(NUTRIENT_PREFIX).rpartition(":")]
        },
        metadata={
            target.removeprefix(METADATA_PREFIX).strip(): text
            for target, text in texts.items()
            if target.startswith(METADATA_PREFIX)
        },
        offers=one(offer, needs=needs) if offer else None,
        certificates=[one(certificate, needs="certification")] if certificate else [],
    )


def _text(target: str, titles: Sequence[str]) -> Text:
    columns = [column_name(title) for title in titles if not title.startswith(FIXED)]
    fixed = next((title.removeprefix(FIXED) for title in titles if title.startswith(FIXED)), None)
    if not columns:
        return constant(fixed or "")
    convert = converters.availability if target == "offer_status" else None
    return first(*columns, convert=convert)


def fingerprint(names: Iterable[str]) -> str:
    """The SHA-256 of the names of a header, in any order.

    Columns without a name, and those that a rejects file adds, do not count.
    """
    own = sorted(name for name in names if name not in ("", LINE_KEY, REASON_KEY))
    return hashlib.sha256("\n".join(own).encode("utf-8", "surrogatepass")).hexdigest()


def samples(table: Table, n: int = 3) -> list[list[str]]:
    """The first values of each column that are not empty, at most ``n``, each once."""
    found: list[list[str]] = [[] for _ in table.titles]
    for _, cells in itertools.islice(table.rows(), MAX_SAMPLE_ROWS):
        if isinstance(cells, BadRow):
            continue
        for values, cell in zip(found, cells, strict=False):
            text = cell.strip(WHITE_SPACE)
            if text and len(values) < n and text not in values:
                values.append(text)
        if all(len(values) >= n for values in found):
            break
    return found


def guess(titles: Sequence[str], samples: Sequence[Sequence[str]]) -> dict[str, str]:
    """A mapping that the titles and values of columns suggest; it may be incomplete.

    A column is suggested by its title, unless its values contradict; a column without a known title
    if most of its values are GTINs, or if all of them are addresses.
    """
    columns = [
        _Column(title.strip(), [text.strip() for text in values if text.strip()])
        for title, values in zip(titles, samples, strict=True)
        if 0 < len(title.strip()) <= MAX_TITLE_LENGTH
        and title.strip() not in (LINE_KEY, REASON_KEY)
    ]
    found: dict[str, str] = {}
    taken: set[str] = set()

    def take(column: _Column, target: str) -> None:
        if target and (target == IMAGE_URL or target not in taken):
            found.setdefault(column.title, target)
            taken.add(target)

    # Titles that are known as they are win over those of which a part is known.
    for targets_of in (_best_target, _exact_target, _target_of_parts):
        known = [(column, targets_of(column.title)) for column in columns]
        # Of several columns with a GTIN, such as EAN13 and UPC, the one that has more counts.
        known.sort(key=lambda each: -each[0].gtin_count if each[1] == GTIN else 0)
        for column, target in known:
            if target and column.title not in found and _fits(target, column.values):
                take(column, target)
    for column in columns:
        if column.title not in found and column.values:
            take(column, _target_of_values(column))
    _call_short_descriptions_names(columns, found)
    taken = set(found.values())
    return {title: target for title, target in found.items() if _is_useful(target, taken)}


class _Column(NamedTuple):
    """A column with its first values, without blanks around them and empty ones."""

    title: str
    values: Sequence[str]

    @property
    def gtin_count(self) -> int:
        return sum(map(_is_gtin, self.values))


def _call_short_descriptions_names(columns: Sequence[_Column], found: dict[str, str]) -> None:
    """Suggest the description as the name in a file without one, if it is as short as a name.

    Programs for accounting call the name of an article its description.
    """
    if "name" in found.values():
        return
    described = next((each for each in columns if found.get(each.title) == "description"), None)
    if described is None or not described.values or not all(map(_is_short, described.values)):
        return
    found[described.title] = "name"
    for column in columns:
        if column.title not in found and _target_of_title(column.title) == "description":
            found[column.title] = "description"
            return


def _is_short(text: str) -> bool:
    return len(text) <= _MAX_NAME_LENGTH and "\n" not in text


def _is_useful(target: str, targets: set[str]) -> bool:
    """Whether a target makes sense beside the others."""
    if FIELDS[target].group == OFFER:
        return "offer_url" in targets
    return not certificate_field(target) or "certification" in targets


_TARGET_OF = {guess: field.name for field in reversed(FIELDS.values()) for guess in field.guesses}


def _best_target(title: str) -> str:
    """The field that a title means, unless other titles usually mean it better."""
    return "" if _SECOND_CHOICE.search(title.casefold()) else _exact_target(title)


def _exact_target(title: str) -> str:
    key = folded(title)
    return _TARGET_OF.get(key) or _TARGET_OF.get(_NUMBER_AT_END.sub("", key), "")


def _target_of_parts(title: str) -> str:
    """The field that a title means without what is added to it, such as a language.

    Examples: ``Preis (EUR)``, ``name_de``, ``C:Brand``, ``attributes.ean``, ``Product Brand``.
    """
    shortened = _IN_BRACKETS.sub(" ", title).strip()
    last = _PATH.split(shortened)[-1]
    for text in (shortened, last, _LANGUAGE.sub("", last), _PREFIX.sub("", last)):
        target = _exact_target(text) if text else ""
        if target:
            return target
    words = set(_WORDS.split(title.casefold()))
    if words & _GTIN_WORDS and not words & _NO_GTIN_WORDS:
        return GTIN
    return ""


def _target_of_title(title: str) -> str:
    return _exact_target(title) or _target_of_parts(title)


def _fits(target: str, values: Sequence[str]) -> bool:
    """Whether the values of a column can be those of a field."""
    if not values:
        return True
    if target == GTIN:
        return any(_LIKE_GTIN.search(value) for value in values)
    if target in (IMAGE_URL, "offer_url"):
        return any(converters.is_address(value) for value in values)
    if target == "net_content":
        # A number without a unit is no amount.
        return not all(_PLAIN_NUMBER.match(value) for value in values)
    is_one = _VALUES.get(target)
    return is_one is None or sum(map(is_one, values)) >= _MOSTLY * len(values)


# How the values of a field look that rejects other ones.
_VALUES: Mapping[str, Callable[[str], bool]] = {
    "status": lambda text: text.lower() in ProductStatus.values,
    "country_of_origin": lambda text: country_code(text) is not None,
    "gpc_brick_code": lambda text: text.isdecimal() and len(text) == 8,
    "offer_status": lambda text: converters.availability(text) in OfferStatus.values,
    "offer_channel": lambda text: text.lower() in Channel.values,
    "offer_price": lambda text: any(character.isdecimal() for character in text),
    "name": lambda text: not text.isdecimal(),
    "brand": lambda text: not text.isdecimal(),
    "manufacturer": lambda text: not text.isdecimal(),
    "category": lambda text: not text.isdecimal(),
}


def _target_of_values(column: _Column) -> str:
    if column.gtin_count >= _MOSTLY * len(column.values):
        return GTIN
    if all(converters.is_address(value) for value in column.values):
        images = sum(bool(_IMAGE_PATH.search(_path(value))) for value in column.values)
        return IMAGE_URL if 2 * images > len(column.values) else "offer_url"
    return ""


def _path(address: str) -> str:
    try:
        return urlsplit(address).path
    except ValueError:
        return ""


def _is_gtin(text: str) -> bool:
    try:
        normalize_gtin(text)
    except InvalidGtin:
        return False
    return True
