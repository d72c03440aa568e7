"""Periodic jobs: due by the database's clock, run by one worker at a time."""

from __future__ import annotations

import datetime
import logging
import os
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.sessions.models import Session as BrowserSession
from django.db import connection
from django.test import Client
from django.utils import timezone

from closient.accounts import ratelimit
from closient.db.locks import advisory_lock
from closient.http import idempotency
from closient.http.models import IdempotencyKey
from closient.periodic import schedule
from closient.periodic.models import Job
from closient.periodic.schedule import Periodic, keep_running, run_due
from closient.tally.audit import compact_all
from closient.tally.models import TallyEntry
from dashboard.worker import PERIODIC, clear_sessions
from tests.counting import assert_exact
from tests.factories import OrganizationFactory, ProductFactory
from tests.sessions import TIMEOUT_SECONDS, query, sessions
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)
ADVISORY_LOCKS = """
    SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
    WHERE locktype = 'advisory' AND datname = current_database()
"""
# A worker on the test database with one job, which prints a line and does not end.
STUCK = """
import sys, threading
from datetime import timedelta
import django
from django.conf import settings
settings.DATABASES["default"]["NAME"] = sys.argv[1]
django.setup()
from closient.periodic.schedule import Periodic, run_due
def stuck():
    print("at work", flush=True)
    threading.Event().wait()
run_due([Periodic("job", timedelta(hours=1), stuck)])
"""


def make_due(name: str = "job") -> None:
    Job.objects.filter(name=name).update(due_at=timezone.now() - timedelta(seconds=1))


def test_job_runs_immediately_and_again_when_due(caplog: pytest.LogCaptureFixture) -> None:
    ran: list[int] = []
    jobs = [Periodic("job", HOUR, lambda: ran.append(1) or len(ran))]
    with caplog.at_level(logging.INFO, "closient.periodic"):
        assert run_due(jobs) == ["job"]
    assert "job=job done" in caplog.text
    assert "result=1" in caplog.text
    assert run_due(jobs) == []
    row = Job.objects.get()
    assert row.last_started_at is not None
    assert row.due_at - row.last_started_at == HOUR
    assert row.last_ended_at is not None
    assert row.lasted is not None
    assert row.last_error == ""

    make_due()
    assert run_due(jobs) == ["job"]
    assert len(ran) == 2


def test_failing_job_is_logged_and_does_not_stop_others(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise RuntimeError("no such luck")

    fails = [True]
    jobs = [
        Periodic("bad", HOUR, lambda: fail() if fails[0] else None),
        Periodic("good", HOUR, lambda: None),
    ]
    assert run_due(jobs) == ["bad", "good"]
    assert "job=bad failed" in caplog.text
    assert "RuntimeError: no such luck" in caplog.text
    errors = dict(Job.objects.values_list("name", "last_error"))
    assert errors["good"] == ""
    assert errors["bad"].startswith("Traceback")
    assert errors["bad"].endswith("RuntimeError: no such luck\n")

    # Not before its usual time, and then it can succeed.
    assert run_due(jobs) == []
    fails[0] = False
    make_due("bad")
    assert run_due(jobs) == ["bad"]
    assert Job.objects.get(name="bad").last_error == ""


def test_job_with_an_aborted_transaction_is_recorded() -> None:
    def fail_and_abort() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 / 0")

    assert run_due([Periodic("job", HOUR, fail_and_abort)]) == ["job"]
    assert "division by zero" in Job.objects.get().last_error


def test_eight_workers_run_a_due_job_once() -> None:
    ran: list[str] = []
    jobs = [Periodic(f"job {n}", HOUR, lambda n=n: ran.append(f"job {n}")) for n in range(5)]
    together = threading.Barrier(8)

    def work() -> list[str]:
        together.wait(TIMEOUT_SECONDS)
        return run_due(jobs)

    with sessions(8) as workers:
        for _ in range(3):
            ran.clear()
            Job.objects.update(due_at=timezone.now() - timedelta(seconds=1))
            reported = [worker.start(work) for worker in workers]
            names = sorted(
                name for done in reported for name in done.result(timeout=TIMEOUT_SECONDS)
            )
            assert names == sorted(ran) == [job.name for job in jobs]


def test_job_that_takes_longer_than_its_period_is_not_run_twice() -> None:
    begun, may_end = threading.Event(), threading.Event()

    def run_long() -> None:
        begun.set()
        may_end.wait(TIMEOUT_SECONDS)

    jobs = [Periodic("job", timedelta(0), run_long)]
    with sessions(1) as (other,):
        done = other.start(lambda: run_due(jobs))
        assert begun.wait(TIMEOUT_SECONDS)
        assert Job.objects.get().due_at <= timezone.now()
        assert run_due(jobs) == []
        may_end.set()
        assert done.result(timeout=TIMEOUT_SECONDS) == ["job"]
    assert run_due(jobs) == ["job"]


def test_job_of_a_killed_worker_runs_again_after_a_minute() -> None:
    ran: list[int] = []
    jobs = [Periodic("job", HOUR, lambda: ran.append(1))]
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK, str(connection.settings_dict["NAME"])],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "closient.settings"},
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "at work\n"
        make_due()
        # It keeps the claim while it runs.
        assert run_due(jobs) == []
        row = Job.objects.get()
    finally:
        process.kill()
        process.communicate()
    assert row.last_started_at is not None
    wait_until(lambda: run_due(jobs) == ["job"])
    assert ran == [1]


def test_claim_of_a_job_is_renewed_until_it_ends() -> None:
    seen: list[datetime.timedelta] = []

    def read_claim() -> None:
        row = Job.objects.get()
        assert row.last_started_at is not None
        seen.append(row.due_at - row.last_started_at)

    run_due([Periodic("job", HOUR, read_claim)])
    assert seen == [timedelta(minutes=1)]


def test_lock_is_released_with_its_session() -> None:
    first_try, second_try, third_try = (advisory_lock("name") for _ in range(3))
    with sessions(2) as (first, second):
        assert first.run(first_try.__enter__) is True
        assert second.run(second_try.__enter__) is False
        query("SELECT pg_terminate_backend(%s, 5000)", [first.pid])
        assert second.run(third_try.__enter__) is True
        # Releasing a lost claim is no error.
        for session, held in ((first, first_try), (second, second_try), (second, third_try)):
            session.run(lambda held=held: held.__exit__(None, None, None))
        # Other test processes hold locks in other databases of this server.
        assert query(ADVISORY_LOCKS) == 0


def test_keep_running_stops_on_request_and_survives_a_lost_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(schedule, "CHECK_INTERVAL_SECONDS", 0.01)
    stop = threading.Event()
    pids: list[int] = []

    def record() -> None:
        pids.append(query("SELECT pg_backend_pid()"))

    with sessions(1) as (worker,):
        done = worker.start(lambda: keep_running([Periodic("job", timedelta(0), record)], stop))
        wait_until(lambda: pids)
        query("SELECT pg_terminate_backend(%s, 5000)", [pids[0]])
        wait_until(lambda: pids[-1] != pids[0])
        stop.set()
        done.result(timeout=TIMEOUT_SECONDS)


# --- The jobs there are --------------------------------------------------------------------------


def test_every_job_of_the_worker_can_run() -> None:
    assert run_due(PERIODIC) == [job.name for job in PERIODIC]
    assert dict(Job.objects.exclude(last_error="").values_list("name", "last_error")) == {}


def test_compacting_all_keeps_the_numbers() -> None:
    organizations = [OrganizationFactory() for _ in range(3)]
    for organization in organizations:
        for _ in range(3):
            ProductFactory(organization=organization, described=True)
    before = [assert_exact(organization) for organization in organizations]
    entries = TallyEntry.objects.count()
    saved = compact_all()
    # Writers also compact at random.
    assert saved > 0
    assert TallyEntry.objects.count() == entries - saved
    assert [assert_exact(organization) for organization in organizations] == before
    assert compact_all() == 0


def test_old_idempotency_keys_are_deleted() -> None:
    organization = OrganizationFactory()
    for hours in (1, 23, 25, 100):
        IdempotencyKey.objects.create(
            organization=organization,
            key=str(hours),
            created_at=timezone.now() - timedelta(hours=hours),
        )
    assert idempotency.forget_expired() == 2
    assert {row.key for row in IdempotencyKey.objects.all()} == {"1", "23"}


def test_expired_rate_limits_are_deleted() -> None:
    ratelimit.count_invalid_key("192.0.2.1")
    ratelimit.count_invalid_key("192.0.2.2")
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE accounts_ratelimit SET day_started_at = now() - interval '25 hours', "
            "minute_started_at = now() - interval '25 hours' "
            "WHERE subject = 'address:192.0.2.1'"
        )
    assert ratelimit.delete_expired() == 1
    assert query("SELECT string_agg(subject, ' ') FROM accounts_ratelimit") == "address:192.0.2.2"


def test_expired_sessions_are_cleared() -> None:
    for name, days in (("old", -1), ("young", 1)):
        BrowserSession.objects.create(
            session_key=name, expire_date=timezone.now() + timedelta(days=days)
        )
    clear_sessions()
    assert [row.session_key for row in BrowserSession.objects.all()] == ["young"]


def test_admin_shows_jobs_read_only(staff: Client) -> None:
    run_due([Periodic("fold_tally", HOUR, lambda: 1 / 0)])
    page = staff.get("/admin/jobs/job/")
    assert page.status_code == 200
    assert "fold_tally" in page.content.decode()
    one = staff.get("/admin/jobs/job/fold_tally/change/").content.decode()
    assert "ZeroDivisionError: division by zero" in one
    assert 'name="_save"' not in one
    assert staff.post("/admin/jobs/job/fold_tally/delete/").status_code == 403
    assert staff.get("/admin/jobs/job/add/").status_code == 403
