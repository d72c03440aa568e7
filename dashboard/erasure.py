"""Erasure of an organization: its rows, files, keys, and accounts that no one else needs.

Everything is derived from the models: each has a `TenantForeignKey`. Deleting
the organization in one statement would lock a million rows for minutes, so rows are deleted in
batches, each in its own transaction. The order makes it safe to interrupt at any moment:

1. In one transaction, all keys and memberships: from then on callers have no access.
2. Imports are stopped; files are deleted, then rows.
3. In one transaction, the organization is locked, so that no one can write; what was written
   meanwhile is deleted, and then the organization itself.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import DEFAULT_DB_ALIAS, models
from django.db.models.functions import Cast

from catalog.models import ImportRun
from closient.accounts import ratelimit
from closient.accounts.models import ApiKey, Membership, Organization, RateLimit, User
from closient.cells.models import Fence, Placement, PlacementState
from closient.cells.routing import cell_of, forget_placements, in_cell
from closient.changes.causes import unrecorded
from closient.db.locks import SessionLock, advisory_lock
from closient.db.tenancy import tenant_models
from closient.db.transactions import DatabaseBusy, run_with_retry
from closient.tally.models import Audit, PastEntry, TallyEntry
from dashboard.imports.runs.actions import InvalidTransition, cancel, lock_name, remove_files
from dashboard.session_erasure import forget_in_sessions

# Seconds that the transaction of a batch should take: other writers may wait for its locks.
BATCH_SECONDS = 0.25
MIN_BATCH, MAX_BATCH = 100, 5_000
# Ids read at once.
MAX_IDS = 50_000
# How long a running import may take to stop, and how often a locked row is tried again.
IMPORT_TIMEOUT_SECONDS = 120.0
MAX_BUSY_ATTEMPTS = 24

Report = Callable[[str], object]


class ErasureFailed(Exception):
    """The erasure has stopped; the message says why. It can be started again."""


def rows_of(organization: Organization) -> dict[str, int]:
    """Return how many rows of each model an organization has, by the plural name of the model."""
    return {
        str(model._meta.verbose_name_plural): count
        for model in tenant_models()
        if (count := _rows(model, organization).count())
    }


def accounts_only_in(organization: Organization) -> models.QuerySet[User]:
    """Return the users who are members of this organization only, without staff of the admin."""
    elsewhere = Membership.objects.exclude(organization=organization).values("user")
    return User.objects.filter(
        memberships__organization=organization, is_staff=False, is_superuser=False
    ).exclude(pk__in=elsewhere)


def erase(organization: Organization, *, keep_accounts: bool, report: Report) -> None:
    """Erase an organization. Raises :class:`ErasureFailed`, and what the storage raises."""
    cell = cell_of(organization.pk)
    if cell == DEFAULT_DB_ALIAS:
        _erase_here(organization, keep_accounts=keep_accounts, report=report)
        return
    placement = Placement.objects.get(pk=organization.pk)
    if placement.state != PlacementState.HERE:
        raise ErasureFailed("The organization is being moved: let move_organization finish.")
    # Members lose access first. The row in the directory goes last: it leads to the cell.
    _until_free(lambda: _revoke(organization, keep_accounts))
    with in_cell(cell):
        _erase_here(organization, keep_accounts=True, report=report)
    placement.delete()
    Fence.objects.filter(pk=organization.pk).delete()
    forget_placements()
    _erase_here(organization, keep_accounts=keep_accounts, report=report)


def _erase_here(organization: Organization, *, keep_accounts: bool, report: Report) -> None:
    """Erase what the current database has of an organization."""
    with unrecorded(), advisory_lock(f"dashboard.erasure {organization.pk}") as is_held:
        if not is_held:
            raise ErasureFailed("Another process is deleting this organization.")
        _until_free(lambda: _revoke(organization, keep_accounts))
        report("Keys and memberships are deleted: no one has access any more.")
        _stop_imports(organization)
        report(f"{_delete_files(organization):,} files deleted.")
        for model in tenant_models():
            delete_rows(model, organization, report)
        _until_free(lambda: _delete_rest(organization))
        # A worker's compaction may have written entries, which add up to zero, and its audit a row.
        for model in (TallyEntry, PastEntry, Audit):
            model._base_manager.filter(organization_id=organization.pk).delete()


def _rows(model: type[models.Model], organization: Organization) -> models.QuerySet[Any]:
    return model._base_manager.filter(organization_id=organization.pk)


def _until_free(write: Callable[[], object]) -> None:
    """Run a transaction, again if rows are locked, for about two minutes."""
    for attempt in itertools.count(1):
        try:
            run_with_retry(write)
        except DatabaseBusy as error:
            if attempt == MAX_BUSY_ATTEMPTS:
                raise ErasureFailed(
                    f"{error} Another transaction is still writing: end it, and run it again."
                ) from error
        else:
            return


def _revoke(organization: Organization, keep_accounts: bool) -> None:
    keys = ApiKey.objects.filter(organization=organization)
    accounts = [] if keep_accounts else list(accounts_only_in(organization))
    users = [str(user.pk) for user in accounts]
    subjects = [ratelimit.subject_of_key(key) for key in keys.values_list("pk", flat=True)]
    for user in accounts:
        subjects += ratelimit.subjects_of_account(user.pk, user.email)
    RateLimit.objects.filter(subject__in=subjects).delete()
    _delete_log_entries(organization, users)
    keys.delete()
    Membership.objects.filter(organization=organization).delete()
    User.objects.filter(pk__in=[user.pk for user in accounts]).delete()
    forget_in_sessions(users=users, values=[str(organization.pk)])


def _delete_log_entries(organization: Organization, users: list[str]) -> None:
    """Delete what the admin's log says about the organization, its rows and deleted users."""
    for model in tenant_models():
        if isinstance(model._meta.pk, models.CompositePrimaryKey):
            continue
        ids = _rows(model, organization).annotate(text=Cast("pk", models.TextField()))
        _log_entries(model).filter(object_id__in=ids.values("text")).delete()
    _log_entries(Organization).filter(object_id=str(organization.pk)).delete()
    _log_entries(User).filter(object_id__in=users).delete()


def _log_entries(model: type[models.Model]) -> models.QuerySet[LogEntry]:
    return LogEntry.objects.filter(content_type=ContentType.objects.get_for_model(model))


def _stop_imports(organization: Organization) -> None:
    """Cancel imports, wait until workers have left them, and delete them with their files."""
    deadline = time.monotonic() + IMPORT_TIMEOUT_SECONDS
    for run in ImportRun.objects.filter(organization=organization):
        # Raised if it is imported already.
        with contextlib.suppress(InvalidTransition):
            cancel(run)
        lock = SessionLock(lock_name(run))
        while not lock.try_acquire():
            if time.monotonic() > deadline:
                raise ErasureFailed(
                    f"The import of {run.name} is still running: wait for it, or stop the worker, "
                    "and run the command again."
                )
            time.sleep(0.2)
        try:
            # It may have written a file of rejected rows meanwhile.
            run.refresh_from_db()
            remove_files(run)
            run.delete()
        finally:
            lock.release()


def _delete_files(organization: Organization) -> int:
    """Delete the files that rows refer to, and return how many. A file may be missing already."""
    count = 0
    for field, name in _file_names(organization):
        field.storage.delete(name)
        count += 1
    return count


def _file_names(organization: Organization) -> Iterator[tuple[Any, str]]:
    for model in tenant_models():
        for field in model._meta.fields:
            if isinstance(field, models.FileField):
                names = _rows(model, organization).values_list(field.name, flat=True)
                for name in names.iterator(chunk_size=2_000):
                    if name:
                        yield field, name


def delete_rows(model: type[models.Model], organization: Organization, report: Report) -> None:
    """Delete the rows of a model in batches; rows that refer to them go along."""
    name = str(model._meta.verbose_name_plural)
    deleted, size, reported_at = 0, MIN_BATCH, time.monotonic()
    while ids := list(_rows(model, organization).values_list("pk", flat=True)[:MAX_IDS]):
        while ids:
            batch, ids = ids[:size], ids[size:]
            started = time.monotonic()
            _until_free(lambda batch=batch: _delete_batch(model, batch))  # type: ignore[misc]
            deleted += len(batch)
            seconds = max(time.monotonic() - started, 0.001)
            # At most twice as large as the last one, whose duration is known.
            wanted = int(min(len(batch) * BATCH_SECONDS / seconds, 2 * size))
            size = max(MIN_BATCH, min(MAX_BATCH, wanted))
            if time.monotonic() - reported_at > 5:
                report(f"{deleted:,} {name} deleted ...")
                reported_at = time.monotonic()
    if deleted:
        report(f"{deleted:,} {name} deleted.")


def _delete_batch(model: type[models.Model], ids: list[Any]) -> None:
    # Not delete(): it would read the rows that refer to these, which the database deletes itself.
    rows = model._base_manager.filter(pk__in=ids)
    rows._raw_delete(rows.db)


def _delete_rest(organization: Organization) -> None:
    """Delete the organization and what was written during the erasure."""
    # Waits for open transactions that have written rows of the organization, and blocks new ones.
    if not Organization.objects.select_for_update().filter(pk=organization.pk).exists():
        return
    _delete_files(organization)
    for run in ImportRun.objects.filter(organization=organization):
        remove_files(run)
    Membership.objects.filter(organization=organization).delete()
    rows = Organization.objects.filter(pk=organization.pk)
    rows._raw_delete(rows.db)
    TallyEntry.objects.filter(organization_id=organization.pk).delete()


REMAINS = (
    "What remains: backups until they are deleted, log lines until they rotate, and files of "
    "uploads that ended during the deletion until the worker's cleanup a day later."
)
