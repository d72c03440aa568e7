"""The history of one product: what changed, what caused it, and what its percentage became."""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import zoneinfo
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from django.utils import timezone
from psycopg.types.multirange import Multirange

from catalog.completeness import DATED_FACT
from catalog.models import Brand, Product, effective_rule
from certifications.models import Certification, CertificationAssignment
from closient.accounts.models import Organization
from closient.changes.models import Change, Deletion, RowChange
from closient.db.replicas import reads_on_replica
from dashboard.history.undo import UNDO_FOR, undoable_columns

# The newest records of a product that are read.
MAX_RECORDS = 2_000
# What is not a transaction: a day on which a certificate became valid or expired.
DAY = "day"
CREATED, DELETED = "created", "deleted"
# Columns whose values are ids of rows with names.
_REFERENCES = {"brand_id": "brand", "certification_id": "certification"}
_SHOWN_DERIVED = {"image_count": "images"}


@dataclasses.dataclass(frozen=True)
class FieldChange:
    """A value that changed; ``kind`` and ``row_id`` are those of the row that has it."""

    kind: str
    row_id: UUID
    field: str
    before: Any
    after: Any
    column: str = ""


@dataclasses.dataclass(frozen=True)
class RowEvent:
    """A row that was created or deleted."""

    kind: str
    row_id: UUID
    event: str


@dataclasses.dataclass(frozen=True)
class Entry:
    """One change of the product or of what belongs to it, or a day that changed its percentage.

    ``cause`` is a cause of changes, or ``day``; then ``certificates`` are the numbers of those that
    expired or became valid. The percentages are by the current rule.
    """

    at: datetime.datetime
    cause: str
    actor: str
    change_id: UUID | None
    fields: Sequence[FieldChange]
    rows: Sequence[RowEvent]
    percentage_before: int
    percentage_after: int
    certificates: Sequence[str] = ()

    @property
    def can_undo(self) -> bool:
        """Whether the change replaced values and is young enough to be undone."""
        columns = undoable_columns()
        return self.at >= timezone.now() - UNDO_FOR and any(
            change.column in columns.get(change.kind, ()) for change in self.fields
        )


@dataclasses.dataclass(frozen=True)
class _State:
    """What the percentage depends on: the facts, and the days with a certificate."""

    facts: int
    certified: Multirange[datetime.date]

    def mask(self, day: datetime.date) -> int:
        return self.facts | (DATED_FACT.bit if any(day in d for d in self.certified) else 0)


@reads_on_replica
def product_history(organization: Organization, product: Product) -> list[Entry]:
    """Return the entries of a product, the newest first; at most :data:`MAX_RECORDS` changes.

    A handful of queries, whatever their number.
    """
    return _History(organization, product).entries()


class _History:
    def __init__(self, organization: Organization, product: Product) -> None:
        self._organization = organization
        self._product = product
        self._zone = zoneinfo.ZoneInfo(organization.time_zone)
        self._rule = effective_rule(organization)
        self._today = organization.today()

    def entries(self) -> list[Entry]:
        """Go back from the current state, change by change and midnight by midnight."""
        records = list(
            RowChange.objects.filter(
                organization_id=self._organization.pk, product_id=self._product.pk
            ).order_by("-id")[:MAX_RECORDS]
        )
        ids: set[UUID | None] = {record.change_id for record in records}
        deletions = Deletion.objects.of(self._organization).filter(product_id=self._product.pk)
        deleted: dict[UUID | None, list[Deletion]] = {}
        for one in deletions.exclude(change_id=None).order_by("-deleted_at")[:MAX_RECORDS]:
            deleted.setdefault(one.change_id, []).append(one)
        ids |= set(deleted)
        changes = {
            change.id: change for change in Change.objects.of(self._organization).filter(id__in=ids)
        }
        by_change: dict[UUID, list[RowChange]] = {}
        for record in reversed(records):
            by_change.setdefault(record.change_id, []).append(record)
        self._names = _names(self._organization, records)
        summary = self._product.summary
        state = _State(summary.facts, summary.certified_during)
        until = self._today
        found: list[Entry] = []
        for change in _newest_first(changes.values(), records):
            day = change.made_at.astimezone(self._zone).date()
            found += self._days(state, day, until)
            until = day
            recorded = by_change.get(change.id, [])
            before = _state_before(state, recorded)
            entry = self._entry(change, recorded, deleted.get(change.id, ()), (before, state))
            if entry.fields or entry.rows:
                found.append(entry)
            state = before
        return found

    def _percentage(self, state: _State, day: datetime.date) -> int:
        return self._rule.percentage(state.mask(day))

    def _days(self, state: _State, since: datetime.date, until: datetime.date) -> Iterator[Entry]:
        """Yield the days after ``since`` on which a certificate changed the percentage."""
        bounds = {
            bound
            for days in state.certified
            for bound in (days.lower, days.upper)
            if bound is not None and since < bound <= until
        }
        for day in sorted(bounds, reverse=True):
            before = self._percentage(state, day - datetime.timedelta(days=1))
            after = self._percentage(state, day)
            if before != after:
                at = datetime.datetime.combine(day, datetime.time(), self._zone)
                yield Entry(at, DAY, "", None, (), (), before, after, self._certificates(day))

    def _certificates(self, day: datetime.date) -> list[str]:
        """Return the certificates that became valid on a day, or expired on the day before."""
        mine = CertificationAssignment.objects.of(self._organization).filter(product=self._product)
        eve = day - datetime.timedelta(days=1)
        rows = mine.filter(valid_from=day) | mine.filter(expiry_date=eve)
        return [row.certificate_number or row.certification.label for row in rows.with_names()]

    def _entry(
        self,
        change: Change,
        recorded: Sequence[RowChange],
        deleted: Sequence[Deletion],
        states: tuple[_State, _State],
    ) -> Entry:
        day = change.made_at.astimezone(self._zone).date()
        events = [
            RowEvent(record.kind, record.row_id, CREATED)
            for record in recorded
            if record.before is None
        ]
        events += [RowEvent(one.kind, one.row_id, DELETED) for one in deleted]
        before, after = states
        is_new = any(event.kind == "trade_item" and event.event == CREATED for event in events)
        return Entry(
            at=change.made_at,
            cause=change.cause,
            actor=change.actor,
            change_id=change.id,
            fields=list(_field_changes(recorded, self._names)),
            rows=events,
            percentage_before=0 if is_new else self._percentage(before, day),
            percentage_after=self._percentage(after, day),
        )


def _newest_first(changes: Iterable[Change], records: Sequence[RowChange]) -> list[Change]:
    """Return changes in the order of their records, in which the row lock has put them.

    The time of a change is that of its first statement: a long import may have written this product
    after a change that began later.
    """
    last: dict[UUID, int] = {}
    for record in records:
        last.setdefault(record.change_id, record.id)
    ordered = sorted(changes, key=lambda change: (change.made_at, change.id))
    place = 0
    keys: dict[UUID, tuple[int, Any]] = {}
    for change in ordered:
        # One that only deleted rows comes after those that began before it.
        place = max(place, last.get(change.id, 0))
        keys[change.id] = (last.get(change.id, place), change.made_at)
    return sorted(ordered, key=lambda change: keys[change.id], reverse=True)


def _state_before(state: _State, recorded: Sequence[RowChange]) -> _State:
    for record in reversed(recorded):
        if record.kind == "completeness" and record.before:
            facts = record.before.get("facts", state.facts)
            days = record.before.get("certified_during")
            certified = state.certified if days is None else _multirange(days)
            state = _State(facts, certified)
    return state


def _multirange(text: str) -> Multirange[datetime.date]:
    """Return the days in the text of a multirange, such as ``{[2026-01-01,2027-01-01)}``."""
    from psycopg.types.range import Range  # noqa: PLC0415

    def bound(part: str) -> datetime.date | None:
        return datetime.date.fromisoformat(part) if part else None

    spells = []
    for spell in text.strip("{}").replace("),", ")|").split("|"):
        if spell:
            lower, upper = spell[1:-1].split(",")
            spells.append(Range(bound(lower), bound(upper), "[)"))
    return Multirange(spells)


def _field_changes(
    recorded: Sequence[RowChange], names: Mapping[str, str]
) -> Iterator[FieldChange]:
    """Yield what changed in the rows: the value before the first record and after the last."""
    grouped = itertools.groupby(
        sorted(recorded, key=lambda r: (r.kind, r.row_id, r.id)), key=lambda r: (r.kind, r.row_id)
    )
    for (kind, row_id), records in grouped:
        before: dict[str, Any] = {}
        after: dict[str, Any] = {}
        for record in records:
            if record.before is not None and record.after is not None:
                before = record.before | before
                after |= record.after
        for column in after:
            if kind == "completeness" and column not in _SHOWN_DERIVED:
                continue
            values = [before[column], after[column]]
            if values[0] == values[1]:
                continue
            if column in _REFERENCES:
                values = [v and names.get(v, "a deleted one") for v in values]
            field = _REFERENCES.get(column) or _SHOWN_DERIVED.get(column) or column
            yield FieldChange(kind, row_id, field, values[0], values[1], column)


def _names(organization: Organization, records: Sequence[RowChange]) -> dict[str, str]:
    """Return the names of the brands and certifications in the values, by the text of their id."""
    ids: dict[str, set[str]] = {column: set() for column in _REFERENCES}
    for record in records:
        for values in (record.before, record.after):
            for column, found in ids.items():
                if values and values.get(column):
                    found.add(values[column])
    brands = Brand.objects.filter(organization=organization, pk__in=ids["brand_id"])
    certifications = Certification.objects.filter(
        organization=organization, pk__in=ids["certification_id"]
    )
    return {
        **{str(key): name for key, name in brands.values_list("pk", "name")},
        **{str(one.pk): one.label or one.code for one in certifications},
    }
