"""The shape of products in the API."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from catalog.completeness import FACTS, facts_of
from catalog.countries import clean_country
from catalog.models import Product, ProductStatus
from catalog.nutrition import (
    AMOUNT,
    AMOUNT_DIGITS,
    MAX_NUTRIENTS,
    NAME_LENGTH,
    SERVING_SIZE_LENGTH,
    UNIT_LENGTH,
    clean_amount,
)
from closient.http.fields import IdField, StrictFields
from closient.text.validators import DESCRIPTION_LENGTH, InvalidText
from dashboard.api.fields import METADATA_HELP, CleanedField, GtinField, MetadataField, TextField


def _text(help_text: str, example: str, *, max_length: int, **kwargs: Any) -> TextField:
    return TextField(
        max_length=max_length,
        required=False,
        allow_blank=True,
        help_text=help_text,
        style={"example": example},
        **kwargs,
    )


class AmountField(serializers.Field[str, Any, str, Any]):
    """An exact amount: shown as a decimal text, taken as a number too."""

    def to_internal_value(self, data: Any) -> str:
        """Return the amount without exponent and needless zeros."""
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
        """Ask for all parts, also where the product itself is changed in part."""
        lacking = [name for name in self.fields.keys() if name not in attrs]  # noqa: SIM118
        if lacking:
            message = self.fields[lacking[0]].error_messages["required"]
            raise serializers.ValidationError({n: [message] for n in lacking}, code="required")
        return attrs


class NutritionSerializer(StrictFields, serializers.Serializer[Any]):
    """Nutrition per serving."""

    serving_size = _text(
        "The quantity that the amounts refer to.", "30 g", max_length=SERVING_SIZE_LENGTH
    )
    nutrients: serializers.ListSerializer[Any] = serializers.ListSerializer(
        child=NutrientSerializer(),
        required=False,
        max_length=MAX_NUTRIENTS,
        help_text=f"The nutrients, at most {MAX_NUTRIENTS}.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Leave out what is not known, as it is stored."""
        return {part: known for part, known in attrs.items() if known}

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """Return both parts, also where nothing is known."""
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


class ProductSerializer(StrictFields, serializers.Serializer[Product]):
    """A trade item. Its completeness is judged by the ``rule`` in the context, on the ``day``."""

    id = IdField(help_text="Id of the trade item.")
    gtin = GtinField(
        help_text="GTIN of 8, 12, 13 or 14 digits, shown with 14. It cannot be changed.",
        style={"example": "04012345678901"},
    )
    name = _text("Name.", "Oat drink", max_length=255)
    description = _text(
        "Description; may have several lines.",
        "Oat drink without added sugar.",
        max_length=DESCRIPTION_LENGTH,
        several_lines=True,
    )
    brand = TextField(
        max_length=255,
        required=False,
        allow_blank=True,
        source="brand_name",
        help_text="Name of the brand; an unknown name creates a brand, an empty one means none.",
        style={"example": "Haferhof"},
    )
    manufacturer = _text("Manufacturer.", "Haferhof GmbH", max_length=255)
    category = _text("Category, in your own words.", "Dairy alternatives", max_length=255)
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
        help_text="Country of origin (ISO 3166-1), shown as alpha-2; in bodies alpha-3 or the "
        "English name will do.",
        style={"example": "DE"},
    )
    net_content = _text("Net content of one item.", "1 l", max_length=100)
    nutrition = NutritionSerializer(
        required=False, help_text="Nutrition; a change replaces it as a whole."
    )
    status = serializers.ChoiceField(
        choices=ProductStatus.values,
        required=False,
        help_text="Lifecycle status; `active` by default.",
        style={"example": "active"},
    )
    metadata = MetadataField(
        required=False, help_text=METADATA_HELP, style={"example": {"season": "summer"}}
    )
    percentage = serializers.SerializerMethodField(
        help_text="Completeness today in percent, by the organization's rule.",
        style={"example": 85},
    )
    facts = serializers.SerializerMethodField(help_text="The facts behind the percentage.")
    created_at = serializers.DateTimeField(
        read_only=True, help_text="When it was created.", style={"example": "2026-11-24T09:30:00Z"}
    )
    updated_at = serializers.DateTimeField(
        read_only=True,
        help_text="When one of the fields that can be written last changed.",
        style={"example": "2026-11-24T09:30:00Z"},
    )

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
