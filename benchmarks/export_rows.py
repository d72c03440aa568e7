"""Exports of one organization in each format, from the first to the last byte.

    python -m benchmarks.export_rows [--products 20000]

The responses are those of the API, through all of Django without the network, in the database that
``benchmarks.stats_at_size`` creates. A workbook has no byte before it is finished.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
import warnings
from typing import Any, NamedTuple

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "closient.settings")
django.setup()

from django.conf import settings  # noqa: E402
from django.test import Client  # noqa: E402

from benchmarks.home_page import logged_in  # noqa: E402
from benchmarks.results import Column, publish  # noqa: E402
from benchmarks.stats_at_size import prepare  # noqa: E402
from certifications.models import CertificationAssignment  # noqa: E402
from closient.db.ids import format_id  # noqa: E402
from offers.models import Offer  # noqa: E402

EXPORTS = {
    "products, CSV": "/trade-items?format=csv",
    "products, XLSX": "/trade-items?format=xlsx",
    "products, JSON Lines": "/trade-items?format=jsonl",
    "offers, CSV": "/offers?format=csv",
    "offers, XLSX": "/offers?format=xlsx",
    "offers, JSON Lines": "/offers?format=jsonl",
    "everything, archive": "",
}


class Measured(NamedTuple):
    """Seconds to the first and the last byte, those of the processor, and the number of bytes."""

    first: float
    last: float
    processor: float
    size: int


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--products", type=int, nargs=1, default=[20_000], metavar="N")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--database", help="name of the scratch database (default: <name>_bench)")
    options = parser.parse_args()
    settings.ALLOWED_HOSTS = [*settings.ALLOWED_HOSTS, "localhost"]
    # Static files are not requested.
    warnings.filterwarnings("ignore", "No directory at", UserWarning)
    settings.API_LIMIT_PER_MINUTE = settings.API_LIMIT_PER_DAY = 10_000_000
    settings.EXPORT_LIMIT_PER_MINUTE = 10_000_000
    (stats_query,) = prepare(options)
    organization = stats_query.organization_id
    (products,) = options.products
    offers = Offer.objects.of(organization).count()
    everything = products + offers + CertificationAssignment.objects.of(organization).count()
    browser = logged_in(stats_query)
    path = f"/dashboard/api/v1/exports/{format_id(organization)}"
    rows = []
    for name, address in EXPORTS.items():
        best = min(
            (measure(browser, path + address) for _ in range(options.rounds)), key=lambda m: m.last
        )
        count = {"p": products, "o": offers}.get(name[0], everything)
        rows.append(
            (
                name,
                count,
                best.first * 1000,
                count / best.last,
                count / best.processor,
                best.size / count,
            )
        )
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    publish(
        "export_rows",
        f"Exports of an organization with {products:,} products, "
        f"rounds: {options.rounds}, peak memory {memory} MB",
        [
            Column("export"),
            Column("rows", ",d"),
            Column("first byte", ",.0f", "ms"),
            Column("rows per second", ",.0f"),
            Column("rows per second of Python's processor time", ",.0f"),
            Column("bytes per row", ",.0f"),
        ],
        rows,
    )


def measure(browser: Client, address: str) -> Measured:
    """Return the times of an export."""
    start, processor = time.perf_counter(), time.process_time()
    response: Any = browser.get(address, secure=True)
    first = None
    size = 0
    for piece in response.streaming_content:
        first = first or time.perf_counter() - start
        size += len(piece)
    ended = time.perf_counter()
    return Measured(first or 0.0, ended - start, time.process_time() - processor, size)


if __name__ == "__main__":
    main()
