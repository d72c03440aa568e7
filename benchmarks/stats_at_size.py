"""The stats of organizations of 100, 10,000 and 1,000,000 products, in one run.

Run by ``make bench``. Creates a database next to the configured one and keeps it, so only the first
run seeds it (a million products take minutes).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "closient.settings")
django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402
from django.test.utils import CaptureQueriesContext  # noqa: E402
from psycopg import sql  # noqa: E402

from benchmarks.multiplying import multiply  # noqa: E402
from benchmarks.results import Column, publish  # noqa: E402
from catalog.completeness import DEFAULT_RULE  # noqa: E402
from catalog.models import Product  # noqa: E402
from closient.accounts.models import Organization  # noqa: E402
from closient.serving.stack import reserve_stack  # noqa: E402
from closient.tally.models import TallyEntry  # noqa: E402
from dashboard.numbers import StatsQuery, recount, stats  # noqa: E402

SIZES = (100, 10_000, 1_000_000)
# Larger organizations are copies of this many products.
MAX_SEEDED = 1_000_000
ROUNDS = 200
Argument = TypeVar("Argument")


class Measured(NamedTuple):
    """One organization: medians in milliseconds, and the rows and buffers that are read."""

    products: int
    entries: int
    rows: int
    buffers: int
    planned_and_executed: float
    statement_ms: float
    with_django: float


@reserve_stack
def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--products", type=int, nargs="+", default=SIZES, metavar="N")
    parser.add_argument("--database", help="name of the scratch database (default: <name>_bench)")
    parser.add_argument("--name", default="stats_at_size", help="the table in results.json")
    parser.add_argument("--recount", action="store_true", help="compare with a count of the rows")
    options = parser.parse_args()

    stats_queries = prepare(options)
    report(measure(stats_queries), options.name)
    if options.recount:
        compare(stats_queries)


def prepare(options: argparse.Namespace) -> list[StatsQuery]:
    """Use the scratch database, and return the stats queries of organizations of these sizes."""
    use_database(options.database or f"{connection.settings_dict['NAME']}_bench")
    stats_queries = [stats_query_of(products) for products in options.products]
    # The worker and autovacuum do this within minutes.
    call_command("compact_tally", verbosity=0)
    execute("VACUUM (ANALYZE)")
    return stats_queries


def use_database(name: str) -> None:
    """Use the database with this name from now on; create and migrate it if needed."""
    with connection._nodb_cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
        if cursor.fetchone() is None:
            cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)).as_string())
    connection.close()
    connection.settings_dict["NAME"] = name
    call_command("migrate", verbosity=0)


def stats_query_of(products: int) -> StatsQuery:
    """Return the stats query of the organization with this size; seed it if needed."""
    name = f"Organization of {products:,}"
    organization = Organization.objects.filter(name=name).first()
    if organization is None or not Product.objects.of(organization).exists():
        print(f"Seeding {products:,} products ...")
        call_command("seed_demo", products=min(products, MAX_SEEDED), organization=name)
        organization = Organization.objects.get(name=name)
    if products > MAX_SEEDED:
        multiply(organization.pk, seeded=MAX_SEEDED, products=products)
    return StatsQuery(organization.pk, DEFAULT_RULE, organization.today())


def measure(stats_queries: list[StatsQuery]) -> list[Measured]:
    """Return the medians of all organizations, in interleaved rounds on one warm connection."""
    times: list[list[tuple[float, float, float]]] = [[] for _ in stats_queries]
    statements = [statement_of(stats_query) for stats_query in stats_queries]
    for _ in range(ROUNDS):
        for index, stats_query in enumerate(stats_queries):
            plan = explain(statements[index])
            times[index].append(
                (
                    plan["Planning Time"] + plan["Execution Time"],
                    milliseconds(fetch_all, statements[index]),
                    milliseconds(stats, stats_query),
                )
            )
    measured = []
    for index, stats_query in enumerate(stats_queries):
        root = explain(statements[index])["Plan"]
        planned_and_executed, statement_ms, with_django = map(
            statistics.median, zip(*times[index], strict=True)
        )
        measured.append(
            Measured(
                products=stats(stats_query).total_products,
                entries=TallyEntry.objects.of(stats_query.organization_id).count(),
                rows=len(fetch_all(statements[index])),
                buffers=root["Shared Hit Blocks"] + root["Shared Read Blocks"],
                planned_and_executed=planned_and_executed,
                statement_ms=statement_ms,
                with_django=with_django,
            )
        )
    return measured


def statement_of(stats_query: StatsQuery) -> str:
    """Return the one statement behind the stats."""
    with CaptureQueriesContext(connection) as captured:
        stats(stats_query)
    (query,) = captured
    return str(query["sql"])


def explain(statement: str) -> dict[str, Any]:
    """Return the plan with its times in milliseconds and its buffers."""
    ((plan,),) = fetch_all(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}")
    loaded = json.loads(plan) if isinstance(plan, str) else plan
    found: dict[str, Any] = loaded[0]
    return found


def fetch_all(statement: str) -> list[Any]:
    """Return the rows of a statement."""
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


def milliseconds(call: Callable[[Argument], object], argument: Argument) -> float:
    """Return how many milliseconds a call takes."""
    start = time.perf_counter()
    call(argument)
    return (time.perf_counter() - start) * 1000


def execute(statement: str) -> None:
    """Run a statement outside any transaction."""
    with connection.cursor() as cursor:
        cursor.execute(statement)


def report(measured: list[Measured], name: str) -> None:
    """Print the table; each ratio is to the first organization."""
    first = measured[0]
    publish(
        name,
        f"The statement behind the stats, medians of {ROUNDS} interleaved rounds",
        [
            Column("products", ",d"),
            Column("tally entries", ",d"),
            Column("rows", "d"),
            Column("buffers", ",d"),
            Column("in the database (EXPLAIN ANALYZE)", ".2f", "ms"),
            Column("round trip from the client", ".2f", "ms"),
            Column("through Django", ".2f", "ms"),
            Column("ratio", ".2f"),
        ],
        [(*row, row.with_django / first.with_django) for row in measured],
    )


def compare(stats_queries: list[StatsQuery]) -> None:
    """Recount the rows; print how long that takes and whether the numbers are the same."""
    for stats_query in stats_queries:
        agreed = "the same" if recount(stats_query) == stats(stats_query) else "DIFFERENT numbers"
        took = milliseconds(recount, stats_query)
        print(f"Counted from the rows themselves in {took:,.0f} ms: {agreed}.")


if __name__ == "__main__":
    main()
