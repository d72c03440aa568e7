"""The worker's side of import runs: checks and imports what is queued.

Each run uses two database sessions. One imports, in one transaction that also sets the status
``done``, so a run is done exactly when its rows are committed. The other, in the calling thread,
holds the run's lock, saves the progress, and can cancel a statement of the first.
"""

from __future__ import annotations

import dataclasses
import logging
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg
from django.conf import settings
from django.core.files.base import File
from django.db import InterfaceError, OperationalError, connection
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from catalog.models import ImportRun, ImportStatus, WhenGone
from catalog.models.import_run import QUEUED, WORKING
from closient.accounts.actors import acting_as, actor_name
from closient.accounts.models import Organization
from closient.cells.models import Fence
from closient.changes.models import Cause
from closient.db.locks import advisory_lock
from dashboard.imports.detected_file import detected_file
from dashboard.imports.engine import BadRows, ImportFile, ImportResult, Options
from dashboard.imports.files import UnreadableFile
from dashboard.imports.layouts import AUTO, UnknownLayout
from dashboard.imports.layouts.base import LayoutOptions
from dashboard.imports.layouts.mapping import NAME as MAPPED
from dashboard.imports.layouts.mapping import InvalidMapping
from dashboard.imports.rejects import Rejected, UnwritableRejects
from dashboard.imports.runs import files
from dashboard.imports.runs.actions import (
    CANCELLED,
    COUNTS,
    INTERRUPTED,
    attach_users,
    lock_name,
    notice_interruption,
    remove_files,
)
from dashboard.imports.saved_mappings import save_mapping
from dashboard.imports.sources import review, schedule
from dashboard.imports.sources.gone import SourceRows

logger = logging.getLogger("dashboard.imports")

# Between checks of the progress and of requests to stop.
POLL_SECONDS = 0.25
FILE_MISSING = "The file is no longer in storage: upload it again."
REJECTS_NOT_STORED = (
    "The rejected rows could not be stored; nothing was imported. Start the import again."
)
UNKNOWN_COLUMNS = "The columns of this file are not known yet: choose what they mean."
NO_NAMES = (
    "No column of this file is read as the name of the product, so the new products would have no "
    "name. Choose the column with the name, or import them without names."
)
INTERNAL_ERROR = (
    "The import failed because of an error in the service, which is in its log; nothing was "
    "imported."
)

# The status of a claimed run, by the one it was queued with.
_CLAIMED_STATUS = {
    ImportStatus.WAITING: ImportStatus.CHECKING,
    ImportStatus.CONFIRMED: ImportStatus.IMPORTING,
}


# If the connection is lost during the commit, only the status of the run says whether it is done.
_MESSAGES: list[tuple[type[Exception], str]] = [
    (files.FileMissing, FILE_MISSING),
    (UnwritableRejects, REJECTS_NOT_STORED),
    (OperationalError, INTERRUPTED),
    (InterfaceError, INTERRUPTED),
]

# Returns an organization's numbers by name.
Numbers = Callable[[Organization], Mapping[str, int]]


class _Stopped(Exception):
    """The run was canceled, or the worker is stopping."""


def work_on_next(stop: threading.Event, *, numbers: Numbers | None = None) -> bool:
    """Check or import the run that was queued first; return whether there was one.

    ``numbers`` returns an organization's numbers, which are saved with the run before its import.

    Any number of workers share the queue. Runs whose worker has died are marked as interrupted
    first. When ``stop`` is set, the work is rolled back and the run is queued again.
    """
    for run in _runs(WORKING):
        if notice_interruption(run):
            logger.warning("import %s: interrupted", run.pk)
    for run in _runs(QUEUED).order_by("queued_at", "id"):
        if stop.is_set():
            return False
        with advisory_lock(lock_name(run)) as is_mine:
            if is_mine and _claim(run):
                _Step(run, stop, numbers).run_to_end()
                return True
    return False


def _runs(statuses: Sequence[ImportStatus]) -> QuerySet[ImportRun]:
    """Return the runs with these statuses, without those of organizations that move.

    And without those whose file has not been fetched yet.
    """
    runs = ImportRun.objects.filter(status__in=statuses).exclude(file="")
    if settings.CELLS:
        runs = runs.exclude(organization__in=Fence.objects.values("organization_id"))
    return runs


def _claim(run: ImportRun) -> bool:
    """Set the status of a queued run to working; return whether it was still queued."""
    queued_status = ImportStatus(run.status)
    claimed = ImportRun.objects.filter(pk=run.pk, status=queued_status).update(
        status=_CLAIMED_STATUS[queued_status],
        is_cancel_asked=False,
        rows_done=0,
        bytes_done=0,
        started_at=Now(),
        ended_at=None,
        detail="",
    )
    if claimed:
        run.refresh_from_db()
    return bool(claimed)


class _Step:
    """One step of one run: its check or its import."""

    def __init__(
        self, run: ImportRun, stop: threading.Event, numbers: Numbers | None = None
    ) -> None:
        self.run = run
        self._numbers = numbers
        self.is_check = run.status == ImportStatus.CHECKING
        self.stop = stop
        self.is_stopping = False
        self.path = ""
        self.read = (0, 0)
        self.found: dict[str, Any] | None = None
        self.outcome: ImportResult | BaseException | None = None
        self.importing: psycopg.Connection[Any] | None = None

    def run_to_end(self) -> None:
        began = time.monotonic()
        logger.info("import %s: %s started", self.run.pk, self.run.status)
        with tempfile.TemporaryDirectory(prefix="import-") as folder:
            rejects = Path(folder) / "rejects"
            try:
                with files.local_copy(self.run.file) as path:
                    self._supervise(path, rejects)
            except files.FileMissing as error:
                self.outcome = error
            ended = self._conclude(rejects)
        logger.info("import %s: %s after %.1f s", self.run.pk, ended, time.monotonic() - began)

    # --- In the thread of the import ---------------------------------------------------------

    def _import(self, path: Path, rejects: Path) -> None:
        try:
            connection.ensure_connection()
            self.importing = connection.connection
            file = self._open(path)
            self.found = file.detected.as_json()
            if self.is_check and self.run.saves_mapping:
                self.found["notices"] += self._save_mapping(file.names)
            options = Options(
                source=self._source_rows(),
                skip_bad_rows=self.is_check or self.run.skip_bad_rows,
                overwrite_blank=self.run.overwrite_blank,
                rejects=rejects,
                dry_run=self.is_check,
            )
            if self._numbers is not None and not self.is_check:
                before = self._numbers(self.run.organization)
                ImportRun.objects.filter(pk=self.run.pk).update(numbers_before=before)
            cause = Cause.IMPORT if self.run.source_id is None else Cause.SOURCE
            with acting_as(self._actor(), cause, self.run.pk):
                self.outcome = file.load(self.run.organization, options, self._progress, self._done)
        except BaseException as error:
            self.outcome = error
        finally:
            connection.close()

    def _open(self, path: Path) -> ImportFile:
        run = self.run
        layout_options = LayoutOptions(retailer=run.retailer, shop=run.shop, currency=run.currency)
        try:
            return ImportFile(
                path,
                run.layout,
                layout_options,
                mapping=run.mapping,
                organization=run.organization,
            )
        except UnknownLayout as error:
            self.found = detected_file(
                error.format, None, error.table, None, error.suggestion
            ).as_json()
            raise

    def _save_mapping(self, names: Sequence[str]) -> list[str]:
        """Save the run's mapping for files with this header; return a notice if that fails."""
        try:
            save_mapping(self.run.organization, names, self.run.mapping or {})
        except InvalidMapping as error:
            return [f"The columns were not saved for the next file: {error}"]
        return []

    def _source_rows(self) -> SourceRows | None:
        source = self.run.source
        return SourceRows(source.pk, WhenGone(source.when_gone)) if source else None

    def _actor(self) -> str:
        attach_users([self.run])
        user = self.run.asked_by
        whose = f"{actor_name(user)}, " if user else ""
        return f"{whose}import of {self.run.name}"

    def _progress(self, rows: int, done: int, size: int) -> None:
        if self.is_stopping:
            raise _Stopped
        self.read = rows, done

    def _done(self, result: ImportResult) -> None:
        """Set the status to done in the import's own transaction."""
        still = ImportRun.objects.filter(
            pk=self.run.pk, status=ImportStatus.IMPORTING, is_cancel_asked=False
        )
        if self.is_stopping or not still.update(
            status=ImportStatus.DONE, **self._result_columns(result)
        ):
            raise _Stopped
        schedule.note_import(self.run, self.found, result)

    # --- In the thread of the worker ---------------------------------------------------------

    def _supervise(self, path: Path, rejects: Path) -> None:
        """Run the import in a thread, save its progress, and stop it when requested."""
        self.path = str(path)
        thread = threading.Thread(
            target=self._import, args=(path, rejects), name=f"import {self.run.pk}"
        )
        thread.start()
        try:
            saved = (0, 0)
            while thread.is_alive():
                thread.join(POLL_SECONDS)
                if self.stop.is_set() or self._must_stop():
                    self._interrupt()
                elif self.read != saved:
                    saved = self.read
                    self._current().update(rows_done=saved[0], bytes_done=saved[1])
        except BaseException:
            # Without this session the lock is lost: the import must not continue without it.
            while thread.is_alive():
                self._interrupt()
                thread.join(POLL_SECONDS)
            raise

    def _must_stop(self) -> bool:
        """Whether the run was canceled, or deleted with its organization."""
        return not (
            ImportRun.objects.filter(pk=self.run.pk)
            .filter(Q(is_cancel_asked=False) | Q(status=ImportStatus.DONE))
            .exists()
        )

    def _interrupt(self) -> None:
        """Stop the import at its next row, or cancel its current statement."""
        self.is_stopping = True
        if self.importing is not None and not self.importing.closed:
            try:
                self.importing.cancel_safe(timeout=5)
            except psycopg.Error:
                logger.warning("import %s: cannot be canceled yet", self.run.pk, exc_info=True)

    def _current(self) -> Any:
        """A queryset of the run that is empty once the run has left this step."""
        return ImportRun.objects.filter(pk=self.run.pk, status=self.run.status)

    def _conclude(self, rejects: Path) -> str:
        """Save how the step ended; return it for the log."""
        outcome = self.outcome
        if isinstance(outcome, ImportResult):
            return self._succeed(outcome, rejects)
        if self.is_stopping or outcome is None or isinstance(outcome, _Stopped):
            return self._requeue()
        if isinstance(outcome, BadRows):
            return self._fail(str(outcome), problems=_as_json(outcome.problems))
        if isinstance(outcome, UnknownLayout) and self.is_check:
            return self._ask_for_columns(outcome.advice or UNKNOWN_COLUMNS)
        return self._fail(self._reason(outcome))

    def _reason(self, error: BaseException) -> str:
        """The reason of a failure, for the user; the log has the details."""
        if isinstance(error, UnreadableFile | InvalidMapping):
            return str(error).replace(self.path, self.run.name)
        logger.error("import %s: failed", self.run.pk, exc_info=error)
        return next(
            (message for kind, message in _MESSAGES if isinstance(error, kind)), INTERNAL_ERROR
        )

    def _succeed(self, result: ImportResult, rejects: Path) -> str:
        """Store the rejected rows, and save the result of a check; an import has saved its own."""
        try:
            name = _store_rejects(rejects)
        except Exception:
            logger.exception("import %s: storing the rejected rows failed", self.run.pk)
            return self._fail(REJECTS_NOT_STORED) if self.is_check else ImportStatus.DONE
        is_mapped = (self.found or {}).get("layout") == MAPPED
        is_chosen = is_mapped or self.run.layout != AUTO
        if self.is_check and result.created and not result.has_names and not is_chosen:
            files.discard(name)
            return self._ask_for_columns(NO_NAMES)
        if self.is_check:
            current = self._current().filter(is_cancel_asked=False)
            values = {**self._result_columns(result), **self._decision(result)}
            values["rejects_file"] = name
            if self.is_stopping or not current.update(**values):
                files.discard(name)
                return self._requeue()
        elif name or self.run.rejects_file:
            # A worker that dies here leaves the rejected rows of the check.
            done = ImportRun.objects.filter(pk=self.run.pk, status=ImportStatus.DONE)
            if not done.update(rejects_file=name):
                files.discard(name)
        files.discard(self.run.rejects_file)
        if self.run.source_id is not None and not self.is_check:
            self._forget_file()
        return ImportStatus.CHECKED if self.is_check else ImportStatus.DONE

    def _ask_for_columns(self, detail: str) -> str:
        """Stop, until a person has said what the columns mean."""
        current = self._current().filter(is_cancel_asked=False)
        values = {"status": ImportStatus.MAPPING, "detail": detail, "found": self.found}
        if self.is_stopping or not current.update(**values, ended_at=Now()):
            return self._requeue()
        return ImportStatus.MAPPING

    def _forget_file(self) -> None:
        """Delete an imported file of a source, which is fetched again and again."""
        done = ImportRun.objects.filter(pk=self.run.pk, status=ImportStatus.DONE)
        if done.update(file=""):
            files.discard(self.run.file)

    def _decision(self, result: ImportResult) -> dict[str, Any]:
        """The columns that say whether a checked run waits for a person, and why."""
        if not self.run.confirms_itself:
            return {"status": ImportStatus.CHECKED}
        reason = review.reason_to_ask(self.run, self.found, result)
        if reason:
            return {"status": ImportStatus.CHECKED, "detail": reason}
        return {"status": ImportStatus.CONFIRMED, "queued_at": Now()}

    def _result_columns(self, result: ImportResult) -> dict[str, Any]:
        """The columns with the result of a check or an import."""
        return {
            **{name: getattr(result, name) for name in COUNTS},
            "gone": result.gone,
            "found": self.found,
            "problems": _as_json(result.problems),
            "preview": list(result.preview),
            "problem_groups": [dataclasses.asdict(group) for group in result.problem_groups],
            "repairs": dict(result.repairs),
            "tables": {table: counts._asdict() for table, counts in result.tables.items()},
            "rows_done": result.total,
            "bytes_done": self.run.size,
            "ended_at": Now(),
        }

    def _fail(self, detail: str, **values: Any) -> str:
        if not self._current().update(
            status=ImportStatus.FAILED, detail=detail, found=self.found, ended_at=Now(), **values
        ):
            return "had already ended"
        if self.run.source_id is not None:
            schedule.note_failure(self.run.source_id, detail)
        return detail

    def _requeue(self) -> str:
        """End a run that was canceled; queue it again if the worker is stopping."""
        if (
            self._current()
            .filter(is_cancel_asked=True)
            .update(status=ImportStatus.CANCELLED, detail=CANCELLED, ended_at=Now())
        ):
            remove_files(self.run)
            return CANCELLED
        queued_status = ImportStatus.WAITING if self.is_check else ImportStatus.CONFIRMED
        if self._current().update(status=queued_status, rows_done=0, bytes_done=0, started_at=None):
            return "stopped, and queued again"
        return "deleted"


def _store_rejects(path: Path) -> str:
    """Store the rejected rows and return the name of the file; empty if there are none."""
    if not path.exists():
        return ""
    with path.open("rb") as file:
        return files.store(File(file))


def _as_json(problems: tuple[Rejected, ...]) -> list[dict[str, Any]]:
    return [problem._asdict() for problem in problems]
