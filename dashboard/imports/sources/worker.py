"""The worker's side of sources: fetches what is due, and starts runs of it.

Of an organization one file is fetched at a time, so that slow servers of one do not keep all
workers. The lock ends with its database session: after a killed worker the source is due again
when its lease is over, and the run that it may have started is taken up by the importer.
"""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Container
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.files.base import File
from django.db import InterfaceError, OperationalError
from django.db.models import QuerySet
from django.db.models.functions import Now

from catalog.models import FetchOutcome, ImportRun, ImportSource, ImportStatus
from catalog.models.import_run import ASKING, QUEUED, WORKING
from catalog.models.import_source import IMPORT_OPTIONS
from closient.cells.models import Fence
from closient.db.locks import advisory_lock
from closient.db.transactions import run_with_retry
from closient.text.encryption import CannotDecrypt
from dashboard.imports.runs import actions, files
from dashboard.imports.sources import schedule
from dashboard.imports.sources.fetch import (
    CannotFetch,
    FetchedFile,
    FetchFailed,
    FetchStopped,
    FileRequest,
    fetch_file,
)

logger = logging.getLogger("dashboard.imports")

# Sources whose lock is tried in one pass.
MAX_TRIED = 100
# How long a fetch waits that this machine cannot make, or while the last file is being imported.
POSTPONED = timedelta(minutes=1)
REPLACED = "The source has a newer file; nothing was imported."
NO_KEY = (
    "The password can no longer be read, because SECRET_KEY has changed: enter the password again."
)
INTERNAL_ERROR = "The fetch failed because of an error in the service, which is in its log."


def fetch_next(stop: threading.Event) -> bool:
    """Fetch the file that has been due longest; return whether there was one.

    Any number of workers share the sources. When ``stop`` is set, the fetch ends and the source is
    due again.
    """
    for source in _due():
        if stop.is_set():
            return False
        with advisory_lock(_lock_name(source.organization_id)) as is_mine:
            if is_mine and schedule.claim(source):
                _Fetching(source, stop).run()
                return True
    return any(_fetch_file_of(run, stop) for run in _without_file() if not stop.is_set())


def _lock_name(organization_id: UUID) -> str:
    """The name of the lock of the only worker that fetches a file of an organization."""
    return f"imports.sources {organization_id}"


def _due() -> QuerySet[ImportSource]:
    due = ImportSource.objects.filter(next_run_at__lte=Now())
    rested = due.exclude(last_run_at__gt=Now() - schedule.MIN_GAP)
    return _movable(rested.order_by("next_run_at", "id"))[:MAX_TRIED]


def _without_file() -> QuerySet[ImportRun]:
    runs = ImportRun.objects.filter(status=ImportStatus.WAITING, file="", source=None)
    return _movable(runs.order_by("queued_at", "id"))[:MAX_TRIED]


def _movable(rows: QuerySet[Any]) -> QuerySet[Any]:
    """Return the rows without those of organizations that are being moved."""
    if settings.CELLS:
        rows = rows.exclude(organization__in=Fence.objects.values("organization_id"))
    return rows


class _Fetching:
    """One fetch of one claimed source."""

    def __init__(self, source: ImportSource, stop: threading.Event) -> None:
        self._source = source
        self._stop = stop
        self._run = source.runs.order_by("-created_at", "-id").first()

    def run(self) -> None:
        source = self._source
        if self._run and self._run.status in (*QUEUED, *WORKING):
            schedule.release(source, POSTPONED)
            return
        try:
            outcome = self._fetch()
        except (FetchFailed, CannotDecrypt) as failure:
            detail = NO_KEY if isinstance(failure, CannotDecrypt) else str(failure)
            schedule.fail(source, detail, getattr(failure, "retry_after", None))
            outcome = detail
        except FetchStopped:
            schedule.release(source)
            outcome = "stopped, and due again"
        except CannotFetch as error:
            schedule.release(source, POSTPONED)
            outcome = f"postponed: {error}"
        except (InterfaceError, OperationalError):
            raise
        # Each storage raises its own exceptions.
        except Exception:
            logger.exception("source %s: failed", source.pk)
            schedule.fail(source, INTERNAL_ERROR)
            return
        logger.info("source %s: %s", source.pk, outcome)

    def _fetch(self) -> str:
        """Fetch the file and start its run; return what happened, for the log."""
        source = self._source
        request = FileRequest(
            url=source.url,
            username=source.username,
            password=source.password,
            etag=source.etag,
            last_modified=source.last_modified,
        )
        found = _fetch_and_store(request, self._stop, known=self._known())
        if found is None:
            schedule.end(source, FetchOutcome.UNCHANGED)
            return FetchOutcome.UNCHANGED
        fetched, stored = found
        try:
            started = run_with_retry(lambda: self._start(fetched, stored))
        except BaseException:
            files.discard(stored)
            raise
        if not started:
            files.discard(stored)
            return "dropped: the source was changed meanwhile"
        if started is self._run:
            actions.remove_files(started)
        return "fetched"

    def _known(self) -> set[str]:
        """The files that are not imported again: the last one, or one that a person rejected.

        One that waits for a person is among them.
        """
        known = {self._source.sha256}
        last = self._run
        if last and last.status in (*ASKING, ImportStatus.CANCELLED):
            known.add((last.fetched or {}).get("sha256", ""))
        return known - {""}

    def _start(self, fetched: FetchedFile, stored: str) -> ImportRun | None:
        """Create the run of a file; return a run whose files are to be deleted, or the new one.

        Returns ``None`` if the source is no longer claimed.
        """
        source = self._source
        if not schedule.end(source, FetchOutcome.IMPORTING):
            return None
        new = ImportRun.objects.create(
            organization_id=source.organization_id,
            source=source,
            name=source.name,
            url=source.url,
            size=fetched.size,
            file=stored,
            fetched=_identity(fetched),
            confirms_itself=True,
            **{name: getattr(source, name) for name in IMPORT_OPTIONS},
        )
        replaced = self._run
        waiting = replaced and ImportRun.objects.filter(pk=replaced.pk, status__in=ASKING).update(
            status=ImportStatus.CANCELLED, detail=REPLACED, ended_at=Now()
        )
        return replaced if waiting else new


def _fetch_file_of(run: ImportRun, stop: threading.Event) -> bool:
    """Fetch the file of a run that has an address; return whether this worker did."""
    with advisory_lock(_lock_name(run.organization_id)) as is_mine:
        current = ImportRun.objects.filter(pk=run.pk, status=ImportStatus.WAITING, file="")
        if not (is_mine and current.exists()):
            return False
        try:
            found = _fetch_and_store(FileRequest(url=run.url), stop)
        except FetchFailed as failure:
            current.update(status=ImportStatus.FAILED, detail=str(failure), ended_at=Now())
            return True
        except FetchStopped:
            return False
        except CannotFetch as error:
            logger.warning("import %s: %s", run.pk, error)
            return False
        except (InterfaceError, OperationalError):
            raise
        # Each storage raises its own exceptions.
        except Exception:
            logger.exception("import %s: fetching its file failed", run.pk)
            current.update(status=ImportStatus.FAILED, detail=INTERNAL_ERROR, ended_at=Now())
            return True
        if found is not None:
            fetched, stored = found
            values = {"file": stored, "size": fetched.size, "fetched": _identity(fetched)}
            if not current.update(**values, queued_at=Now()):
                files.discard(stored)
        return True


def _fetch_and_store(
    request: FileRequest, stop: threading.Event, known: Container[str] = ()
) -> tuple[FetchedFile, str] | None:
    """Fetch a file into the storage; return it with its name there.

    Returns ``None`` if it has not changed, or if its SHA-256 is known.
    """
    with tempfile.NamedTemporaryFile(prefix="source-") as copy:
        fetched = fetch_file(request, copy, stop)
        if fetched is None or fetched.sha256 in known:
            return None
        copy.seek(0)
        return fetched, files.store(File(copy))


def _identity(fetched: FetchedFile) -> dict[str, str]:
    names = ("etag", "last_modified", "sha256")
    return {name: getattr(fetched, name) for name in names}
