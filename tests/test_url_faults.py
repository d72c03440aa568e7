"""What the checker survives: killed workers, and a database that goes away."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import psycopg
import pytest
from django.db.models import F
from django.db.models.functions import Now

from closient.embedded_postgres.server import Server
from offers.checking.claims import LEASE
from offers.models import CheckedHost, Offer
from tests.counting import assert_exact
from tests.hostile_server import hostile_server
from tests.test_url_worker import checked_by, make_offers, wait_until, workers

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.django_db(transaction=True)
def test_killed_workers_cost_a_lease_and_no_offer() -> None:
    offers, concurrency = 240, 10
    chance = random.Random()
    repeated = 0
    with hostile_server() as server:
        organization = make_offers(
            server.url(f"/after/0.05/ok?n={n}", host=f"shop{n % 100}.test") for n in range(offers)
        )
        options = ("--interval=0.01", f"--concurrency={concurrency}")
        for _ in range(3):
            with workers(2, *options) as running:
                seen = len(server.requests)
                wait_until(lambda seen=seen: len(server.requests) > seen + chance.randrange(10, 50))
                for process in running:
                    process.kill()
            # Nobody works now: what is unchecked and not due was in the hands of the dead.
            lost = Offer.objects.filter(url_status="unchecked", url_check_at__gt=Now())
            assert lost.count() <= 2 * 2 * concurrency
            repeated += lost.count()
            # Their leases end.
            lost.update(url_check_at=F("url_check_at") - LEASE)
            CheckedHost.objects.update(first_busy_until=None, second_busy_until=None)
            assert_exact(organization)
        with workers(2, *options) as running:
            for process in running:
                checked_by(process)
    assert not Offer.objects.exclude(url_status="ok").exists()
    asked = Counter(request.path for request in server.requests)
    assert len(asked) == offers
    assert len(server.requests) - offers <= repeated
    assert_exact(organization)


def test_a_database_that_restarts_costs_nothing(tmp_path: Path) -> None:
    database = Server(tmp_path / "postgres")
    environment = {k: v for k, v in os.environ.items() if k != "DATABASE_URL"} | {
        "DATA_FOLDER": str(tmp_path),
        "ALLOW_EMBEDDED_POSTGRES": "1",
    }

    def run(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    offers = 200
    worker = None
    try:
        with hostile_server() as server:
            seeding = run("-m", "tests.url_worker", "--seed", str(offers), str(server.port))
            _, complaints = seeding.communicate(timeout=300)
            assert seeding.returncode == 0, complaints
            worker = run("-m", "tests.url_worker", "--interval=0.01", "--concurrency=5")
            for restart in range(1, 3):
                wait_until(lambda restart=restart: len(server.requests) > restart * 40)
                (pid_file,) = (tmp_path / "postgres").rglob("postmaster.pid")
                postmaster = int(pid_file.read_text().split()[0])
                # Fast: sessions are ended in the middle of what they do.
                os.kill(postmaster, signal.SIGINT)
                deadline = time.monotonic() + 60
                while Path(f"/proc/{postmaster}").exists() and time.monotonic() < deadline:
                    threading.Event().wait(0.05)
                database.ensure_running()
            checked = checked_by(worker)
        with psycopg.connect(**database.connection_parameters()) as connection:
            found = connection.execute(
                "SELECT url_status, count(*) FROM offers_offer GROUP BY 1"
            ).fetchall()
        # Claims that were lost on the way back from the database are leased, not forgotten.
        told = dict(found)
        assert set(told) <= {"ok", "unchecked"}
        assert told["ok"] == checked
        assert told.get("unchecked", 0) <= 2 * 10
        assert len(server.requests) == checked
    finally:
        if worker:
            worker.kill()
            worker.communicate()
        database.stop()
