"""Audit, repair and compaction of the tally."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from django.db import connection, models, transaction
from django.db.models import OuterRef, Subquery
from django.db.models.functions import Now
from django.utils import timezone

from closient.db.replicas import reads_on_replica
from closient.tally import recount
from closient.tally.declarations import summary_of
from closient.tally.models import Audit, TallyEntry
from closient.tally.recount import WrongCount, WrongSummary

BATCH_ROWS = 1000


@dataclasses.dataclass(frozen=True)
class Findings:
    """The differences in one organization; none in a healthy database."""

    summaries: list[WrongSummary]
    counts: list[WrongCount]

    def __len__(self) -> int:
        """Return the number of differences."""
        return len(self.summaries) + len(self.counts)


def audit(organization_id: UUID) -> Findings:
    """Return the differences between an organization's tally and its rows.

    Everything is read in one repeatable-read snapshot, so writers need not stop. Raises
    ``RuntimeError`` inside a transaction.
    """
    with _snapshot():
        return _compare(organization_id)


@reads_on_replica
def audit_on_replica(organization_id: UUID) -> Findings:
    """Return the same as :func:`audit`, read on the replica if there is one and it is ready."""
    return _compare(organization_id)


def record(organization_id: UUID, found: Findings) -> None:
    """Store the result of an organization's audit as its last one."""
    Audit.objects.update_or_create(
        organization_id=organization_id,
        defaults={"audited_at": Now(), "differences": len(found)},
    )


def forget_vanished(organization_ids: list[UUID]) -> None:
    """Delete the differences of organizations that are not among those with rows or entries."""
    Audit.objects.filter(differences__gt=0).exclude(organization_id__in=organization_ids).delete()


def repair(organization_id: UUID) -> Findings:
    """Repair the differences that an audit finds in one organization, and return them.

    First the summaries, in batches with a transaction each: every row is locked and recounted, and
    the triggers post the changes. Then the remaining difference: writers cannot change it
    meanwhile, because every transaction changes tally and rows by the same amount.
    """
    found = audit(organization_id)
    for owner in recount.owners():
        wrong = [row.pk for row in found.summaries if row.model is owner]
        for start in range(0, len(wrong), BATCH_ROWS):
            with transaction.atomic():
                _repair_summaries(owner, wrong[start : start + BATCH_ROWS])
    with _snapshot():
        TallyEntry.objects.bulk_create(
            TallyEntry(
                organization_id=organization_id,
                account=wrong_count.account,
                bucket=wrong_count.bucket,
                effective_on=wrong_count.effective_on,
                amount=wrong_count.counted - wrong_count.stored,
            )
            for wrong_count in recount.wrong_counts(
                organization_id, recount.horizon(timezone.now())
            )
        )
    return found


def _repair_summaries(owner: type[models.Model], keys: list[UUID]) -> None:
    """Write the summaries of rows again, create those that are missing, delete those of no row."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL closient.repair_tally = 'on'")
    model, _ = summary_of(owner)
    copies = recount.copied_columns(owner)
    rows = owner._default_manager.filter(pk__in=keys).order_by("pk")
    found = {row["pk"]: row for row in rows.select_for_update(no_key=True).values("pk", *copies)}
    model._default_manager.bulk_create(
        [model(**row) for row in found.values()], ignore_conflicts=True
    )
    summaries = model._default_manager.filter(pk__in=keys)
    # A separate statement, as in the triggers: the recount must see what others committed before
    # it got the locks.
    list(summaries.order_by("pk").select_for_update(no_key=True).values_list("pk"))
    stored = owner._default_manager.filter(pk=OuterRef("pk"))
    own = summaries.filter(pk__in=found.keys())
    own.update(**{name: Subquery(stored.values(name)) for name in copies})
    # The organization is right from here on.
    own.update(**recount.counted_columns(owner))
    alone = summaries.exclude(pk__in=found.keys())
    alone._raw_delete(alone.db)


def compact(organization_ids: list[UUID]) -> int:
    """Merge the entries of organizations; return how many rows the tally lost."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT public.tally_fold(%s)", [organization_ids])
        (rows,) = cursor.fetchone()
        # Merged here and not by writers, who would wait for each other.
        cursor.execute(_MERGE_PAST_ENTRIES, [organization_ids])
    return int(rows)


_MERGE_PAST_ENTRIES = """
    WITH merged AS (
        SELECT organization_id, account, bucket, effective_on
        FROM public.tally_pastentry WHERE organization_id = ANY (%s)
        GROUP BY organization_id, account, bucket, effective_on HAVING count(*) > 1
    ), gone AS (
        DELETE FROM public.tally_pastentry AS p USING merged AS m
        WHERE p.organization_id = m.organization_id AND p.account = m.account
            AND p.bucket = m.bucket AND p.effective_on = m.effective_on
        RETURNING p.*
    )
    INSERT INTO public.tally_pastentry (organization_id, account, bucket, effective_on, amount)
    SELECT organization_id, account, bucket, effective_on, sum(amount) FROM gone
    GROUP BY organization_id, account, bucket, effective_on HAVING sum(amount) <> 0
"""


def organizations_with_entries() -> list[UUID]:
    """Return the organizations that have entries in the tally."""
    ids = TallyEntry.objects.order_by("organization_id").values_list("organization_id", flat=True)
    return list(ids.distinct())


def compact_all() -> int:
    """Merge the entries of each organization in its own transaction; return the rows saved."""
    return sum(compact([organization]) for organization in organizations_with_entries())


def _compare(organization_id: UUID) -> Findings:
    return Findings(
        summaries=list(recount.wrong_summaries(organization_id)),
        counts=recount.wrong_counts(organization_id, recount.horizon(timezone.now())),
    )


@contextmanager
def _snapshot() -> Iterator[None]:
    with transaction.atomic(durable=True):
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        yield
