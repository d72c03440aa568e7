"""Giving an organization a rule of its own, and taking it away again."""

from __future__ import annotations

from django.db import transaction

from catalog.completeness import FACTS, Rule
from catalog.models import CompletenessRule, effective_rule
from closient.accounts.models import Organization


def locked_rule(organization: Organization) -> Rule:
    """Return the rule that holds, locked: until the transaction ends, nobody else gives another."""
    # In two statements: the first one waits, and only the second sees what it has waited for.
    return effective_rule(locked(organization))


def set_rule(organization: Organization, rule: Rule) -> None:
    """Put a rule in the place of whatever rule an organization has.

    Rules are applied when something is read, so nothing has to be counted again.
    """
    weights = {fact.name: rule.weight(fact) for fact in FACTS}
    with transaction.atomic(savepoint=False):
        locked(organization)
        CompletenessRule.objects.bulk_create(
            [CompletenessRule(organization=organization, threshold=rule.threshold, **weights)],
            update_conflicts=True,
            unique_fields=["organization"],
            update_fields=[*weights, "threshold", "updated_at", "updated_by"],
        )


def reset_rule(organization: Organization) -> None:
    """Let the published rule hold for an organization again."""
    with transaction.atomic(savepoint=False):
        locked(organization)
        CompletenessRule.objects.filter(organization=organization).delete()


def has_own_rule(organization: Organization) -> bool:
    """Return whether an organization has a rule of its own, be it the same as the published one."""
    return hasattr(organization, "completeness_rule")


def locked(organization: Organization) -> Organization:
    """Lock an organization's own row, since there may be no row of a rule, and return it.

    Its rule is read after that, so it is the one that holds until the transaction ends.
    """
    return Organization.objects.select_for_update(no_key=True).get(pk=organization.pk)
