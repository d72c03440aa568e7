"""Runs of bulk edits: small ones in the request, large ones in the worker."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, InterfaceError, OperationalError, connection
from django.db.models.functions import Now

from closient.accounts.actors import acting_as, current_actor
from closient.accounts.models import Organization
from closient.cells.models import Fence
from closient.changes.models import Cause, Change, RowChange
from closient.db.ids import format_id
from closient.db.locks import advisory_lock
from closient.db.transactions import DatabaseBusy, run_with_retry
from closient.http.conflicts import problem_of_integrity_error
from closient.http.problems import Problem
from closient.text.validators import InvalidField
from dashboard.bulk_edits.targets import TARGETS, Target
from dashboard.bulk_edits.writing import write
from dashboard.history.undo import CannotUndo, undo
from dashboard.models import BulkEdit, BulkEditStatus
from dashboard.numbers import current_numbers

logger = logging.getLogger("dashboard.bulk_edits")

# More rows than these are changed by the worker.
MAX_ROWS_IN_REQUEST = 1_000
PROGRESS_SECONDS = 0.5
INTERNAL_ERROR = (
    "The bulk edit failed because of an error in the service, which is in its log; nothing was "
    "changed."
)


class EditFailed(Exception):
    """The bulk edit cannot be made; the message says why. Nothing was changed."""


@dataclasses.dataclass(frozen=True)
class Request:
    """What to change: the rows of a target with ids or a filter, and the given values.

    ``given`` are the values as the client gave them.
    """

    target: Target
    filter: Mapping[str, str] | None
    ids: Sequence[UUID] | None
    given: Mapping[str, Any]


def start(organization: Organization, request: Request, user_id: UUID | None) -> BulkEdit:
    """Change many rows: at once if they are few, otherwise by the worker.

    Must be called in a transaction. Raises a problem if the values or the filter are invalid, and
    :class:`EditFailed`.
    """
    target = request.target
    target.validated(request.given)
    rows = target.rows(organization, request.filter, request.ids)
    edit = BulkEdit(
        organization=organization,
        asked_by_id=user_id,
        actor=current_actor(),
        kind=target.kind,
        filter=None if request.filter is None else dict(request.filter),
        ids=None if request.ids is None else [format_id(key) for key in request.ids],
        values=dict(request.given),
        matched=rows.count(),
    )
    return _begin(edit)


def start_undo(organization: Organization, change_id: UUID, user_id: UUID | None) -> BulkEdit:
    """Take a change back: at once if it is small, otherwise by the worker.

    Must be called in a transaction. Raises ``Change.DoesNotExist`` and :class:`EditFailed`.
    """
    Change.objects.of(organization).get(id=change_id)
    rows = RowChange.objects.filter(organization_id=organization.pk, change_id=change_id)
    edit = BulkEdit(
        organization=organization,
        asked_by_id=user_id,
        actor=current_actor(),
        undoes=change_id,
        matched=rows.filter(before__isnull=False, after__isnull=False)
        .exclude(kind__in=("completeness", "rule"))
        .values("row_id")
        .distinct()
        .count(),
    )
    return _begin(edit)


def _begin(edit: BulkEdit) -> BulkEdit:
    is_small = (edit.matched or 0) <= MAX_ROWS_IN_REQUEST
    edit.status = BulkEditStatus.RUNNING if is_small else BulkEditStatus.WAITING
    edit.save(force_insert=True)
    if is_small:
        with _failures():
            _execute(edit, lambda rows: None)
    edit.refresh_from_db()
    return edit


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    """Turn what the rows refuse into :class:`EditFailed`."""
    try:
        yield
    except CannotUndo as error:
        raise EditFailed(str(error)) from error
    except InvalidField as error:
        raise EditFailed(f"{error} Nothing was changed.") from error
    except Change.DoesNotExist as error:
        raise EditFailed("The history of this change is no longer kept.") from error
    except IntegrityError as error:
        raise EditFailed(f"{sentence_of(error)} Nothing was changed.") from error
    except Problem as error:
        raise EditFailed(f"{_sentence(error)} Nothing was changed.") from error


def sentence_of(error: IntegrityError) -> str:
    """Return why the database rejected the rows; raises the error if it is one of the service."""
    problem = problem_of_integrity_error(error)
    if problem is None:
        raise error
    return _sentence(problem)


def _sentence(problem: Problem) -> str:
    return " ".join(found.detail for found in problem.errors) or str(problem.detail)


class _RunsElsewhere(Exception):
    """Another session makes the change, or has made it."""


def _execute(edit: BulkEdit, progress: Any) -> None:
    """Make the change, and set the run to done, in the current transaction."""
    with connection.cursor() as cursor:
        # Until the transaction ends: a worker may have lost the session with its own lock.
        cursor.execute(
            "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", [f"bulk edit {edit.pk}"]
        )
        (is_mine,) = cursor.fetchone()
    if not is_mine or BulkEdit.objects.get(pk=edit.pk).is_ended:
        raise _RunsElsewhere
    organization = edit.organization
    before = current_numbers(organization)
    detail = ""
    if edit.undoes is not None:
        with acting_as(edit.actor, Cause.UNDO, edit.undoes, change_id=edit.pk):
            result = undo(organization, edit.undoes)
        total = result.rows + len({kept.row_id for kept in result.kept})
        changed = result.rows
        if result.kept_count:
            named = ", ".join(dict.fromkeys(f"{k.gtin} ({k.field})" for k in result.kept))
            detail = (
                f"{result.kept_count:,} values have been changed since and were left as they are: "
                f"{named}{' and more' if result.kept_count > len(result.kept) else ''}."
            )
    else:
        target = TARGETS[edit.kind]  # type: ignore[index]
        values = target.validated(edit.values)
        rows = target.rows(organization, edit.filter, edit.row_ids)
        with acting_as(edit.actor, Cause.BULK_EDIT, edit.pk, change_id=edit.pk):
            total, changed = write(organization, target, rows, values, progress)
    BulkEdit.objects.filter(pk=edit.pk).update(
        status=BulkEditStatus.DONE,
        detail=detail,
        matched=total if edit.undoes is None else edit.matched,
        done=total,
        changed=changed,
        numbers_before=before,
        numbers_after=current_numbers(organization),
        ended_at=Now(),
    )


def edit_next() -> bool:
    """Run the bulk edit that has waited longest; return whether there was one (the worker).

    One that a dead worker has left running has changed nothing, and runs again.
    """
    queued = BulkEdit.objects.filter(
        status__in=(BulkEditStatus.WAITING, BulkEditStatus.RUNNING), ended_at=None
    )
    if settings.CELLS:
        queued = queued.exclude(organization__in=Fence.objects.values("organization_id"))
    for edit in queued.order_by("created_at", "id"):
        with advisory_lock(f"dashboard.bulk_edit {edit.pk}") as is_mine:
            if is_mine:
                edit.refresh_from_db()
                if not edit.is_ended:
                    _run(edit)
                    return True
    return False


def _run(edit: BulkEdit) -> None:
    """Run one, and save the progress with another connection meanwhile."""
    started = time.monotonic()
    BulkEdit.objects.filter(pk=edit.pk).update(status=BulkEditStatus.RUNNING, done=0)
    outcome: list[BaseException] = []
    looked_at = [0]

    def work() -> None:
        try:
            with _failures():
                run_with_retry(functools.partial(_execute, edit, looked_at_now))
        except BaseException as error:
            outcome.append(error)
        finally:
            connection.close()

    def looked_at_now(rows: int) -> None:
        looked_at[0] = rows

    thread = threading.Thread(target=work, name="bulk edit")
    thread.start()
    while thread.is_alive():
        thread.join(PROGRESS_SECONDS)
        try:
            running = BulkEdit.objects.filter(pk=edit.pk, status=BulkEditStatus.RUNNING)
            running.update(done=looked_at[0])
        except (OperationalError, InterfaceError):
            # The change has its own session, and goes on.
            connection.close()
    detail = ""
    if outcome:
        (error,) = outcome
        if isinstance(error, _RunsElsewhere):
            return
        if isinstance(error, EditFailed):
            detail = str(error)
        elif isinstance(error, DatabaseBusy):
            detail = f"{error} Nothing was changed; start it again."
        else:
            logger.error("bulk edit %s: failed", edit.pk, exc_info=error)
            detail = INTERNAL_ERROR
        BulkEdit.objects.filter(pk=edit.pk).update(
            status=BulkEditStatus.FAILED, detail=detail, ended_at=Now()
        )
    logger.info(
        "bulk edit %s: %s after %.1f s", edit.pk, detail or "done", time.monotonic() - started
    )
