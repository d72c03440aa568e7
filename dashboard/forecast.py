"""Forecast: the numbers of coming days, and the products that expiring certificates affect."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterable
from typing import Any

from django.db import connection

from catalog.completeness import ALL_MASKS, DATED_FACT, Rule
from dashboard.numbers import (
    NUMBERS,
    SELECT_NUMBERS,
    SOURCES,
    Source,
    Stats,
    StatsQuery,
    rows_by_name,
    sums,
)

# How many of a day's falling products are returned.
MAX_FIRST_FALLING = 10


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


_SUMS = sums(percentages="%(percentages)s", threshold="%(threshold)s")


def _columns(changes: dict[str, str]) -> str:
    """Return all numbers as columns, in one order: UNION ALL matches columns by position."""
    return ", ".join(f"{changes.get(number.name, '0')} AS {number.name}" for number in NUMBERS)


def _changes(source: Source, *, day: str, days: str, sign: str = "+") -> str:
    """Return the SELECT of the changes that a source makes to its numbers, by day.

    The arguments are SQL: the day to which a change counts, and the condition on the entries' days.
    """
    own = {n.name: f"{sign}({_SUMS[n.name]})" for n in NUMBERS if n.source == source}
    return f"""
        SELECT {day} AS day, {_columns(own)}
        FROM public.tally_tallyentry
        WHERE organization_id = %(organization_id)s AND account = '{source.account}' AND {days}
        GROUP BY 1
    """  # noqa: S608 - constants of ours


def _all_changes(source: Source) -> list[str]:
    """Return the SELECTs of all changes of a source.

    An entry of a source that is ahead counts from ``within`` days before its day until the day
    before it.
    """
    if not source.is_ahead:
        return [
            _changes(
                source, day="greatest(effective_on, %(today)s)", days="effective_on <= %(last)s"
            )
        ]
    return [
        _changes(
            source,
            day="greatest(effective_on - %(within)s, %(today)s)",
            days="effective_on > %(today)s AND effective_on <= %(last)s::date + %(within)s",
        ),
        _changes(
            source,
            day="effective_on",
            days="effective_on > %(today)s AND effective_on <= %(last)s",
            sign="-",
        ),
    ]


_CHANGES = " UNION ALL ".join(change for source in SOURCES for change in _all_changes(source))
_RUNNING = ", ".join(
    f"sum(sum({number.name})) OVER days::bigint AS {number.name}" for number in NUMBERS
)

# The tally holds the future as changes: each belongs to its day, all past ones to today, and
# running sums give the numbers.
#
# A product falls on the day after a certificate's last day, if no other covers that day and its
# mask needs one to reach the threshold. The tally has only the net change, so these are looked up
# in the summaries, and the products that are named in the products.
_FORECAST = f"""
    WITH ending AS (
        SELECT DISTINCT held.expiry_date + 1 AS day, summary.product_id, summary.facts
        FROM public.certifications_certificationassignment AS held
        JOIN public.catalog_productsummary AS summary
            ON summary.organization_id = held.organization_id
            AND summary.product_id = held.product_id
        WHERE held.organization_id = %(organization_id)s
            AND held.expiry_date >= %(today)s::date - 1 AND held.expiry_date < %(last)s
            AND cardinality(%(crossing)s::smallint[]) > 0
            AND summary.facts = ANY (%(crossing)s::smallint[])
            AND NOT summary.certified_during @> (held.expiry_date + 1)
    ), falling AS (
        SELECT *, row_number() OVER (PARTITION BY day ORDER BY product_id) AS place FROM ending
    ), falls AS (
        SELECT day, count(*) AS products,
            array_agg(gtin ORDER BY place) FILTER (WHERE place <= {MAX_FIRST_FALLING}) AS gtins,
            array_agg(name ORDER BY place) FILTER (WHERE place <= {MAX_FIRST_FALLING}) AS names,
            array_agg(facts ORDER BY place) FILTER (WHERE place <= {MAX_FIRST_FALLING}) AS masks
        FROM falling LEFT JOIN public.catalog_product AS product
            ON falling.place <= {MAX_FIRST_FALLING} AND product.id = falling.product_id
        GROUP BY day
    ), changes AS (
        {_CHANGES}
        UNION ALL
        SELECT day, {_columns({})}
        FROM (SELECT %(today)s::date AS day UNION SELECT day FROM falls) AS listed
    ), running AS (
        SELECT day, {_RUNNING}
        FROM changes
        GROUP BY day
        WINDOW days AS (ORDER BY day)
    )
    SELECT day, coalesce(products, 0) AS falling_below, gtins, names, masks, {SELECT_NUMBERS}
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
        return list(_changing(_day(rule, row) for row in rows_by_name(cursor)))


def _masks_that_need_the_certificate(rule: Rule) -> list[int]:
    """Return the fact masks that reach the threshold only with a certificate."""
    return [
        mask
        for mask in ALL_MASKS
        if not mask & DATED_FACT.bit
        and rule.is_complete(mask | DATED_FACT.bit)
        and not rule.is_complete(mask)
    ]


def _day(rule: Rule, row: dict[str, Any]) -> Day:
    falling = zip(row["gtins"] or (), row["names"] or (), row["masks"] or (), strict=True)
    return Day(
        date=row["day"],
        numbers=Stats(**{number.name: row[number.name] for number in NUMBERS}),
        falling_below=row["falling_below"],
        first_falling=[
            Falling(gtin, name, rule.percentage(mask | DATED_FACT.bit), rule.percentage(mask))
            for gtin, name, mask in falling
        ],
    )


def _changing(days: Iterable[Day]) -> Iterable[Day]:
    """Yield the first day, and each that differs from the one before or on which products fall."""
    before: Stats | None = None
    for day in days:
        if day.numbers != before or day.falling_below:
            yield day
        before = day.numbers
