"""The completeness report of a product: each fact's weight and the points it would add."""

from __future__ import annotations

import dataclasses

from catalog.completeness import FACTS, Fact, Rule

# Weights are shown as fractions with four decimals.
PARTS = 10_000


@dataclasses.dataclass(frozen=True)
class FactScore:
    """One fact of a product under a rule.

    ``score`` is 1 or 0, ``weight`` its share of the total weight, ``points`` how many percentage
    points the product gains if only this fact becomes true. ``hint`` says how to fix a missing
    fact; it is ``None`` if the fact is true or has weight 0.
    """

    score: int
    weight: float
    points: int
    hint: str | None


@dataclasses.dataclass(frozen=True)
class CompletenessReport:
    """A product's percentage, and its facts by name in the order of FACTS."""

    percentage: int
    fields: dict[str, FactScore]


def completeness_report(rule: Rule, mask: int) -> CompletenessReport:
    """Return the report for a fact mask under a rule."""
    percentage = rule.percentage(mask)
    weights = shown_weights(rule)

    def score(fact: Fact) -> FactScore:
        has_fact = bool(mask & fact.bit)
        is_weighted = rule.weight(fact) > 0
        return FactScore(
            score=int(has_fact),
            weight=weights[fact.name],
            points=rule.percentage(mask | fact.bit) - percentage,
            hint=fact.hint if is_weighted and not has_fact else None,
        )

    return CompletenessReport(percentage, {fact.name: score(fact) for fact in FACTS})


def shown_weights(rule: Rule) -> dict[str, float]:
    """Return each fact's share of the total weight, with four decimals that sum to exactly 1.

    Shares are rounded by the largest remainder method.
    """
    total = rule.total_weight
    shares = {fact.name: divmod(PARTS * rule.weight(fact), total) for fact in FACTS}
    left = PARTS - sum(whole for whole, _ in shares.values())
    by_remainder = sorted(shares, key=lambda name: -shares[name][1])
    return {
        name: (whole + (name in by_remainder[:left])) / PARTS for name, (whole, _) in shares.items()
    }
