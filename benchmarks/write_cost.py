"""What the triggers cost writers: processor time and write-ahead log.

With the triggers off, with those that count, and with all, which also record the history.

Run by ``make bench``. Writes to the organization of a million products in the scratch database of
``stats_at_size``, and rolls everything back. The database has to run on this machine.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from typing import Any, NamedTuple

import psutil
from django.db import connection, transaction

from benchmarks.results import Column, publish
from benchmarks.stats_at_size import execute, prepare
from catalog.gtin import check_digit
from catalog.models import Product
from certifications.models import Certification
from closient.changes.causes import OFF, SETTING
from closient.db.ids import uuid7
from closient.serving.stack import reserve_stack

ROUNDS = 3
BULK_ROWS = 20_000
SINGLE_ROWS = 100
WARM_UP_ROWS = 50
TABLES = (
    "catalog_product",
    "catalog_productsummary",
    "catalog_productimage",
    "offers_offer",
    "certifications_certificationassignment",
    "changes_change",
    "changes_rowchange",
    "changes_countchange",
    "changes_deletion",
)

# The rows to write are those of the temporary table from the first to the last number.
ROWS = "FROM write_row AS r WHERE r.number BETWEEN %(first)s AND %(last)s"
STATEMENTS = {
    "insert products": f"""
        INSERT INTO catalog_product (id, organization_id, gtin, name, description, manufacturer,
            category, gpc_brick_code, country_of_origin, net_content, nutrition, status, metadata)
        SELECT r.new_id, r.organization_id, r.new_gtin, 'Oat drink ' || r.number, 'Made of oats.',
            '', 'Drinks', '', 'DE', '1 l', '{{}}', 'active', '{{}}'
        {ROWS}
    """,
    "change names": f"""
        UPDATE catalog_product AS p SET name = p.name || ' 2' {ROWS} AND p.id = r.product_id
    """,  # noqa: S608 - constants of ours
    "change facts": f"""
        UPDATE catalog_product AS p
        SET description = CASE WHEN p.description = '' THEN 'Made of oats.' ELSE '' END
        {ROWS} AND p.id = r.product_id
    """,  # noqa: S608
    "insert offers": f"""
        INSERT INTO offers_offer (id, organization_id, product_id, channel, retailer, store, sku,
            url, currency, status, url_status, url_detail, metadata)
        SELECT r.new_id, r.organization_id, r.product_id, 'online', 'Benchmark', '', '',
            'https://shop.example/' || r.number, '', 'active', 'unchecked', '', '{{}}'
        {ROWS}
    """,
    "insert certificates": f"""
        INSERT INTO certifications_certificationassignment (id, organization_id, product_id,
            certification_id, certificate_number, issuing_body, expiry_date, verification_status,
            verification_url, metadata)
        SELECT r.new_id, r.organization_id, r.product_id, r.certification_id, 'Benchmark', '',
            current_date + 400, 'verified', '', '{{}}'
        {ROWS}
    """,
    "insert images": f"""
        INSERT INTO catalog_productimage (id, organization_id, product_id, image, external_url,
            title, is_primary, priority, is_imported)
        SELECT r.new_id, r.organization_id, r.product_id, '', 'https://shop.example/a.png', '',
            false, 0, false
        {ROWS}
    """,
    "delete images": """
        DELETE FROM catalog_productimage AS i
        USING write_row AS r WHERE r.number BETWEEN %(first)s AND %(last)s
            AND i.organization_id = r.organization_id AND i.product_id = r.product_id
    """,
}


class Cost(NamedTuple):
    """Milliseconds of processor time in the database, and bytes of the write-ahead log."""

    ms: float
    wal: float


@reserve_stack
def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--products", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--database", help="name of the scratch database (default: <name>_bench)")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    options.products = [options.products]
    (query,) = prepare(options)
    choose_rows(query.organization_id)
    publish(
        "write_cost",
        f"Processor time of writes, medians of {options.rounds} interleaved rounds",
        [
            Column("statement"),
            Column("rows", ",d"),
            Column("without triggers", ",.1f", "ms"),
            Column("without history", ",.1f", "ms"),
            Column("with all", ",.1f", "ms"),
            Column("history's ratio", ".2f"),
            Column("log without history", ",.0f", "KB"),
            Column("log with all", ",.0f", "KB"),
        ],
        [
            [
                name,
                count,
                off.ms,
                counted.ms,
                recorded.ms,
                recorded.ms / counted.ms,
                counted.wal / 1000,
                recorded.wal / 1000,
            ]
            for name in STATEMENTS
            for count, write in ((BULK_ROWS, write_bulk), (1, write_single))
            for off, counted, recorded in [measure(name, write, options.rounds)]
        ],
    )


def choose_rows(organization_id: Any) -> None:
    """Create the temporary table of the rows to write: products spread over the whole catalog."""
    products = Product.objects.of(organization_id).order_by("pk").values_list("pk", flat=True)
    spread = list(products)[:: max(products.count() // BULK_ROWS, 1)][:BULK_ROWS]
    certification = Certification.objects.filter(organization=organization_id).values("pk")[0]
    execute(
        "CREATE TEMPORARY TABLE write_row (number integer PRIMARY KEY, organization_id uuid,"
        " product_id uuid, certification_id uuid, new_id uuid, new_gtin text)"
    )
    with (
        connection.cursor() as cursor,
        cursor.copy("COPY write_row FROM STDIN") as copy,
    ):
        for number, product in enumerate(spread, start=1):
            digits = f"29{number:011d}"
            gtin = f"{digits}{check_digit(digits)}"
            copy.write_row((number, organization_id, product, certification["pk"], uuid7(), gtin))
    execute("ANALYZE write_row")


def measure(name: str, write: Callable[[str], Cost], rounds: int) -> tuple[Cost, Cost, Cost]:
    """Return the median costs without triggers, without the history and with all."""
    without: list[Cost] = []
    counted: list[Cost] = []
    recorded: list[Cost] = []
    execute(f"VACUUM {', '.join(TABLES)}")
    for _ in range(rounds + 1):
        for costs in (without, counted, recorded):
            with transaction.atomic():
                execute(f"SET LOCAL {SETTING} = '{'' if costs is recorded else OFF}'")
                if costs is without:
                    for table in TABLES:
                        execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
                costs.append(write(STATEMENTS[name]))
                transaction.set_rollback(True)
    # The first round warms the caches.
    return _median(without[1:]), _median(counted[1:]), _median(recorded[1:])


def _median(costs: list[Cost]) -> Cost:
    return Cost(*map(statistics.median, zip(*costs, strict=True)))


def write_bulk(statement: str) -> Cost:
    """Write all rows with one statement."""
    return _measured(lambda cursor: cursor.execute(statement, {"first": 1, "last": BULK_ROWS}))


def write_single(statement: str) -> Cost:
    """Write some rows with one statement each; return the cost of one."""

    def write(cursor: Any, first: int, last: int) -> None:
        for number in range(first, last):
            cursor.execute(statement, {"first": number * 100, "last": number * 100})

    with connection.cursor() as cursor:
        # The plans of the triggers are made with their first executions in a session.
        write(cursor, 1, WARM_UP_ROWS)
    cost = _measured(lambda cursor: write(cursor, WARM_UP_ROWS, WARM_UP_ROWS + SINGLE_ROWS))
    return Cost(cost.ms / SINGLE_ROWS, cost.wal / SINGLE_ROWS)


def _measured(write: Callable[[Any], object]) -> Cost:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid(), pg_current_wal_insert_lsn()")
        pid, before = cursor.fetchone()
        process = psutil.Process(pid)
        started = process.cpu_times()
        write(cursor)
        ended = process.cpu_times()
        cursor.execute("SELECT pg_current_wal_insert_lsn() - %s::pg_lsn", [before])
        (wal,) = cursor.fetchone()
    seconds = ended.user + ended.system - started.user - started.system
    return Cost(seconds * 1000, float(wal))


if __name__ == "__main__":
    main()
