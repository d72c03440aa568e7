"""Faults that the checker survives: killed workers and an unavailable database.

``KILLS`` raises how often workers are killed (3 without it), and with it the number of offers.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from django.db.models import F
from django.db.models.functions import Now

from closient.embedded_postgres.server import Server
from offers.models import CheckedHost, Offer
from offers.url_checks.schedule.claims import LEASE
from tests.counting import assert_exact
from tests.hostile_server import hostile_server
from tests.test_url_worker import checked_by, make_offers, wait_until, workers

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
KILLS = int(os.environ.get("KILLS", "3"))


@pytest.mark.django_db(transaction=True)
def test_killed_workers_lose_no_offer() -> None:
    offers, concurrency = 100 * KILLS, 10
    rng = random.Random()
    repeated = 0
    with hostile_server() as server:
        organization = make_offers(
            server.url(f"/after/0.2/ok?n={n}", host=f"shop{n % 100}.test") for n in range(offers)
        )
        options = ("--interval=0.01", f"--concurrency={concurrency}")
        due = Offer.objects.filter(url_check_at__lte=Now())
        for _ in range(KILLS):
            # The first one works while the second one starts.
            enough = len(server.requests) + rng.randrange(10, 50)
            with workers(2, *options) as running:
                wait_until(lambda: len(server.requests) > enough or not due.exists())  # noqa: B023
                for process in running:
                    process.kill()
            # No worker runs now: unchecked offers that are not due were claimed by killed workers.
            lost = Offer.objects.filter(url_status="unchecked", url_check_at__gt=Now())
            assert lost.count() <= 2 * 2 * concurrency
            repeated += lost.count()
            # Their leases expire.
            lost.update(url_check_at=F("url_check_at") - LEASE)
            CheckedHost.objects.update(first_busy_until=None, second_busy_until=None)
            assert_exact(organization)
        with workers(2, *options) as running:
            for process in running:
                checked_by(process)
    assert not Offer.objects.exclude(url_status="ok").exists()
    requested = Counter(request.path for request in server.requests)
    assert len(requested) == offers
    assert len(server.requests) - offers <= repeated
    assert_exact(organization)


class Private:
    """A separate database, which can be stopped, and programs that use it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server = Server(folder / "postgres")
        self._server.ensure_running()
        where = self._server.connection_parameters()
        # The programs see an external server, which they cannot start.
        url = "postgres://{user}@:{port}/{host}/{dbname}".format(**where)
        self._environment = os.environ | {"DATABASE_URL": url}
        self._running: list[subprocess.Popen[str]] = []

    def run(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a program, which ends with the test."""
        started = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._running.append(started)
        return started

    def seed(self, offers: int, port: int) -> None:
        """Make due offers at fifty hosts."""
        seeding = self.run("-m", "tests.url_worker", "--seed", str(offers), str(port))
        _, complaints = seeding.communicate(timeout=300)
        assert seeding.returncode == 0, complaints

    def stop(self) -> None:
        """Stop the database in fast mode, which interrupts sessions."""
        (pid_file,) = (self._folder / "postgres").rglob("postmaster.pid")
        postmaster = int(pid_file.read_text().split()[0])
        os.kill(postmaster, signal.SIGINT)
        deadline = time.monotonic() + 60
        while Path(f"/proc/{postmaster}").exists() and time.monotonic() < deadline:
            threading.Event().wait(0.05)

    def start(self) -> None:
        self._server.ensure_running()

    def statuses(self) -> dict[str, int]:
        """Return the number of offers by URL status."""
        with psycopg.connect(**self._server.connection_parameters()) as connection:
            return dict(
                connection.execute(
                    "SELECT url_status, count(*) FROM offers_offer GROUP BY 1"
                ).fetchall()
            )

    def end(self) -> None:
        for process in self._running:
            process.kill()
            process.communicate()
        self._server.stop()


@pytest.fixture
def private(tmp_path: Path) -> Iterator[Private]:
    database = Private(tmp_path)
    try:
        yield database
    finally:
        database.end()


def test_database_restart_loses_no_result(private: Private) -> None:
    offers = 200
    with hostile_server() as server:
        private.seed(offers, server.port)
        worker = private.run("-m", "tests.url_worker", "--interval=0.01", "--concurrency=5")
        for restart in range(1, 3):
            wait_until(lambda restart=restart: len(server.requests) > restart * 40)
            private.stop()
            private.start()
        checked = checked_by(worker)
        # Claims that were lost on the way from the database are leased, not lost.
        statuses = private.statuses()
        assert set(statuses) <= {"ok", "unchecked"}
        assert statuses["ok"] == checked
        assert statuses.get("unchecked", 0) <= 2 * 10
        assert len(server.requests) == checked


def test_worker_stops_cleanly_while_the_database_is_unavailable(
    private: Private,
) -> None:
    with hostile_server() as server:
        private.seed(100, server.port)
        worker = private.run("-m", "tests.url_worker", "--forever", "--concurrency=5", "--grace=1")
        wait_until(lambda: len(server.requests) > 10)
        private.stop()
        worker.send_signal(signal.SIGTERM)
        _, log = worker.communicate(timeout=60)
    assert worker.returncode == 0, log
    assert "the database is still unavailable: unsaved results will be checked again" in log
    assert "Traceback" not in log
    # A worker with nothing to save stops at once.
    idle = private.run("-m", "tests.url_worker", "--forever")
    assert idle.stderr
    assert "the database is unavailable" in idle.stderr.readline()
    idle.send_signal(signal.SIGTERM)
    _, log = idle.communicate(timeout=60)
    assert idle.returncode == 0, log
    assert "still unavailable" not in log
