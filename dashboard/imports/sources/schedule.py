"""When a source is fetched next, and what its last fetch and import brought.

Each write of a fetch is a compare-and-set on ``next_run_at``: an edit, a pause or "Run now" during
the fetch wins, and what was fetched is dropped.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db.models import Case, DateTimeField, Value, When
from django.db.models.functions import Now

from catalog.models import FetchOutcome, ImportRun, ImportSource

if TYPE_CHECKING:
    from dashboard.imports.engine import ImportResult

# By then a source is due again after its worker has died: the lock of a living one is longer.
LEASE = datetime.timedelta(minutes=2)
# Between two fetches of a source, however often people ask for one.
MIN_GAP = datetime.timedelta(seconds=10)
# The pause after the first failure; each further one doubles it.
FIRST_RETRY = datetime.timedelta(minutes=15)
MAX_RETRY = datetime.timedelta(hours=24)
MAX_FAILURES = 10_000


def claim(source: ImportSource) -> bool:
    """Take a due source and refresh it; return whether it was still due as it was read."""
    due = ImportSource.objects.filter(pk=source.pk, next_run_at=source.next_run_at)
    if not due.update(next_run_at=Now() + LEASE, last_run_at=Now()):
        return False
    source.refresh_from_db()
    return True


def is_claimed(source: ImportSource) -> bool:
    """Return whether a worker has the source, or died with it within the lease."""
    if source.next_run_at is None or source.last_run_at is None:
        return False
    # A claim sets both at once, and no interval or retry is as long.
    return bool(source.next_run_at - source.last_run_at == LEASE)


def release(source: ImportSource, delay: datetime.timedelta = datetime.timedelta(0)) -> bool:
    """Make a claimed source due after a delay, as if it had not been taken."""
    return bool(_claimed(source).update(next_run_at=Now() + delay))


def end(source: ImportSource, outcome: FetchOutcome) -> bool:
    """Save that a fetch succeeded; return whether the source was still claimed."""
    return bool(
        _claimed(source).update(
            next_run_at=_next(source.interval),
            last_outcome=outcome,
            **({"failures": 0, "detail": ""} if outcome == FetchOutcome.UNCHANGED else {}),
        )
    )


def fail(source: ImportSource, detail: str, retry_after: datetime.timedelta | None = None) -> bool:
    """Save why a fetch failed; return whether the source was still claimed."""
    return bool(_claimed(source).update(**_failed(source, detail, retry_after)))


def note_failure(source_id: UUID, detail: str) -> None:
    """Save why the import of a source's file failed."""
    source = ImportSource.objects.filter(pk=source_id).first()
    if source is not None:
        ImportSource.objects.filter(pk=source_id).update(**_failed(source, detail))


def note_import(run: ImportRun, found: Mapping[str, Any] | None, result: ImportResult) -> None:
    """Save what identifies the file that was imported, in the transaction of the import."""
    if run.source_id is None:
        return
    # What was fetched from an earlier address says nothing about this one.
    source = ImportSource.objects.filter(pk=run.source_id, url=run.url)
    list(source.select_for_update(no_key=True))
    # None if the way to read the file was changed meanwhile: then it has to be fetched again.
    fetched = ImportRun.objects.values_list("fetched", flat=True).get(pk=run.pk)
    read = {**fetched, "imported_columns": columns_of(found)} if fetched else {}
    source.update(
        **read,
        imported_rows=result.total - result.rejected,
        imported_at=Now(),
        last_outcome=FetchOutcome.IMPORTING,
        failures=0,
        detail="",
    )


def columns_of(found: Mapping[str, Any] | None) -> list[str]:
    """Return the layout of a file and the columns that are used, as ``title -> field``."""
    found = found or {}
    used = {f"{each['column']} -> {each['field']}" for each in found.get("columns", ())}
    return [str(found.get("layout", "")), *sorted(used)]


def retry_delay(failures: int, retry_after: datetime.timedelta | None = None) -> datetime.timedelta:
    """Return the pause after a number of failures in a row; at least what the server asks for."""
    doubled: datetime.timedelta = min(FIRST_RETRY * 2 ** min(failures - 1, 10), MAX_RETRY)
    return max(doubled, retry_after or doubled)


def _claimed(source: ImportSource) -> Any:
    return ImportSource.objects.filter(pk=source.pk, next_run_at=source.next_run_at)


def _failed(
    source: ImportSource, detail: str, retry_after: datetime.timedelta | None = None
) -> dict[str, Any]:
    failures = min(source.failures + 1, MAX_FAILURES)
    return {
        "next_run_at": _next(retry_delay(failures, retry_after)),
        "last_outcome": FetchOutcome.FAILED,
        "failures": failures,
        "detail": detail,
    }


def _next(delay: datetime.timedelta) -> Any:
    never = Value(None, output_field=DateTimeField())
    return Case(When(is_paused=True, then=never), default=Now() + delay)
