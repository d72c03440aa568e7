"""Serializers of the numbers, generated from the dataclasses and the fact list."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

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
