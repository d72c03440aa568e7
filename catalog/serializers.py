"""Serializers of products, their completeness, and the rule that rates it."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from catalog.completeness import DEFAULT_RULE, FACT_BY_NAME, FACTS, Fact, Rule, facts_of
from catalog.completeness_report import completeness_report, shown_weights
from catalog.countries import clean_country
from catalog.gtin import InvalidGtin, normalize_gtin
from catalog.models import Product
from catalog.nutrition import (
    AMOUNT,
    AMOUNT_DIGITS,
    MAX_NUTRIENTS,
    NAME_LENGTH,
    SERVING_SIZE_LENGTH,
    UNIT_LENGTH,
    clean_amount,
)
from closient.http.fields import CleanedField, TextField, WholeNumberField
from closient.http.serializers import RowSerializer, StrictFields, about
from closient.http.unknown_names import MAX_UNKNOWN
from closient.text.validators import DESCRIPTION_LENGTH, InvalidText


@extend_schema_field({"type": "string", "pattern": "^(?:[0-9]{8}|[0-9]{12,14})$", "maxLength": 14})
class GtinField(serializers.CharField):
    """A GTIN of any length, shown as GTIN-14."""

    default_error_messages = {"invalid": "Must be a string."}

    def to_internal_value(self, data: Any) -> str:
        """Return the GTIN-14; the error code is the violated rule."""
        if not isinstance(data, str):
            self.fail("invalid")
        try:
            return normalize_gtin(data)
        except InvalidGtin as error:
            raise serializers.ValidationError(str(error), code=error.code) from None


class AmountField(serializers.Field[str, Any, str, Any]):
    """An exact amount: a decimal string; request bodies may use a number."""

    def to_internal_value(self, data: Any) -> str:
        """Return the amount without exponent and redundant zeros."""
        is_number = isinstance(data, str | int | float) and not isinstance(data, bool)
        try:
            return clean_amount(str(data) if is_number else "")
        except InvalidText as error:
            raise serializers.ValidationError(error.sentence, code="amount") from None

    def to_representation(self, value: str) -> str:
        """Return the amount as it is stored."""
        return value


class _AmountFieldSchema(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    """Documents the field: a decimal string in responses; request bodies may use a number."""

    target_class = AmountField

    def map_serializer_field(self, auto_schema: AutoSchema, direction: Any) -> Any:
        if direction == "response":
            return {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?$"}
        return {
            "type": ["string", "number"],
            "pattern": f"^{AMOUNT.pattern.removesuffix(chr(92) + 'Z')}$",
            "minimum": 0,
            "maximum": 10**AMOUNT_DIGITS - 1,
        }


class NutrientSerializer(StrictFields, serializers.Serializer[Any]):
    """A nutrient and its amount."""

    name = TextField(
        max_length=NAME_LENGTH, help_text="Name of the nutrient.", style={"example": "fat"}
    )
    amount = AmountField(
        help_text="Amount as a decimal string; request bodies may use a number.",
        style={"example": "1.5"},
    )
    unit = TextField(
        max_length=UNIT_LENGTH,
        allow_blank=True,
        help_text="Unit of the amount.",
        style={"example": "g"},
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Require all parts, also in a partial update of the product."""
        lacking = [name for name in self.fields.keys() if name not in attrs]  # noqa: SIM118
        if lacking:
            message = self.fields[lacking[0]].error_messages["required"]
            raise serializers.ValidationError({n: [message] for n in lacking}, code="required")
        return attrs


class NutritionSerializer(StrictFields, serializers.Serializer[Any]):
    """Nutrition per serving."""

    serving_size = TextField(
        max_length=SERVING_SIZE_LENGTH,
        required=False,
        allow_blank=True,
        help_text="The quantity that the amounts refer to.",
        style={"example": "30 g"},
    )
    nutrients: serializers.ListSerializer[Any] = serializers.ListSerializer(
        child=NutrientSerializer(),
        required=False,
        max_length=MAX_NUTRIENTS,
        help_text=f"The nutrients, at most {MAX_NUTRIENTS}.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Leave out unknown parts, as in the stored form."""
        return {part: known for part, known in attrs.items() if known}

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """Return both parts, empty if unknown."""
        return {
            "serving_size": instance.get("serving_size", ""),
            "nutrients": instance.get("nutrients", []),
        }


class FactsSerializer(serializers.Serializer[Any]):
    """Which facts a trade item has today."""

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Return a boolean for each fact."""
        return {
            fact.name: serializers.BooleanField(
                help_text=f"False: {fact.hint}", style={"example": True}
            )
            for fact in FACTS
        }


class ProductSerializer(RowSerializer[Product]):
    """A trade item, rated by the ``rule`` in the context, on its ``day``."""

    gtin = GtinField(
        help_text="GTIN of 8, 12, 13 or 14 digits, shown with 14. It cannot be changed.",
        style={"example": "04012345678901"},
    )
    brand = TextField(
        max_length=255,
        required=False,
        allow_blank=True,
        source="brand_name",
        help_text="Name of the brand; a new name creates the brand, an empty one means none.",
        style={"example": "Haferhof"},
    )
    gpc_brick_code = serializers.RegexField(
        r"^([0-9]{8})?\Z",
        required=False,
        allow_blank=True,
        help_text="GS1 brick code of eight digits.",
        style={"example": "10000025"},
        error_messages={"invalid": "A GPC brick code has eight digits."},
    )
    country_of_origin = CleanedField(
        cleaner=clean_country,
        code="country",
        max_length=100,
        required=False,
        allow_blank=True,
        help_text="Country of origin (ISO 3166-1 alpha-2); request bodies may use alpha-3 or the "
        "English name.",
        style={"example": "DE"},
    )
    nutrition = NutritionSerializer(
        required=False, help_text="Nutrition; a change replaces it as a whole."
    )
    percentage = serializers.SerializerMethodField(
        help_text="Completeness today in percent, by the organization's rule.",
        style={"example": 85},
    )
    facts = serializers.SerializerMethodField(help_text="The facts behind the percentage.")

    class Meta:
        model = Product
        fields = (
            "id",
            "gtin",
            "name",
            "description",
            "brand",
            "manufacturer",
            "category",
            "gpc_brick_code",
            "country_of_origin",
            "net_content",
            "nutrition",
            "status",
            "metadata",
            "percentage",
            "facts",
            "created_at",
            "updated_at",
        )
        extra_kwargs = {
            "id": about("Id of the trade item."),
            "name": about("Name.", "Oat drink"),
            "description": about(
                "Description; may have several lines.",
                "Oat drink without added sugar.",
                max_length=DESCRIPTION_LENGTH,
                several_lines=True,
            ),
            "manufacturer": about("Manufacturer.", "Haferhof GmbH"),
            "category": about("Category, in your own words.", "Dairy alternatives"),
            "net_content": about(example="1 l"),
            "status": about("Lifecycle status; `active` by default.", "active"),
        }

    @extend_schema_field({"type": "integer", "minimum": 0, "maximum": 100})
    def get_percentage(self, product: Product) -> int:
        """Return the percentage."""
        percentage: int = self.context["rule"].percentage(self._mask(product))
        return percentage

    @extend_schema_field(FactsSerializer)
    def get_facts(self, product: Product) -> dict[str, bool]:
        """Return each fact by its name."""
        return facts_of(self._mask(product))

    def _mask(self, product: Product) -> int:
        return product.fact_mask(self.context["day"])


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


class WeightsSerializer(serializers.Serializer[Any]):
    """The weight of each fact. Its share of all weights is its contribution to a percentage."""

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Return one number for each fact."""
        return {
            fact.name: WholeNumberField(
                min_value=0,
                max_value=100,
                help_text=f"Weight of {fact.name}, {fact.weight} in the default rule; 0 excludes "
                "it.",
                style={"example": fact.weight},
            )
            for fact in FACTS
        }

    def to_internal_value(self, data: Any) -> dict[str, int]:
        """Return the weights; unknown names are errors, not ignored."""
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
        help_text="Products with at least this percentage are complete, "
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
