"""Metrics: exact over processes and their deaths, with bounded labels, on a separate port."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from closient.metrics import address
from closient.periodic.models import Job
from dashboard.metrics import DatabaseCollector
from offers.models import Offer
from tests.clients import NO_LIMIT, key_of, stats_path
from tests.factories import OfferFactory, OrganizationFactory
from tests.scraping import Samples, scrape
from tests.servers import ROOT, environment, free_port
from tests.test_serving_processes import Running, running
from tests.wire import TIMEOUT_SECONDS, exchange

EXPORTER = "closient.metrics.exporter"


def requests(samples: Samples, **labels: str) -> float:
    """The number of requests with these labels."""
    return sum(
        value
        for (name, found), value in samples.items()
        if name == "closient_http_requests_total" and labels.items() <= dict(found).items()
    )


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def children(server: Running) -> dict[int, list[str]]:
    """The running child processes and their command lines."""
    found = {}
    for child in psutil.Process(server.process.pid).children():
        with suppress(psutil.NoSuchProcess):
            found[child.pid] = child.cmdline()
    return found


def exporter_of(server: Running) -> tuple[int, Path]:
    """The process that serves the metrics, and the folder of the counts."""
    for process_id, words in children(server).items():
        if EXPORTER in words:
            return process_id, Path(words[-1])
    raise AssertionError("no exporter")


def web_processes(server: Running) -> set[int]:
    return {pid for pid, words in children(server).items() if words and EXPORTER not in words}


@contextmanager
def counting() -> Iterator[tuple[Running, int, Path]]:
    """A server with two processes, the port of its metrics, and the folder of the counts."""
    port = free_port()
    with running(METRICS_BIND=f"127.0.0.1:{port}", WEB_CONCURRENCY="2") as server:
        scrape(port)
        yield server, port, exporter_of(server)[1]


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
@pytest.mark.campaign
def test_counts_are_exact_over_processes_deaths_reloads_and_scrapes() -> None:
    organization = OrganizationFactory()
    limits = {"limit_per_minute": NO_LIMIT, "limit_per_day": NO_LIMIT}
    key = key_of(organization, **limits)
    head = f"Host: localhost\r\nX-API-Key: {key}\r\nConnection: close\r\n\r\n"
    stats = f"GET {stats_path(organization)} HTTP/1.1\r\n{head}".encode()
    with counting() as (server, port, folder):

        def send(count: int) -> None:
            for _ in range(count):
                assert exchange(server.port, stats).status == 200

        clients = [threading.Thread(target=send, args=(50,)) for _ in range(4)]
        for client in clients:
            client.start()
        seen = [0.0]
        while any(client.is_alive() for client in clients):
            seen.append(requests(scrape(port), route="stats"))
        assert seen == sorted(seen)
        labels = {"route": "stats", "method": "GET", "status": "200"}
        # The count follows the response.
        wait_for(lambda: requests(scrape(port), **labels) == 200)

        before = web_processes(server)
        os.kill(min(before), signal.SIGKILL)
        wait_for(lambda: len(web_processes(server)) == 2 and web_processes(server) != before)
        send(20)
        wait_for(lambda: requests(scrape(port), **labels) == 220)

        before = web_processes(server)
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: len(now := web_processes(server)) == 2 and not now & before)
        send(20)
        wait_for(lambda: requests(scrape(port), **labels) == 240)
        samples = scrape(port)
        assert (
            samples["closient_http_request_seconds_count", frozenset({("route", "stats")})] == 240
        )

        # Only files of the running processes and of all ended ones together.
        ids = {re.sub(r".*_|\.db", "", path.name) for path in folder.glob("*.db")}
        assert ids <= {"ended", str(server.process.pid), *map(str, web_processes(server))}
        # The public port serves none.
        assert exchange(server.port, f"GET /metrics HTTP/1.1\r\n{head}".encode()).status == 404
        server.stop()
        assert not folder.exists()


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
@pytest.mark.campaign
def test_clients_choose_no_label_and_killed_servers_leave_no_files() -> None:
    head = "Host: localhost\r\nConnection: close\r\n\r\n"
    with counting() as (server, port, folder):
        for number in range(30):
            for line in (
                f"GET /{number}",
                f"BREW{number} /healthz",
                f"GET /dashboard/api/v1/{number}",
            ):
                exchange(server.port, f"{line} HTTP/1.1\r\n{head}".encode())
            exchange(server.port, f"GET bad{number} HTTP/1.1\r\nHost: a b\r\n\r\n".encode())
        wait_for(lambda: requests(scrape(port)) >= 121)
        found = {
            frozenset(labels) for name, labels in scrape(port) if name.endswith("requests_total")
        }
        assert len(found) <= 6
        assert not [
            value for labels in found for _, value in labels if re.search("[0-9]{4}|bad", value)
        ]
        exporter = psutil.Process(exporter_of(server)[0])
        server.process.kill()
        server.stop()
        wait_for(lambda: not exporter.is_running() and not folder.exists())


@pytest.mark.django_db(transaction=True)
def test_database_metrics_are_one_statement_and_name_no_organization() -> None:
    organization = OrganizationFactory()
    offers = OfferFactory.create_batch(3, product__organization=organization)
    Offer.objects.filter(pk=offers[0].pk).update(url_check_at=timezone.now() - timedelta(hours=1))
    Offer.objects.filter(pk__in=[offer.pk for offer in offers[1:]]).update(
        url_check_at=timezone.now() + timedelta(hours=1)
    )
    Job.objects.create(name="a_job", last_error="It failed.", last_ended_at=timezone.now())
    collector = DatabaseCollector()
    with CaptureQueriesContext(connection) as queries:
        families = {family.name: family for family in collector.collect()}
        again = {family.name for family in collector.collect()}
    assert len([q for q in queries if "offers_offer" in q["sql"]]) == 1
    assert again == set(families)

    def value(name: str, **labels: str) -> float:
        (sample,) = [each for each in families[name].samples if each.labels == labels]
        return float(sample.value)

    assert value("closient_database_scrape_success") == 1
    assert value("closient_url_checks_due") == 1
    assert 3600 <= value("closient_url_checks_overdue_seconds") < 3700
    assert value("closient_job_last_failed", job_name="a_job") == 1
    assert (
        abs(value("closient_job_last_end_timestamp_seconds", job_name="a_job") - time.time()) < 60
    )
    assert organization.name not in str([family.samples for family in families.values()])


@pytest.mark.parametrize("text", ["9100", "127.0.0.1", "a b:1", "127.0.0.1:0", "127.0.0.1:70000"])
def test_address_is_checked(text: str) -> None:
    with pytest.raises(ValueError, match="METRICS_BIND"):
        address.parse(text)


def test_address_may_be_of_ipv6() -> None:
    assert address.parse("[::1]:9100") == ("::1", 9100)


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_worker_serves_its_metrics_and_refuses_an_address_in_use() -> None:
    port = free_port()
    command = [sys.executable, "manage.py", "run_worker"]
    variables = environment(METRICS_BIND=f"127.0.0.1:{port}")
    worker = subprocess.Popen(command, cwd=ROOT, env=variables, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: scrape(port).get(("closient_workers", frozenset())) == 1)
        second = subprocess.run(
            command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False
        )
        assert second.returncode == 1
        assert f"METRICS_BIND=127.0.0.1:{port}: " in second.stderr
    finally:
        worker.terminate()
        assert worker.wait(TIMEOUT_SECONDS * 2) == 0
