"""Google Merchant Center: product data as a table, RSS 2.0 or Atom.

The names are those of the product data specification, with underscores or blanks, in XML with the
prefix ``g:``.
"""

from __future__ import annotations

from collections.abc import Sequence

from closient.text.normal import WHITE_SPACE
from dashboard.imports.layouts import converters
from dashboard.imports.layouts.columns import (
    BoundParts,
    Cells,
    Declaration,
    Names,
    declared_layout,
    ending,
    first,
    named,
    one,
    repeated,
)

_PREFIX = "g:"
# A product feed has a title and a link, and one of these.
_SIGNS = frozenset(
    (
        "image_link",
        "availability",
        "google_product_category",
        "product_type",
        "identifier_exists",
        "item_group_id",
    )
)


def _name(name: str) -> str:
    return name.removeprefix(_PREFIX)


def _recognizes(names: Sequence[str]) -> bool:
    found = {_name(name) for name in names}
    return {"title", "link"} <= found and not _SIGNS.isdisjoint(found)


def _certifications(names: Names) -> BoundParts | None:
    """Certifications in one cell each, or separated by commas: ``authority:name:code``."""
    places = named("certification")(names)
    if not places:
        return None

    def of(cells: Cells) -> list[dict[str, str]]:
        given = (each for place in places for each in cells[place].split(","))
        return [_certificate(text) for each in given if (text := each.strip(WHITE_SPACE))]

    return BoundParts(dict.fromkeys(places, "certification"), of)


def _certificate(text: str) -> dict[str, str]:
    authority, name, code, *_ = (part.strip(WHITE_SPACE) for part in f"{text}:::".split(":"))
    return {"certification": name, "issuing_body": authority, "certificate_number": code}


LAYOUT = declared_layout(
    "google",
    "Google Merchant Center",
    _recognizes,
    Declaration(
        rename=_name,
        gtin=first("gtin"),
        texts={
            "name": first("title"),
            "description": first("description"),
            "brand": first("brand"),
            # A Google category may be a number of its taxonomy.
            "category": first("product_type", "google_product_category", convert=converters.words),
        },
        images=("image_link", "additional_image_link"),
        offers=one(
            {
                "url": first("link"),
                "sku": first("id"),
                "price": first("price"),
                "status": first("availability", convert=converters.availability),
            },
            needs="url",
        ),
        is_shop=True,
        certificates=(
            _certifications,
            repeated(
                {
                    "certification": ending("certification_name"),
                    "issuing_body": ending("certification_authority"),
                    "certificate_number": ending("certification_code"),
                },
                needs="certification",
            ),
        ),
        no_gtin="The feed has no column gtin: add the attribute gtin to it.",
    ),
)
