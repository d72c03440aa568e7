"""The opportunities endpoint: facts by their effect on completeness."""

from __future__ import annotations

import dataclasses
from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from catalog.completeness import FACT_BY_NAME
from catalog.models import effective_rule
from closient.accounts.api_views import OrganizationView
from closient.http import openapi
from dashboard.distribution import counts_by_mask
from dashboard.opportunities import MAX_SETS, fact_sets, opportunities_among


class OpportunitySerializer(serializers.Serializer[Any]):
    """The gain from one fact."""

    fact = serializers.ChoiceField(
        choices=list(FACT_BY_NAME), help_text="Name of the fact.", style={"example": "images"}
    )
    weight = serializers.FloatField(
        min_value=0,
        max_value=1,
        help_text="Its share of all weights; the shares sum to 1.",
        style={"example": 0.15},
    )
    missing = serializers.IntegerField(
        min_value=0, help_text="Products that lack it.", style={"example": 87}
    )
    lifts_to_complete = serializers.IntegerField(
        min_value=0,
        help_text="Products that would reach the threshold if they also had this fact.",
        style={"example": 41},
    )
    average_gain = serializers.FloatField(
        min_value=0,
        max_value=100,
        help_text="Points that the average percentage would gain if every product had it, "
        "rounded half up to two decimals.",
        style={"example": 1.04},
    )
    hint = serializers.CharField(
        help_text="What to do about it.", style={"example": "Add at least one image."}
    )


class FactSetSerializer(serializers.Serializer[Any]):
    """The gain from a set of facts together."""

    facts = serializers.ListField(
        child=serializers.ChoiceField(choices=list(FACT_BY_NAME)),
        min_length=2,
        help_text="The names of the facts.",
        style={"example": ["description", "images"]},
    )
    missing = serializers.IntegerField(
        min_value=0, help_text="Products that lack all of them.", style={"example": 120}
    )
    lifts_to_complete = serializers.IntegerField(
        min_value=1,
        help_text="Products that would reach the threshold if they had all of them, and would not "
        "if they had only some of them.",
        style={"example": 81},
    )
    average_gain = serializers.FloatField(
        min_value=0,
        max_value=100,
        help_text="Points that the average percentage would gain if these products had all of "
        "them, rounded half up to two decimals.",
        style={"example": 2.88},
    )


class OpportunitiesSerializer(serializers.Serializer[Any]):
    """The facts and sets of facts that raise completeness the most."""

    opportunities = OpportunitySerializer(
        many=True,
        help_text="Each fact that the rule gives a weight, best first: by products lifted, then "
        "by average gain, then by products without it.",
    )
    sets = FactSetSerializer(
        many=True,
        help_text=f"Sets of facts that complete products only together, best first: at most "
        f"{MAX_SETS} of the smallest size, two or more, that completes any.",
    )


class OpportunitiesView(OrganizationView):
    """The effect of each fact."""

    organization_related = ("completeness_rule",)

    @extend_schema(
        operation_id="get_opportunities",
        summary="Get the opportunities",
        description="For each fact: how many products do not have it today, how many of them this "
        "fact alone would complete, and how many points the average would gain. Facts with a "
        "weight of 0 are left out. `sets` lists facts that complete products only together.",
        tags=["Dashboard"],
        parameters=[openapi.ORGANIZATION_ID],
        responses=openapi.responses(OpportunitiesSerializer, "The facts, best first."),
    )
    def get(self, request: Request, organization_id: UUID) -> Response:
        """Return the facts, best first."""
        organization = self.organization
        rule = effective_rule(organization)
        by_mask = counts_by_mask(organization.id, organization.today())
        return Response(
            {
                "opportunities": [
                    dataclasses.asdict(found) for found in opportunities_among(by_mask, rule)
                ],
                "sets": [dataclasses.asdict(found) for found in fact_sets(by_mask, rule)],
            }
        )
