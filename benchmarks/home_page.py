"""The home page for organizations of 1,000 and 1,000,000 products, in one run.

Run by ``make bench``. Each round requests both as a logged-in user, through all of Django but not
the network, in the database of ``benchmarks.stats_at_size``, on a stack like that of the web
server's threads.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import warnings
from typing import Any, NamedTuple

from django.conf import settings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from benchmarks.results import Column, publish
from benchmarks.stats_at_size import milliseconds, prepare
from closient.accounts.models import Membership, User
from closient.db.ids import format_id
from closient.serving.stack import reserve_stack
from dashboard.numbers import StatsQuery

SIZES = (1_000, 1_000_000)
ROUNDS = 50
# The page, and the parts that it requests every 15 seconds and when a number changes.
PARTS = {"the page": "", "its numbers": "numbers", "its panels": "panels"}


class Measured(NamedTuple):
    """A part of the page: medians in milliseconds, one for each organization."""

    part: str
    response_ms: list[float]
    in_database: list[float]
    queries: list[int]


@reserve_stack
def main() -> None:
    """Measure and print the table."""
    sizes, stats_queries, browsers = prepare_browsers(__doc__)
    report(sizes, [measure(part, browsers, stats_queries) for part in PARTS])


def prepare_browsers(description: str | None) -> tuple[list[int], list[StatsQuery], list[Client]]:
    """Read the options; return the sizes of the organizations, their stats queries and browsers.

    The browsers are those of members, and are not limited.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--products", type=int, nargs="+", default=SIZES, metavar="N")
    parser.add_argument("--database", help="name of the scratch database (default: <name>_bench)")
    options = parser.parse_args()
    settings.ALLOWED_HOSTS = [*settings.ALLOWED_HOSTS, "localhost"]
    settings.API_LIMIT_PER_MINUTE = settings.API_LIMIT_PER_DAY = 10_000_000
    # Static files are not requested.
    warnings.filterwarnings("ignore", "No directory at", UserWarning)
    stats_queries = prepare(options)
    return list(options.products), stats_queries, [logged_in(query) for query in stats_queries]


def logged_in(stats_query: StatsQuery) -> Client:
    """Return the browser of a member of the organization."""
    user, _ = User.objects.get_or_create(email=f"{stats_query.organization_id}@bench.invalid")
    Membership.objects.get_or_create(
        organization_id=stats_query.organization_id, user=user, defaults={"role": "owner"}
    )
    client = Client(headers={"host": "localhost"})
    client.force_login(user)
    return client


def measure(part: str, browsers: list[Client], stats_queries: list[StatsQuery]) -> Measured:
    """Return the medians of a part, the rounds of all organizations interleaved."""
    urls = [f"/dashboard/{format_id(q.organization_id)}/{PARTS[part]}" for q in stats_queries]
    times: list[list[float]] = [[] for _ in urls]
    queries: list[list[tuple[int, float]]] = [[] for _ in urls]
    for _ in range(ROUNDS):
        for index, (browser, url) in enumerate(zip(browsers, urls, strict=True)):
            times[index].append(milliseconds(functools.partial(request_page, browser), url))
            with CaptureQueriesContext(connection) as captured:
                request_page(browser, url)
            took = sum(float(query["time"]) for query in captured.captured_queries)
            queries[index].append((len(captured), took * 1000))
    return Measured(
        part=part,
        response_ms=[statistics.median(t) for t in times],
        in_database=[statistics.median(took for _, took in q) for q in queries],
        queries=[q[-1][0] for q in queries],
    )


def request_page(browser: Client, url: str) -> Any:
    """Request a page and return the response, whose status must be 200."""
    response = browser.get(url, secure=True)
    assert response.status_code == 200, response.status_code
    return response


def report(sizes: list[int], measured: list[Measured]) -> None:
    """Print the table; each ratio is to the first organization."""
    publish(
        "home_page",
        f"The home page, medians of {ROUNDS} interleaved rounds",
        [
            Column("part"),
            Column("products", ",d"),
            Column("queries", "d"),
            Column("in the database", ".2f", "ms"),
            Column("response", ".2f", "ms"),
            Column("ratio", ".2f"),
        ],
        [
            (
                row.part,
                size,
                row.queries[index],
                row.in_database[index],
                row.response_ms[index],
                row.response_ms[index] / row.response_ms[0],
            )
            for row in measured
            for index, size in enumerate(sizes)
        ],
    )


if __name__ == "__main__":
    main()
