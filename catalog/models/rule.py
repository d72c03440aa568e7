"""The completeness rule: an organization's own, or the default rule."""

from __future__ import annotations

from typing import Any

import pgtrigger
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from catalog import completeness
from catalog.models.changed import updated_by
from closient.accounts.models import Organization
from closient.changes.triggers import RecordCreations, RecordRemovals, RecordUpdates
from closient.db.tenancy import TenantForeignKey


def rule_recorders() -> list[pgtrigger.Trigger]:
    """Return the triggers that record changes of rules, with all of their values."""
    columns: Any = {
        "columns": ("threshold", *(fact.name for fact in completeness.FACTS)),
        "row": "organization_id",
        "product": "organization_id",
    }
    return [each("rule", **columns) for each in (RecordCreations, RecordUpdates, RecordRemovals)]


class CompletenessRule(models.Model):
    """An organization's own weights and threshold; the default rule applies without one.

    There is a column for the weight of each fact, with the fact's name.
    """

    organization = models.OneToOneField(
        Organization,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        primary_key=True,
        related_name="completeness_rule",
    )
    threshold = models.PositiveSmallIntegerField(
        default=completeness.DEFAULT_THRESHOLD,
        validators=[MinValueValidator(1), MaxValueValidator(100)],
        help_text="Percentage from which on a product counts as complete.",
    )
    updated_at = models.DateTimeField(auto_now=True, db_default=Now(), editable=False)
    updated_by = updated_by()

    class Meta:
        constraints = [
            TenantForeignKey(name="catalog_completenessrule_organization_fk", field="organization"),
            models.CheckConstraint(
                condition=Q(*[(f"{fact.name}__range", (0, 100)) for fact in completeness.FACTS]),
                name="catalog_completenessrule_weights",
                violation_error_message="Weights are whole numbers from 0 to 100.",
            ),
            models.CheckConstraint(
                condition=~Q(*[(fact.name, 0) for fact in completeness.FACTS]),
                name="catalog_completenessrule_not_all_zero",
                violation_error_message="At least one fact needs a weight above 0.",
            ),
            models.CheckConstraint(
                condition=Q(threshold__range=(1, 100)),
                name="catalog_completenessrule_threshold",
                violation_error_message="The threshold is a whole number from 1 to 100.",
            ),
        ]

        triggers = rule_recorders()

    def __str__(self) -> str:
        return f"Completeness rule of {self.organization}"

    def as_rule(self) -> completeness.Rule:
        """Return the rule as a value object for calculations."""
        return completeness.Rule(
            weights=tuple(getattr(self, fact.name) for fact in completeness.FACTS),
            threshold=self.threshold,
        )


def _weight(fact: completeness.Fact) -> Any:
    return models.PositiveSmallIntegerField(
        f"weight of {fact.name}", default=fact.weight, validators=[MaxValueValidator(100)]
    )


for _fact in completeness.FACTS:
    CompletenessRule.add_to_class(_fact.name, _weight(_fact))


def effective_rule(organization: Organization) -> completeness.Rule:
    """Return the effective rule of an organization: its own, or the default rule.

    One query, or none if ``completeness_rule`` was loaded with ``select_related``.
    """
    try:
        return organization.completeness_rule.as_rule()
    except CompletenessRule.DoesNotExist:
        return completeness.DEFAULT_RULE
