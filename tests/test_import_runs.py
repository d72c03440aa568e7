"""Import runs: uploaded on a page, checked and imported by the worker."""

from __future__ import annotations

import datetime
import gzip
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile, File
from django.core.files.storage import InMemoryStorage, Storage
from django.db import connection
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from catalog.models import ImportRun, ImportStatus, Product
from closient.accounts.models import Organization
from dashboard.imports.runs import actions, files
from dashboard.imports.runs.actions import RunOptions
from dashboard.imports.runs.cleanup import remove_old_runs
from dashboard.imports.runs.importer import work_on_next
from dashboard.imports.saved_mappings import save_mapping
from tests.counting import assert_exact
from tests.factories import OrganizationFactory, UserFactory, gtin
from tests.importing import EAN, EAN_14, UPC, UPC_14, product, stored
from tests.sessions import TIMEOUT_SECONDS, Session, query, sessions
from tests.shared_data import OPEN_FOOD_FACTS, needs_shared_data

pytestmark = pytest.mark.django_db(transaction=True)

TWO_ROWS = f"gtin,name,Price\n{EAN},a,1\n{UPC},b,2\n"
ONE_INVALID_ROW = f"gtin,name\n{EAN},a\n123,b\n{UPC},c\n"
NOT_A_GTIN = "gtin: A GTIN has 8, 12, 13 or 14 digits; this one has 3 (found '123')"


class WithoutPaths(Storage):
    """A storage without local paths, such as a bucket."""

    def __init__(self) -> None:
        self.files = InMemoryStorage()

    def exists(self, name: str) -> bool:
        return self.files.exists(name)

    def delete(self, name: str) -> None:
        self.files.delete(name)

    def _open(self, name: str, mode: str) -> File[bytes]:
        return self.files.open(name, mode)

    def _save(self, name: str, content: File[bytes]) -> str:
        return self.files.save(name, content)


@pytest.fixture(autouse=True)
def folder(settings: Settings, tmp_path: Path) -> Path:
    """Store the files of imports in a temporary folder."""
    place = tmp_path / "imports"
    kept = settings.STORAGES["imports"]
    settings.STORAGES = settings.STORAGES | {
        "imports": {**kept, "OPTIONS": {**kept["OPTIONS"], "location": place}}
    }
    return place


def upload(organization: Organization, text: str, name: str = "c.csv", **how: Any) -> ImportRun:
    return actions.start(organization, None, ContentFile(text.encode()), name, RunOptions(**how))


def work() -> bool:
    return work_on_next(threading.Event())


def checked(organization: Organization, text: str = TWO_ROWS, **how: Any) -> ImportRun:
    """Return a run after its check."""
    run = upload(organization, text, **how)
    assert work()
    return actions.refresh(run)


def counts(run: ImportRun) -> list[int | None]:
    """Return total, created, updated, unchanged, rejected."""
    return [getattr(run, name) for name in actions.COUNTS]


def many(number: int) -> str:
    return "gtin,name\n" + "".join(f"{gtin(n)},{n}\n" for n in range(number))


# --- The way of a file ---------------------------------------------------------------------------


def test_run_is_checked_then_imported(organization: Organization) -> None:
    user = UserFactory()
    file = ContentFile(TWO_ROWS.encode())
    run = actions.start(organization, user, file, "C:\\lists\\our\x00 products.csv")
    assert (run.status, run.name, run.size) == ("waiting", "our products.csv", len(TWO_ROWS))
    assert run.asked_by == user

    assert work()
    run = actions.refresh(run)
    assert run.status == "checked"
    assert counts(run) == [2, 2, 0, 0, 0]
    assert (run.problems, run.detail, run.rejects_file) == ([], "", "")
    assert run.found == {
        "format": "delimited",
        "layout": "csv",
        "title": "CSV",
        "notices": [],
        "encoding": "utf-8",
        "delimiter": ",",
        "is_compressed": False,
        "columns": [{"column": "gtin", "field": "gtin"}, {"column": "name", "field": "name"}],
        "rejects_suffix": ".csv",
        "ignored": ["Price"],
        "samples": [
            {"column": "gtin", "values": [EAN, UPC]},
            {"column": "name", "values": ["a", "b"]},
            {"column": "Price", "values": ["1", "2"]},
        ],
    }
    assert [(row["gtin"], row["name"], row["is_new"]) for row in run.preview] == [
        (EAN_14, "a", True),
        (UPC_14, "b", True),
    ]
    # A check stores nothing.
    assert stored(organization) == []
    assert assert_exact(organization).total_products == 0
    assert not work()

    assert actions.confirm(run).status == "confirmed"
    assert work()
    run = actions.refresh(run)
    assert (run.status, counts(run)) == ("done", [2, 2, 0, 0, 0])
    assert (run.rows_done, run.bytes_done, run.percent_read) == (2, len(TWO_ROWS), 100)
    assert run.ended_at is not None
    assert stored(organization) == [
        product(gtin=UPC_14, name="b"),
        product(gtin=EAN_14, name="a"),
    ]
    assert assert_exact(organization).total_products == 2
    with pytest.raises(
        actions.InvalidTransition, match=r"This run is imported, so it cannot be imported now\."
    ):
        actions.confirm(run)
    with pytest.raises(actions.InvalidTransition, match=r"This run is imported already\."):
        actions.cancel(run)

    again = checked(organization)
    assert counts(again) == [2, 0, 0, 2, 0]


def test_rejected_rows_are_reported_and_can_be_skipped(organization: Organization) -> None:
    run = checked(organization, ONE_INVALID_ROW, name="our list.csv.gz")
    assert (run.status, counts(run)) == ("checked", [3, 2, 0, 0, 1])
    assert run.problems == [{"line": 3, "reason": NOT_A_GTIN}]
    assert rejects_of(run) == f'gtin,name,_line,_reason\n123,b,3,"{NOT_A_GTIN}"\n'
    assert files.rejects_name(run) == "our list.rejects.csv"
    with pytest.raises(actions.InvalidTransition) as rejected:
        actions.confirm(run)
    assert str(rejected.value) == (
        "Rejected rows: 1. Correct them and upload the file again, or import the others "
        "without them."
    )

    assert actions.confirm(run, skip_bad_rows=True).status == "confirmed"
    assert work()
    run = actions.refresh(run)
    assert (run.status, counts(run)) == ("done", [3, 2, 0, 0, 1])
    assert rejects_of(run).startswith("gtin,name,_line,_reason\n123,b,3,")
    assert assert_exact(organization).total_products == 2
    # The uploaded file and the rejects; the rejects of the check are deleted.
    assert len(files.storage().listdir("")[1]) == 2


def rejects_of(run: ImportRun) -> str:
    with files.open_rejects(run) as file:
        return file.read().decode()


def test_row_rejected_after_the_check_prevents_the_import(
    organization: Organization,
) -> None:
    cells = ",".join(f"metadata:k{n}" for n in range(50))
    run = checked(organization, f"gtin,name,{cells}\n{EAN},{',v' * 50}\n")
    assert counts(run) == [1, 1, 0, 0, 0]
    Product.objects.create(organization=organization, gtin=EAN_14, metadata={"mine": "too many"})
    actions.confirm(run)
    assert work()
    run = actions.refresh(run)
    assert (run.status, run.detail) == (
        "failed",
        "1 rows were rejected, so nothing was imported.",
    )
    assert [problem["line"] for problem in run.problems] == [2]
    assert stored(organization) == [product(gtin=EAN_14, metadata={"mine": "too many"})]

    # Restarted: the check now finds the same error as the import.
    waiting = actions.start_again(run)
    assert (waiting.status, waiting.detail, counts(waiting)) == ("waiting", "", [None] * 5)
    assert work()
    assert counts(actions.refresh(run)) == [1, 0, 0, 0, 1]


def test_empty_cells_clear_fields_on_request(organization: Organization) -> None:
    Product.objects.create(organization=organization, gtin=EAN_14, name="a", category="c")
    text = f"gtin,name,category\n{EAN},a,\n"
    assert counts(checked(organization, text)) == [1, 0, 0, 1, 0]
    run = checked(organization, text, overwrite_blank=True)
    assert counts(run) == [1, 0, 1, 0, 0]
    actions.confirm(run)
    assert work()
    assert stored(organization) == [product(gtin=EAN_14, name="a")]
    assert_exact(organization)


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        ("PK\x03\x04...", "The ZIP archive is damaged or cut short."),
        ("gtin\n", "The file has no rows."),
    ],
)  # fmt: skip
def test_unreadable_file_fails_with_the_reason(
    organization: Organization, text: str, reported: str
) -> None:
    run = checked(organization, text)
    assert (run.status, run.detail) == ("failed", reported)
    with pytest.raises(
        actions.InvalidTransition, match=r"This run is failed, so it cannot be imported now\."
    ):
        actions.confirm(run)


def test_run_without_its_file_fails_and_names_no_folder(
    organization: Organization, folder: Path
) -> None:
    run = upload(organization, TWO_ROWS)
    (folder / run.file).unlink()
    assert work()
    run = actions.refresh(run)
    assert (run.status, run.detail) == (
        "failed",
        "The file is no longer in storage: upload it again.",
    )


@needs_shared_data
def test_open_food_facts_columns_are_detected(organization: Organization) -> None:
    with OPEN_FOOD_FACTS.open("rb") as file:
        run = actions.start(organization, None, File(file, "off.csv"), "off.csv")
    assert work()
    run = actions.refresh(run)
    assert run.status == "checked"
    assert (run.found["layout"], run.found["delimiter"]) == ("openfoodfacts", "\t")
    fields = {c["column"]: c["field"] for c in run.found["columns"]}
    assert fields["code"] == "gtin"
    assert fields["product_name"] == "name"
    assert fields["brands"] == "brand"
    assert fields["image_url"] == "image_url"
    assert fields["fat_100g"] == "nutrient:fat"
    assert "creator" in run.found["ignored"]
    assert "creator" not in fields


def test_json_lines_in_gzip_are_detected(organization: Organization) -> None:
    file = ContentFile(gzip.compress(b'{"gtin": "%s"}\n{"gtin": 5}\n' % EAN.encode()))
    run = actions.start(organization, None, file, "x")
    assert work()
    run = actions.refresh(run)
    assert (run.found["format"], run.found["is_compressed"]) == ("jsonl", True)
    assert counts(run) == [2, 1, 0, 0, 1]
    assert files.rejects_name(run) == "x.rejects.jsonl"


def test_files_in_a_storage_without_paths_are_imported(
    organization: Organization, settings: Settings
) -> None:
    settings.STORAGES = settings.STORAGES | {
        "imports": {"BACKEND": "tests.test_import_runs.WithoutPaths"}
    }
    run = checked(organization, ONE_INVALID_ROW)
    assert counts(run) == [3, 2, 0, 0, 1]
    assert rejects_of(run).startswith("gtin,name,_line,_reason\n123,b,3,")
    actions.confirm(run, skip_bad_rows=True)
    assert work()
    assert assert_exact(organization).total_products == 2

    gone = upload(organization, TWO_ROWS)
    files.discard(gone.file)
    assert work()
    assert actions.refresh(gone).detail == "The file is no longer in storage: upload it again."


def test_saved_mapping_is_used_by_the_worker(organization: Organization) -> None:
    mapping = {"EAN-Code": "gtin", "Artikelname": "name"}
    save_mapping(organization, ["ean-code", "artikelname"], mapping)
    run = checked(organization, f"EAN-Code;Artikelname\n{EAN};Oats\n")
    assert run.status == "checked"
    assert run.found["layout"] == "mapping"
    assert run.found["columns"] == [
        {"column": "EAN-Code", "field": "gtin"},
        {"column": "Artikelname", "field": "name"},
    ]
    actions.confirm(run)
    assert work()
    assert stored(organization) == [product(gtin=EAN_14, name="Oats")]


# --- What is not taken ---------------------------------------------------------------------------


def test_empty_or_too_large_file_is_rejected(
    organization: Organization, settings: Settings, folder: Path
) -> None:
    settings.IMPORT_LARGEST_FILE = 2048
    with pytest.raises(actions.RefusedFile, match=r"The file is empty\."):
        upload(organization, "")
    with pytest.raises(actions.RefusedFile) as rejected:
        upload(organization, "x" * 2049)
    assert str(rejected.value).replace("\xa0", " ") == (
        "The file has 2.0 KB, and at most 2.0 KB are taken: compress it with gzip, or split it."
    )
    assert not ImportRun.objects.exists()
    assert not folder.exists()


def test_unfinished_runs_are_limited_to_ten(organization: Organization) -> None:
    first, *_ = [upload(organization, TWO_ROWS) for _ in range(10)]
    with pytest.raises(actions.RefusedFile, match="10 imports are not finished"):
        upload(organization, TWO_ROWS)
    upload(OrganizationFactory(), TWO_ROWS)
    actions.cancel(first)
    upload(organization, TWO_ROWS)


def test_concurrent_uploads_keep_the_limit_of_ten_runs(
    organization: Organization, folder: Path
) -> None:
    for _ in range(4):
        upload(organization, TWO_ROWS)

    def try_upload() -> bool:
        try:
            upload(organization, TWO_ROWS)
        except actions.RefusedFile:
            return False
        return True

    with sessions(12) as opened:
        pending = [session.start(try_upload) for session in opened]
        taken = [future.result(timeout=60) for future in pending]
    assert sum(taken) == 6
    assert ImportRun.objects.of(organization).unfinished().count() == 10
    # Files of rejected uploads are deleted.
    assert len([path for path in folder.iterdir() if path.is_file()]) == 10


def test_failed_run_is_not_restarted_above_the_limit(organization: Organization) -> None:
    failed = upload(organization, TWO_ROWS)
    ImportRun.objects.filter(pk=failed.pk).update(status=ImportStatus.FAILED)
    for _ in range(10):
        upload(organization, TWO_ROWS)
    with pytest.raises(actions.InvalidTransition, match="10 imports are not finished"):
        actions.start_again(failed)


def test_files_are_private(organization: Organization, folder: Path, client: Client) -> None:
    run = checked(organization, ONE_INVALID_ROW)
    for name in (run.file, run.rejects_file):
        path = folder / name
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert client.get(f"/media/{name}").status_code == 404
        assert client.get(f"/media/imports/{name}").status_code == 404
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


# --- Cancelling and stopping ---------------------------------------------------------------------


def test_cancel_ends_a_run_between_its_steps(organization: Organization, folder: Path) -> None:
    waiting, looked_at = upload(organization, ONE_INVALID_ROW), None
    looked_at = checked(organization, ONE_INVALID_ROW)  # processes the older one
    assert looked_at.status == "waiting"
    for run in (waiting, looked_at):
        ended = actions.cancel(run)
        assert (ended.status, ended.detail) == ("cancelled", "Canceled; nothing was imported.")
        assert actions.cancel(run).status == "cancelled"
        with pytest.raises(actions.InvalidTransition):
            actions.start_again(run)
    assert os.listdir(folder) == []
    assert not work()


@pytest.fixture
def held() -> Iterator[Session]:
    """A session that blocks writes of products until its transaction ends."""
    with sessions(1) as (other,):
        other.begin()
        other.run(lock_products)
        yield other


def lock_products() -> None:
    with connection.cursor() as cursor:
        cursor.execute("LOCK TABLE catalog_product IN SHARE MODE")


def wait_for_import() -> None:
    """Wait until an import waits for a lock while it writes."""
    deadline = datetime.datetime.now() + datetime.timedelta(seconds=TIMEOUT_SECONDS)
    while not query(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND cardinality(pg_blocking_pids(pid)) > 0"
    ):
        assert datetime.datetime.now() < deadline
        threading.Event().wait(0.01)


@pytest.mark.parametrize("step", ["checking", "importing"])
def test_cancel_stops_a_run_while_it_writes(
    organization: Organization, held: Session, folder: Path, step: str
) -> None:
    run = at_step(organization, step, held)
    with sessions(1) as (worker,):
        done = worker.start(work)
        wait_for_import()
        now = actions.cancel(run)
        assert (now.status, now.is_cancel_asked) == (step, True)
        # The import ends although the lock is still held.
        assert done.result(timeout=TIMEOUT_SECONDS)
    ended = actions.refresh(run)
    assert (ended.status, ended.detail) == ("cancelled", "Canceled; nothing was imported.")
    assert os.listdir(folder) == []
    held.end()
    assert assert_exact(organization).total_products == 0


@pytest.mark.parametrize("step", ["checking", "importing"])
def test_cancel_is_effective_until_the_commit(
    organization: Organization, held: Session, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without polling the import reaches its end.
    monkeypatch.setattr("dashboard.imports.runs.importer.POLL_SECONDS", TIMEOUT_SECONDS)
    run = at_step(organization, step, held)
    with sessions(1) as (worker,):
        done = worker.start(work)
        wait_for_import()
        actions.cancel(run)
        held.end()
        assert done.result(timeout=TIMEOUT_SECONDS)
    assert actions.refresh(run).status == "cancelled"
    assert assert_exact(organization).total_products == 0


def test_status_is_committed_with_the_rows(organization: Organization) -> None:
    run = actions.confirm(checked(organization))
    assert work()
    assert actions.refresh(run).status == "done"
    transactions = "SELECT count(DISTINCT xmin::text) FROM ({}) AS rows"
    rows = "SELECT xmin FROM catalog_product UNION ALL SELECT xmin FROM catalog_importrun"
    assert query(transactions.format(rows)) == 1


@pytest.mark.parametrize("step", ["checking", "importing"])
def test_stopping_the_worker_requeues_the_run(
    organization: Organization, held: Session, step: str
) -> None:
    run = at_step(organization, step, held)
    stop = threading.Event()
    with sessions(1) as (worker,):
        done = worker.start(lambda: work_on_next(stop))
        wait_for_import()
        stop.set()
        assert done.result(timeout=TIMEOUT_SECONDS)
    waits_in = {"checking": "waiting", "importing": "confirmed"}[step]
    assert actions.refresh(run).status == waits_in
    held.end()
    assert assert_exact(organization).total_products == 0

    # The next worker resumes it.
    assert work()
    assert actions.refresh(run).status == {"checking": "checked", "importing": "done"}[step]
    assert assert_exact(organization).total_products == {"checking": 0, "importing": 2}[step]


def at_step(organization: Organization, step: str, held: Session) -> ImportRun:
    """Return a run whose next step is the given one, while products cannot be written."""
    if step == "checking":
        return upload(organization, TWO_ROWS)
    held.end()
    run = actions.confirm(checked(organization))
    held.begin()
    held.run(lock_products)
    return run


def test_deleting_the_organization_ends_its_import(organization: Organization) -> None:
    upload(organization, TWO_ROWS)
    with sessions(2) as (worker, other):
        # The lock that another import of the organization holds while it writes.
        other.begin()
        other.run(
            lambda: query(
                "SELECT pg_advisory_xact_lock(hashtextextended('catalog.importing ' || %s, 0)) "
                "IS NOT NULL",
                [organization.pk],
            )
        )
        done = worker.start(work)
        wait_for_import()
        organization.delete()
        assert done.result(timeout=TIMEOUT_SECONDS)
        other.end()
    assert not ImportRun.objects.exists()
    assert not Product.objects.exists()


@pytest.mark.parametrize("whose", ["import", "worker"])
def test_lost_database_connection_fails_the_run(
    organization: Organization, held: Session, whose: str
) -> None:
    run = at_step(organization, "importing", held)
    with sessions(1) as (worker,):
        done = worker.start(work)
        wait_for_import()
        ends = (
            f"pid = {worker.pid}" if whose == "worker" else "cardinality(pg_blocking_pids(pid)) > 0"
        )
        query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            f"WHERE datname = current_database() AND {ends}"
        )
        if whose == "worker":
            assert done.exception(timeout=TIMEOUT_SECONDS) is not None
        else:
            assert done.result(timeout=TIMEOUT_SECONDS)
    held.end()
    ended = actions.refresh(run)
    assert (ended.status, ended.detail) == (
        "failed",
        "The worker stopped during the import; nothing was imported. Start the import again.",
    )
    assert assert_exact(organization).total_products == 0


# --- Several workers -----------------------------------------------------------------------------


def test_workers_share_the_queue_and_process_each_run_once(organization: Organization) -> None:
    others = [organization, *(OrganizationFactory() for _ in range(5))]
    made = [upload(other, many(30)) for other in others]

    def work_off() -> int:
        done = 0
        while work():
            done += 1
        return done

    with sessions(4) as workers:
        checks = [worker.start(work_off) for worker in workers]
        assert sum(done.result(timeout=TIMEOUT_SECONDS) for done in checks) == 6
        for run in made:
            actions.confirm(run)
        imports = [worker.start(work_off) for worker in workers]
        assert sum(done.result(timeout=TIMEOUT_SECONDS) for done in imports) == 6
    assert {(actions.refresh(run).status, *counts(actions.refresh(run))) for run in made} == {
        ("done", 30, 30, 0, 0, 0)
    }
    for other in others:
        assert assert_exact(other).total_products == 30


def test_oldest_run_is_processed_first(organization: Organization) -> None:
    first, second = upload(organization, TWO_ROWS), upload(organization, TWO_ROWS)
    assert work()
    assert [actions.refresh(run).status for run in (first, second)] == ["checked", "waiting"]


def test_progress_is_reported_while_the_file_is_read(
    organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.imports.runs.importer.POLL_SECONDS", 0.002)
    run = upload(organization, many(8_000))
    seen = set()
    with sessions(1) as (worker,):
        done = worker.start(work)
        while not done.done():
            now = actions.refresh(run)
            if now.is_working:
                seen.add((now.rows_done, now.percent_read))
            threading.Event().wait(0.005)
        assert done.result()
    reading = [rows for rows, percent in seen if 0 < percent < 100]
    assert reading
    assert all(rows % 1000 == 0 for rows in reading)


# --- Old ones ------------------------------------------------------------------------------------


def test_old_runs_and_files_without_a_run_are_removed(
    organization: Organization, folder: Path
) -> None:
    old, young = checked(organization, ONE_INVALID_ROW), checked(organization, ONE_INVALID_ROW)
    long_ago = timezone.now() - datetime.timedelta(days=31)
    ImportRun.objects.filter(pk=old.pk).update(created_at=long_ago, queued_at=long_ago)
    two_days_ago = (timezone.now() - datetime.timedelta(days=2)).timestamp()
    orphan, fresh_orphan, not_ours = (folder / name for name in ("a" * 32, "b" * 32, "notes"))
    for path in (orphan, fresh_orphan, not_ours):
        path.write_text("x")
    for path in (orphan, not_ours, folder / young.file):
        os.utime(path, (two_days_ago, two_days_ago))
    assert remove_old_runs() == 1
    assert list(ImportRun.objects.all()) == [young]
    assert set(os.listdir(folder)) == {
        young.file,
        young.rejects_file,
        fresh_orphan.name,
        not_ours.name,
    }
    assert remove_old_runs() == 0
