"""What to do first: how much each missing fact would bring, over all products that lack it."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from uuid import UUID

from catalog.completeness import FACTS, Fact, Rule, half_up
from catalog.explanation import shown_weights
from closient.tally.models import TallyEntry


@dataclasses.dataclass(frozen=True)
class Opportunity:
    """What a fact would bring if every product that lacks it had it.

    ``missing`` products lack it, ``lifts_to_complete`` of them need nothing else to reach the
    threshold, and the mean percentage of all products would rise by ``average_gain`` points (with
    two decimals). ``weight`` is the fact's fraction of all weights.
    """

    fact: str
    weight: float
    missing: int
    lifts_to_complete: int
    average_gain: float
    hint: str


def opportunities(organization_id: UUID, rule: Rule, day: datetime.date) -> list[Opportunity]:
    """Return each fact that the rule asks for, best first, from the tally in one query.

    What lifts most products comes first, then what raises the average most, then what most
    products lack. Like the stats it takes the same time at any size.
    """
    counts = TallyEntry.objects.of(organization_id).counts("products", day)
    by_mask = {int(mask): count for mask, count in counts.items()}
    found = [_opportunity(fact, rule, by_mask) for fact in FACTS if rule.weight(fact)]
    return sorted(found, key=lambda o: (-o.lifts_to_complete, -o.average_gain, -o.missing))


def _opportunity(fact: Fact, rule: Rule, by_mask: Mapping[int, int]) -> Opportunity:
    percentages, threshold = rule.percentages, rule.threshold
    missing = lifted = gained = 0
    for mask, count in by_mask.items():
        if not mask & fact.bit:
            now, then = percentages[mask], percentages[mask | fact.bit]
            missing += count
            lifted += count if now < threshold <= then else 0
            gained += count * (then - now)
    total = sum(by_mask.values())
    return Opportunity(
        fact=fact.name,
        weight=shown_weights(rule)[fact.name],
        missing=missing,
        lifts_to_complete=lifted,
        average_gain=half_up(100 * gained, total) / 100 if total else 0.0,
        hint=fact.hint,
    )
