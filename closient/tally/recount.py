"""Recounts the rows with the ORM, from the same declarations as the triggers.

Used by the audit and the repair only.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections import Counter as Totals
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.db import models
from django.db.models import Count, F, OuterRef, Q, Subquery, Value
from django.db.models.functions import Coalesce

from closient.tally.declarations import BUCKET_SEPARATOR, Account, Counter, declared
from closient.tally.fields import DateMultiRangeField, RangeAgg, ValidDays, no_days
from closient.tally.models import ALWAYS, TallyEntry

# Account, bucket and day of a compared amount. Days that are over in every time zone count as one.
Key = tuple[str, str, datetime.date]


@dataclasses.dataclass(frozen=True)
class WrongRow:
    """A parent row with a wrong value in a derived column."""

    model: type[models.Model]
    pk: UUID
    stored: dict[str, Any]
    counted: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class WrongCount:
    """A bucket whose entries of a day do not sum up to the number of rows."""

    organization_id: UUID
    account: str
    bucket: str
    effective_on: datetime.date
    stored: int
    counted: int


def horizon(now: datetime.datetime) -> datetime.date:
    """Return the latest date that is over in every time zone."""
    return now.astimezone(datetime.UTC).date() - datetime.timedelta(days=1)


def organizations() -> list[UUID]:
    """Return the organizations that have counted rows or entries, in order."""
    entries: Any = TallyEntry.objects
    sources = [entries.order_by().values_list("organization_id", flat=True)]
    sources += [
        model._default_manager.order_by().values_list("organization_id", flat=True)
        for model, _ in declared()
    ]
    return list(sources[0].union(*sources[1:]).order_by("organization_id"))


def wrong_counts(organization_id: UUID, until: datetime.date) -> list[WrongCount]:
    """Return the differences between an organization's tally and its rows, on any date.

    ``until`` is the horizon. Needs a repeatable-read transaction: otherwise it compares two states.
    """
    stored: Totals[Key] = Totals()
    sums = (
        TallyEntry.objects.of(organization_id)
        .order_by()
        .values_list("account", "bucket", "effective_on")
        .annotate(amount=models.Sum("amount"))
    )
    for account, bucket, day, amount in sums.iterator():
        stored[account, bucket, ALWAYS if day <= until else day] += amount
    counted: Totals[Key] = Totals()
    for model, declaration in declared():
        for one in declaration.accounts:
            for bucket, day, amount in _postings(model, one, organization_id):
                counted[one.name, bucket, ALWAYS if day <= until else day] += amount
    return [
        WrongCount(organization_id, *key, stored=stored[key], counted=counted[key])
        for key in sorted(stored.keys() | counted.keys())
        if stored[key] != counted[key]
    ]


def wrong_rows(organization_id: UUID) -> Iterator[WrongRow]:
    """Yield the parent rows of an organization whose derived columns are wrong, in key order."""
    for parent in parents():
        columns = counted_columns(parent)
        differing = Q()
        for column in columns:
            differing |= ~Q(**{column: F(f"counted_{column}")})
        rows = (
            parent._default_manager.filter(organization_id=organization_id)
            .annotate(**{f"counted_{column}": value for column, value in columns.items()})
            .filter(differing)
            .order_by("pk")
            .values("pk", *columns, *(f"counted_{column}" for column in columns))
        )
        for row in rows.iterator():
            yield WrongRow(
                parent,
                row["pk"],
                stored={column: row[column] for column in columns},
                counted={column: row[f"counted_{column}"] for column in columns},
            )


def parents() -> list[type[models.Model]]:
    """Return the models that have columns derived from other rows."""
    found: dict[type[models.Model], None] = {}
    for model, declaration in declared():
        for derived in declaration.derived:
            found[_relation(model, derived.parent).remote_field.model] = None
    return list(found)


def counted_columns(parent: type[models.Model]) -> dict[str, Coalesce]:
    """Return the expression that recounts each derived column of a model.

    One subquery each: Counts over several joined relations would multiply.
    """
    columns: dict[str, Coalesce] = {}
    for model, declaration in declared():
        for derived in declaration.derived:
            relation = _relation(model, derived.parent)
            if relation.remote_field.model is not parent:
                continue
            rows = (
                model._default_manager.order_by()
                # The organization is the first column of every index.
                .filter(organization_id=OuterRef("organization_id"))
                .filter(**{relation.name: OuterRef("pk")})
                .values(relation.name)
            )
            empty: Value
            if isinstance(derived, Counter):
                rows = rows.filter(**derived.where).annotate(found=Count("pk"))
                empty = Value(0)
            else:
                rows = rows.annotate(found=RangeAgg(ValidDays(derived.starts, derived.ends)))
                empty = Value(no_days(), output_field=DateMultiRangeField())
            columns[derived.column] = Coalesce(Subquery(rows.values("found")), empty)
    return columns


def _relation(model: type[models.Model], name: str) -> Any:
    return model._meta.get_field(name)


def _postings(
    model: type[models.Model], account: Account, organization_id: UUID
) -> Iterator[tuple[str, datetime.date, int]]:
    """Yield the entries ``(bucket, day, amount)`` that an organization's rows add up to."""
    rows = model._default_manager.filter(organization_id=organization_id).order_by()
    if account.during is not None:
        (mask,) = account.bucket
        groups = rows.values_list(mask, account.during.column).annotate(count=Count("pk"))
        for base, days, count in groups.iterator():
            within = base | account.during.bit
            yield str(base), ALWAYS, count
            for spell in days:
                first = spell.lower or ALWAYS
                yield str(base), first, -count
                yield str(within), first, count
                if spell.upper is not None:
                    yield str(within), spell.upper, -count
                    yield str(base), spell.upper, count
    elif account.effective_on is not None:
        dated = rows.filter(**{f"{account.effective_on}__isnull": False})
        groups = dated.values_list(account.effective_on, *account.bucket)
        for day, *bucket, count in groups.annotate(count=Count("pk")).iterator():
            yield _bucket(bucket), day, count
    else:
        groups = rows.values_list(*account.bucket).annotate(count=Count("pk"))
        for *bucket, count in groups.iterator():
            yield _bucket(bucket), ALWAYS, count


def _bucket(values: list[Any]) -> str:
    return BUCKET_SEPARATOR.join("" if value is None else str(value) for value in values)
