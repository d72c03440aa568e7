"""The stats of organizations of 100, 10,000 and 1,000,000 products, side by side in one run.

Run by ``make bench``. Makes a database of its own beside the configured one, and keeps it, so that
only the first run has to seed it (a million products take minutes).
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

from catalog.completeness import DEFAULT_RULE  # noqa: E402
from catalog.models import Product  # noqa: E402
from closient.accounts.models import Organization  # noqa: E402
from closient.serving.stack import reserve_stack  # noqa: E402
from closient.tally.models import TallyEntry  # noqa: E402
from dashboard.numbers import StatsQuery, recount, stats  # noqa: E402

SIZES = (100, 10_000, 1_000_000)
ROUNDS = 200
Asked = TypeVar("Asked")


class Measured(NamedTuple):
    """One organization: medians in milliseconds, and what the statement reads."""

    products: int
    entries: int
    rows: int
    buffers: int
    planned_and_executed: float
    answered: float
    with_django: float


@reserve_stack
def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--products", type=int, nargs="+", default=SIZES, metavar="N")
    parser.add_argument("--database", help="name of the scratch database (default: <name>_bench)")
    parser.add_argument("--recount", action="store_true", help="compare with a count of the rows")
    options = parser.parse_args()

    use_database(options.database or f"{connection.settings_dict['NAME']}_bench")
    questions = [question_of(products) for products in options.products]
    # What autovacuum does by itself within minutes.
    call_command("compact_tally", verbosity=0)
    execute("VACUUM (ANALYZE)")
    report(measure(questions))
    if options.recount:
        compare(questions)


def use_database(name: str) -> None:
    """Work in the database of this name from here on, having made and migrated it if need be."""
    with connection._nodb_cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
        if cursor.fetchone() is None:
            cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)).as_string())
    connection.close()
    connection.settings_dict["NAME"] = name
    call_command("migrate", verbosity=0)


def question_of(products: int) -> StatsQuery:
    """Return what is asked about the organization of a size, having seeded it if need be."""
    name = f"Organization of {products:,}"
    organization = Organization.objects.filter(name=name).first()
    if organization is None or not Product.objects.of(organization).exists():
        print(f"Seeding {products:,} products ...")
        call_command("seed_demo", products=products, organization=name)
        organization = Organization.objects.get(name=name)
    return StatsQuery(organization.pk, DEFAULT_RULE, organization.today())


def measure(questions: list[StatsQuery]) -> list[Measured]:
    """Return the medians, the rounds of all organizations interleaved over one warm connection."""
    times: list[list[tuple[float, float, float]]] = [[] for _ in questions]
    statements = [statement_of(stats_query) for stats_query in questions]
    for _ in range(ROUNDS):
        for place, stats_query in enumerate(questions):
            plan = explain(statements[place])
            times[place].append(
                (
                    plan["Planning Time"] + plan["Execution Time"],
                    milliseconds(answer, statements[place]),
                    milliseconds(stats, stats_query),
                )
            )
    measured = []
    for place, stats_query in enumerate(questions):
        root = explain(statements[place])["Plan"]
        planned_and_executed, answered, with_django = map(
            statistics.median, zip(*times[place], strict=True)
        )
        measured.append(
            Measured(
                products=stats(stats_query).total_products,
                entries=TallyEntry.objects.of(stats_query.organization_id).count(),
                rows=len(answer(statements[place])),
                buffers=root["Shared Hit Blocks"] + root["Shared Read Blocks"],
                planned_and_executed=planned_and_executed,
                answered=answered,
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
    ((plan,),) = answer(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}")
    loaded = json.loads(plan) if isinstance(plan, str) else plan
    found: dict[str, Any] = loaded[0]
    return found


def answer(statement: str) -> list[Any]:
    """Return the rows of a statement."""
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


def milliseconds(call: Callable[[Asked], object], asked: Asked) -> float:
    """Return how long a call takes."""
    began = time.perf_counter()
    call(asked)
    return (time.perf_counter() - began) * 1000


def execute(statement: str) -> None:
    """Run a statement outside any transaction."""
    with connection.cursor() as cursor:
        cursor.execute(statement)


def report(measured: list[Measured]) -> None:
    """Print the table, with the largest organization against the smallest."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        (version,) = cursor.fetchone()
    print(f"\nPostgreSQL {version}, medians of {ROUNDS} interleaved rounds\n")
    print("|  products | entries | rows | buffers | EXPLAIN ANALYZE | answered   | with Django |")
    print("|----------:|--------:|-----:|--------:|----------------:|-----------:|------------:|")
    for row in measured:
        print(
            f"| {row.products:>9,} | {row.entries:>7,} | {row.rows:>4} | {row.buffers:>7,} "
            f"| {row.planned_and_executed:>12.2f} ms | {row.answered:>7.2f} ms "
            f"| {row.with_django:>8.2f} ms |"
        )
    first, last = measured[0], measured[-1]
    print(
        f"\n{last.products:,} against {first.products:,} products: "
        f"{last.answered / first.answered:.2f} times until the statement is answered, "
        f"{last.with_django / first.with_django:.2f} times with Django."
    )


def compare(questions: list[StatsQuery]) -> None:
    """Print how long the same numbers take when the rows are counted, and whether they agree."""
    for stats_query in questions:
        agreed = "the same" if recount(stats_query) == stats(stats_query) else "DIFFERENT numbers"
        took = milliseconds(recount, stats_query)
        print(f"Counted from the rows themselves in {took:,.0f} ms: {agreed}.")


if __name__ == "__main__":
    main()
