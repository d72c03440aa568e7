"""Finding, explaining and bulk edits for organizations of 1,000 and of 1,000,000 products.

Run by ``make bench``. All products without a country get one in a bulk edit, as the worker makes
it, while another session requests pages of the list of products. Then each round requests every
search, breakdown and explanation for both organizations as a logged-in browser does, through all of
Django without the network. At the end the bulk edit is undone. Works in the database that
``benchmarks.stats_at_size`` creates.
"""

from __future__ import annotations

import datetime
import functools
import multiprocessing
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import urlencode

from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext

from benchmarks.home_page import prepare_browsers, request_page
from benchmarks.results import Column, publish
from benchmarks.stats_at_size import milliseconds
from closient.accounts.models import Organization
from closient.db.ids import format_id
from closient.serving.stack import reserve_stack
from dashboard.bulk_edits import runs
from dashboard.bulk_edits.preview import preview
from dashboard.bulk_edits.targets import PRODUCTS
from dashboard.models import BulkEdit, BulkEditStatus
from dashboard.numbers import StatsQuery, current_numbers

ROUNDS = 5
FILTER = {"missing": "country"}
VALUES = {"country_of_origin": "DE"}
SECONDS_BETWEEN_PAGES = 0.1
REQUESTS = {
    "search everything: `oat`": "/dashboard/{}/search?q=oat",
    "search everything, with a typo": "/dashboard/{}/search?q=chocolte",
    "brands for `haf`": "/dashboard/{}/suggestions?of=brand&q=haf",
    "categories, no text yet": "/dashboard/{}/suggestions?of=category&q=",
    "retailers with a typo": "/dashboard/{}/suggestions?of=retailer&q=amazn",
    "products for `oat milk`": "/dashboard/{}/suggestions?of=product&q=oat+milk",
    **{
        f"breakdown by {by}": f"/dashboard/api/v1/breakdown/{{}}?by={by}"
        for by in ("brand", "category", "retailer", "country_of_origin", "status")
    },
    "activity": "/dashboard/{}/activity",
    "why the numbers changed": "/dashboard/api/v1/stats/{}/explain?{since}",
}


class Edit(NamedTuple):
    """A bulk edit or its undo: its rows and seconds, and the list pages requested meanwhile."""

    name: str
    rows: int
    seconds: float
    pages_ms: list[float]


@reserve_stack
def main() -> None:
    """Measure and print the tables."""
    sizes, stats_queries, browsers = prepare_browsers(__doc__)
    organizations = [Organization.objects.get(pk=q.organization_id) for q in stats_queries]
    before = [current_numbers(organization) for organization in organizations]
    since = datetime.datetime.now(datetime.UTC).isoformat()
    edited = [
        bulk_edit(organization, browser)
        for organization, browser in zip(organizations, browsers, strict=True)
    ]
    measured = [
        (name, *measure(path, browsers, stats_queries, since)) for name, path in REQUESTS.items()
    ]
    undone = [
        undo(edit_id, organization, browser)
        for (edit_id, _), organization, browser in zip(edited, organizations, browsers, strict=True)
    ]
    assert [current_numbers(organization) for organization in organizations] == before
    report_requests(sizes, measured)
    report_edits(sizes[-1], [*edited[-1][1], undone[-1]])


def bulk_edit(organization: Organization, browser: Client) -> tuple[Any, list[Edit]]:
    """Make the bulk edit; return its id, and how long the preview and the edit took."""
    rows = PRODUCTS.rows(organization, FILTER, None)
    values = PRODUCTS.validated(VALUES)
    started = time.perf_counter()
    effect = preview(organization, PRODUCTS, rows, values)
    shown = Edit("preview", effect.matched, time.perf_counter() - started, [])

    def ask() -> BulkEdit:
        return runs.start(organization, runs.Request(PRODUCTS, FILTER, None, VALUES), None)

    edit, made = _run("change", organization, browser, ask)
    assert edit.changed == effect.changed, (edit.changed, effect.changed)
    return edit.pk, [shown, made]


def undo(edit_id: Any, organization: Organization, browser: Client) -> Edit:
    """Undo the bulk edit, and return how long it took."""
    _, undone = _run(
        "undo", organization, browser, lambda: runs.start_undo(organization, edit_id, None)
    )
    return undone


def _run(
    name: str, organization: Organization, browser: Client, ask: Callable[[], BulkEdit]
) -> tuple[BulkEdit, Edit]:
    """Ask for a bulk edit and make it in a process; request pages of the list until it is done."""
    started = time.perf_counter()
    with transaction.atomic():
        edit = ask()

    def work() -> None:
        runs.edit_next()
        connection.close()

    # As in a worker: a thread would make the pages wait for its Python. Both open connections.
    connection.close()
    worker = multiprocessing.get_context("fork").Process(target=work)
    worker.start()
    url = f"/dashboard/{format_id(organization.pk)}/products?missing=images"
    pages_ms = []
    while worker.is_alive():
        pages_ms.append(milliseconds(functools.partial(request_page, browser), url))
        worker.join(SECONDS_BETWEEN_PAGES)
    seconds = time.perf_counter() - started
    edit.refresh_from_db()
    assert edit.status == BulkEditStatus.DONE, edit.detail
    return edit, Edit(name, edit.matched or 0, seconds, pages_ms)


def measure(
    path: str, browsers: list[Client], stats_queries: list[StatsQuery], since: str
) -> tuple[list[float], int]:
    """Return the medians of a request in milliseconds, the rounds interleaved, and its queries."""
    urls = [
        path.format(format_id(query.organization_id), since=urlencode({"since": since}))
        for query in stats_queries
    ]
    times: list[list[float]] = [[] for _ in urls]
    for _ in range(ROUNDS):
        for index, (browser, url) in enumerate(zip(browsers, urls, strict=True)):
            times[index].append(milliseconds(functools.partial(request_page, browser), url))
    with CaptureQueriesContext(connection) as captured:
        request_page(browsers[-1], urls[-1])
    return [statistics.median(taken) for taken in times], len(captured)


def report_requests(sizes: list[int], measured: list[tuple[str, list[float], int]]) -> None:
    """Print the table of searches, breakdowns and explanations."""
    publish(
        "find_requests",
        f"Search, fields, breakdowns and history, medians of {ROUNDS} interleaved rounds",
        [
            Column("request"),
            *(Column(f"{size:,} products", ",.1f", "ms") for size in sizes),
            Column("queries", "d"),
        ],
        [(name, *times, queries) for name, times, queries in measured],
    )


def report_edits(products: int, edits: list[Edit]) -> None:
    """Print the table of the bulk edit of the largest organization."""
    publish(
        "bulk_edits",
        f"A bulk edit by the worker in a catalog of {products:,} products, and pages of its list "
        "meanwhile",
        [
            Column("step"),
            Column("rows", ",d"),
            Column("time", ",.1f", "s"),
            Column("rows per second", ",.0f"),
            Column("pages", "d"),
            Column("page, median", ",.0f", "ms"),
            Column("page, slowest", ",.0f", "ms"),
        ],
        [
            (
                edit.name,
                edit.rows,
                edit.seconds,
                edit.rows / edit.seconds,
                len(edit.pages_ms),
                statistics.median(edit.pages_ms) if edit.pages_ms else None,
                max(edit.pages_ms, default=None),
            )
            for edit in edits
        ],
    )


if __name__ == "__main__":
    main()
