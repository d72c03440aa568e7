"""Requests per second of the stats endpoint against a bare Django view, in one run.

Run by ``make bench``. Both are real server processes, started with the service's own gunicorn
configuration, on the same database. The bare view runs the same statement with a raw cursor:
no authentication, no rate limit, no middleware. Rounds alternate between the two.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

import psutil
from django.conf import settings
from django.db import connection

from benchmarks.results import Column, publish
from benchmarks.stats_at_size import stats_query_of, use_database
from benchmarks.stats_requests.load import generator, requests_per_second
from closient.accounts.api_keys import create_api_key
from closient.accounts.models import ApiKey, ApiKeyRole, Organization
from dashboard.numbers import StatsQuery, statement, stats

PRODUCTS = 10_000
CLIENTS = (1, 8)
KEY_NAME = "Benchmark"
# More requests than any run sends.
UNLIMITED = 2_000_000_000


class Target(NamedTuple):
    """A server to compare."""

    name: str
    process: psutil.Process
    port: int
    path: str
    headers: dict[str, str]

    def processor_seconds(self) -> float:
        """Return the CPU seconds that the server and the database have used so far."""
        web = [self.process, *self.process.children(recursive=True)]
        return sum(used(process) for process in (*web, *database_processes()))


class Measured(NamedTuple):
    """The result of a round: requests per second, and CPU milliseconds per request."""

    rate: float
    milliseconds: float


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--products", type=int, default=PRODUCTS, metavar="N")
    parser.add_argument("--clients", type=int, nargs="+", default=CLIENTS, metavar="N")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--seconds", type=int, default=4, metavar="N", help="of each round")
    parser.add_argument("--database", help="name of the scratch database (default: <name>_bench)")
    options = parser.parse_args()

    use_database(options.database or f"{connection.settings_dict['NAME']}_bench")
    stats_query = stats_query_of(options.products)
    expected = vars(stats(stats_query))
    key = {"X-API-Key": key_of(stats_query)}
    url = database_url()
    with (
        serving("benchmarks.stats_requests.bare:application", url, stats_query) as bare,
        serving("closient.wsgi:application", url, stats_query) as ours,
    ):
        targets = [
            Target("bare view", *bare, "/stats", {}),
            Target("stats", *ours, f"/dashboard/api/v1/stats/{stats_query.organization_id}", key),
        ]
        for target in targets:
            assert request_stats(target) == expected, (
                f"{target.name}: {request_stats(target)}, not {expected}"
            )
        rates = {
            clients: measure(targets, clients, options.rounds, options.seconds)
            for clients in options.clients
        }
    report(targets, rates, options)


def key_of(stats_query: StatsQuery, role: ApiKeyRole = ApiKeyRole.READONLY) -> str:
    """Return a new key of the organization, without limits that a run could reach."""
    organization = Organization.objects.get(pk=stats_query.organization_id)
    ApiKey.objects.filter(organization=organization, name=KEY_NAME).delete()
    key, text = create_api_key(name=KEY_NAME, organization=organization, role=role)
    ApiKey.objects.filter(pk=key.pk).update(limit_per_minute=UNLIMITED, limit_per_day=UNLIMITED)
    return text


def database_url() -> str:
    """Return the scratch database as a ``DATABASE_URL`` for other processes."""
    where = connection.settings_dict
    login = f"{quote(where['USER'], '')}:{quote(where.get('PASSWORD') or '', '')}"
    server = urlencode({"host": where["HOST"], "port": where["PORT"] or 5432})
    return f"postgres://{login}@/{where['NAME']}?{server}"


@contextlib.contextmanager
def serving(
    application: str, url: str, stats_query: StatsQuery
) -> Iterator[tuple[psutil.Process, int]]:
    """Serve an application during the block; yields the process and the port."""
    sql, parameters = statement(stats_query)
    bare = {"sql": sql, "parameters": parameters}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "gunicorn", application),
                *("--bind", f"fd://{listener.fileno()}", "--log-level", "warning"),
            ],
            cwd=settings.BASE_DIR,
            env=os.environ
            | {
                "ALLOWED_HOSTS": "127.0.0.1",
                "BARE_STATEMENT": json.dumps(bare, default=plain),
                "DATABASE_URL": url,
                "DEBUG": "0",
                "HTTPS": "0",
                "LOG_LEVEL": "WARNING",
            },
            pass_fds=[listener.fileno()],
        )
        try:
            yield psutil.Process(process.pid), listener.getsockname()[1]
        finally:
            process.terminate()
            process.wait()


def plain(value: Any) -> Any:
    """Convert a parameter to a type that JSON supports."""
    if isinstance(value, bytes):
        return value.hex()
    return list(value) if hasattr(value, "__iter__") else str(value)


def request_stats(target: Target) -> Any:
    """Return the response of a server, waiting until it has started."""
    request = Request(f"http://127.0.0.1:{target.port}{target.path}", headers=target.headers)
    with urlopen(request, timeout=60) as response:  # noqa: S310
        return json.load(response)


def measure(
    targets: list[Target], clients: int, rounds: int, seconds: float
) -> list[list[Measured]]:
    """Return the results of each target in each round, after a warm-up."""

    def rate_of(target: Target, seconds: float) -> float:
        return requests_per_second(
            target.port, target.path, target.headers, clients=clients, seconds=seconds
        )

    def loaded(target: Target) -> Measured:
        before = target.processor_seconds()
        rate = rate_of(target, seconds)
        return Measured(rate, (target.processor_seconds() - before) * 1000 / (rate * seconds))

    for target in targets:
        rate_of(target, 1)
    return [[loaded(target) for target in targets] for _ in range(rounds)]


def used(process: psutil.Process) -> float:
    """Return the CPU seconds that a process has used."""
    times = process.cpu_times()
    return float(times.user + times.system)


def database_processes() -> list[psutil.Process]:
    """Return the server processes of the scratch database, if they run on this machine."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pid FROM pg_stat_activity WHERE datname = current_database()")
        pids = [pid for (pid,) in cursor.fetchall()]
    found = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    return [process for process in found if process.name().startswith("postgres")]


def report(
    targets: list[Target], rates: dict[int, list[list[Measured]]], options: argparse.Namespace
) -> None:
    """Print the table: medians, and the medians of the rounds' ratios."""
    rows = []
    for clients, measured in rates.items():
        bare, ours = zip(*measured, strict=True)
        rows.append(
            (
                clients,
                median_rate(bare),
                median_rate(ours),
                statistics.median(two.rate / one.rate for one, two in measured),
                median_work(bare),
                median_work(ours),
            )
        )
    publish(
        "stats_requests",
        f"The stats of {options.products:,} products against a bare Django view with the same "
        f"SQL; the load ({generator()}) shares the processors; medians of {options.rounds} "
        "interleaved rounds",
        [
            Column("clients", "d"),
            Column("bare view, requests per second", ",.0f"),
            Column("stats, requests per second", ",.0f"),
            Column("ratio", ".2f"),
            Column("bare view, processor time per request", ".2f", "ms"),
            Column("stats, processor time per request", ".2f", "ms"),
        ],
        rows,
    )


def median_rate(measured: Iterable[Measured]) -> float:
    """Return the median of requests per second."""
    return statistics.median(row.rate for row in measured)


def median_work(measured: Iterable[Measured]) -> float:
    """Return the median of milliseconds of processor time."""
    return statistics.median(row.milliseconds for row in measured)


if __name__ == "__main__":
    main()
