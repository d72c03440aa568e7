"""Latency of the stats over HTTP for organizations of 100, 10,000 and 1,000,000 products.

Run by ``make bench``. One client sends requests with a key over one connection to the real server,
to each organization in turn, in the database that ``benchmarks.stats_at_size`` creates.
"""

from __future__ import annotations

import argparse
import http.client
import statistics
import time
from http import HTTPStatus

from benchmarks.results import Column, publish
from benchmarks.stats_at_size import SIZES, prepare
from benchmarks.stats_requests.__main__ import database_url, key_of, serving

ROUNDS = 2_000
WARM_UP = 200


def main() -> None:
    """Measure and print the table; each ratio is to the first organization."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--products", type=int, nargs="+", default=SIZES, metavar="N")
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N")
    parser.add_argument("--name", default="stats_latency", help="the table in results.json")
    parser.add_argument("--database", help="name of the scratch database (default: <name>_bench)")
    options = parser.parse_args()

    stats_queries = prepare(options)
    requests = [
        (f"/dashboard/api/v1/stats/{query.organization_id}", {"X-API-Key": key_of(query)})
        for query in stats_queries
    ]
    times: list[list[float]] = [[] for _ in requests]
    with serving("closient.wsgi:application", database_url(), stats_queries[0]) as (_, port):
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for number in range(WARM_UP + options.rounds):
            for index, (path, headers) in enumerate(requests):
                took = milliseconds(client, path, headers)
                if number >= WARM_UP:
                    times[index].append(took)
        client.close()
    found = [percentiles(taken) for taken in times]
    publish(
        options.name,
        f"The stats over HTTP, one client, {options.rounds:,} interleaved rounds",
        [
            Column("products", ",d"),
            Column("p50", ".2f", "ms"),
            Column("p99", ".2f", "ms"),
            Column("p50 ratio", ".2f"),
            Column("p99 ratio", ".2f"),
        ],
        [
            (size, p50, p99, p50 / found[0][0], p99 / found[0][1])
            for size, (p50, p99) in zip(options.products, found, strict=True)
        ],
    )


def milliseconds(client: http.client.HTTPConnection, path: str, headers: dict[str, str]) -> float:
    """Return how long a request takes, whose status must be 200."""
    start = time.perf_counter()
    client.request("GET", path, headers=headers)
    response = client.getresponse()
    response.read()
    took = (time.perf_counter() - start) * 1000
    assert response.status == HTTPStatus.OK, response.status
    return took


def percentiles(taken: list[float]) -> tuple[float, float]:
    """Return the 50th and the 99th percentile."""
    cuts = statistics.quantiles(taken, n=100, method="inclusive")
    return cuts[49], cuts[98]


if __name__ == "__main__":
    main()
