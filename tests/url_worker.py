"""A URL checker's worker for tests, as a separate program: loopback only, with any interval.

    python -m tests.url_worker [--interval SECONDS] [--gap SECONDS] [--concurrency N] [--forever]
        [--grace SECONDS]
    python -m tests.url_worker --seed OFFERS PORT

Prints ``ready`` at the start and the number of checked offers at the end. SIGTERM stops it as it
stops ``check_urls``. The second form migrates the database and creates due offers.
"""

# ruff: noqa: PLC0415 - Django has to be set up before its models can be imported.
from __future__ import annotations

import argparse
import asyncio
import os
import signal
import subprocess
import sys
from datetime import timedelta

import django

from tests.servers import ROOT, environment


def start(*options: str, **variables: str) -> subprocess.Popen[str]:
    """Start a worker on the test database."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.url_worker", *options],
        cwd=ROOT,
        env=environment(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def seed(offers: int, port: int) -> None:
    from django.core.management import call_command

    from tests.test_url_worker import make_offers

    call_command("migrate", verbosity=0)
    make_offers(f"http://shop{n % 50}.test:{port}/after/0.05/ok?n={n}" for n in range(offers))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--interval", type=float, default=1.0)
    parser.add_argument("--gap", type=float)
    parser.add_argument("--grace", type=float)
    parser.add_argument("--concurrency", type=int, default=50)
    parser.add_argument("--forever", action="store_true")
    parser.add_argument("--seed", type=int, nargs=2, metavar=("OFFERS", "PORT"))
    options = parser.parse_args()
    if options.seed:
        seed(*options.seed)
    else:
        print(asyncio.run(work(options)), flush=True)


async def work(options: argparse.Namespace) -> int:
    from offers.url_checks import worker
    from offers.url_checks.schedule import claims
    from offers.url_checks.schedule.host_limits import HostLimits
    from tests.hostile_server import loopback_policy

    if options.gap is not None:
        # Each sync claims one URL per host: a shorter interval of hosts needs more syncs.
        worker.SYNC_INTERVAL = claims.BUSY_INTERVAL = options.gap
    if options.grace is not None:
        worker.STOP_TIMEOUT = options.grace
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    print("ready", flush=True)
    return await worker.Worker(
        concurrency=options.concurrency,
        once=not options.forever,
        policy=loopback_policy(),
        host_limits=HostLimits(interval=timedelta(seconds=options.interval)),
    ).run(stop)


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "closient.settings")
    django.setup()
    main()
