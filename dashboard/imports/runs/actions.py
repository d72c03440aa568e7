"""Actions of the pages on import runs: start, confirm, cancel, restart, refresh.

The worker does the work (``importer.py``); closing the page loses nothing. A run goes

    waiting -> checking -> checked -> confirmed -> importing -> done

and from each of these but the last to ``failed`` or ``cancelled``; ``run.detail`` says why.

* ``start(organization, user, file, name, overwrite_blank=False)`` stores the file; the worker
  checks it: it does everything that an import does, and rolls back.
* From ``checked`` on, ``run.found`` is the detected format and the field of each column, the
  counts (``total created updated unchanged rejected``) are what an import would do, as are those
  by table (``run.tables``); ``run.problems`` are the first rejected rows as ``{line, reason}``,
  ``run.problem_groups`` all of them by the broken rule, and ``run.repairs`` the repaired cells.
  ``open_rejects(run)`` of ``files.py`` returns the rejected rows as a file, ``rejects_name(run)``
  its name.
* A file whose columns are not known, or none of which is a name, waits as ``mapping``:
  ``map_columns(run, mapping, remember=...)`` queues it for another check, and
  ``suggested_mapping(run)`` is what to begin with.
* ``confirm(run, skip_bad_rows=...)`` queues it for the import, which is all or nothing.
* ``cancel(run)`` ends it at any time before ``done``; ``run.is_cancel_asked`` until it has ended.
* ``start_again(run)`` queues a run that failed or was checked for another check.
* ``refresh(run)`` reads a run from the database, and notices when its worker was killed.
* A run that ``confirms_itself`` (of a source, or of the API) goes on after its check without a
  person unless :mod:`dashboard.imports.sources.review` has a reason to ask; then it is ``checked``
  and ``run.detail`` is the reason. After a killed worker it is queued again.
* ``start_from(organization, user, url)`` starts a run without a file, which
  :mod:`dashboard.imports.sources.worker` fetches first.
* While a worker has it (``run.is_working``), ``rows_done``, ``bytes_done`` (of ``size``),
  ``percent_read`` and ``is_writing`` are its progress, updated several times a second.

Each change is a compare-and-set on the status: of two people, or a person and the worker, one
wins and the other gets :class:`InvalidTransition`. Callers check permissions.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from django.conf import settings
from django.core.files.base import File
from django.db import transaction
from django.db.models import Case, F, Value, When
from django.db.models.functions import Now
from django.template.defaultfilters import filesizeformat

from catalog.models import ImportRun, ImportSource, ImportStatus
from catalog.models.import_run import ASKING, QUEUED, WORKING
from closient.accounts.models import Organization, User
from closient.cells.routing import in_directory, is_in_directory
from closient.db.locks import lock_until_commit, try_lock_until_commit
from closient.db.transactions import run_with_retry
from dashboard.imports.formats.base import column_name
from dashboard.imports.layouts import AUTO, check_layout
from dashboard.imports.layouts.fields import FIELDS, METADATA_PREFIX, NUTRIENT_PREFIX
from dashboard.imports.layouts.mapping import FIXED, check_mapping
from dashboard.imports.runs import files
from dashboard.imports.sources import schedule

# Runs of one organization that are neither imported nor canceled.
MAX_UNFINISHED = 10
# A run with one of these can be checked again.
_RESTARTABLE = [*ASKING, ImportStatus.FAILED]
# The columns that count rows.
COUNTS = ("total", "created", "updated", "unchanged", "rejected")
# How often a run that confirms itself is queued again after its worker died.
MAX_INTERRUPTIONS = 3
INTERRUPTED = "The worker stopped during the import; nothing was imported. Start the import again."
CANCELLED = "Canceled; nothing was imported."


class RefusedFile(ValueError):
    """The file is rejected; the message is for the user."""


class TooManyRuns(RefusedFile):
    """The organization has ten unfinished runs."""


class TooLarge(RefusedFile):
    """The file is larger than ``IMPORT_LARGEST_FILE`` bytes."""


class InvalidTransition(ValueError):
    """The status of the run does not allow this; the message is for the user."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a file is to be read and imported; the names are those of the columns of a run."""

    overwrite_blank: bool = False
    skip_bad_rows: bool = False
    confirms_itself: bool = False
    layout: str = AUTO
    mapping: Mapping[str, str] | None = None
    saves_mapping: bool = False
    retailer: str = ""
    shop: str = ""
    currency: str = ""


class StoredFile(NamedTuple):
    """A file in the storage: its name there, its size in bytes, and the name that is shown."""

    file: str
    size: int
    name: str


def start(
    organization: Organization,
    user: User | None,
    file: File[bytes],
    name: str,
    options: RunOptions = RunOptions(),
) -> ImportRun:
    """Store a file and queue it for a check; raises what :func:`stored` and :func:`create` do."""
    with stored(organization, file, name) as kept:
        return run_with_retry(lambda: create(organization, user, kept, options))


@contextlib.contextmanager
def stored(organization: Organization, file: File[bytes], name: str) -> Iterator[StoredFile]:
    """Store a file for the block; ``name`` is what its owner calls it.

    Deletes it after the block unless a run has it. Raises :class:`RefusedFile` if it is empty,
    :class:`TooLarge`, and :class:`TooManyRuns`.
    """
    size = file.size
    if not size:
        raise RefusedFile("The file is empty.")
    if size > settings.IMPORT_LARGEST_FILE:
        raise TooLarge(
            f"The file has {filesizeformat(size)}, and at most "
            f"{filesizeformat(settings.IMPORT_LARGEST_FILE)} are taken: compress it with gzip, or "
            "split it."
        )
    _check_unfinished(organization)
    kept = StoredFile(files.store(file), size, _shown_name(name))
    try:
        yield kept
    except BaseException:
        files.discard(kept.file)
        raise
    if not ImportRun.objects.filter(organization=organization, file=kept.file).exists():
        files.discard(kept.file)


def create(
    organization: Organization,
    user: User | None,
    stored_file: StoredFile,
    options: RunOptions = RunOptions(),
) -> ImportRun:
    """Queue a stored file for a check. Must be called in a transaction.

    Raises :class:`TooManyRuns` and :class:`InvalidMapping`.
    """
    return _create(organization, options, asked_by=user, **stored_file._asdict())


def start_from(
    organization: Organization, user: User | None, url: str, options: RunOptions = RunOptions()
) -> ImportRun:
    """Queue a file for a fetch from a canonical https address, and then for a check.

    Must be called in a transaction. Raises :class:`TooManyRuns` and :class:`InvalidMapping`.
    """
    name = _shown_name(url.partition("?")[0].rstrip("/"))
    return _create(organization, options, asked_by=user, name=name, size=0, url=url)


def _create(organization: Organization, options: RunOptions, **values: Any) -> ImportRun:
    check_layout(options.layout, options.mapping)
    # Checked under the lock: another one may have been added.
    lock_until_commit(f"import runs of {organization.pk}")
    _check_unfinished(organization)
    return ImportRun.objects.create(
        organization=organization, **dataclasses.asdict(options), **values
    )


def _check_unfinished(organization: Organization) -> None:
    # A source has one at a time.
    unfinished = ImportRun.objects.of(organization).unfinished().filter(source=None)
    if unfinished.count() >= MAX_UNFINISHED:
        raise TooManyRuns(
            f"{MAX_UNFINISHED} imports are not finished: import or cancel one of them first."
        )


def confirm(
    run: ImportRun, *, skip_bad_rows: bool = False, overwrite_blank: bool | None = None
) -> ImportRun:
    """Queue a checked run for its import and return it.

    ``overwrite_blank`` is that of the check unless given. Raises :class:`InvalidTransition` if the
    run is not checked, or has rejected rows and ``skip_bad_rows`` is off.
    """
    checked = ImportRun.objects.get(pk=run.pk)
    if checked.status == ImportStatus.CHECKED and checked.rejected and not skip_bad_rows:
        raise InvalidTransition(
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
        detail="",
        queued_at=Now(),
        **overwrite,
    )


def start_again(
    run: ImportRun,
    *,
    overwrite_blank: bool | None = None,
    mapping: Mapping[str, str] | None = None,
    saves_mapping: bool = False,
) -> ImportRun:
    """Queue a run for another check and return it; the results of the last one are deleted.

    Raises :class:`InvalidTransition` while it is queued or working, and once it is imported.
    """
    again: dict[str, Any] = {} if overwrite_blank is None else {"overwrite_blank": overwrite_blank}
    if mapping is not None:
        again |= {"mapping": mapping, "saves_mapping": saves_mapping}
    before = ImportRun.objects.get(pk=run.pk)

    def write() -> ImportRun:
        lock_until_commit(f"import runs of {run.organization_id}")
        if ImportRun.objects.filter(pk=run.pk, status=ImportStatus.FAILED).exists():
            try:
                _check_unfinished(run.organization)
            except RefusedFile as refusal:
                raise InvalidTransition(str(refusal)) from None
        return _move(
            run,
            _RESTARTABLE,
            "checked again",
            status=ImportStatus.WAITING,
            is_cancel_asked=False,
            detail="",
            found=None,
            problems=[],
            preview=[],
            problem_groups=None,
            repairs=None,
            tables=None,
            rejects_file="",
            gone=None,
            interruptions=0,
            **dict.fromkeys(COUNTS),
            queued_at=Now(),
            **again,
        )

    waiting = run_with_retry(write)
    files.discard(before.rejects_file)
    return waiting


def can_map_columns(run: ImportRun) -> bool:
    """Whether the columns of a run are known, and can be mapped now."""
    return run.status in _RESTARTABLE and bool((run.found or {}).get("samples"))


def map_columns(run: ImportRun, mapping: Mapping[str, str], *, remember: bool) -> ImportRun:
    """Queue a run for another check with its columns mapped by hand, and return it.

    With ``remember`` the check also saves the mapping for the organization's next files with this
    header, and a source that has its own mapping or layout gets it. Raises
    :class:`InvalidMapping`, and :class:`InvalidTransition` as :func:`start_again`.
    """
    cleaned = check_mapping(mapping)
    current = ImportRun.objects.get(pk=run.pk)
    if current.status in _RESTARTABLE and not can_map_columns(current):
        raise InvalidTransition("The columns of this file are not known, so they cannot be mapped.")
    queued = start_again(run, mapping=cleaned, saves_mapping=remember)
    if remember and run.source_id:
        # Saved mappings are for sources without one, and without a layout.
        own = ImportSource.objects.filter(pk=run.source_id)
        own.exclude(mapping=None, layout=AUTO).update(mapping=cleaned, layout=AUTO)
    return queued


def suggested_mapping(run: ImportRun) -> dict[str, str] | None:
    """The mapping to begin with, which may be incomplete; ``None`` if it cannot be mapped now.

    It is the one that was chosen before, as far as the file has its columns; else what the titles
    and values suggest, else the columns that are in use.
    """
    if not can_map_columns(run):
        return None
    if run.mapping:
        names = {column_name(sample["column"]) for sample in run.found["samples"]}
        return {
            title: target
            for title, target in run.mapping.items()
            if title.startswith(FIXED) or column_name(title) in names
        }
    in_use = {column["column"]: column["field"] for column in run.found["columns"]}
    chosen = run.found.get("suggestion") or in_use
    return {
        title: target
        for title, target in chosen.items()
        if target in FIELDS or target.startswith((METADATA_PREFIX, NUTRIENT_PREFIX))
    }


def cancel(run: ImportRun) -> ImportRun:
    """Cancel a run, immediately or when the worker has stopped, and return it.

    Deletes its files. Raises :class:`InvalidTransition` after the import. Canceling a canceled run
    does nothing.
    """
    idle = [*QUEUED, *ASKING, ImportStatus.FAILED]
    changed = ImportRun.objects.filter(pk=run.pk, status__in=idle).update(
        status=ImportStatus.CANCELLED, detail=CANCELLED, ended_at=Now()
    )
    if changed:
        cancelled = ImportRun.objects.get(pk=run.pk)
        remove_files(cancelled)
        return cancelled
    ImportRun.objects.filter(pk=run.pk, status__in=WORKING).update(is_cancel_asked=True)
    found = refresh(run)
    if found.status == ImportStatus.DONE:
        raise InvalidTransition("This run is imported already.")
    return found


def refresh(run: ImportRun) -> ImportRun:
    """The run as it is now; raises ``ImportRun.DoesNotExist``."""
    found = ImportRun.objects.get(pk=run.pk)
    if found.is_working and notice_interruption(found):
        found.refresh_from_db()
    return found


def notice_interruption(run: ImportRun) -> bool:
    """Mark a run whose worker has died as failed; return whether it was.

    One that confirms itself is queued again instead, at most three times. A worker holds the lock
    of its run until it ends. Waits for a commit in progress: then the import is done.
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
            return _requeue_interrupted(run) or _fail_interrupted(run)
    remove_files(run)
    return True


def _requeue_interrupted(run: ImportRun) -> bool:
    again = ImportRun.objects.filter(
        pk=run.pk, status__in=WORKING, confirms_itself=True, interruptions__lt=MAX_INTERRUPTIONS
    )
    return bool(
        again.update(
            status=Case(
                When(status=ImportStatus.CHECKING, then=Value(ImportStatus.WAITING)),
                default=Value(ImportStatus.CONFIRMED),
            ),
            interruptions=F("interruptions") + 1,
            rows_done=0,
            bytes_done=0,
            started_at=None,
        )
    )


def _fail_interrupted(run: ImportRun) -> bool:
    working = ImportRun.objects.filter(pk=run.pk, status__in=WORKING)
    if not working.update(status=ImportStatus.FAILED, detail=INTERRUPTED, ended_at=Now()):
        return False
    if run.source_id is not None:
        schedule.note_failure(run.source_id, INTERRUPTED)
    return True


def attach_users(runs: Sequence[ImportRun]) -> None:
    """Set ``asked_by`` of runs to the users in the directory, ``None`` for deleted ones."""
    if is_in_directory():
        return
    with in_directory():
        users = User.objects.in_bulk({run.asked_by_id for run in runs} - {None})
    for run in runs:
        run.asked_by = users.get(run.asked_by_id)


def lock_name(run: ImportRun) -> str:
    """The name of the lock that the worker of a run holds."""
    # Never renamed: during an upgrade workers of two versions run side by side.
    return f"catalog.importing {run.pk}"


def remove_files(run: ImportRun) -> None:
    """Delete the files of a run."""
    files.discard(run.file)
    files.discard(run.rejects_file)


def _move(run: ImportRun, statuses: list[ImportStatus], what: str, **values: Any) -> ImportRun:
    """Change a run whose status is one of ``statuses`` and return it."""
    changed = ImportRun.objects.filter(pk=run.pk, status__in=statuses).update(**values)
    found = ImportRun.objects.get(pk=run.pk)
    if not changed:
        raise InvalidTransition(
            f"This run is {found.get_status_display().lower()}, so it cannot be {what} now."
        )
    return found


def _shown_name(name: str) -> str:
    """The name of a file without folders and control characters, at most 255 characters."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(c for c in last if c.isprintable())[:255] or "file"
