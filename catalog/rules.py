"""Giving an organization a rule of its own, and taking it away again."""

from __future__ import annotations

from catalog.completeness import FACTS, Rule
from catalog.models import CompletenessRule
from closient.accounts.models import Organization


def set_rule(organization: Organization, rule: Rule) -> None:
    """Put a rule in the place of whatever rule an organization has, in one statement.

    Rules are applied when something is read, so nothing has to be counted again.
    """
    weights = {fact.name: rule.weight(fact) for fact in FACTS}
    CompletenessRule.objects.bulk_create(
        [CompletenessRule(organization=organization, threshold=rule.threshold, **weights)],
        update_conflicts=True,
        unique_fields=["organization"],
        update_fields=[*weights, "threshold"],
    )


def reset_rule(organization: Organization) -> None:
    """Let the published rule hold for an organization again."""
    CompletenessRule.objects.filter(organization=organization).delete()


def has_own_rule(organization: Organization) -> bool:
    """Return whether an organization has a rule of its own, be it the same as the published one."""
    return hasattr(organization, "completeness_rule")
