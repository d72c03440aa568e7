"""The worker as a process: its parts, its exit, and the state after a kill."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.db import connection
from pytest_django import Settings

from catalog.models import ImportRun
from closient.accounts.models import Organization
from closient.periodic.models import Job
from dashboard.imports.runs import actions
from dashboard.models import Snapshot
from dashboard.worker import PERIODIC
from offers.models import Offer
from tests.counting import assert_exact
from tests.factories import OfferFactory, OrganizationFactory, gtin
from tests.sessions import query, sessions
from tests.workers import Worker, working

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _imports(settings: Settings, tmp_path: Path) -> None:
    """Store the files of imports where the workers of these tests read them."""
    kept = settings.STORAGES["imports"]
    options = {**kept["OPTIONS"], "location": tmp_path / "imports"}
    settings.STORAGES = settings.STORAGES | {"imports": {**kept, "OPTIONS": options}}


def upload(organization: Organization, rows: int = 20) -> ImportRun:
    text = "gtin,name\n" + "".join(f"{gtin(n)},{n}\n" for n in range(rows))
    return actions.start(organization, None, ContentFile(text.encode()), "list.csv")


def has_status(run: ImportRun, status: str) -> bool:
    return actions.refresh(run).status == status


@pytest.mark.slow
def test_worker_runs_all_parts_and_exits_with_zero(
    organization: Organization, tmp_path: Path
) -> None:
    # A URL that is not allowed, which is rejected without a request.
    offer = OfferFactory(product__organization=organization, url="http://127.0.0.1:8443/x")
    run = upload(organization)
    with working(tmp_path) as (worker,):
        worker.wait_for(lambda: has_status(run, "checked"))
        actions.confirm(run)
        worker.wait_for(lambda: has_status(run, "done"))
        worker.wait_for(lambda: Offer.objects.get(pk=offer.pk).url_checked_at)
        worker.wait_for(
            lambda: Job.objects.filter(last_ended_at__isnull=False).count() == len(PERIODIC)
        )
        assert worker.end() == 0
    assert Snapshot.objects.count() == 1
    assert not Job.objects.exclude(last_error="").exists()
    assert actions.refresh(run).total == 20
    assert_exact(organization)
    assert "dashboard.worker [-] worker: SIGTERM, finishing what is in flight" in worker.log
    assert worker.log.endswith("dashboard.worker [-] worker: stopped\n")


@pytest.mark.slow
def test_workers_share_the_work_without_repeating_any(tmp_path: Path) -> None:
    organizations = [OrganizationFactory() for _ in range(12)]
    made = [upload(organization) for organization in organizations[:6]]
    with working(tmp_path, 2) as workers:
        for run in made:
            workers[0].wait_for(lambda run=run: has_status(run, "checked"))  # type: ignore[misc]
            actions.confirm(run)
        for run in made:
            workers[0].wait_for(lambda run=run: has_status(run, "done"))  # type: ignore[misc]
        workers[0].wait_for(lambda: Snapshot.objects.count() == 12)
        assert [worker.end(signal.SIGINT) for worker in workers] == [0, 0]
    log = "".join(worker.log for worker in workers)
    for run in made:
        assert log.count(f"import {run.pk}: importing started") == 1
        assert actions.refresh(run).created == 20
    assert log.count("job=take_snapshots started") == 1
    for organization in organizations:
        assert_exact(organization)


@pytest.fixture
def held() -> Iterator[Any]:
    """Block writes of products until the returned function is called."""
    with sessions(1) as (other,):

        def lock() -> None:
            with connection.cursor() as cursor:
                cursor.execute("LOCK TABLE catalog_product IN SHARE MODE")

        other.begin()
        other.run(lock)
        yield other


def is_writing() -> bool:
    return bool(
        query(
            "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() "
            "AND cardinality(pg_blocking_pids(pid)) > 0"
        )
    )


def sessions_of_others() -> int:
    return int(
        query(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
    )


@pytest.mark.slow
def test_killed_worker_leaves_no_rows_and_is_reported(
    organization: Organization, tmp_path: Path, held: Any
) -> None:
    run = upload(organization)
    with working(tmp_path) as (worker,):
        worker.wait_for(is_writing)
        assert has_status(run, "checking")
        worker.kill()
    # The page reports it as soon as the server detects it.
    with working(tmp_path) as (next_one,):
        next_one.wait_for(lambda: has_status(run, "failed"))
        assert actions.refresh(run).detail == (
            "The worker stopped during the import; nothing was imported. Start the import again."
        )
        held.end()
        actions.start_again(run)
        next_one.wait_for(lambda: has_status(run, "checked"))
        actions.confirm(run)
        next_one.wait_for(lambda: has_status(run, "done"))
    assert assert_exact(organization).total_products == 20


@pytest.mark.slow
@pytest.mark.campaign
def test_stopped_worker_leaves_its_import_to_the_next(
    organization: Organization, tmp_path: Path, held: Any
) -> None:
    run = upload(organization)
    with working(tmp_path) as (worker,):
        worker.wait_for(is_writing)
        assert worker.end() == 0
    assert has_status(run, "waiting")
    assert "stopped, and queued again" in worker.log
    held.end()
    with working(tmp_path) as (worker,):
        worker.wait_for(lambda: has_status(run, "checked"))
        assert worker.end() == 0
    assert_exact(organization)


@pytest.mark.slow
@pytest.mark.campaign
def test_worker_survives_the_loss_of_all_its_sessions(
    organization: Organization, tmp_path: Path
) -> None:
    with working(tmp_path) as (worker,):
        worker.wait_for(lambda: "job=clear_sessions done" in worker.log)
        worker.wait_for(lambda: sessions_of_others() >= 3)
        query(
            "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND backend_type = 'client backend'"
        )
        run = upload(organization)
        worker.wait_for(lambda: has_status(run, "checked"))
        Job.objects.filter(name="take_snapshots").update(due_at="2000-01-01T00:00Z")
        worker.wait_for(lambda: worker.log.count("job=take_snapshots done") == 2)
        assert worker.end() == 0


def test_failed_part_ends_the_worker_with_an_error(tmp_path: Path) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE jobs_job RENAME TO jobs_elsewhere")
        try:
            worker = Worker(tmp_path)
            assert worker.wait() == 1
        finally:
            cursor.execute("ALTER TABLE jobs_elsewhere RENAME TO jobs_job")
    assert 'relation "jobs_job" does not exist' in worker.log
    assert worker.log.endswith("CommandError: jobs stopped unexpectedly: see the log.\n")
