"""Suggestions: an organization's own brands, categories, retailers and so on, found by a text.

Names are found by parts of their words, in any order, and with a typo (trigrams of ``pg_trgm``).
Only the names are read, not the rows that have them: brands and certifications have small tables;
the distinct categories, countries and retailers are read from an index, one step for each. Products
are found as in their lists.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from django.db import connection

from catalog.countries import country_names
from catalog.models import Product, found_by
from closient.db.replicas import reads_on_replica

# How many suggestions a field shows.
AT_MOST = 8
# Names of an organization among which a text is looked for, in the order of the index.
MAX_NAMES = 20_000
# Counting stops here.
MAX_COUNT = 10_000
# The share of the trigrams of a text that a name must have in one place.
MIN_SIMILARITY = 0.35


@dataclasses.dataclass(frozen=True)
class Suggestion:
    """A value of a field: how it is shown, a note beside it, and how many rows have it.

    ``count`` is at most ``MAX_COUNT + 1``, which means more; ``None`` if it says nothing.
    """

    value: str
    label: str
    note: str = ""
    count: int | None = None


@dataclasses.dataclass(frozen=True)
class _Names:
    """Where names are: a subquery with ``key``, ``value``, ``label`` and ``note``, and their rows.

    ``rows`` is the table and the condition of the rows with a ``key``.
    """

    names: str
    rows: str
    parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)


_OWN = "organization_id = %(organization_id)s"


def _distinct(table: str, column: str) -> str:
    """Return a subquery of the distinct values of an indexed column, one index step for each."""
    first = f"SELECT {column} FROM public.{table} WHERE {_OWN}"  # noqa: S608 - constants of ours
    order = f"ORDER BY {column} LIMIT 1"
    return f"""(
        WITH RECURSIVE found (name) AS (
            ({first} AND {column} > '' {order})
            UNION ALL
            SELECT ({first} AND {column} > found.name {order}) FROM found
            WHERE found.name IS NOT NULL
        )
        SELECT name AS key, name AS value, name AS label, '' AS note FROM found
        WHERE name IS NOT NULL LIMIT {MAX_NAMES}
    )"""  # noqa: S608 - constants of ours


_COUNTRIES = country_names()
_KINDS: Mapping[str, _Names] = {
    "brand": _Names(
        "(SELECT id AS key, name AS value, name AS label, '' AS note "  # noqa: S608
        f"FROM public.catalog_brand WHERE {_OWN} LIMIT {MAX_NAMES})",
        "catalog_product WHERE brand_id = chosen.key",
    ),
    "category": _Names(
        _distinct("catalog_product", "category"), "catalog_product WHERE category = chosen.key"
    ),
    "country_of_origin": _Names(
        "(SELECT key, country.name AS value, country.name AS label, key AS note "  # noqa: S608
        f"FROM {_distinct('catalog_product', 'country_of_origin')} AS used "
        "JOIN unnest(%(codes)s::text[], %(names)s::text[]) AS country (code, name) "
        "ON country.code = used.key)",
        "catalog_product WHERE country_of_origin = chosen.key",
        {
            "codes": [code for code, _ in _COUNTRIES],
            "names": [name for _, name in _COUNTRIES],
        },
    ),
    "retailer": _Names(
        _distinct("offers_offer", "retailer"), "offers_offer WHERE retailer = chosen.key"
    ),
    "certification": _Names(
        "(SELECT id AS key, code AS value, coalesce(nullif(label, ''), code) AS label, "  # noqa: S608
        "CASE WHEN label <> '' THEN code ELSE '' END AS note "
        f"FROM public.certifications_certification WHERE {_OWN} LIMIT {MAX_NAMES})",
        "certifications_certificationassignment WHERE certification_id = chosen.key",
    ),
}

# A name matches if each word of the text is part of it, or if it has something similar. Names that
# begin with the text come first, then those with a word that does, those that contain it, and the
# similar ones.
_SUGGESTIONS = f"""
    WITH given AS (
        SELECT array_to_string(words, ' ') AS text,
            ARRAY(SELECT '%%' || word || '%%' FROM unnest(words) AS word) AS patterns
        FROM public.catalog_search_words(%(text)s) AS words
    ),
    named AS MATERIALIZED (
        SELECT *, array_to_string(public.catalog_search_words(label || ' ' || note), ' ') AS folded
        FROM {{names}} AS names
    ),
    compared AS (
        SELECT named.*, given.text, folded LIKE ALL (patterns) AS is_part,
            CASE WHEN length(given.text) > 2
                THEN public.word_similarity(given.text, folded) ELSE 0 END AS similarity
        FROM named CROSS JOIN given
    ),
    chosen AS (
        SELECT *, row_number() OVER (
            ORDER BY NOT is_part, NOT starts_with(folded, text),
                strpos(' ' || folded, ' ' || text) = 0,
                CASE WHEN is_part THEN 0 ELSE similarity END DESC, folded, label
        ) AS place
        FROM compared WHERE is_part OR similarity >= {MIN_SIMILARITY}
    )
    SELECT value, label, note, (
        SELECT count(*) FROM (
            SELECT FROM public.{{rows}} AND {_OWN} LIMIT {MAX_COUNT + 1}
        ) AS counted
    ) AS count
    FROM chosen WHERE place <= %(at_most)s ORDER BY place
"""  # noqa: S608 - constants of ours


def _named(kind: str) -> Callable[[UUID, str, int], list[Suggestion]]:
    source = _KINDS[kind]
    statement = _SUGGESTIONS.format(names=source.names, rows=source.rows)

    def find(organization_id: UUID, text: str, at_most: int) -> list[Suggestion]:
        parameters = {
            "organization_id": organization_id,
            "text": text,
            "at_most": at_most,
            **source.parameters,
        }
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return [Suggestion(*row) for row in cursor]

    return find


def _products(organization_id: UUID, text: str, at_most: int) -> list[Suggestion]:
    """Return products by GTIN or words of the name; without a text, the newest ones."""
    products = Product.objects.of(organization_id).filter(found_by(text))
    # Unordered, a search reads no more rows than it returns.
    order = () if text.strip() else ("-pk",)
    found = products.order_by(*order).values_list("gtin", "name")[:at_most]
    named = [Suggestion(gtin, name or "Without a name", gtin) for gtin, name in found]
    return sorted(named, key=lambda one: one.label.casefold()) if text.strip() else named


KINDS: Mapping[str, Callable[[UUID, str, int], list[Suggestion]]] = {
    **{kind: _named(kind) for kind in _KINDS},
    "product": _products,
}


def find(organization_id: UUID, kind: str, text: str, at_most: int) -> list[Suggestion]:
    """Return what a text may mean in a field of a kind, best first; all names match a blank text.

    ``kind`` is one of ``KINDS``. One statement.
    """
    return KINDS[kind](organization_id, text.replace("\x00", " "), at_most)


@reads_on_replica
def suggestions(organization_id: UUID, kind: str, text: str) -> list[Suggestion]:
    """Return the suggestions of a field (:func:`find`)."""
    return find(organization_id, kind, text, AT_MOST)
