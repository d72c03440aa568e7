"""What to do first: how much each missing fact would bring, over all products that lack it."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Mapping

from catalog.completeness import ALL_FACTS, FACTS, Fact, Rule, half_up
from catalog.completeness_report import shown_weights

# Sets of facts in one answer.
MAX_SETS = 10


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


@dataclasses.dataclass(frozen=True)
class FactSet:
    """Facts that complete products together, where a part of them would not be enough.

    ``missing`` products lack all of the facts. ``lifts_to_complete`` of them reach the threshold
    with all of the facts, and with no fewer of them. ``average_gain`` is as in
    :class:`Opportunity`, for the products in ``missing``.
    """

    facts: tuple[str, ...]
    missing: int
    lifts_to_complete: int
    average_gain: float


def opportunities_among(by_mask: Mapping[int, int], rule: Rule) -> list[Opportunity]:
    """Return each fact that the rule asks for, best first, from the products of each fact mask.

    What lifts most products comes first, then what raises the average most, then what most
    products lack. Like the stats it takes the same time at any size.
    """
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


def fact_sets(by_mask: Mapping[int, int], rule: Rule, *, at_most: int = MAX_SETS) -> list[FactSet]:
    """Return the sets of two or more facts that complete products, best first.

    Only sets of the smallest size that completes any, and at most ``at_most``.
    """
    asked = [fact for fact in FACTS if rule.weight(fact)]
    for size in range(2, len(asked) + 1):
        lifted = {
            facts: sum(by_mask.get(mask, 0) for mask in _lifted_masks(facts, rule))
            for facts in itertools.combinations(asked, size)
        }
        highest = sorted((count for count in lifted.values() if count), reverse=True)[:at_most]
        if highest:
            found = [
                _fact_set(facts, count, rule, by_mask)
                for facts, count in lifted.items()
                if count >= highest[-1]
            ]
            return sorted(found, key=lambda s: (-s.lifts_to_complete, -s.average_gain))[:at_most]
    return []


def _fact_set(
    facts: tuple[Fact, ...], lifted: int, rule: Rule, by_mask: Mapping[int, int]
) -> FactSet:
    percentages, bits = rule.percentages, sum(fact.bit for fact in facts)
    lacking = {mask: count for mask, count in by_mask.items() if not mask & bits}
    gained = sum(
        count * (percentages[mask | bits] - percentages[mask]) for mask, count in lacking.items()
    )
    return FactSet(
        facts=tuple(fact.name for fact in facts),
        missing=sum(lacking.values()),
        lifts_to_complete=lifted,
        average_gain=half_up(100 * gained, sum(by_mask.values())) / 100,
    )


@functools.lru_cache(maxsize=1024)
def _lifted_masks(facts: tuple[Fact, ...], rule: Rule) -> frozenset[int]:
    """Return the masks of products that lack all of the facts and need exactly these."""
    percentages, threshold = rule.percentages, rule.threshold
    bits = sum(fact.bit for fact in facts)
    # Percentages only rise with facts: where all but one are not enough, no smaller part is.
    return frozenset(
        mask
        for mask in range(ALL_FACTS + 1)
        if not mask & bits
        and percentages[mask | bits] >= threshold
        and all(percentages[mask | bits & ~fact.bit] < threshold for fact in facts)
    )


@functools.lru_cache(maxsize=256)
def lifted_range(facts: tuple[Fact, ...], rule: Rule) -> tuple[int, int] | None:
    """Return the percentages, both included, of all products that need exactly these facts.

    So a list can show exactly these: the products that lack the facts and are within the range.
    ``None`` where no range tells them from others: percentages are rounded, so that the same
    percentage may be lifted over the threshold or just not, depending on the other facts.
    """
    percentages, bits = rule.percentages, sum(fact.bit for fact in facts)
    masks = _lifted_masks(facts, rule)
    lacking = [mask for mask in range(ALL_FACTS + 1) if not mask & bits]
    lifted = {percentages[mask] for mask in masks}
    left = {percentages[mask] for mask in lacking if mask not in masks}
    if not lifted or any(min(lifted) <= percentage <= max(lifted) for percentage in left):
        return None
    return min(lifted), max(lifted)
