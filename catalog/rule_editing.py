"""Setting and resetting an organization's completeness rule."""

from __future__ import annotations

from django.db import transaction

from catalog.completeness import FACTS, Rule
from catalog.models import CompletenessRule, effective_rule
from closient.accounts.models import Organization


def locked_rule(organization: Organization) -> Rule:
    """Lock an organization's effective rule until the transaction ends, and return it."""
    # Two statements: the first waits for the lock, and the second sees the committed change.
    return effective_rule(locked(organization))


def set_rule(organization: Organization, rule: Rule) -> None:
    """Create or replace an organization's rule.

    Rules are applied on reading, so nothing is recounted.
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
    """Delete an organization's rule, so the default rule applies."""
    with transaction.atomic(savepoint=False):
        locked(organization)
        CompletenessRule.objects.filter(organization=organization).delete()


def has_own_rule(organization: Organization) -> bool:
    """Return whether an organization has set a rule, even one equal to the default rule."""
    return hasattr(organization, "completeness_rule")


def locked(organization: Organization) -> Organization:
    """Lock an organization's row, since it may have no rule to lock, and return it.

    A rule read afterwards does not change until the transaction ends.
    """
    return Organization.objects.select_for_update(no_key=True).get(pk=organization.pk)
