"""Deletes old import runs, and files that no run refers to."""

from __future__ import annotations

import datetime
import re

from django.conf import settings
from django.utils import timezone

from catalog.models import ImportRun
from closient.cells.routing import cells, in_cell
from closient.db.locks import advisory_lock
from dashboard.imports.runs import files
from dashboard.imports.runs.actions import lock_name, remove_files

# By then the run of an uploaded file has been saved.
ORPHANED_AFTER = datetime.timedelta(days=1)
# File names of runs; other files are not touched.
_NAME = re.compile(r"[0-9a-f]{32}\Z")


def remove_old_runs() -> int:
    """Delete the runs that have not changed for ``KEEP_IMPORT_RUNS_DAYS``; return how many.

    Their files are deleted too. Then delete files older than a day that belong to no run: those
    of deleted organizations and of interrupted uploads. Raises what the storage raises.
    """
    removed = 0
    oldest = timezone.now() - datetime.timedelta(days=settings.KEEP_IMPORT_RUNS_DAYS)
    for run in ImportRun.objects.filter(created_at__lt=oldest, queued_at__lt=oldest):
        with advisory_lock(lock_name(run)) as is_idle:
            # A run that was just restarted has another time.
            if is_idle and ImportRun.objects.filter(pk=run.pk, queued_at=run.queued_at).delete()[0]:
                remove_files(run)
                removed += 1
    _remove_orphans()
    return removed


def _remove_orphans() -> None:
    storage = files.storage()
    try:
        names = storage.listdir("")[1]
    except FileNotFoundError:
        return
    # Read after the files: a file without a run has none, or is younger than a day.
    used: set[str] = set()
    for cell in cells():
        with in_cell(cell):
            runs = ImportRun.objects.values_list("file", "rejects_file")
            used.update(name for names_of_run in runs for name in names_of_run)
    latest = timezone.now() - ORPHANED_AFTER
    for name in names:
        if _NAME.match(name) and name not in used and storage.get_modified_time(name) < latest:
            files.discard(name)
