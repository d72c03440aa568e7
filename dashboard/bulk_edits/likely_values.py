"""Values for products that lack one, from the catalog itself: what most similar products have.

Similar are products of the same brand or category, the more so if their names go on with the same
words. Of each brand and category only the newest products are read, so that a page of the grid
costs the same in every catalog.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection

from catalog.models import Product
from closient.accounts.models import Organization

# Of each brand or category only the newest products are looked at.
SAMPLE = 200
# The share of similar products with a value that must have the same one, and how many at least.
MIN_SHARE = 0.6
MIN_PRODUCTS = 2
FIELDS = ("brand", "category", "country_of_origin", "manufacturer")


@dataclasses.dataclass(frozen=True)
class LikelyValue:
    """A value, and why it may be right."""

    value: str
    reason: str


class _Known(NamedTuple):
    """What is known of a product."""

    brand: str
    category: str
    name: str

    def words(self, count: int) -> str:
        """The first words of the name after the brand; empty if it has fewer."""
        rest = self.name.casefold().removeprefix(self.brand.casefold()).split()
        return " ".join(rest[:count]) if len(rest) >= count else ""


@dataclasses.dataclass(frozen=True)
class _Likeness:
    """A way in which products are alike: those with the same ``key`` are."""

    key: Callable[[_Known], tuple[str, ...]]
    reason: str


# The closest first. A product without one of the parts of a key is like no other.
_LIKENESSES = (
    _Likeness(lambda p: (p.brand, p.words(2)), "of {brand} with a similar name"),
    _Likeness(lambda p: (p.brand, p.words(1)), "of {brand} with a similar name"),
    _Likeness(lambda p: (p.brand, p.category), "of {brand} in {category}"),
    _Likeness(lambda p: (p.brand,), "of {brand}"),
    _Likeness(lambda p: (p.category, p.words(2)), "in {category} with a similar name"),
    _Likeness(lambda p: (p.category, p.words(1)), "in {category} with a similar name"),
    _Likeness(lambda p: (p.category,), "in {category}"),
)


def likely_values(
    organization: Organization, field: str, products: Sequence[Product]
) -> dict[UUID, LikelyValue]:
    """Return a value for each product that lacks a field, by its id, where there is a good one.

    The brand whose name the product's name begins with; otherwise the value of most of the products
    that are most like it (at least two, and 60% of those with a value). At most two queries.
    """
    lacking = [product for product in products if not _value(product, field)]
    if not lacking or field not in FIELDS:
        return {}
    found = _brands_in_names(organization, lacking) if field == "brand" else {}
    rest = [product for product in lacking if product.pk not in found]
    return {**_of_similar(organization, field, rest), **found}


def _value(product: Product, field: str) -> str:
    return product.brand_name if field == "brand" else str(getattr(product, field))


def _brands_in_names(
    organization: Organization, products: Sequence[Product]
) -> dict[UUID, LikelyValue]:
    rows = _run(
        """
        SELECT DISTINCT ON (p.id) p.id, b.name
        FROM unnest(%(ids)s::uuid[], %(names)s::text[]) AS p (id, name)
        JOIN catalog_brand b ON b.organization_id = %(organization)s
            AND starts_with(lower(p.name) || ' ', lower(b.name) || ' ')
        ORDER BY p.id, length(b.name) DESC
        """,
        organization=organization.pk,
        ids=[product.pk for product in products],
        names=[product.name for product in products],
    )
    return {key: LikelyValue(name, "the name begins with it") for key, name in rows}


def _of_similar(
    organization: Organization, field: str, products: Sequence[Product]
) -> dict[UUID, LikelyValue]:
    counts: dict[tuple[_Likeness, tuple[str, ...]], Counter[str]] = defaultdict(Counter)
    for known, value in _sample(organization, field, products):
        for likeness, key in _likenesses(known, field):
            counts[likeness, key][value] += 1
    found = {}
    for product in products:
        known = _known(product)
        for likeness, key in _likenesses(known, field):
            values = counts[likeness, key]
            ((value, count),) = values.most_common(1) or [("", 0)]
            if count >= MIN_PRODUCTS and count >= MIN_SHARE * values.total():
                reason = likeness.reason.format(brand=known.brand, category=known.category)
                found[product.pk] = LikelyValue(value, f"as {count} other products {reason}")
                break
    return found


def _known(product: Product) -> _Known:
    return _Known(product.brand_name, product.category, product.name)


def _likenesses(known: _Known, field: str) -> Iterator[tuple[_Likeness, tuple[str, ...]]]:
    """Yield the likenesses that a product has, without the field that is to be found."""
    given = known._replace(**{field: ""}) if field in _Known._fields else known
    for likeness in _LIKENESSES:
        key = likeness.key(given)
        if all(key):
            yield likeness, key


def _sample(
    organization: Organization, field: str, products: Iterable[Product]
) -> list[tuple[_Known, str]]:
    """Return the newest products of the brands and categories that have a value, with it."""
    columns = "id, brand_id, category, name, "
    columns += "''::text AS value" if field == "brand" else f"{field} AS value"

    def newest(keys: str, column: str) -> str:
        return f"""
            SELECT product.* FROM unnest({keys}) AS given (key) CROSS JOIN LATERAL (
                SELECT {columns} FROM public.catalog_product
                WHERE organization_id = %(organization)s AND {column} = given.key
                ORDER BY id DESC LIMIT {SAMPLE}
            ) AS product"""

    value = "coalesce(brand.name, '')" if field == "brand" else "product.value"
    rows = _run(
        f"""
        SELECT coalesce(brand.name, ''), product.category, product.name, {value}
        FROM (
            {newest("%(brands)s::uuid[]", "brand_id")}
            UNION {newest("%(categories)s::text[]", "category")}
        ) AS product LEFT JOIN public.catalog_brand AS brand ON brand.id = product.brand_id
        WHERE {value} <> ''
        """,
        organization=organization.pk,
        brands=list({product.brand_id for product in products if product.brand_id}),
        categories=list({product.category for product in products if product.category}),
    )
    return [(_Known(*row[:3]), row[3]) for row in rows]


def _run(statement: str, **parameters: Any) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())
