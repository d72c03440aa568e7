"""Opportunities: how much completeness each missing fact would add, over all products."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Mapping

from catalog.completeness import ALL_MASKS, FACTS, Fact, Rule, half_up
from catalog.completeness_report import shown_weights

# How many sets of facts are returned.
MAX_SETS = 10


@dataclasses.dataclass(frozen=True)
class Opportunity:
    """What changes if every product that lacks a fact gets it.

    ``missing`` products lack it, ``lifts_to_complete`` of them need nothing else to reach the
    threshold, and the mean percentage of all products would rise by ``average_gain`` points (with
    two decimals). ``weight`` is the fact's share of the total weight.
    """

    fact: str
    weight: float
    missing: int
    lifts_to_complete: int
    average_gain: float
    hint: str


@dataclasses.dataclass(frozen=True)
class FactSet:
    """Facts that complete products only together.

    ``missing`` products lack all of the facts. ``lifts_to_complete`` of them reach the threshold
    with all of the facts and not with fewer. ``average_gain`` is as in
    :class:`Opportunity`, for the products in ``missing``.
    """

    facts: tuple[str, ...]
    missing: int
    lifts_to_complete: int
    average_gain: float


def opportunities_among(by_mask: Mapping[int, int], rule: Rule) -> list[Opportunity]:
    """Return each fact with a weight, best first, from the number of products of each fact mask.

    Sorted by completed products, then by gain of the average, then by missing products. The time
    does not depend on the size of the catalog.
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

    Only sets of the smallest size that completes any product, and at most ``at_most``.
    """
    weighted = [fact for fact in FACTS if rule.weight(fact)]
    for size in range(2, len(weighted) + 1):
        lifted = {
            facts: sum(by_mask.get(mask, 0) for mask in _lifted_masks(facts, rule))
            for facts in itertools.combinations(weighted, size)
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
    # More facts never lower a percentage: if all but one are not enough, no smaller subset is.
    return frozenset(
        mask
        for mask in ALL_MASKS
        if not mask & bits
        and percentages[mask | bits] >= threshold
        and all(percentages[mask | bits & ~fact.bit] < threshold for fact in facts)
    )


@functools.lru_cache(maxsize=256)
def lifted_range(facts: tuple[Fact, ...], rule: Rule) -> tuple[int, int] | None:
    """Return the lowest and highest percentage of products that need exactly these facts.

    A list filtered by the missing facts and this range shows exactly these products. ``None`` if
    no range separates them from others: percentages are rounded, so products with the same
    percentage may or may not reach the threshold, depending on their other facts.
    """
    percentages, bits = rule.percentages, sum(fact.bit for fact in facts)
    masks = _lifted_masks(facts, rule)
    lacking = [mask for mask in ALL_MASKS if not mask & bits]
    lifted = {percentages[mask] for mask in masks}
    left = {percentages[mask] for mask in lacking if mask not in masks}
    if not lifted or any(min(lifted) <= percentage <= max(lifted) for percentage in left):
        return None
    return min(lifted), max(lifted)
