"""Lists of the API for an organization of 1,000 products and for one of 1,000,000, side by side.

Run by ``make bench``. Each round requests every list for both as a logged-in browser does, through
all of Django without the network, in the database that ``benchmarks.stats_at_size`` creates. Then
the time to the first piece of each export, with its ratio to the export of all rows.
"""

from __future__ import annotations

import functools
import statistics
from typing import NamedTuple

from django.db import connection
from django.http import QueryDict
from django.test import Client
from django.test.utils import CaptureQueriesContext

from benchmarks.home_page import prepare_browsers, request_page
from benchmarks.results import Column, publish
from benchmarks.stats_at_size import milliseconds
from catalog.exporting import exported_products
from catalog.lists import ProductList
from closient.accounts.models import Organization
from closient.db.ids import format_id
from closient.db.transactions import consistent_read
from closient.http.parameters import read_query
from dashboard.exports.formats import CHUNK_CHARACTERS
from dashboard.numbers import StatsQuery

ROUNDS = 40
LISTS = {
    "products": "trade-items/{}",
    "products, least complete": "trade-items/{}?ordering=completeness",
    "products without images": "trade-items/{}?missing=images",
    "products found by a word": "trade-items/{}?q=oat",
    "offers": "offers/{}",
    "active offers": "offers/{}?status=active",
    "broken offers": "offers/{}?url_status=failing",
    "offers by retailer": "offers/{}?ordering=retailer",
    "certificates": "certifications/{}",
    "expiring certificates": "certifications/{}?expiring_within=60",
    "certificates of one kind": "certifications/{}?certification=eu-organic",
}


EXPORT_ROUNDS = 5
EXPORTS = {
    "all products": "",
    "complete": "complete=true",
    "not complete": "complete=false",
    "without images": "missing=images",
    "without description": "missing=description",
    "at most 30%": "max_completeness=30",
    "least complete first": "ordering=completeness",
    "most complete first": "ordering=-completeness",
    "found by a word": "q=oat",
}


class Measured(NamedTuple):
    """A list: medians in milliseconds, and its queries, by the organization's index."""

    name: str
    response_ms: list[float]
    queries: list[int]


def main() -> None:
    """Print the table."""
    sizes, stats_queries, browsers = prepare_browsers(__doc__)
    ids = [format_id(stats_query.organization_id) for stats_query in stats_queries]
    report(sizes, [measure(name, browsers, ids) for name in LISTS])
    largest = sizes.index(max(sizes))
    report_exports(sizes[largest], measure_exports(stats_queries[largest]))


def measure(name: str, browsers: list[Client], ids: list[str]) -> Measured:
    """Return the medians of a list, the rounds of all organizations interleaved."""
    urls = [f"/dashboard/api/v1/{LISTS[name].format(key)}" for key in ids]
    times: list[list[float]] = [[] for _ in urls]
    for _ in range(ROUNDS):
        for index, (browser, url) in enumerate(zip(browsers, urls, strict=True)):
            times[index].append(milliseconds(functools.partial(request_page, browser), url))
    queries = []
    for browser, url in zip(browsers, urls, strict=True):
        with CaptureQueriesContext(connection) as captured:
            request_page(browser, url)
        queries.append(len(captured))
    return Measured(name, [statistics.median(t) for t in times], queries)


def measure_exports(stats_query: StatsQuery) -> dict[str, float]:
    """Return the medians to the first piece of each export, the rounds interleaved."""
    organization = Organization.objects.get(pk=stats_query.organization_id)
    times: dict[str, list[float]] = {name: [] for name in EXPORTS}
    for _ in range(EXPORT_ROUNDS):
        for name, query in EXPORTS.items():
            values = read_query(QueryDict(query), ProductList.parameters())
            times[name].append(milliseconds(start_export, ProductList.of(organization, values)))
    return {name: statistics.median(taken) for name, taken in times.items()}


def start_export(products: ProductList) -> None:
    """Read the rows of an export that fill its first piece."""
    with consistent_read():
        characters = 0
        for row in exported_products(products):
            characters += len(",".join(map(str, row)))
            if characters >= CHUNK_CHARACTERS:
                break


def report_exports(products: int, measured: dict[str, float]) -> None:
    """Print the table of exports."""
    publish(
        "export_starts",
        f"First piece of an export of {products:,} products, medians of {EXPORT_ROUNDS} "
        "interleaved rounds",
        [Column("export"), Column("time", ".0f", "ms"), Column("ratio", ".2f")],
        [(name, took, took / measured["all products"]) for name, took in measured.items()],
    )


def report(sizes: list[int], measured: list[Measured]) -> None:
    """Print the table, with the largest organization against the smallest."""
    publish(
        "list_requests",
        f"Pages of 25 rows, medians of {ROUNDS} interleaved rounds",
        [
            Column("list"),
            *(Column(f"{size:,} products", ".2f", "ms") for size in sizes),
            Column("queries", "d"),
            Column("ratio", ".2f"),
        ],
        [
            (
                row.name,
                *row.response_ms,
                row.queries[-1],
                row.response_ms[-1] / row.response_ms[0],
            )
            for row in measured
        ],
    )


if __name__ == "__main__":
    main()
