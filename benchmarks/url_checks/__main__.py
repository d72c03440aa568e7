"""Measure URL checks per second and memory, and claims per second.

    python -m benchmarks.url_checks [--checks 5000] [--rounds 3]

All request the same URLs on one local server, each with its own host, a hundred at a time. Each
contestant and the server is a separate process. The bare aiohttp loop reads its URLs from a list
and discards the responses; the worker claims its URLs from PostgreSQL and saves the results. The
server measures the time from the first request to the end of the last one. Processor time is that
of the contestant, with its start, and is more reliable on a busy machine.

LinkChecker is installed for this benchmark only (``benchmarks.peers``), and measured with a hundred
threads and with its default of ten.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import urlopen

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "closient.settings")
django.setup()

from django.db import connection  # noqa: E402

from benchmarks.peers import environment_with, folder_of  # noqa: E402
from benchmarks.results import Column, publish  # noqa: E402
from benchmarks.stats_at_size import use_database  # noqa: E402
from benchmarks.url_checks import CONCURRENCY  # noqa: E402
from catalog.models import Product  # noqa: E402
from closient.accounts.models import Organization  # noqa: E402
from offers.models import CheckedHost, Offer  # noqa: E402
from offers.url_checks.schedule import claims  # noqa: E402

HERE = "benchmarks.url_checks"
# The latency of a fast shop, in seconds.
SHOP_LATENCY = 0.2
DUE, HOSTS, HUGE = 100_000, 5_000, 1_000_000


class Run(NamedTuple):
    """One run: seconds by the server, requests, own processor time, peak memory in MB."""

    seconds: float
    requests: int
    processor: float
    memory: int

    @property
    def rate(self) -> float:
        """Return the requests in a second."""
        return self.requests / self.seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checks", type=int, default=5_000, metavar="N")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--huge", action="store_true", help="claims beside a million on one host")
    options = parser.parse_args()

    use_database(f"{connection.settings_dict['NAME']}_bench_checks")
    linkchecker = folder_of("linkchecker")
    rows: list[tuple[Any, ...]] = []
    for latency in (0.0, SHOP_LATENCY):
        runs = compare_checks(options.checks, options.rounds, linkchecker, latency)
        rows += rows_of(latency, runs)
    publish(
        "url_checks",
        f"Checks of {options.checks:,} URLs, {CONCURRENCY} at a time, medians of {options.rounds} "
        "rounds",
        [
            Column("responses after", ".0f", "ms"),
            Column("program"),
            Column("requests", ",d"),
            Column("requests per second", ",.0f"),
            Column("times the worker", ".2f"),
            Column("processor time per request", ".2f", "ms"),
            Column("peak memory", ",d", "MB"),
        ],
        rows,
    )
    print()
    measure_claims(huge=options.huge)


# --- Checks ----------------------------------------------------------------------------------


def compare_checks(
    checks: int, rounds: int, linkchecker: Path | None, latency: float
) -> dict[str, Run]:
    """Run all contestants on the same URLs in turn; return the median run of each."""
    with serving(latency) as port, tempfile.TemporaryDirectory() as folder:
        urls = [f"http://shop{n}.test:{port}/trade-items/{n}" for n in range(checks)]
        listed, page = Path(folder) / "urls", Path(folder) / "urls.html"
        listed.write_text("\n".join(urls))
        page.write_text("".join(f'<a href="{url}">{url}</a>\n' for url in urls))
        # LinkChecker drops its privileges when it runs as root.
        Path(folder).chmod(0o755)
        contestants = {
            "a bare aiohttp loop": [sys.executable, "-m", f"{HERE}.bare", str(listed)],
            "the worker": [sys.executable, "-m", f"{HERE}.worker", database_name(), "1"],
            "two workers": [sys.executable, "-m", f"{HERE}.worker", database_name(), "2"],
        }
        if linkchecker is not None:
            script = Path(__file__).with_name("linkchecker.py")
            as_it_comes = [sys.executable, str(script), str(page)]
            contestants[f"LinkChecker, {CONCURRENCY} threads"] = [*as_it_comes, str(CONCURRENCY)]
            contestants["LinkChecker, as it comes"] = as_it_comes
        environment = None if linkchecker is None else environment_with(linkchecker)
        runs: dict[str, list[Run]] = {name: [] for name in contestants}
        for _ in range(rounds):
            for name, command in contestants.items():
                seed(urls)
                runs[name].append(run(command, port, environment))
    return {name: sorted(them)[len(them) // 2] for name, them in runs.items()}


def rows_of(latency: float, runs: dict[str, Run]) -> list[tuple[Any, ...]]:
    """Return the rows of the table for one latency."""
    ours = runs["the worker"].rate
    return [
        (
            latency * 1000,
            name,
            one.requests,
            one.rate,
            one.rate / ours,
            one.processor / one.requests * 1000,
            one.memory,
        )
        for name, one in runs.items()
    ]


@contextmanager
def serving(latency: float) -> Iterator[int]:
    """Run the server for a block; yields its port."""
    command = [sys.executable, "-m", f"{HERE}.server", str(latency)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


def run(command: Sequence[str], port: int, environment: dict[str, str] | None) -> Run:
    """Run a contestant to its end, and read the server's counts."""
    total_of(port)
    memory, before = 0, processor_time()
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        while process.poll() is None:
            memory = max(memory, peak_memory(process.pid))
            time.sleep(0.1)
    seconds, requests = total_of(port)
    return Run(seconds, requests, processor_time() - before, memory)


def processor_time() -> float:
    """Return the seconds of processor time that ended contestants have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def peak_memory(pid: int) -> int:
    """Return the peak memory of a process in MB; 0 if Linux does not report it."""
    with suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
        return int(found[1]) // 1024 if found else 0
    return 0


def total_of(port: int) -> tuple[float, int]:
    """Return seconds and requests since the last call."""
    with urlopen(f"http://127.0.0.1:{port}/total") as response:
        seconds, requests = json.load(response)
        return seconds, requests


# --- Claims ----------------------------------------------------------------------------------


def measure_claims(*, huge: bool) -> None:
    """Print how fast due offers are claimed, a hundred hosts at a time."""
    urls = [f"https://shop{n % HOSTS}.test/trade-items/{n}" for n in range(DUE)]
    if huge:
        urls += [f"https://huge.test/trade-items/{n}" for n in range(HUGE)]
    seed(urls)
    claimed, after, times = 0, None, []
    began = time.monotonic()
    while True:
        began_one = time.monotonic()
        found = claims.claim_due(CONCURRENCY, after=after, max_hosts=2 * CONCURRENCY)
        times.append(time.monotonic() - began_one)
        claimed += sum(len(claimed_url.claims) for claimed_url in found.claimed)
        after = found.after
        if after is None:
            break
    took = time.monotonic() - began
    print(
        f"Claims, with {len(urls):,} due offers: {claimed / took:,.0f} a second, in batches of "
        f"{CONCURRENCY} that take {statistics.median(times) * 1000:.1f} ms each (median)."
    )


# --- Rows ------------------------------------------------------------------------------------


def seed(urls: Sequence[str]) -> None:
    """Replace all offers with due offers of these URLs."""
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE offers_offer, offers_checkedhost")
        organization, _ = Organization.objects.get_or_create(name="URL checks")
        product, _ = Product.objects.get_or_create(
            organization=organization, gtin="00012345600012", defaults={"name": "Trade item"}
        )
        Offer.objects.bulk_create(
            (
                Offer(organization=organization, product=product, sku=str(n), url=url,
                      url_status="unchecked")
                for n, url in enumerate(urls)
            ),
            batch_size=5_000,
        )  # fmt: skip
        cursor.execute("VACUUM (ANALYZE) offers_offer")
    assert CheckedHost.objects.count() == 0


def database_name() -> str:
    """Return the name of the scratch database."""
    return str(connection.settings_dict["NAME"])


if __name__ == "__main__":
    main()
