"""The home page of an organization of 1,000 products and of one of 1,000,000, side by side.

Run by ``make bench``. Each round asks for both as a logged-in browser does, through the whole of
Django but for the network, in the database that ``benchmarks.stats_at_size`` makes, on a
stack like that of the web server's threads.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import warnings
from typing import Any, NamedTuple

from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from benchmarks.stats_at_size import execute, milliseconds, question_of, use_database
from closient.accounts.models import Membership, User
from closient.db.ids import format_id
from closient.serving.stack import reserve_stack
from dashboard.numbers import StatsQuery

SIZES = (1_000, 1_000_000)
ROUNDS = 50
# What the page is, and what it asks for by itself: every 15 seconds, and when a number changes.
PARTS = {"the page": "", "its numbers": "numbers", "its panels": "panels"}


class Measured(NamedTuple):
    """A part of the page: medians in milliseconds, by the organization's place."""

    part: str
    answered: list[float]
    in_database: list[float]
    queries: list[int]


@reserve_stack
def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--products", type=int, nargs="+", default=SIZES, metavar="N")
    parser.add_argument("--database", help="name of the scratch database (default: <name>_bench)")
    options = parser.parse_args()

    settings.ALLOWED_HOSTS = [*settings.ALLOWED_HOSTS, "localhost"]
    # Nothing is asked for but pages.
    warnings.filterwarnings("ignore", "No directory at", UserWarning)
    use_database(options.database or f"{connection.settings_dict['NAME']}_bench")
    questions = [question_of(products) for products in options.products]
    # What autovacuum and the worker do by themselves within minutes.
    call_command("compact_tally", verbosity=0)
    execute("VACUUM (ANALYZE)")
    browsers = [logged_in(stats_query) for stats_query in questions]
    report(options.products, [measure(part, browsers, questions) for part in PARTS])


def logged_in(stats_query: StatsQuery) -> Client:
    """Return the browser of a member of the organization."""
    user, _ = User.objects.get_or_create(email=f"{stats_query.organization_id}@bench.invalid")
    Membership.objects.get_or_create(
        organization_id=stats_query.organization_id, user=user, defaults={"role": "owner"}
    )
    client = Client(headers={"host": "localhost"})
    client.force_login(user)
    return client


def measure(part: str, browsers: list[Client], questions: list[StatsQuery]) -> Measured:
    """Return the medians of a part, the rounds of all organizations interleaved."""
    addresses = [f"/dashboard/{format_id(q.organization_id)}/{PARTS[part]}" for q in questions]
    times: list[list[float]] = [[] for _ in addresses]
    queries: list[list[tuple[int, float]]] = [[] for _ in addresses]
    for _ in range(ROUNDS):
        for place, (browser, address) in enumerate(zip(browsers, addresses, strict=True)):
            times[place].append(milliseconds(functools.partial(answered, browser), address))
            with CaptureQueriesContext(connection) as captured:
                answered(browser, address)
            took = sum(float(query["time"]) for query in captured.captured_queries)
            queries[place].append((len(captured), took * 1000))
    return Measured(
        part=part,
        answered=[statistics.median(t) for t in times],
        in_database=[statistics.median(took for _, took in q) for q in queries],
        queries=[q[-1][0] for q in queries],
    )


def answered(browser: Client, address: str) -> Any:
    """Return the answer, which has to be a page."""
    answer = browser.get(address, secure=True)
    assert answer.status_code == 200, answer.status_code
    return answer


def report(sizes: list[int], measured: list[Measured]) -> None:
    """Print the table, with the largest organization against the smallest."""
    print(f"\nThe home page, medians of {ROUNDS} interleaved rounds\n")
    print("| part        |  products | queries | in the database | answered   |")
    print("|-------------|----------:|--------:|----------------:|-----------:|")
    for row in measured:
        for place, size in enumerate(sizes):
            print(
                f"| {row.part:<11} | {size:>9,} | {row.queries[place]:>7} "
                f"| {row.in_database[place]:>12.2f} ms | {row.answered[place]:>7.2f} ms |"
            )
    for row in measured:
        print(
            f"{row.part}: {row.answered[-1] / row.answered[0]:.2f} times as long "
            f"for {sizes[-1]:,} products as for {sizes[0]:,}."
        )


if __name__ == "__main__":
    main()
