"""Moves an organization to another cell while its members and keys keep working.

1. The rows are copied by logical replication; writers continue.
2. When the copy has caught up and both audits agree, the source's fence refuses writes, and the
   last changes are applied. The numbers of rows and the tally must be equal.
3. The directory says that the organization is in the target; then the target accepts writes.
4. The rows at the source are deleted in batches.

Each step looks at what is there first, so a move that was interrupted anywhere continues when it is
started again. Until step 3 it can be canceled instead.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connection
from django.db.models import Sum

from closient.accounts.copies import write_copies
from closient.accounts.models import ApiKey, Organization
from closient.cells import fence, replication
from closient.cells.models import Placement, PlacementState
from closient.cells.routing import forget_placements, in_cell, in_directory
from closient.changes.causes import unrecorded
from closient.db.locks import advisory_lock
from closient.tally.audit import audit
from closient.tally.models import TallyEntry
from dashboard.erasure import delete_rows, rows_of

POLL_SECONDS = 0.005
REPORT_SECONDS = 10.0
# The copy has caught up when it is this late.
MAX_LAG_SECONDS = 2.0
# Writers older than this are waited for before the fence, and the others after it.
MAX_WRITER_SECONDS = 1.0
FENCE_SECONDS = 5.0
MAX_FENCES = 120
# Requests that have read the placement before the flip end within it.
DELETE_AFTER_SECONDS = 60.0

Report = Callable[[str], object]
State = dict[str, Any]


class MoveFailed(Exception):
    """The move has stopped; the message says why, and what to do."""


class _Busy(Exception):
    """A long transaction is writing; try again later."""


def placement_of(organization: Organization) -> Placement:
    """Return the stored placement, or an unsaved one for the default database."""
    with in_directory():
        found = Placement.objects.filter(pk=organization.pk).first()
    return found or Placement(organization=organization, cell=DEFAULT_DB_ALIAS)


def check(organization: Organization, target: str) -> dict[str, int]:
    """Return the numbers of rows to move; raises :class:`MoveFailed` if a move cannot begin."""
    placement = placement_of(organization)
    if placement.state == PlacementState.HERE and placement.cell == target:
        raise MoveFailed(f"The organization is in {target} already.")
    if placement.state == PlacementState.MOVING and placement.other != target:
        raise MoveFailed(f"A move to {placement.other} is not finished: finish or abort it first.")
    if placement.state == PlacementState.LEAVING and placement.cell != target:
        raise MoveFailed(
            f"The organization is in {placement.cell}, and its rows in {placement.other} are not "
            f"deleted yet: finish that with --to {placement.cell} first."
        )
    source = placement.cell
    with in_cell(source):
        level, migrations = _value("SHOW wal_level"), _migrations()
        # Others see neither the positions of replication nor the ages of transactions.
        sees_positions = _value("SELECT pg_has_role('pg_read_all_stats', 'USAGE')")
        rows = rows_of(organization)
    if level != "logical":
        raise MoveFailed(f"Set wal_level = logical in {source}, and restart that PostgreSQL.")
    if sees_positions != "True":
        raise MoveFailed(f"The role of the service in {source} needs pg_monitor: grant it.")
    with in_cell(target):
        if _migrations() != migrations:
            raise MoveFailed(
                f"{source} and {target} have different migrations: run migrate --database for both."
            )
    return rows


def move(
    organization: Organization,
    target: str,
    *,
    report: Report,
    delete_after: float = DELETE_AFTER_SECONDS,
) -> None:
    """Move an organization, or finish its move. Raises :class:`MoveFailed`, and database errors."""
    with _alone():
        check(organization, target)
        placement = placement_of(organization)
        if placement.state != PlacementState.LEAVING:
            placement.state, placement.other = PlacementState.MOVING, target
            _save(placement)
            _Move(organization, placement.cell, target, report).run()
        with _refusing_old_snapshots(placement_of(organization).other):
            _leave(organization, report, delete_after)


def abort(organization: Organization, *, report: Report) -> None:
    """Cancel a move that has not reached the target, and delete what was copied."""
    with _alone():
        placement = placement_of(organization)
        if placement.state != PlacementState.MOVING:
            raise MoveFailed(
                "There is no move to abort."
                if placement.state == PlacementState.HERE
                else f"The organization is in {placement.cell} already: finish the move instead."
            )
        with in_cell(placement.cell):
            fence.lift_fence(organization.pk)
        report(f"{placement.cell} accepts writes.")
        _remove_copy(organization, placement.cell, placement.other, report)
        _settle(placement)


@contextmanager
def _alone() -> Iterator[None]:
    with in_directory(), advisory_lock("dashboard.moving") as is_held:
        if not is_held:
            raise MoveFailed("Another move is running: wait until it has ended.")
        yield


@contextmanager
def _refusing_old_snapshots(source: str) -> Iterator[None]:
    """Refuse writes above READ COMMITTED in the source: they would not see its fence."""
    with in_cell(source), advisory_lock(fence.MOVE_LOCK) as is_held:
        if not is_held:
            raise _Busy("A transaction above READ COMMITTED has written.")
        yield


class _Move:
    """The part of a move up to the flip."""

    def __init__(
        self, organization: Organization, source: str, target: str, report: Report
    ) -> None:
        self.organization = organization
        self.key = organization.pk
        self.source, self.target = source, target
        self.report = report

    def run(self) -> None:
        for cell in (self.source, self.target):
            with in_cell(cell):
                fence.prepare(cell)
        with in_cell(self.target):
            is_subscribed = replication.is_subscribed(self.key)
        if not is_subscribed:
            self._begin_copy()
        self._wait_for_copy()
        self._audit()
        for _ in range(MAX_FENCES):
            try:
                with _refusing_old_snapshots(self.source):
                    self._fence_and_flip()
            except _Busy as busy:
                self.report(f"{busy} Trying again.")
                time.sleep(1)
            else:
                return
        raise MoveFailed(f"Other transactions keep writing in {self.source}: run it again later.")

    def _begin_copy(self) -> None:
        with in_cell(self.source):
            # Raised if an earlier attempt ended after it had dropped the subscription.
            fence.lift_fence(self.key)
        _remove_copy(self.organization, self.source, self.target, self.report)
        with in_cell(self.target):
            # Its worker must not merge a tally that is being copied.
            fence.raise_fence(self.key)
            write_copies([self.organization])
        with in_cell(self.source):
            replication.publish(self.key)
        dsn = replication.connection_string(self.source)
        with in_cell(self.target):
            replication.subscribe(self.key, dsn)
        self.report(f"Copying from {self.source} to {self.target}.")

    def _wait_for_copy(self) -> None:
        """Wait until all tables are copied, and the changes arrive within a moment."""
        asked_at = reported_at = time.monotonic()
        position = ""
        with in_cell(self.target):
            # Before it was corrected.
            known_errors = replication.error_count(self.key)
        while True:
            with in_cell(self.target):
                tables = replication.tables_to_copy(self.key)
                errors = replication.error_count(self.key)
            if errors > known_errors:
                raise MoveFailed(
                    f"Replication fails; the log of PostgreSQL in {self.target} has the reason. "
                    "Correct it and run the command again, or abort the move."
                )
            with in_cell(self.source):
                if position and not tables and replication.has_applied(self.key, position):
                    if time.monotonic() - asked_at <= MAX_LAG_SECONDS:
                        self.report("The copy has caught up.")
                        return
                    position = ""
                if not position or tables:
                    position, asked_at = replication.log_position(), time.monotonic()
                lag = replication.lag(self.key)
            if time.monotonic() - reported_at > REPORT_SECONDS:
                self.report(f"{tables} tables to copy, {lag or 0:,} bytes of the log behind ...")
                reported_at = time.monotonic()
            time.sleep(0.1)

    def _audit(self) -> None:
        for cell in (self.source, self.target):
            with in_cell(cell):
                found = audit(self.key)
            if found:
                raise MoveFailed(
                    f"The tally of the organization in {cell} has differences: see audit_tally "
                    "--organization. Repair it at the source, or abort the move."
                )
        self.report(f"0 differences in {self.source} and in {self.target}.")

    def _fence_and_flip(self) -> None:
        """Stop the writes, and let the target take over; raises :class:`_Busy` without a change."""
        if max(fence.writers().values(), default=0) > MAX_WRITER_SECONDS:
            raise _Busy("A transaction has been writing for longer than a second.")
        began_at = time.monotonic()
        fence.raise_fence(self.key)
        try:
            self._wait_for_writers()
            self._wait_until_applied()
            self._compare()
        except (_Busy, MoveFailed):
            fence.lift_fence(self.key)
            raise
        self._flip()
        self.report(
            f"The organization is in {self.target}, after {time.monotonic() - began_at:.2f} s in "
            "which its writes were refused."
        )

    def _wait_for_writers(self) -> None:
        """Wait until the transactions that did not see the fence have ended."""
        pending = fence.writers()
        deadline = time.monotonic() + FENCE_SECONDS
        while pending:
            if time.monotonic() > deadline:
                raise _Busy(f"A transaction has been writing for {max(pending.values()):.0f} s.")
            time.sleep(POLL_SECONDS)
            now = fence.writers()
            pending = {name: seconds for name, seconds in now.items() if name in pending}

    def _wait_until_applied(self) -> None:
        position = replication.log_position()
        deadline = time.monotonic() + FENCE_SECONDS
        while not replication.has_applied(self.key, position):
            if time.monotonic() > deadline:
                raise _Busy(f"{self.target} is late.")
            time.sleep(POLL_SECONDS)

    def _compare(self) -> None:
        before, after = self._state(self.source), self._state(self.target)
        if before != after:
            raise MoveFailed(
                f"The copy differs: {_difference(before, after)}. Abort the move, and start again."
            )

    def _state(self, cell: str) -> State:
        """Return the numbers of rows and the sums of the tally."""
        with in_cell(cell):
            state: State = {
                model._meta.db_table: model._base_manager.filter(organization_id=self.key).count()
                for model in fence.cell_models()
            }
            sums = TallyEntry.objects.of(self.key).order_by()
            for *place, amount in sums.values_list("account", "bucket", "effective_on").annotate(
                amount=Sum("amount")
            ):
                state[" ".join(map(str, place))] = amount
            return state

    def _flip(self) -> None:
        """Make the target the organization's cell; nothing can be lost from then on."""
        with in_directory():
            self.organization.refresh_from_db()
        with in_cell(self.target):
            replication.unsubscribe(self.key)
            write_copies([self.organization])
            # A commit that waits for the disk, and with it for everything that was applied.
            fence.touch_fence(self.key)
        placement = placement_of(self.organization)
        placement.cell, placement.other = self.target, self.source
        placement.state = PlacementState.LEAVING
        _save(placement)


def _leave(organization: Organization, report: Report, delete_after: float) -> None:
    """Let the target accept writes, and delete the rows at the source."""
    placement = placement_of(organization)
    source, target = placement.other, placement.cell
    with in_cell(source):
        replication.unpublish(organization.pk)
        with fence.passing_fences():
            # A process with an old placement misses its key here, and looks the placement up again.
            ApiKey.objects.filter(organization=organization.pk).delete()
    with in_cell(target):
        fence.lift_fence(organization.pk)
        found = audit(organization.pk)
    if found:
        raise MoveFailed(
            f"The tally of the organization in {target} has differences: see audit_tally. The rows "
            f"in {source} are not deleted; run the command again to delete them."
        )
    report(f"{target} accepts writes, 0 differences.")
    if delete_after:
        report(f"Deleting the rows in {source} in {delete_after:.0f} s ...")
        time.sleep(delete_after)
    _delete_rows(organization, source, report)
    _settle(placement)
    report("Done.")


def _settle(placement: Placement) -> None:
    """Save that nothing moves any more; the default database needs no placement."""
    placement.state, placement.other = PlacementState.HERE, ""
    if placement.cell != DEFAULT_DB_ALIAS:
        _save(placement)
        return
    with in_directory():
        Placement.objects.filter(pk=placement.pk).delete()
    forget_placements()


def _save(placement: Placement) -> None:
    with in_directory():
        placement.save()
    forget_placements()


def _remove_copy(organization: Organization, source: str, target: str, report: Report) -> None:
    """Undo everything of a move but its placement and its fences."""
    with in_cell(target):
        replication.unsubscribe(organization.pk)
    with in_cell(source):
        replication.unpublish(organization.pk)
    _delete_rows(organization, target, report)


def _delete_rows(organization: Organization, cell: str, report: Report) -> None:
    """Delete an organization's rows in a cell that it is not in; the fence there stays."""
    with in_cell(cell), fence.passing_fences(), unrecorded():
        fence.raise_fence(organization.pk)
        for model in fence.cell_models():
            if model is not TallyEntry:
                delete_rows(model, organization, report)
        # Deleting rows has posted entries.
        TallyEntry.objects.filter(organization_id=organization.pk).delete()
        if cell != DEFAULT_DB_ALIAS:
            rows = Organization.objects.filter(pk=organization.pk)
            rows._raw_delete(rows.db)


def _difference(before: State, after: State) -> str:
    name = next(name for name in {**before, **after} if before.get(name) != after.get(name))
    return f"{name} is {before.get(name)} at the source and {after.get(name)} at the target"


def _migrations() -> set[Any]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT app, name FROM django_migrations")
        return set(cursor.fetchall())


def _value(sql: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return str(cursor.fetchone()[0])
