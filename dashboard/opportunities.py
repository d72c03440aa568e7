"""What to do first: how much each missing fact would bring, over all products that lack it."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from uuid import UUID

from catalog.completeness import ALL_FACTS, FACTS, Fact, Rule, half_up
from catalog.explanation import shown_weights
from dashboard.distribution import counts_by_mask


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
    return opportunities_among(counts_by_mask(organization_id, day), rule)


def opportunities_among(by_mask: Mapping[int, int], rule: Rule) -> list[Opportunity]:
    """Return the same of so many products of each fact mask."""
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


def lifted_range(fact: Fact, rule: Rule) -> tuple[int, int] | None:
    """Return the percentages, both included, of all products that a fact alone would complete.

    So a list can show exactly these: the products that lack the fact and are within the range.
    ``None`` where no range tells them from others: percentages are rounded, so that the same
    percentage may be lifted over the threshold or just not, depending on the other facts.
    """
    percentages, threshold = rule.percentages, rule.threshold
    lacking = [mask for mask in range(ALL_FACTS + 1) if not mask & fact.bit]
    below = [mask for mask in lacking if percentages[mask] < threshold]
    lifted = {percentages[m] for m in below if percentages[m | fact.bit] >= threshold}
    left = {percentages[m] for m in below if percentages[m | fact.bit] < threshold}
    if not lifted or any(percentage >= min(lifted) for percentage in left):
        return None
    return min(lifted), threshold - 1
