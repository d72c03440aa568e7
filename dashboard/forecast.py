"""Forecast: the seven numbers of coming days, and products that expiring certificates affect."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterable
from typing import Any

from django.db import connection

from catalog.completeness import ALL_FACTS, DATED_FACT, Rule
from dashboard.numbers import CERTIFICATE_SUMS, NUMBERS, OFFER_SUMS, Stats, StatsQuery, product_sums

FALLING_NAMED = 10


@dataclasses.dataclass(frozen=True)
class Falling:
    """A product that falls below the threshold, with its percentage the day before and that day."""

    gtin: str
    name: str
    percentage_before: int
    percentage_after: int


@dataclasses.dataclass(frozen=True)
class Day:
    """A coming day: its numbers, how many products fall that day, and the oldest of them."""

    date: datetime.date
    numbers: Stats
    falling_below: int
    first_falling: list[Falling]


# The tally holds the future as changes: each goes to its day, all that is past to today, and a
# running sum gives the numbers. A certificate expires "within n days" from n days before its last
# day until the day before it.
#
# A product falls on the day after a certificate's last day, if no other covers that day and its
# mask needs one to reach the threshold. The tally knows only how many move on balance, so these are
# looked up: first the ids of products with such masks whose certificates end, from indexes, and
# only then the rows.
_FORECAST = f"""
    WITH ending AS MATERIALIZED (
        SELECT DISTINCT held.expiry_date + 1 AS day, product.id
        FROM public.certifications_certificationassignment AS held
        JOIN public.catalog_product AS product
            ON product.organization_id = held.organization_id AND product.id = held.product_id
        WHERE held.organization_id = %(organization_id)s
            AND held.expiry_date >= %(today)s::date - 1 AND held.expiry_date < %(last)s
            AND cardinality(%(crossing)s::smallint[]) > 0
            AND product.facts = ANY (%(crossing)s::smallint[])
    ), falling AS (
        SELECT ending.day, product.gtin, product.name, product.facts,
            row_number() OVER (PARTITION BY ending.day ORDER BY product.id) AS place
        FROM ending JOIN public.catalog_product AS product USING (id)
        WHERE NOT product.certified_during @> ending.day
    ), falls AS (
        SELECT day, count(*) AS products,
            array_agg(gtin ORDER BY place) FILTER (WHERE place <= {FALLING_NAMED}) AS gtins,
            array_agg(name ORDER BY place) FILTER (WHERE place <= {FALLING_NAMED}) AS names,
            array_agg(facts ORDER BY place) FILTER (WHERE place <= {FALLING_NAMED}) AS masks
        FROM falling
        GROUP BY day
    ), changes AS (
        SELECT greatest(effective_on, %(today)s) AS day,
            {product_sums(percentages="%(percentages)s", threshold="%(threshold)s")},
            0 AS active, 0 AS broken, 0 AS expiring
        FROM public.tally_tallyentry
        WHERE organization_id = %(organization_id)s AND account = 'products'
            AND effective_on <= %(last)s
        GROUP BY 1
        UNION ALL
        SELECT greatest(effective_on, %(today)s), 0, 0, 0, 0, {OFFER_SUMS}, 0
        FROM public.tally_tallyentry
        WHERE organization_id = %(organization_id)s AND account = 'offers'
            AND effective_on <= %(last)s
        GROUP BY 1
        UNION ALL
        SELECT greatest(effective_on - %(within)s, %(today)s), 0, 0, 0, 0, 0, 0,
            {CERTIFICATE_SUMS}
        FROM public.tally_tallyentry
        WHERE organization_id = %(organization_id)s AND account = 'certification_expiry'
            AND effective_on > %(today)s AND effective_on <= %(last)s::date + %(within)s
        GROUP BY 1
        UNION ALL
        SELECT effective_on, 0, 0, 0, 0, 0, 0, -sum(amount)
        FROM public.tally_tallyentry
        WHERE organization_id = %(organization_id)s AND account = 'certification_expiry'
            AND effective_on > %(today)s AND effective_on <= %(last)s
        GROUP BY 1
        UNION ALL
        SELECT day, 0, 0, 0, 0, 0, 0, 0
        FROM (SELECT %(today)s::date AS day UNION SELECT day FROM falls) AS listed
    ), running AS (
        SELECT day,
            sum(sum(total)) OVER days::bigint AS total,
            sum(sum(complete)) OVER days::bigint AS complete,
            sum(sum(percentages)) OVER days::bigint AS percentages,
            sum(sum(missing_images)) OVER days::bigint AS missing_images,
            sum(sum(active)) OVER days::bigint AS active,
            sum(sum(broken)) OVER days::bigint AS broken,
            sum(sum(expiring)) OVER days::bigint AS expiring
        FROM changes
        GROUP BY day
        WINDOW days AS (ORDER BY day)
    )
    SELECT day, coalesce(products, 0), gtins, names, masks, {NUMBERS}
    FROM running LEFT JOIN falls USING (day)
    ORDER BY day
"""  # noqa: S608 - constants of ours


def forecast(stats_query: StatsQuery, *, days: int, is_falling_named: bool = True) -> list[Day]:
    """Return the days on which numbers change without any further write, in one query.

    Starts with the query's day and ends ``days`` (0 or more) later. Contains each day on which a
    number differs from the day before or a product falls below the threshold. The oldest products
    that fall are named. With ``is_falling_named=False`` no product rows are read, and no product
    is reported as falling.
    """
    rule = stats_query.rule
    with connection.cursor() as cursor:
        cursor.execute(
            _FORECAST,
            {
                "organization_id": stats_query.organization_id,
                "today": stats_query.day,
                "last": stats_query.day + datetime.timedelta(days=days),
                "within": stats_query.expiring_within,
                "percentages": rule.percentages,
                "threshold": rule.threshold,
                "crossing": _masks_that_need_the_certificate(rule) if is_falling_named else [],
            },
        )
        return list(_changing(_day(rule, row) for row in cursor.fetchall()))


def _masks_that_need_the_certificate(rule: Rule) -> list[int]:
    """Return the fact masks that reach the threshold only with a certificate."""
    return [
        mask
        for mask in range(ALL_FACTS + 1)
        if not mask & DATED_FACT.bit
        and rule.is_complete(mask | DATED_FACT.bit)
        and not rule.is_complete(mask)
    ]


def _day(rule: Rule, row: tuple[Any, ...]) -> Day:
    date, falling, gtins, names, masks, *numbers = row
    return Day(
        date=date,
        numbers=Stats(*numbers),
        falling_below=falling,
        first_falling=[
            Falling(gtin, name, rule.percentage(mask | DATED_FACT.bit), rule.percentage(mask))
            for gtin, name, mask in zip(gtins or (), names or (), masks or (), strict=True)
        ],
    )


def _changing(days: Iterable[Day]) -> Iterable[Day]:
    """Yield the first day, and each that differs from the one before or on which products fall."""
    before: Stats | None = None
    for day in days:
        if day.numbers != before or day.falling_below:
            yield day
        before = day.numbers
