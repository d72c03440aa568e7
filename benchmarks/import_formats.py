"""Imports of the same products in each format: speed, and the peak memory of the process.

    python -m benchmarks.import_formats [--rows 30000] [--more-rows 300000]

Run by ``make bench``. CSV is also imported with more rows, to compare the memory. Each file is
imported by its own process into a new organization in the database of
``benchmarks.stats_at_size``, twice: the second time nothing changes. The feed has an offer for each
product; the other files have none.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "closient.settings")
django.setup()

from django.db import connection  # noqa: E402
from xlsxwriter import Workbook  # noqa: E402

from benchmarks.import_rows import HEADER, cells, seconds  # noqa: E402
from benchmarks.results import Column, publish  # noqa: E402
from benchmarks.stats_at_size import use_database  # noqa: E402
from closient.accounts.models import Organization  # noqa: E402
from dashboard.imports import import_file  # noqa: E402

_COLUMNS = HEADER.split(",")


class Measured(NamedTuple):
    """Seconds of the first and of the second import, and the peak memory in MiB."""

    first: float
    again: float
    memory: int


def main() -> None:
    """Measure and print a table; with ``--file`` import one file and print a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=30_000)
    parser.add_argument("--more-rows", type=int, default=300_000)
    parser.add_argument("--database", help="name of the scratch database (default: <name>_bench)")
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    database = options.database or f"{connection.settings_dict['NAME']}_bench"
    use_database(database)
    if options.file:
        print(json.dumps(measure(options.file)))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, (write, count) in _files(options.rows, options.more_rows).items():
            path = Path(folder) / "products"
            write(path, count)
            found = _in_a_process(path, database)
            size = path.stat().st_size / 1024**2
            rows.append((name, count, size, count / found.first, count / found.again, found.memory))
    publish(
        "import_formats",
        "Imports of the same products in each format",
        [
            Column("file"),
            Column("rows", ",d"),
            Column("size", ",.1f", "MiB"),
            Column("first import, rows per second", ",.0f"),
            Column("again, rows per second", ",.0f"),
            Column("peak memory", ",d", "MiB"),
        ],
        rows,
    )


def measure(path: Path) -> Measured:
    """Import a file twice into a new organization, which is deleted afterwards."""
    organization = Organization.objects.create(name="Benchmark")
    try:
        first = seconds(lambda: import_file(path, organization))
        again = seconds(lambda: import_file(path, organization))
    finally:
        organization.delete()
    return Measured(first, again, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


def _in_a_process(path: Path, database: str) -> Measured:
    run = subprocess.run(
        [sys.executable, "-m", __spec__.name, "--file", str(path), "--database", database],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return Measured(*json.loads(run.stdout.splitlines()[-1]))


def _files(rows: int, more_rows: int) -> dict[str, tuple[Callable[[Path, int], None], int]]:
    return {
        "CSV": (_write_csv, rows),
        "CSV, more rows": (_write_csv, more_rows),
        "XLSX": (_write_workbook, rows),
        "Google feed (RSS), with offers": (_write_feed, rows),
        "JSON Lines": (_write_json_lines, rows),
        "JSON array": (_write_json_array, rows),
    }


def _write_csv(path: Path, rows: int) -> None:
    with path.open("w") as file:
        file.write(f"{HEADER}\n")
        file.writelines(f"{','.join(cells(number))}\n" for number in range(rows))


def _write_workbook(path: Path, rows: int) -> None:
    with Workbook(str(path), {"constant_memory": True}) as workbook:
        sheet = workbook.add_worksheet()
        sheet.write_row(0, 0, _COLUMNS)
        for number in range(rows):
            for column, text in enumerate(cells(number)):
                sheet.write_string(number + 1, column, text)


def _write_feed(path: Path, rows: int) -> None:
    with path.open("w") as file:
        file.write(
            '<?xml version="1.0"?><rss version="2.0" xmlns:g="http://base.google.com/ns/1.0">'
            "<channel><title>Shop</title>\n"
        )
        for number in range(rows):
            gtin, name, description, brand, category, _, _, image, *_ = cells(number)
            attributes = {
                "id": str(number),
                "gtin": gtin,
                "title": name,
                "description": description,
                "brand": brand,
                "product_type": category,
                "image_link": image,
                "link": f"https://shop.example.com/{number}",
                "price": "1.99 EUR",
                "availability": "in_stock",
            }
            inner = "".join(
                f"<g:{key}>{escape(text)}</g:{key}>" for key, text in attributes.items()
            )
            file.write(f"<item>{inner}</item>\n")
        file.write("</channel></rss>\n")


def _objects(rows: int) -> Iterator[str]:
    for number in range(rows):
        *texts, energy, fat = cells(number)
        nutrients = [
            {"name": "energy", "amount": energy, "unit": "kJ"},
            {"name": "fat", "amount": fat, "unit": "g"},
        ]
        item = dict(zip(_COLUMNS, texts, strict=False))
        yield json.dumps({**item, "nutrition": {"nutrients": nutrients}})


def _write_json_lines(path: Path, rows: int) -> None:
    with path.open("w") as file:
        file.writelines(f"{text}\n" for text in _objects(rows))


def _write_json_array(path: Path, rows: int) -> None:
    with path.open("w") as file:
        for number, text in enumerate(_objects(rows)):
            file.write(f"{',' if number else '['}\n{text}")
        file.write("\n]\n")


if __name__ == "__main__":
    main()
