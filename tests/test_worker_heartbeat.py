"""Reports of running workers: rows, the admin, and the health check of containers."""

from __future__ import annotations

import datetime
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from closient.periodic.heartbeat import host_name, keep_reporting, report
from closient.periodic.models import Worker
from tests.servers import ROOT, environment
from tests.workers import working

pytestmark = pytest.mark.django_db(transaction=True)


def health(**variables: str) -> tuple[int, str]:
    """Run the health check of a container; return its exit status and output."""
    done = subprocess.run(
        [sys.executable, "-m", "closient.periodic.health"],
        cwd=ROOT,
        env=environment(**variables),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def silent_for(seconds: float, worker: Worker) -> None:
    """Move the last report of a worker into the past."""
    seen_at = timezone.now() - datetime.timedelta(seconds=seconds)
    Worker.objects.filter(pk=worker.pk).update(seen_at=seen_at)


@pytest.mark.slow
def test_running_worker_is_reported_until_it_stops(tmp_path: Path) -> None:
    assert health() == (1, f"no worker on {host_name()} has reported\n")
    with working(tmp_path) as (worker,):
        worker.wait_for(Worker.objects.exists)
        status, printed = health()
        assert status == 0
        assert printed.startswith(f"a worker on {host_name()} reported ")
        assert worker.end() == 0
    assert not Worker.objects.exists()
    assert health()[0] == 1


def test_silent_worker_is_unhealthy() -> None:
    worker = report(None)
    assert list(Worker.objects.running()) == [worker]
    silent_for(70, worker)
    assert not Worker.objects.running().exists()
    assert health()[0] == 1
    # It reports again under the same row.
    assert report(worker) == worker
    assert list(Worker.objects.running()) == [worker]
    assert health()[0] == 0


def test_rows_of_killed_workers_are_deleted_by_others() -> None:
    killed = report(None)
    silent_for(3700, killed)
    running = report(None)
    assert list(Worker.objects.all()) == [running]
    # A worker whose row was deleted meanwhile, for example by a suspended machine, gets a new one.
    assert report(killed).pk not in (killed.pk, running.pk)


@pytest.mark.parametrize("answer", [True, False])
def test_only_a_worker_that_responds_reports(monkeypatch: pytest.MonkeyPatch, answer: bool) -> None:
    monkeypatch.setattr("closient.periodic.heartbeat.REPORT_INTERVAL_SECONDS", 0.01)
    stop = threading.Event()
    has_reported: list[bool] = []

    def responds() -> bool:
        has_reported.append(Worker.objects.exists())
        if len(has_reported) == 3:
            stop.set()
        return answer

    keep_reporting(stop, responds)
    assert has_reported == [False, answer, answer]
    assert not Worker.objects.exists()


def test_unavailable_database_is_unhealthy() -> None:
    status, printed = health(DATABASE_URL="postgres://closient@127.0.0.1:1/none")
    assert status == 1
    assert "Connection refused" in printed


def test_admin_shows_workers_and_cannot_change_them(staff: Client) -> None:
    worker = report(None)
    silent_for(70, report(None))
    page = staff.get(reverse("admin:jobs_worker_changelist"))
    text = page.content.decode()
    assert text.count("icon-yes") == text.count("icon-no") == 1
    assert staff.get(reverse("admin:jobs_worker_add")).status_code == 403
    address = reverse("admin:jobs_worker_delete", args=[worker.pk])
    assert staff.post(address, {"post": "yes"}).status_code == 403
    assert Worker.objects.count() == 2
