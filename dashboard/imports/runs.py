"""Import runs as a page asks for them: start, confirm, cancel, start again, and look.

The worker does the work (``run_work.py``); a page that is closed loses nothing. A run goes

    waiting -> checking -> checked -> confirmed -> importing -> done

and from each of these but the last to ``failed`` or ``cancelled``, with ``run.detail`` saying why.

* ``start(organization, user, file, name, overwrite_blank=False)`` stores the file; the worker
  checks it: everything is done as in the import, and undone.
* From ``checked`` on ``run.found`` says what the file was recognized as and which column goes
  where, the counts (``total created updated unchanged rejected``) what an import would do, and
  ``run.problems`` the first refused rows as ``{line, reason}``. ``open_rejects(run)`` of
  ``run_files.py`` has all of them as a file, ``rejects_name(run)`` its name.
* ``confirm(run, skip_bad_rows=...)`` lets the worker import it, all or nothing.
* ``cancel(run)`` ends it at any time before ``done``; ``run.is_cancel_asked`` while it is ending.
* ``start_again(run)`` has a run that failed, or was checked, checked again from the beginning.
* ``look(run)`` reads a run afresh. A run whose worker was killed is told from one at work.
* While a worker has it (``run.is_working``), ``rows_done``, ``bytes_done`` (of ``size``),
  ``percent_read`` and ``is_writing`` say how far it is, some times a second.

Each change is a compare-and-set on the status, so of two people or a person and the worker one
wins; the other gets :class:`NotNow`. Who may do it is for the caller to decide.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.files.base import File
from django.db import transaction
from django.db.models.functions import Now
from django.template.defaultfilters import filesizeformat

from catalog.models import ImportRun, ImportStatus
from catalog.models.import_run import QUEUED, WORKING
from closient.accounts.models import Organization, User
from closient.db.locks import lock_until_commit, try_lock_until_commit
from closient.db.transactions import commit
from dashboard.imports import run_files

# Handed in and neither imported nor cancelled, in one organization.
MOST_UNFINISHED = 10
# The columns that count rows.
COUNTS = ("total", "created", "updated", "unchanged", "rejected")
INTERRUPTED = "The worker stopped during the import; nothing was imported. Start the import again."
CANCELLED = "Cancelled; nothing was imported."


class RefusedFile(ValueError):
    """The file is not taken; the message is for who sent it."""


class NotNow(ValueError):
    """The run is not where this can be done; the message says what is the case."""


def start(
    organization: Organization,
    user: User | None,
    file: File[bytes],
    name: str,
    *,
    overwrite_blank: bool = False,
) -> ImportRun:
    """Store a file and have it checked.

    Raises :class:`RefusedFile` for one that is empty or larger than ``IMPORT_LARGEST_FILE`` bytes,
    and where the organization has ten runs that are not finished.
    """
    size = file.size
    if not size:
        raise RefusedFile("The file is empty.")
    if size > settings.IMPORT_LARGEST_FILE:
        raise RefusedFile(
            f"The file has {filesizeformat(size)}, and at most "
            f"{filesizeformat(settings.IMPORT_LARGEST_FILE)} are taken: compress it with gzip, or "
            "split it."
        )
    _check_unfinished(organization)
    stored = run_files.store(file)

    def write() -> ImportRun:
        # Counted again where no other import of the organization can be added.
        lock_until_commit(f"import runs of {organization.pk}")
        _check_unfinished(organization)
        return ImportRun.objects.create(
            organization=organization,
            asked_by=user,
            name=_shown_name(name),
            size=size,
            file=stored,
            overwrite_blank=overwrite_blank,
        )

    try:
        return commit(write)
    except BaseException:
        run_files.discard(stored)
        raise


def _check_unfinished(organization: Organization) -> None:
    if ImportRun.objects.of(organization).unfinished().count() >= MOST_UNFINISHED:
        raise RefusedFile(
            f"{MOST_UNFINISHED} imports are not finished: import or cancel one of them first."
        )


def confirm(
    run: ImportRun, *, skip_bad_rows: bool = False, overwrite_blank: bool | None = None
) -> ImportRun:
    """Have a checked run imported and return it as it is then.

    Without ``overwrite_blank`` as it was checked. Raises :class:`NotNow` where it is not checked,
    and where rows were refused and ``skip_bad_rows`` is off.
    """
    checked = ImportRun.objects.get(pk=run.pk)
    if checked.status == ImportStatus.CHECKED and checked.rejected and not skip_bad_rows:
        raise NotNow(
            f"Rejected rows: {checked.rejected:,}. Correct them and upload the file again, or "
            "import the others without them."
        )
    overwrite = {} if overwrite_blank is None else {"overwrite_blank": overwrite_blank}
    return _move(
        checked,
        [ImportStatus.CHECKED],
        "imported",
        status=ImportStatus.CONFIRMED,
        skip_bad_rows=skip_bad_rows,
        queued_at=Now(),
        **overwrite,
    )


def start_again(run: ImportRun, *, overwrite_blank: bool | None = None) -> ImportRun:
    """Have a run checked again, and return it; nothing of the last time is kept.

    Raises :class:`NotNow` while it is in line or at work, and once it is imported.
    """
    again: dict[str, Any] = {} if overwrite_blank is None else {"overwrite_blank": overwrite_blank}
    before = ImportRun.objects.get(pk=run.pk)

    def write() -> ImportRun:
        lock_until_commit(f"import runs of {run.organization_id}")
        if ImportRun.objects.filter(pk=run.pk, status=ImportStatus.FAILED).exists():
            try:
                _check_unfinished(run.organization)
            except RefusedFile as refusal:
                raise NotNow(str(refusal)) from None
        return _move(
            run,
            [ImportStatus.CHECKED, ImportStatus.FAILED],
            "checked again",
            status=ImportStatus.WAITING,
            skip_bad_rows=False,
            is_cancel_asked=False,
            detail="",
            found=None,
            problems=[],
            rejects_file="",
            **dict.fromkeys(COUNTS),
            queued_at=Now(),
            **again,
        )

    waiting = commit(write)
    run_files.discard(before.rejects_file)
    return waiting


def cancel(run: ImportRun) -> ImportRun:
    """Cancel a run and return it: at once, or as soon as the worker has stopped.

    Its files go with it. Raises :class:`NotNow` once it is imported; a cancelled one stays so.
    """
    idle = [*QUEUED, ImportStatus.CHECKED, ImportStatus.FAILED]
    changed = ImportRun.objects.filter(pk=run.pk, status__in=idle).update(
        status=ImportStatus.CANCELLED, detail=CANCELLED, ended_at=Now()
    )
    if changed:
        cancelled = ImportRun.objects.get(pk=run.pk)
        remove_files(cancelled)
        return cancelled
    ImportRun.objects.filter(pk=run.pk, status__in=WORKING).update(is_cancel_asked=True)
    found = look(run)
    if found.status == ImportStatus.DONE:
        raise NotNow("This run is imported already.")
    return found


def look(run: ImportRun) -> ImportRun:
    """Return a run as it is now; raises ``ImportRun.DoesNotExist``."""
    found = ImportRun.objects.get(pk=run.pk)
    if found.is_working and notice_interruption(found):
        found.refresh_from_db()
    return found


def notice_interruption(run: ImportRun) -> bool:
    """Return whether a run's worker is dead, and say so in the run.

    A worker holds the lock of what it works on for as long as it lives. A commit that is under way
    in the database is waited for: the import is done then.
    """
    with transaction.atomic():
        if not try_lock_until_commit(lock_name(run)):
            return False
        working = ImportRun.objects.filter(pk=run.pk, status__in=WORKING)
        is_cancelled = bool(
            working.filter(is_cancel_asked=True).update(
                status=ImportStatus.CANCELLED, detail=CANCELLED, ended_at=Now()
            )
        )
        if not is_cancelled:
            return bool(
                working.update(status=ImportStatus.FAILED, detail=INTERRUPTED, ended_at=Now())
            )
    remove_files(run)
    return True


def lock_name(run: ImportRun) -> str:
    """Return the name of the lock that whoever works on a run holds."""
    return f"dashboard.imports {run.pk}"


def remove_files(run: ImportRun) -> None:
    """Delete the files of a run."""
    run_files.discard(run.file)
    run_files.discard(run.rejects_file)


def _move(run: ImportRun, places: list[ImportStatus], what: str, **values: Any) -> ImportRun:
    """Change a run that is in one of the places and return it."""
    changed = ImportRun.objects.filter(pk=run.pk, status__in=places).update(**values)
    found = ImportRun.objects.get(pk=run.pk)
    if not changed:
        raise NotNow(
            f"This run is {found.get_status_display().lower()}, so it cannot be {what} now."
        )
    return found


def _shown_name(name: str) -> str:
    """Return what a file is called, without folders and control characters, and not too long."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(c for c in last if c.isprintable())[:255] or "file"
