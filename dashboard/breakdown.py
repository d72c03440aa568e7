"""Breakdown: the numbers of each brand, category, retailer, country of origin or status.

The tally has the numbers of the whole organization; here the rows are grouped. The sums are those
of :mod:`dashboard.numbers`, over buckets as the tally has them. Products are read from their narrow
summaries, their groups from an index of products; offers from the summaries' counts and the index
of broken offers.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping, Sequence
from typing import Any, Self
from urllib.parse import urlencode

from django.db import connection

from catalog.completeness import DATED_FACT, half_up
from catalog.models import effective_rule
from closient.accounts.models import Organization
from closient.db.replicas import reads_on_replica
from closient.http import parameters
from closient.http.cursors import Position
from closient.tally.declarations import BUCKET_SEPARATOR
from dashboard.numbers import (
    EXPIRY,
    NUMBERS,
    OFFERS,
    PRODUCTS,
    SELECT_NUMBERS,
    SOURCES,
    Number,
    Stats,
    StatsQuery,
    missing_points,
    rows_by_name,
    stats,
    sums,
)
from offers.models import FAILING, Channel, OfferStatus


class Dimension(enum.StrEnum):
    """What the numbers can be broken down by."""

    BRAND = "brand"
    CATEGORY = "category"
    RETAILER = "retailer"
    COUNTRY = "country_of_origin"
    STATUS = "status"

    @property
    def overlaps(self) -> bool:
        """Whether a product can be in several rows, or in none."""
        return self is Dimension.RETAILER


# The group of a product: a column of products, in an index with the id.
_GROUPS = {
    Dimension.BRAND: "coalesce(product.brand_id, '00000000-0000-0000-0000-000000000000')",
    Dimension.CATEGORY: "product.category",
    Dimension.COUNTRY: "product.country_of_origin",
    Dimension.STATUS: "product.status",
}
_MASK = f"(facts + CASE WHEN certified_during @> %(day)s::date THEN {DATED_FACT.bit} ELSE 0 END)"
_OWN = "organization_id = %(organization_id)s"
_FAILING = (
    f"channel = '{Channel.ONLINE.value}' "
    f"AND url_status IN ({', '.join(repr(status.value) for status in FAILING)})"
)
_EXPIRING = "expiry_date > %(day)s AND expiry_date <= %(last_expiring_day)s"


def _bucket(channel: str, status: str, url_status: str) -> str:
    """Return the SQL of the bucket of offers (see ``Account("offers", ...)``) from SQL texts."""
    return f" || '{BUCKET_SEPARATOR}' || ".join((channel, status, url_status))


def _groups_of_products(group: str) -> str:
    """Return the entries of all sources by a column of products, as common table expressions.

    The offers come in two parts, the active ones and the failing ones. Each part leaves the other
    part of the bucket empty, so that no offer is counted twice.
    """
    # Without the wide rows of products where the summary has the column.
    is_in_summary = group == _GROUPS[Dimension.STATUS]
    summaries = (
        "public.catalog_productsummary AS product"
        if is_in_summary
        else "public.catalog_productsummary AS summary JOIN public.catalog_product AS product "
        "ON product.id = summary.product_id "
        "AND product.organization_id = summary.organization_id"
    )
    table, key = (
        ("catalog_productsummary", "product_id") if is_in_summary else ("catalog_product", "id")
    )
    product = f"JOIN public.{table} AS product ON product.{_OWN} AND product.{key} ="
    return f"""
        masks AS MATERIALIZED (
            SELECT {group} AS key, {_MASK} AS mask, count(*)::integer AS amount,
                sum(active_offer_count)::integer AS active_offer_count
            FROM {summaries}
            WHERE product.{_OWN} GROUP BY 1, 2
        ),
        {PRODUCTS.account}_entries AS (SELECT key, mask::text AS bucket, amount FROM masks),
        {OFFERS.account}_entries AS (
            SELECT key, {_bucket("''", f"'{OfferStatus.ACTIVE.value}'", "''")} AS bucket,
                active_offer_count AS amount
            FROM masks
            UNION ALL
            SELECT {group}, {_bucket(f"'{Channel.ONLINE.value}'", "''", "offer.url_status")},
                count(*)::integer
            FROM public.offers_offer AS offer {product} offer.product_id
            WHERE offer.{_OWN} AND {_FAILING} GROUP BY 1, 2
        ),
        {EXPIRY.account}_entries AS (
            SELECT {group} AS key, '' AS bucket, count(*)::integer AS amount
            FROM public.certifications_certificationassignment AS assignment
            {product} assignment.product_id
            WHERE assignment.{_OWN} AND {_EXPIRING} GROUP BY 1
        )"""  # noqa: S608 - constants of ours


# A product counts once for each retailer, however many offers it has there.
_RETAILER_ENTRIES = f"""
    sold AS (SELECT DISTINCT product_id, retailer FROM public.offers_offer WHERE {_OWN}),
    {PRODUCTS.account}_entries AS (
        SELECT retailer AS key, {_MASK}::text AS bucket, count(*)::integer AS amount
        FROM sold JOIN public.catalog_productsummary USING (product_id)
        WHERE {_OWN} GROUP BY 1, 2
    ),
    {OFFERS.account}_entries AS (
        SELECT retailer AS key,
            {_bucket("channel", "status", "coalesce(url_status, '')")} AS bucket,
            count(*)::integer AS amount
        FROM public.offers_offer WHERE {_OWN} GROUP BY retailer, channel, status, url_status
    ),
    {EXPIRY.account}_entries AS (
        SELECT retailer AS key, '' AS bucket, count(*)::integer AS amount
        FROM public.certifications_certificationassignment AS assignment CROSS JOIN LATERAL (
            SELECT DISTINCT retailer FROM public.offers_offer AS offer
            WHERE offer.{_OWN} AND offer.product_id = assignment.product_id
        ) AS retailers
        WHERE assignment.{_OWN} AND {_EXPIRING} GROUP BY 1
    )"""  # noqa: S608 - constants of ours


def _rows(dimension: Dimension) -> str:
    """Return the statement of all rows: their value, the numbers, and what they are sorted by."""
    entries = (
        _RETAILER_ENTRIES
        if dimension is Dimension.RETAILER
        else _groups_of_products(_GROUPS[dimension])
    )
    by_name = sums(percentages="%(percentages)s", threshold="%(threshold)s")
    sources = " LEFT JOIN ".join(
        f"(SELECT key, {', '.join(f'{by_name[n.name]} AS {n.name}' for n in _of(source))} "  # noqa: S608
        f"FROM {source.account}_entries GROUP BY key) AS {source.account}"
        + (" USING (key)" if source is not PRODUCTS else "")
        for source in SOURCES
    )
    value, brands = "key", ""
    if dimension is Dimension.BRAND:
        value = "coalesce(brand.name, '')"
        brands = (
            " LEFT JOIN (SELECT id AS key, name "  # noqa: S608 - constants of ours
            f"FROM public.catalog_brand WHERE {_OWN}) AS brand USING (key)"
        )
    return f"""WITH {entries}
        SELECT {value} AS value, {SELECT_NUMBERS},
            total_products - coalesce(complete_products, 0) AS incomplete_products,
            100 * total_products - avg_completeness AS missing_points
        FROM {sources}{brands}"""  # noqa: S608 - constants of ours


def _of(source: object) -> list[Number]:
    return [number for number in NUMBERS if number.source == source]


_ROWS = {dimension: _rows(dimension) for dimension in Dimension}
# The rows of a page, and the one that lowers the average the most, with the number of all rows.
_PAGE = """
    SELECT * FROM (
        SELECT *, count(*) OVER () AS total,
            row_number() OVER (PARTITION BY {is_after} ORDER BY {order}) AS place,
            {is_after} AS is_after,
            row_number() OVER (ORDER BY missing_points DESC, value) AS rank
        FROM ({rows}) AS found
    ) AS ranked
    WHERE (is_after AND place > %(start)s AND place <= %(end)s) OR rank = 1
    ORDER BY place
"""

SORTABLE = (
    "incomplete_products",
    "average_gain",
    *(number.name for number in NUMBERS),
    "value",
)
WORST_FIRST = "-incomplete_products"
BY = parameters.choice(
    "by",
    "What to break the numbers down by, `brand` by default. By `retailer`, a trade item counts for "
    "each retailer that has an offer of it.",
    words=[dimension.value for dimension in Dimension],
    example="brand",
)
ORDERING = parameters.choice(
    "ordering",
    f"Order of the rows, `{WORST_FIRST}` by default. Ties come by `value`.",
    words=[sign + name for name in SORTABLE for sign in ("", "-")],
    example=WORST_FIRST,
)


@dataclasses.dataclass(frozen=True)
class BreakdownRow:
    """The numbers of one brand, category, retailer, country or status.

    ``value`` is what the filter of the lists takes; empty for products without. ``missing_points``
    is the sum, over the row's products, of the percentage points up to 100. ``average_gain`` is by
    how many points the organization's average would rise if these products were at 100%, rounded
    half up to two decimals.
    """

    value: str
    numbers: Stats
    incomplete_products: int
    missing_points: int
    average_gain: float


@dataclasses.dataclass(frozen=True)
class BreakdownPage:
    """Some rows of a breakdown, the number of all, the worst one, and the organization's numbers.

    ``worst`` lowers the average the most; ``None`` if no product misses anything. ``average_gain``
    is by how many points the average would rise if all products were at 100%, from the exact sum.
    """

    rows: Sequence[BreakdownRow]
    total: int
    worst: BreakdownRow | None
    whole: Stats
    average_gain: float


@dataclasses.dataclass(frozen=True)
class Breakdown:
    """The numbers of an organization by one dimension, by its rule, today."""

    query: StatsQuery
    dimension: Dimension = Dimension.BRAND
    ordering: str = WORST_FIRST

    @classmethod
    def of(cls, organization: Organization, values: Mapping[str, Any]) -> Self:
        """Return the breakdown for query parameters."""
        query = StatsQuery(organization.pk, effective_rule(organization), organization.today())
        return cls(
            query, Dimension(values["by"] or Dimension.BRAND), values["ordering"] or WORST_FIRST
        )

    @reads_on_replica
    def page(self, *, start: int, end: int, after: Position | None = None) -> BreakdownPage:
        """Return the rows from ``start`` to ``end``; both count from ``after``.

        Three statements in one snapshot.
        """
        whole = stats(self.query)
        with connection.cursor() as cursor:
            cursor.execute(
                _PAGE.format(
                    rows=_ROWS[self.dimension],
                    order=self._order,
                    is_after=self._is_after if after is not None else "true",
                ),
                {
                    "organization_id": self.query.organization_id,
                    "day": self.query.day,
                    "last_expiring_day": self.query.last_expiring_day,
                    "percentages": self.query.rule.percentages,
                    "threshold": self.query.rule.threshold,
                    "start": start,
                    "end": end,
                    **dict(zip(("after_number", "after_value"), after or (), strict=False)),
                },
            )
            found = list(rows_by_name(cursor))
        rows = [
            self._row(row, whole)
            for row in found
            if row["is_after"] and start < row["place"] <= end
        ]
        worst = next((row for row in found if row["rank"] == 1 and row["missing_points"]), None)
        return BreakdownPage(
            rows=rows,
            total=found[0]["total"] if found else 0,
            worst=self._row(worst, whole) if worst else None,
            whole=whole,
            average_gain=_average_gain(missing_points(self.query), whole),
        )

    def position(self, row: BreakdownRow) -> Position:
        """Return the position of a row in the order."""
        column = self._column
        if column == "value":
            return "", row.value
        own = {
            "incomplete_products": row.incomplete_products,
            "missing_points": row.missing_points,
        }
        return own[column] if column in own else getattr(row.numbers, column), row.value

    @property
    def _column(self) -> str:
        """The column to order by."""
        name = self.ordering.removeprefix("-")
        return {"average_gain": "missing_points"}.get(name, name)

    @property
    def _is_reversed(self) -> bool:
        return self.ordering.startswith("-")

    @property
    def _order(self) -> str:
        direction = "DESC" if self._is_reversed else "ASC"
        return f"{self._column} {direction}" + ("" if self._column == "value" else ", value")

    @property
    def _is_after(self) -> str:
        """The SQL condition of the rows after a position."""
        operator = "<" if self._is_reversed else ">"
        if self._column == "value":
            return f"value {operator} %(after_value)s"
        return (
            f"({self._column} {operator} %(after_number)s "
            f"OR {self._column} = %(after_number)s AND value > %(after_value)s)"
        )

    def _row(self, row: Mapping[str, Any], whole: Stats) -> BreakdownRow:
        return BreakdownRow(
            value=row["value"],
            numbers=Stats(**{number.name: row[number.name] for number in NUMBERS}),
            incomplete_products=row["incomplete_products"],
            missing_points=row["missing_points"],
            average_gain=_average_gain(row["missing_points"], whole),
        )


def _average_gain(points: int, whole: Stats) -> float:
    return half_up(100 * int(points), whole.total_products) / 100 if points else 0.0


def list_query(dimension: Dimension, value: str, number: Number) -> str:
    """Return the query of the list behind a number of a row (see ``Number.page``)."""
    name = dimension.value
    if dimension is Dimension.STATUS and number.page != "page-products":
        name = "trade_item_status"
    return "&".join(filter(None, [number.query, urlencode({name: value})]))
