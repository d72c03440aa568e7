"""Serializers of the numbers, generated from the dataclasses and the fact list."""

from __future__ import annotations

import dataclasses
from typing import Any

from rest_framework import serializers

from catalog.completeness import DEFAULT_RULE, FACTS, Fact
from catalog.completeness_report import completeness_report, shown_weights
from dashboard.numbers import NUMBERS, Number, Stats


class StatsSerializer(serializers.Serializer[Stats]):
    """Aggregated metrics rendered on the brand dashboard home page."""

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Return one integer for each number."""
        return {number.name: number_field(number) for number in NUMBERS}


def number_field(number: Number, *, allow_null: bool = False) -> serializers.IntegerField:
    """Return the field of a number."""
    return serializers.IntegerField(
        min_value=0,
        max_value=number.maximum,  # type: ignore[arg-type] # None is allowed
        allow_null=allow_null,
        help_text=number.description,
        style={"example": number.example},
    )


class FactScoreSerializer(serializers.Serializer[Any]):
    """One fact of a trade item under the organization's rule."""

    score = serializers.IntegerField(
        min_value=0,
        max_value=1,
        help_text="1 if the trade item has it, otherwise 0.",
        style={"example": 0},
    )
    weight = serializers.FloatField(
        min_value=0,
        max_value=1,
        help_text="Its share of all weights; the shares sum to 1.",
        style={"example": 0.15},
    )
    points = serializers.IntegerField(
        min_value=0,
        max_value=100,
        help_text="Percentage points that the trade item gains from this fact alone.",
        style={"example": 15},
    )
    hint = serializers.CharField(
        allow_null=True,
        help_text="What to do about it; null if the fact is present or its weight is 0.",
        style={"example": "Add at least one image."},
    )


class FactScoresSerializer(serializers.Serializer[Any]):
    """Every fact by its name."""

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Return one object for each fact."""
        return {fact.name: _fact_field(fact) for fact in FACTS}


def _fact_field(fact: Fact) -> FactScoreSerializer:
    example = dataclasses.asdict(completeness_report(DEFAULT_RULE, 0).fields[fact.name])
    return FactScoreSerializer(
        help_text=f"{fact.hint} Weight by default: {shown_weights(DEFAULT_RULE)[fact.name]}.",
        style={"example": example},
    )


class CompletenessSerializer(serializers.Serializer[Any]):
    """The completeness of a trade item, by fact."""

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Return the percentage and the facts behind it."""
        return {
            "percentage": serializers.IntegerField(
                min_value=0,
                max_value=100,
                help_text="Completeness in percent, rounded half up.",
                style={"example": 85},
            ),
            "fields": FactScoresSerializer(help_text="The facts that make up the percentage."),
        }
