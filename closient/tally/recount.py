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
from django.db.models import Count, Exists, F, OuterRef, Q, Subquery, Value
from django.db.models.functions import Coalesce

from closient.tally.declarations import (
    BUCKET_SEPARATOR,
    Account,
    Counter,
    declared,
    summary_of,
)
from closient.tally.fields import DateMultiRangeField, RangeAgg, ValidDays, no_days
from closient.tally.models import ALWAYS, TallyEntry

# Account, bucket and day of a compared amount. Days that are over in every time zone count as one.
Key = tuple[str, str, datetime.date]


@dataclasses.dataclass(frozen=True)
class WrongSummary:
    """A row of a model whose summary has wrong columns, or which one of the two lacks the other.

    ``stored`` is ``None`` without a summary, ``counted`` without the row.
    """

    model: type[models.Model]
    pk: UUID
    stored: dict[str, Any] | None
    counted: dict[str, Any] | None


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


def wrong_summaries(organization_id: UUID) -> Iterator[WrongSummary]:
    """Yield the wrong summaries of an organization, in key order: for rows, then without rows."""
    for owner in owners():
        yield from _wrong_of_rows(owner, organization_id)
        model, _ = summary_of(owner)
        rows = owner._default_manager.filter(pk=OuterRef("pk"))
        alone = model._default_manager.filter(~Exists(rows), organization_id=organization_id)
        for pk in alone.order_by("pk").values_list("pk", flat=True):
            yield WrongSummary(owner, pk, stored={}, counted=None)


def _wrong_of_rows(owner: type[models.Model], organization_id: UUID) -> Iterator[WrongSummary]:
    _, summary = summary_of(owner)
    expressions = {**{name: F(name) for name in copied_columns(owner)}, **counted_columns(owner)}
    stored = {name: f"{summary.relation}__{name}" for name in expressions}
    counted = {name: f"counted_{name}" for name in expressions}
    differing = Q(**{f"{summary.relation}__isnull": True})
    for name in expressions:
        differing |= ~Q(**{stored[name]: F(counted[name])})
    rows = (
        owner._default_manager.filter(organization_id=organization_id)
        .annotate(**{counted[name]: value for name, value in expressions.items()})
        .filter(differing)
        .order_by("pk")
        .values("pk", f"{summary.relation}__pk", *stored.values(), *counted.values())
    )
    for row in rows.iterator():
        has_summary = row[f"{summary.relation}__pk"] is not None
        yield WrongSummary(
            owner,
            row["pk"],
            stored={name: row[key] for name, key in stored.items()} if has_summary else None,
            counted={name: row[key] for name, key in counted.items()},
        )


def owners() -> list[type[models.Model]]:
    """Return the models that have summaries."""
    return [model for model, declaration in declared() if declaration.summary]


def copied_columns(owner: type[models.Model]) -> tuple[str, ...]:
    """Return the columns that a model's summaries copy."""
    return ("organization_id", *summary_of(owner)[1].copies)


def counted_columns(owner: type[models.Model]) -> dict[str, Coalesce]:
    """Return the expression that recounts each derived column, over the row or its summary.

    One subquery each: Counts over several joined relations would multiply.
    """
    columns: dict[str, Coalesce] = {}
    for model, declaration in declared():
        for derived in declaration.derived:
            relation = _relation(model, derived.parent)
            if relation.remote_field.model is not owner:
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
    rows = rows.exclude(**account.exclude) if account.exclude else rows
    if account.during is not None:
        columns = [*account.bucket, account.during.column]
        groups = rows.values_list(*columns).annotate(count=Count("pk"))
        for *first, mask, days, count in groups.iterator():
            base, within = _bucket([*first, mask]), _bucket([*first, mask | account.during.bit])
            yield base, ALWAYS, count
            for spell in days:
                start = spell.lower or ALWAYS
                yield base, start, -count
                yield within, start, count
                if spell.upper is not None:
                    yield within, spell.upper, -count
                    yield base, spell.upper, count
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
