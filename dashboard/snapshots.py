"""Daily snapshots of the numbers: the tally contains only the present and the future."""

from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import connection
from django.utils import timezone

from catalog.completeness import DEFAULT_RULE, FACTS, Rule
from certifications.models import EXPIRING_WITHIN
from closient.accounts.models import Organization
from dashboard.numbers import (
    NUMBERS,
    SELECT_NUMBERS,
    sums_of_a_day,
)

_WEIGHTS = ", ".join(f"own.{fact.name}" for fact in FACTS)
_COLUMNS = ", ".join(number.name for number in NUMBERS)
_SUMS = " CROSS JOIN LATERAL ".join(
    sums_of_a_day(
        organization="organization.id",
        day="zone.day",
        last_expiring_day="zone.day + %(within)s",
        percentages="rule.by_mask",
        threshold="coalesce(own.threshold, %(threshold)s)",
    )
)

# Organizations whose day in their own zone has no snapshot, each with its own rule if it has one.
# The numbers are those of ``day``, saved for ``date``: a different day only in a demo.
_DUE = """
    FROM unnest(%(zones)s::text[], %(days)s::date[]) AS zone (name, day)
    CROSS JOIN LATERAL (
        SELECT zone.day - back AS date FROM unnest(%(back)s::integer[]) AS back
    ) AS kept
    JOIN public.accounts_organization AS organization ON organization.time_zone = zone.name
    LEFT JOIN public.catalog_completenessrule AS own ON own.organization_id = organization.id
"""
_WITHOUT_SNAPSHOT = """
    NOT EXISTS (
        SELECT FROM public.dashboard_snapshot AS taken
        WHERE taken.organization_id = organization.id AND taken.date = kept.date
    ) AND (%(only)s::uuid IS NULL OR organization.id = %(only)s)
    AND NOT EXISTS (
        SELECT FROM public.dashboard_samplerow AS sample
        JOIN public.catalog_product AS product ON product.id = sample.row_id
        WHERE sample.organization_id = organization.id
    )
"""
_RULES = f"""
    SELECT DISTINCT {_WEIGHTS} {_DUE} WHERE {_WITHOUT_SNAPSHOT}
"""

# An organization's percentages are looked up by its weights. If its rule or zone changed after they
# were computed, the next run takes its snapshot; an organization that is being deleted is skipped.
# INSERT matches columns by position: both lists are in the order of NUMBERS.
_TAKE = f"""
    INSERT INTO public.dashboard_snapshot (organization_id, date, is_demo, taken_at, {_COLUMNS})
    SELECT organization.id, kept.date, kept.date <> zone.day,
        CASE WHEN kept.date = zone.day THEN statement_timestamp()
            ELSE kept.date::timestamp AT TIME ZONE zone.name END,
        {SELECT_NUMBERS}
    {_DUE}
    JOIN unnest(%(rules)s::text[], %(percentages)s::bytea[]) AS rule (weights, by_mask)
        ON rule.weights = CASE WHEN own.organization_id IS NULL THEN %(default)s
            ELSE concat_ws(' ', {_WEIGHTS}) END
    CROSS JOIN LATERAL {_SUMS}
    WHERE {_WITHOUT_SNAPSHOT}
    FOR KEY SHARE OF organization
    ON CONFLICT DO NOTHING
"""


def take_snapshots() -> int:
    """Write today's snapshot of every organization that has none yet, and return how many.

    Uses each organization's local date and rule, in one statement for all. Safe to run at any
    time, repeatedly and concurrently: the first snapshot of a day stays. Days without a run have
    no snapshot, and neither has an organization with sample products: its history would be theirs.
    """
    return _take(_days_by_zone(), [0])


def take_demo_snapshots(organization: Organization, back: Sequence[int]) -> int:
    """Write snapshots of past days from the current numbers of a demo catalog, marked as demo.

    ``back`` lists how many days ago each day was. Existing snapshots stay. Returns how many were
    written.
    """
    return _take({organization.time_zone: organization.today()}, back, only=organization)


def _take(
    days: Mapping[str, datetime.date], back: Sequence[int], *, only: Organization | None = None
) -> int:
    due: dict[str, Any] = {
        "zones": list(days),
        "days": list(days.values()),
        "back": list(back),
        "only": only and only.pk,
    }
    with connection.cursor() as cursor:
        cursor.execute(_RULES, due)
        rules = {_weights(row) for row in cursor.fetchall()}
        if not rules:
            return 0
        cursor.execute(
            _TAKE,
            {
                **due,
                "rules": [_name(weights) for weights in rules],
                "percentages": [Rule(weights).percentages for weights in rules],
                "default": _name(DEFAULT_RULE.weights),
                "threshold": DEFAULT_RULE.threshold,
                "within": EXPIRING_WITHIN,
            },
        )
        return int(cursor.rowcount)


def _days_by_zone() -> dict[str, datetime.date]:
    """Return the current date in each time zone that organizations use, from one clock reading."""
    now = timezone.now()
    zones = Organization.objects.order_by().values_list("time_zone", flat=True).distinct()
    return {zone: timezone.localdate(now, zoneinfo.ZoneInfo(zone)) for zone in zones}


def _weights(row: tuple[int | None, ...]) -> tuple[int, ...]:
    """Return the weights in a row; only NULLs mean the default weights."""
    return tuple(weight for weight in row if weight is not None) or DEFAULT_RULE.weights


def _name(weights: tuple[int, ...]) -> str:
    return " ".join(map(str, weights))
