"""The rule of an organization: what each fact weighs, and from where on a product is complete."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from catalog.completeness import DEFAULT_RULE, FACT_BY_NAME, FACTS, Rule
from catalog.models import effective_rule
from catalog.rules import has_own_rule, locked, reset_rule, set_rule
from closient.accounts.models import ApiKeyRole, Organization
from closient.accounts.views import OrganizationView
from closient.db.transactions import run_with_retry
from closient.http import openapi
from closient.http.fields import StrictFields, WholeNumberField, values_of
from closient.http.names import MAX_UNKNOWN

TAGS = ["Dashboard"]


class WeightsSerializer(serializers.Serializer[Any]):
    """The weight of each fact. Its share of all weights is its contribution to a percentage."""

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Return one number for each fact."""
        return {
            fact.name: WholeNumberField(
                min_value=0,
                max_value=100,
                help_text=f"Weight of {fact.name}, {fact.weight} in the default rule; 0 takes "
                "it out.",
                style={"example": fact.weight},
            )
            for fact in FACTS
        }

    def to_internal_value(self, data: Any) -> dict[str, int]:
        """Return the weights; a name that is no fact is a mistake, not something to pass over."""
        errors: dict[str, Any] = {}
        weights: dict[str, int] = {}
        try:
            weights = super().to_internal_value(data)
        except serializers.ValidationError as error:
            errors.update(error.detail)  # type: ignore[arg-type]
        if isinstance(data, dict):
            detail = f"Unknown fact; the facts are {', '.join(FACT_BY_NAME)}."
            unknown = (name for name in data if name not in FACT_BY_NAME)
            for name in itertools.islice(unknown, MAX_UNKNOWN):
                errors[name] = [serializers.ErrorDetail(detail, code="unknown_fact")]
        if errors:
            raise serializers.ValidationError(errors)
        if not any(weights.values()):
            raise serializers.ValidationError(
                "At least one fact needs a weight above 0.", code="all_zero"
            )
        return weights


class RuleSerializer(StrictFields, serializers.Serializer[Any]):
    """The rule that rates completeness."""

    weights = WeightsSerializer(help_text="The weight of every fact, whole numbers from 0 to 100.")
    threshold = WholeNumberField(
        min_value=1,
        max_value=100,
        help_text="Percentage from which on a product counts as complete, "
        f"{DEFAULT_RULE.threshold} in the default rule.",
        style={"example": DEFAULT_RULE.threshold},
    )
    is_default = serializers.BooleanField(
        read_only=True,
        help_text="Whether the default rule applies because the organization has no rule.",
        style={"example": True},
    )


def rule_from(values: dict[str, Any]) -> Rule:
    """Return the rule that the values of a :class:`RuleSerializer` stand for."""
    weights = values["weights"]
    return Rule(tuple(weights[fact.name] for fact in FACTS), values["threshold"])


class RuleView(OrganizationView):
    """The rule that holds for an organization."""

    organization_related = ("completeness_rule",)
    write_role = ApiKeyRole.MANAGER

    @extend_schema(
        operation_id="get_completeness_rule",
        summary="Get the completeness rule",
        description="The weights and the threshold behind every percentage of the organization: "
        "its own rule or the default rule.",
        tags=TAGS,
        parameters=[openapi.ORGANIZATION_ID],
        responses=openapi.responses(RuleSerializer, "The rule."),
    )
    def get(self, request: Request, organization_id: UUID) -> Response:
        """Return the rule."""
        return Response(_shown_of(self.organization))

    @extend_schema(
        operation_id="set_completeness_rule",
        summary="Set the completeness rule",
        description="Sets the organization's own rule: all weights and the threshold. Weights "
        "are relative and need not sum to 100. The next response uses the new rule, at any "
        "catalog size. For owners, managers and manager keys.",
        tags=TAGS,
        parameters=[openapi.ORGANIZATION_ID],
        request=RuleSerializer,
        responses=openapi.written(
            200,
            RuleSerializer,
            "The rule that now applies.",
            "conflict",
            "unsupported_media_type",
            "validation_error",
        ),
    )
    def put(self, request: Request, organization_id: UUID) -> Response:
        """Replace the rule."""
        rule = rule_from(values_of(RuleSerializer(data=request.data)))
        self._write(lambda: set_rule(self.organization, rule))
        return Response(_shown(rule, is_default=False))

    @extend_schema(
        operation_id="reset_completeness_rule",
        summary="Reset to the default rule",
        description="Deletes the organization's own rule, if it has one; the default rule applies "
        "again. For owners, managers and manager keys.",
        tags=TAGS,
        parameters=[openapi.ORGANIZATION_ID],
        responses=openapi.written(204, None, "The default rule applies."),
    )
    def delete(self, request: Request, organization_id: UUID) -> Response:
        """Take the organization's own rule away."""
        self._write(lambda: reset_rule(self.organization))
        return Response(status=204)

    def _write(self, change: Callable[[], None]) -> None:
        """Change the rule in a transaction, if its version matches."""

        def write() -> None:
            if self.names_versions:
                organization = locked(self.organization)
                self.check_version(lambda: _shown_of(organization))
            change()

        run_with_retry(write)


def _shown_of(organization: Organization) -> dict[str, Any]:
    return _shown(effective_rule(organization), is_default=not has_own_rule(organization))


def _shown(rule: Rule, *, is_default: bool) -> dict[str, Any]:
    return {
        "weights": {fact.name: rule.weight(fact) for fact in FACTS},
        "threshold": rule.threshold,
        "is_default": is_default,
    }
