"""Rows are deleted when they are older than the settings allow."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.utils import timezone
from pytest_django import Settings

from catalog.models import ImportRun
from dashboard import retention
from dashboard.imports.runs.cleanup import remove_old_runs
from dashboard.models import Snapshot
from dashboard.numbers import NUMBERS
from dashboard.retention import delete_old_admin_log, delete_old_history
from tests import factories
from tests.project_files import PROJECT


def days_ago(days: int) -> datetime.datetime:
    return timezone.now() - datetime.timedelta(days=days)


def make_snapshots(*ages: int) -> None:
    organization = factories.OrganizationFactory()
    zeros = dict.fromkeys((number.name for number in NUMBERS), 0)
    for age in ages:
        Snapshot.objects.create(organization=organization, date=days_ago(age).date(), **zeros)


def make_log(*ages: int) -> None:
    user = factories.UserFactory()
    for age in ages:
        entry = LogEntry.objects.create(user_id=user.pk, object_repr="row", action_flag=CHANGE)
        LogEntry.objects.filter(pk=entry.pk).update(action_time=days_ago(age))


@pytest.mark.django_db
def test_history_and_admin_log_are_kept_forever_by_default() -> None:
    make_snapshots(0, 5_000)
    make_log(0, 5_000)
    assert (delete_old_history(), delete_old_admin_log()) == (0, 0)
    assert (Snapshot.objects.count(), LogEntry.objects.count()) == (2, 2)


@pytest.mark.django_db
def test_older_history_and_admin_log_are_deleted(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Several batches.
    monkeypatch.setattr(retention, "BATCH_ROWS", 2)
    settings.KEEP_HISTORY_DAYS = 365
    settings.KEEP_ADMIN_LOG_DAYS = 30
    make_snapshots(0, 365, 367, 400, 500, 600, 700)
    make_log(0, 29, 31, 32, 33, 34, 35)
    assert (delete_old_history(), delete_old_admin_log()) == (5, 5)
    assert (Snapshot.objects.count(), LogEntry.objects.count()) == (2, 2)
    assert (delete_old_history(), delete_old_admin_log()) == (0, 0)


@pytest.mark.django_db
def test_import_runs_are_deleted_after_the_set_days(settings: Settings) -> None:
    settings.KEEP_IMPORT_RUNS_DAYS = 7
    organization = factories.OrganizationFactory()
    for age in (6, 8):
        run = ImportRun.objects.create(organization=organization, name=f"{age}.csv", size=1)
        ImportRun.objects.filter(pk=run.pk).update(
            created_at=days_ago(age), queued_at=days_ago(age)
        )
    assert remove_old_runs() == 1
    assert ImportRun.objects.get().name == "6.csv"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KEEP_IMPORT_RUNS_DAYS", "0"),
        ("KEEP_HISTORY_DAYS", "30"),
        ("KEEP_ADMIN_LOG_DAYS", "-1"),
        ("KEEP_DELETIONS_DAYS", "-1"),
    ],
)
def test_days_that_make_no_sense_are_rejected(name: str, value: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from closient import settings"],
        cwd=PROJECT,
        env={**os.environ, "ENV_FILE": "", name: value},
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"{name} is {value}: it must be" in done.stderr
