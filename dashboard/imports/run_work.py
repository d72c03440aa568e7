"""The worker's side of import runs: it checks and imports what waits in line.

Two database sessions are at work on a run. One does the import, in one transaction that also says
``done``: so a run is done exactly when its rows are there. The other, of the thread that calls,
holds the run's lock, writes the progress, and can cancel the first in the middle of a statement.
"""

from __future__ import annotations

import logging
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psycopg
from django.core.files.base import File
from django.db import InterfaceError, OperationalError, connection
from django.db.models import Q
from django.db.models.functions import Now

from catalog.models import ImportRun, ImportStatus
from catalog.models.import_run import QUEUED, WORKING
from closient.accounts.actors import acting_as, name_of
from closient.accounts.models import Organization
from closient.db.locks import alone
from dashboard.imports import run_files
from dashboard.imports.formats import UnreadableFile
from dashboard.imports.products import BadRows, ImportResult, Options, ProductFile
from dashboard.imports.rejects import Rejected, UnwritableRejects
from dashboard.imports.runs import (
    CANCELLED,
    COUNTS,
    INTERRUPTED,
    lock_name,
    notice_interruption,
    remove_files,
)

logger = logging.getLogger("catalog.imports")

# Seconds between looks at progress and at the wish to stop.
LOOK_EVERY = 0.25
GONE = "The file is no longer in storage: upload it again."
NO_ROOM = "The rejected rows could not be stored; nothing was imported. Start the import again."
BROKE = (
    "The import failed because of an error in the service, which is in its log; nothing was "
    "imported."
)

# What becomes of a run that was taken up, by the status it waited in.
_WORK = {
    ImportStatus.WAITING: ImportStatus.CHECKING,
    ImportStatus.CONFIRMED: ImportStatus.IMPORTING,
}


# Should the database go away in the commit, nobody but the run's row knows whether it is done.
_REASONS: list[tuple[type[Exception], str]] = [
    (run_files.FileGone, GONE),
    (UnwritableRejects, NO_ROOM),
    (OperationalError, INTERRUPTED),
    (InterfaceError, INTERRUPTED),
]

# An organization's numbers by name; what they are is for the caller to know.
Numbers = Callable[[Organization], Mapping[str, int]]


class _Halted(Exception):
    """Somebody wants the work to end."""


def work_on_next(stop: threading.Event, *, numbers: Numbers | None = None) -> bool:
    """Check or import the run that has waited longest, and return whether there was one.

    ``numbers`` are an organization's numbers, kept with the run as they were before its import.

    Any number of workers share the line. First says of runs whose worker is dead that they were
    interrupted. When ``stop`` is set the work is undone, and the run waits in line again.
    """
    for run in ImportRun.objects.filter(status__in=WORKING):
        if notice_interruption(run):
            logger.warning("import %s: interrupted", run.pk)
    for run in ImportRun.objects.filter(status__in=QUEUED).order_by("queued_at", "id"):
        if stop.is_set():
            return False
        with alone(lock_name(run)) as is_mine:
            if is_mine and _claim(run):
                _Work(run, stop, numbers).do()
                return True
    return False


def _claim(run: ImportRun) -> bool:
    """Take a run up, with the status of being worked on; false where somebody moved it."""
    waited_in = ImportStatus(run.status)
    claimed = ImportRun.objects.filter(pk=run.pk, status=waited_in).update(
        status=_WORK[waited_in],
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


class _Work:
    """One step of one run: its check or its import."""

    def __init__(
        self, run: ImportRun, stop: threading.Event, numbers: Numbers | None = None
    ) -> None:
        self.run = run
        self._numbers = numbers
        self.is_check = run.status == ImportStatus.CHECKING
        self.stop = stop
        self.is_halted = False
        self.path = ""
        self.read = (0, 0)
        self.found: dict[str, Any] | None = None
        self.outcome: ImportResult | BaseException | None = None
        self.importing: psycopg.Connection[Any] | None = None

    def do(self) -> None:
        began = time.monotonic()
        logger.info("import %s: %s begins", self.run.pk, self.run.status)
        with tempfile.TemporaryDirectory(prefix="import-") as folder:
            rejects = Path(folder) / "rejects"
            try:
                with run_files.at_hand(self.run.file) as path:
                    self._supervise(path, rejects)
            except run_files.FileGone as error:
                self.outcome = error
            ended = self._conclude(rejects)
        logger.info("import %s: %s after %.1f s", self.run.pk, ended, time.monotonic() - began)

    # --- In the thread of the import ---------------------------------------------------------

    def _import(self, path: Path, rejects: Path) -> None:
        try:
            connection.ensure_connection()
            self.importing = connection.connection
            file = ProductFile(path)
            self.found = file.recognized.as_json()
            options = Options(
                skip_bad_rows=self.is_check or self.run.skip_bad_rows,
                overwrite_blank=self.run.overwrite_blank,
                rejects=rejects,
                dry_run=self.is_check,
            )
            if self._numbers is not None and not self.is_check:
                before = self._numbers(self.run.organization)
                ImportRun.objects.filter(pk=self.run.pk).update(numbers_before=before)
            with acting_as(self._actor()):
                self.outcome = file.load(self.run.organization, options, self._progress, self._done)
        except BaseException as error:
            self.outcome = error
        finally:
            connection.close()

    def _actor(self) -> str:
        user = self.run.asked_by
        whose = f"{name_of(user)}, " if user else ""
        return f"{whose}import of {self.run.name}"

    def _progress(self, rows: int, done: int, size: int) -> None:
        if self.is_halted:
            raise _Halted
        self.read = rows, done

    def _done(self, result: ImportResult) -> None:
        """Say in the import's own transaction that it is done."""
        still = ImportRun.objects.filter(
            pk=self.run.pk, status=ImportStatus.IMPORTING, is_cancel_asked=False
        )
        if self.is_halted or not still.update(status=ImportStatus.DONE, **self._told(result)):
            raise _Halted

    # --- In the thread of the worker ---------------------------------------------------------

    def _supervise(self, path: Path, rejects: Path) -> None:
        """Let the import run; tell how far it is, and halt it when somebody wants that."""
        self.path = str(path)
        thread = threading.Thread(
            target=self._import, args=(path, rejects), name=f"import {self.run.pk}"
        )
        thread.start()
        try:
            told = (0, 0)
            while thread.is_alive():
                thread.join(LOOK_EVERY)
                if self.stop.is_set() or self._is_unwanted():
                    self._halt()
                elif self.read != told:
                    told = self.read
                    self._current().update(rows_done=told[0], bytes_done=told[1])
        except BaseException:
            # Without this session the lock is gone: the import must not go on alone.
            while thread.is_alive():
                self._halt()
                thread.join(LOOK_EVERY)
            raise

    def _is_unwanted(self) -> bool:
        """Return whether somebody cancels the run, or it has gone with its organization."""
        return not (
            ImportRun.objects.filter(pk=self.run.pk)
            .filter(Q(is_cancel_asked=False) | Q(status=ImportStatus.DONE))
            .exists()
        )

    def _halt(self) -> None:
        """Stop the import at its next row, or in the middle of the statement it is at."""
        self.is_halted = True
        if self.importing is not None and not self.importing.closed:
            try:
                self.importing.cancel_safe(timeout=5)
            except psycopg.Error:
                logger.warning("import %s: cannot be cancelled yet", self.run.pk, exc_info=True)

    def _current(self) -> Any:
        """Return the run as rows to update, as long as it is at this step."""
        return ImportRun.objects.filter(pk=self.run.pk, status=self.run.status)

    def _conclude(self, rejects: Path) -> str:
        """Say how the step ended, and return that in a word or a sentence."""
        outcome = self.outcome
        if isinstance(outcome, ImportResult):
            return self._succeed(outcome, rejects)
        if self.is_halted or outcome is None or isinstance(outcome, _Halted):
            return self._give_back()
        if isinstance(outcome, BadRows):
            return self._fail(str(outcome), problems=_as_json(outcome.problems))
        return self._fail(self._reason(outcome))

    def _reason(self, error: BaseException) -> str:
        """Return for who asked why it failed; the log has the rest."""
        if isinstance(error, UnreadableFile):
            return str(error).replace(self.path, self.run.name)
        logger.error("import %s: broke off", self.run.pk, exc_info=error)
        return next((told for kind, told in _REASONS if isinstance(error, kind)), BROKE)

    def _succeed(self, result: ImportResult, rejects: Path) -> str:
        """Store the refused rows, and say of a check what it found; an import has said so."""
        try:
            name = _store_rejects(rejects)
        except Exception:
            logger.exception("import %s: the storage did not take the rejects", self.run.pk)
            return self._fail(NO_ROOM) if self.is_check else ImportStatus.DONE
        if self.is_check:
            current = self._current().filter(is_cancel_asked=False)
            values = {"status": ImportStatus.CHECKED, "rejects_file": name, **self._told(result)}
            if self.is_halted or not current.update(**values):
                run_files.discard(name)
                return self._give_back()
        elif name or self.run.rejects_file:
            # A worker that dies just here leaves the refused rows of the check.
            done = ImportRun.objects.filter(pk=self.run.pk, status=ImportStatus.DONE)
            if not done.update(rejects_file=name):
                run_files.discard(name)
        run_files.discard(self.run.rejects_file)
        return ImportStatus.CHECKED if self.is_check else ImportStatus.DONE

    def _told(self, result: ImportResult) -> dict[str, Any]:
        """Return the columns that say what a check found or an import did."""
        return {
            **{name: getattr(result, name) for name in COUNTS},
            "found": self.found,
            "problems": _as_json(result.problems),
            "rows_done": result.total,
            "bytes_done": self.run.size,
            "ended_at": Now(),
        }

    def _fail(self, detail: str, **values: Any) -> str:
        if not self._current().update(
            status=ImportStatus.FAILED, detail=detail, found=self.found, ended_at=Now(), **values
        ):
            return "was ended by somebody else"
        return detail

    def _give_back(self) -> str:
        """End a run that is cancelled; put one whose worker stops back in line."""
        if (
            self._current()
            .filter(is_cancel_asked=True)
            .update(status=ImportStatus.CANCELLED, detail=CANCELLED, ended_at=Now())
        ):
            remove_files(self.run)
            return CANCELLED
        waited_in = ImportStatus.WAITING if self.is_check else ImportStatus.CONFIRMED
        if self._current().update(status=waited_in, rows_done=0, bytes_done=0, started_at=None):
            return "stopped, and waits in line again"
        return "is gone"


def _store_rejects(path: Path) -> str:
    """Store the refused rows and return their name, blank where there are none."""
    if not path.exists():
        return ""
    with path.open("rb") as file:
        return run_files.store(File(file))


def _as_json(problems: tuple[Rejected, ...]) -> list[dict[str, Any]]:
    return [problem._asdict() for problem in problems]
