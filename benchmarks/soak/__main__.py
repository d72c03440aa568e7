"""The service under a mixed load for an hour: does it leak, slow down or lose count?

    python -m benchmarks.soak [--minutes 60]

Starts the real server with two processes and a worker on a scratch database. Clients read the
stats, lists and pages, write products and offers, export and import, until the time is up. The
table has a row for each tenth of the time. Afterwards ``audit_tally`` must find no difference, and
every response must have had a status that its client expects.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter

import psutil
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.test import Client as Browser

from benchmarks.results import Column, publish
from benchmarks.soak import clients
from benchmarks.stats_at_size import stats_query_of, use_database
from benchmarks.stats_requests.__main__ import UNLIMITED, database_url, key_of, serving
from closient.accounts.api_keys import create_api_key
from closient.accounts.models import ApiKeyRole, Membership, Organization, User
from closient.db.ids import format_id
from closient.tally.models import TallyEntry

PRODUCTS = 10_000
ROWS = 10
MIB = 2**20


@dataclasses.dataclass(frozen=True)
class Sample:
    """The state of the service at one time."""

    minute: float
    requests: int
    p50: float
    p99: float
    web_memory: float
    worker_memory: float
    open_files: int
    sessions: int
    entries: int


def main() -> None:
    """Run the soak and print its table; exits with 1 if something went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--database", help="name of the scratch database (default: <name>_bench)")
    options = parser.parse_args()

    use_database(options.database or f"{connection.settings_dict['NAME']}_bench_soak")
    stats_query = stats_query_of(PRODUCTS)
    organization = Organization.objects.get(pk=stats_query.organization_id)
    # Many requests of one user.
    os.environ |= {"PAGE_LIMIT_PER_MINUTE": "1000000", "EXPORT_LIMIT_PER_DAY": "1000000"}
    with serving("closient.wsgi:application", database_url(), stats_query) as (web, port):
        worker, stop = start_worker(), threading.Event()
        load = clients_of(organization, key_of(stats_query), port, stop)
        try:
            samples = run(load, stop, web, worker, options.minutes)
        finally:
            worker.terminate()
            worker.wait()
    report(samples, load, options.minutes)
    problems = [problem for client in load for problem in client.problems]
    for problem in problems[:20]:
        print(problem)
    call_command("audit_tally")
    if problems:
        sys.exit(f"{len(problems)} requests failed.")


def start_worker() -> psutil.Popen:
    """Start a worker on the scratch database."""
    return psutil.Popen(
        [sys.executable, "manage.py", "run_worker"],
        cwd=settings.BASE_DIR,
        env={
            **os.environ,
            "ALLOWED_HOSTS": "127.0.0.1",
            "DATABASE_URL": database_url(),
            "DEBUG": "0",
            "LOG_LEVEL": "WARNING",
        },
        stdout=subprocess.DEVNULL,
    )


def clients_of(
    organization: Organization, key: str, port: int, stop: threading.Event
) -> list[clients.Client]:
    """Return the clients, which work until the event is set."""
    _, writing = create_api_key(
        name="Soak",
        organization=organization,
        role=ApiKeyRole.EDITOR,
        limit_per_minute=UNLIMITED,
        limit_per_day=UNLIMITED,
    )
    cookies = session_cookies(organization)
    own = format_id(organization.pk)
    works = {
        **{f"reader {n}": clients.stats_reader(own, key) for n in range(3)},
        **{f"writer {n}": clients.writer(own, writing) for n in range(3)},
        "visitor": clients.visitor(own, cookies),
        "importer": clients.importer(own, cookies),
    }
    return [clients.Client(name, port, stop, work) for name, work in works.items()]


def run(
    load: list[clients.Client],
    stop: threading.Event,
    web: psutil.Process,
    worker: psutil.Process,
    minutes: float,
) -> list[Sample]:
    """Run all clients for some minutes and return the samples."""
    for client in load:
        client.start()
    started = time.monotonic()
    samples = []
    try:
        for number in range(1, ROWS + 1):
            time.sleep(max(0.0, started + number * minutes * 60 / ROWS - time.monotonic()))
            samples.append(sample((time.monotonic() - started) / 60, load, web, worker))
            print(f"minute {samples[-1].minute:.1f}: {samples[-1].requests:,} requests", flush=True)
    finally:
        stop.set()
        for client in load:
            client.join(clients.TIMEOUT_SECONDS + clients.SECONDS_BETWEEN_IMPORTS)
    return samples


def session_cookies(organization: Organization) -> str:
    """Return the cookies of a member who has logged in."""
    user, _ = User.objects.get_or_create(email="soak@bench.invalid")
    Membership.objects.get_or_create(
        organization=organization, user=user, defaults={"role": "owner"}
    )
    browser = Browser()
    browser.force_login(user)
    return "; ".join(f"{name}={morsel.value}" for name, morsel in browser.cookies.items())


def sample(
    minute: float, load: list[clients.Client], web: psutil.Process, worker: psutil.Process
) -> Sample:
    """Return the current state; the latencies are those since the last sample."""
    taken: list[float] = []
    for client in load:
        taken += client.milliseconds
        client.milliseconds = []
    cuts = statistics.quantiles(taken, n=100)
    processes = [web, *web.children(recursive=True)]
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        (sessions,) = cursor.fetchone()
    return Sample(
        minute=minute,
        requests=len(taken),
        p50=cuts[49],
        p99=cuts[98],
        web_memory=sum(process.memory_info().rss for process in processes) / MIB,
        worker_memory=worker.memory_info().rss / MIB,
        open_files=sum(process.num_fds() for process in [*processes, worker]),
        sessions=sessions,
        entries=TallyEntry.objects.count(),
    )


def report(samples: list[Sample], load: list[clients.Client], minutes: float) -> None:
    """Print the table and the statuses."""
    publish(
        "soak",
        f"{minutes:.0f} minutes of mixed load: {len(load)} clients, 2 processes, 1 worker",
        [
            Column("minute", ".1f"),
            Column("requests", ",d"),
            Column("p50", ".1f", "ms"),
            Column("p99", ".1f", "ms"),
            Column("memory of the web", ",.0f", "MiB"),
            Column("memory of the worker", ",.0f", "MiB"),
            Column("open files", "d"),
            Column("database sessions", "d"),
            Column("tally entries", ",d"),
        ],
        [dataclasses.astuple(sample) for sample in samples],
    )
    statuses: Counter[int] = Counter()
    for client in load:
        statuses += client.statuses
    print("Statuses:", ", ".join(f"{status}: {n:,}" for status, n in sorted(statuses.items())))


if __name__ == "__main__":
    main()
