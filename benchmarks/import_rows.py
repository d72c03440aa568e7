"""Import of products, a bare COPY and upsert, and django-import-export, in one run.

    python -m benchmarks.import_rows [--rows 100000]

The bare variant gets prepared rows and validates nothing; it writes the same products, brands and
images with the same constraints and triggers. django-import-export is installed for this benchmark
only (``benchmarks.peers``) and runs in bulk mode (``benchmarks.import_export_peer``). All work in
new organizations in the database of ``benchmarks.stats_at_size``, and delete them afterwards.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "closient.settings")
django.setup()

from django.db import connection, transaction  # noqa: E402

from benchmarks.peers import environment_with, folder_of  # noqa: E402
from benchmarks.results import Column, publish  # noqa: E402
from benchmarks.stats_at_size import use_database  # noqa: E402
from catalog.gtin import check_digit  # noqa: E402
from closient.accounts.models import Organization  # noqa: E402
from closient.db.ids import uuid7  # noqa: E402
from dashboard.imports import import_file  # noqa: E402

HEADER = (
    "gtin,name,description,brand,category,country_of_origin,net_content,image_url,"
    "nutrient:energy:kJ,nutrient:fat:g"
)
BRANDS = 1000


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--database", help="name of the scratch database (default: <name>_bench)")
    options = parser.parse_args()
    rows = options.rows
    use_database(options.database or f"{connection.settings_dict['NAME']}_bench")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "products.csv"
        path.write_text("\n".join([HEADER, *(",".join(cells(n)) for n in range(rows))]))
        organizations = [Organization.objects.create(name="Benchmark") for _ in range(3)]
        ours, bare_one, peer = organizations
        try:
            bare = seconds(lambda: bare_upsert(bare_one.pk, rows))
            first = seconds(lambda: import_file(path, ours))
            again = seconds(lambda: import_file(path, ours))
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            theirs = peer_seconds(path, peer)
        finally:
            for organization in organizations:
                organization.delete()
    contestants = {
        "bare COPY and upsert": bare,
        "import": first,
        "the same import again": again,
        "django-import-export, bulk": theirs,
    }
    publish(
        "import_rows",
        f"Import of {rows:,} rows; peak memory of the import {memory} MB",
        [
            Column("import"),
            Column("time", ".1f", "s"),
            Column("rows per second", ",.0f"),
            Column("times the bare one", ".2f"),
            Column("times the import", ".2f"),
        ],
        [
            (name, took, rows / took, took / bare, took / first)
            for name, took in contestants.items()
            if took is not None
        ],
    )


def peer_seconds(path: Path, organization: Organization) -> float | None:
    """Return how many seconds django-import-export takes, ``None`` if it is not installed."""
    folder = folder_of("import_export")
    if folder is None:
        return None
    arguments = [str(connection.settings_dict["NAME"]), str(organization.pk), str(path)]
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.import_export_peer", *arguments],
        env=environment_with(folder),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return float(run.stdout)


def seconds(work: Callable[[], object]) -> float:
    """Return how many seconds a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def cells(number: int) -> list[str]:
    """Return the cells of one row."""
    digits = f"02{number:011d}"
    return [
        digits + check_digit(digits),
        f"Product {number}",
        f"What product {number} is and what it is good for",
        f"Brand {number % BRANDS}",
        "Groceries",
        "DE",
        "500 g",
        f"https://images.example.com/{number}.jpg",
        str(number % 3000),
        f"{number % 100}.{number % 10}",
    ]


def ready_rows(rows: int) -> Iterator[tuple[object, ...]]:
    """Yield the prepared rows of the bare variant."""
    for number in range(rows):
        *texts, energy, fat = cells(number)
        nutrients = (
            f'{{"nutrients": [{{"name": "energy", "amount": "{energy}", "unit": "kJ"}}, '
            f'{{"name": "fat", "amount": "{fat}", "unit": "g"}}]}}'
        )
        yield (uuid7(), *texts, nutrients)


@transaction.atomic
def bare_upsert(organization: UUID, rows: int) -> None:
    """Copy rows into a temporary table and upsert brands, products and images from it."""
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TEMP TABLE bare (key uuid, gtin text, name text, description text, brand text, "
            "category text, country text, net_content text, url text, nutrition jsonb) "
            "ON COMMIT DROP"
        )
        with cursor.copy("COPY bare FROM STDIN") as copy:
            for row in ready_rows(rows):
                copy.write_row(row)
        cursor.execute("ANALYZE bare")
        cursor.execute(
            "INSERT INTO catalog_brand (id, organization_id, name) "
            "SELECT DISTINCT ON (brand) key, %s, brand FROM bare ON CONFLICT DO NOTHING",
            [organization],
        )
        cursor.execute(
            """
            INSERT INTO catalog_product (id, organization_id, gtin, name, description, brand_id,
                category, country_of_origin, net_content, nutrition, manufacturer,
                gpc_brick_code, status, metadata)
            SELECT r.key, %(org)s, r.gtin, r.name, r.description, b.id, r.category, r.country,
                r.net_content, r.nutrition, '', '', 'active', '{}'
            FROM bare r JOIN catalog_brand b ON b.organization_id = %(org)s AND b.name = r.brand
            ON CONFLICT (organization_id, gtin) DO UPDATE SET name = excluded.name
            """,
            {"org": organization},
        )
        cursor.execute(
            "INSERT INTO catalog_productimage (id, organization_id, product_id, image, "
            "external_url, title, is_primary, priority, is_imported) "
            "SELECT key, %s, key, '', url, '', true, 0, true FROM bare",
            [organization],
        )


if __name__ == "__main__":
    main()
