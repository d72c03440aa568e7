"""What a bulk edit would do, before anything is written."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import Case, Count, F, IntegerField, Q, QuerySet, Value, When
from django.db.models.functions import Cast

from catalog.completeness import DATED_FACT, FACTS, CoversDay, Rule, half_up
from catalog.models import effective_rule
from closient.accounts.models import Organization
from dashboard.bulk_edits.targets import PRODUCTS, Target, differs
from dashboard.bulk_edits.writing import write
from dashboard.distribution import counts_by_mask

# Offers and certificates: up to here the effect is found by doing it and taking it back.
MAX_TRIED = 2_000
MINUS = "\N{MINUS SIGN}"


@dataclasses.dataclass(frozen=True)
class Preview:
    """What a bulk edit would do now.

    ``matched`` rows are meant, ``changed`` of them would change. ``completes`` more products would
    be complete (fewer if negative), and the mean percentage of all products would change by
    ``average_gain`` points (two decimals); both are ``None`` for more offers or certificates than
    can be tried.
    """

    matched: int
    changed: int
    completes: int | None
    average_gain: Decimal | None

    @property
    def unchanged(self) -> int:
        """Rows that have the values already."""
        return self.matched - self.changed

    @property
    def fewer(self) -> int:
        """How many products would no longer be complete."""
        return max(0, -(self.completes or 0))

    @property
    def shown_gain(self) -> str:
        """The points with their sign (U+2212 for minus)."""
        gain = self.average_gain or Decimal(0)
        return f"{'+' if gain > 0 else MINUS}{abs(gain):.2f}"


def preview(
    organization: Organization, target: Target, rows: QuerySet[Any], values: Mapping[str, Any]
) -> Preview:
    """Return what setting values of rows would do; writes nothing.

    For products it is computed from the facts of the rows. Raises ``InvalidField`` and
    ``IntegrityError``, as the change would.
    """
    if target is PRODUCTS:
        return _of_products(organization, rows, values)
    columns = target.columns_of(organization.pk, values)
    matched = rows.count()
    if matched > MAX_TRIED:
        return Preview(matched, rows.filter(differs(target, values, columns)).count(), None, None)
    rule, day = effective_rule(organization), organization.today()
    before = counts_by_mask(organization.pk, day)
    with transaction.atomic():
        _, changed = write(organization, target, rows, values)
        after = counts_by_mask(organization.pk, day)
        transaction.set_rollback(True)
    return Preview(matched, changed, *_difference(rule, before, after))


def _of_products(
    organization: Organization, rows: QuerySet[Any], values: Mapping[str, Any]
) -> Preview:
    rule, day = effective_rule(organization), organization.today()
    columns = PRODUCTS.columns_of(organization.pk, values)
    counts = masks_of(rows.filter(differs(PRODUCTS, values, columns)), day)
    before = counts_by_mask(organization.pk, day)
    after = dict(before)
    for mask, count in counts.items():
        after[mask] = after.get(mask, 0) - count
        new = mask_after(mask, values)
        after[new] = after.get(new, 0) + count
    difference = _difference(rule, before, after)
    return Preview(rows.count(), sum(counts.values()), *difference)


def masks_of(rows: QuerySet[Any], day: datetime.date) -> dict[int, int]:
    """Return how many products have each fact mask on a day."""
    is_certified = Q(CoversDay(F("summary__certified_during"), Value(day)))
    mask = Cast("summary__facts", IntegerField()) + Case(
        When(is_certified, then=Value(DATED_FACT.bit)), default=Value(0)
    )
    grouped = rows.order_by().annotate(mask=mask).values_list("mask")
    return dict(grouped.annotate(count=Count("pk")))


def mask_after(mask: int, values: Mapping[str, Any]) -> int:
    """Return the fact mask of a product after setting validated values."""
    for fact in FACTS:
        name = "brand_name" if fact.field == "brand" else fact.field or fact.name
        if name in values:
            value = values[name]
            has = bool(value.get("nutrients")) if isinstance(value, Mapping) else _is_text(value)
            mask = mask | fact.bit if has else mask & ~fact.bit
    return mask


def _is_text(value: Any) -> bool:
    return bool(str(value or "").strip())


def _difference(
    rule: Rule, before: Mapping[int, int], after: Mapping[int, int]
) -> tuple[int, Decimal]:
    def complete(counts: Mapping[int, int]) -> int:
        return sum(count for mask, count in counts.items() if rule.is_complete(mask))

    def average(counts: Mapping[int, int]) -> Decimal:
        total = sum(counts.values())
        points = sum(rule.percentage(mask) * count for mask, count in counts.items())
        return Decimal(half_up(100 * points, total)) / 100 if total else Decimal(0)

    return complete(after) - complete(before), average(after) - average(before)
