"""Serializers of certification assignments."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent
from rest_framework import serializers

from catalog.serializers import GtinField
from certifications.models import CODE_LENGTH, Certification, CertificationAssignment
from closient.http.serializers import RowSerializer, about


class CertificationSerializer(RowSerializer[Certification]):
    """A certification that an organization's trade items can hold."""

    class Meta:
        model = Certification
        fields = ("code", "label", "body")
        extra_kwargs = {
            "code": about("Code of the certification, unique in the organization.", "eu-organic"),
            "label": about(
                "Name to display. Sets a blank label; an existing label stays.", "EU Organic"
            ),
            "body": about(
                "The certification body. Sets a blank body; an existing body stays.",
                "European Union",
            ),
        }


class CertificationField(serializers.Field[Any, Any, Any, Any]):
    """A certification: an object in responses, an object or its code in request bodies."""

    def to_internal_value(self, data: Any) -> dict[str, str]:
        """Return the given parts by name; errors point to the part."""
        serializer = CertificationSerializer(data={"code": data} if isinstance(data, str) else data)
        if not serializer.is_valid():
            # If the data is a string, it is the code.
            errors = serializer.errors["code"] if isinstance(data, str) else serializer.errors
            raise serializers.ValidationError(errors)
        parts: dict[str, str] = serializer.validated_data
        return parts

    def to_representation(self, value: Any) -> Any:
        """Return the object."""
        return CertificationSerializer(value).data


class _CertificationFieldSchema(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    """Documents the field: an object in responses, an object or a code in request bodies."""

    target_class = CertificationField

    def map_serializer_field(self, auto_schema: AutoSchema, direction: Any) -> Any:
        whole = auto_schema.resolve_serializer(CertificationSerializer, direction).ref
        if direction == "response":
            return whole
        code = {"type": "string", "minLength": 1, "maxLength": CODE_LENGTH}
        # Shared by several bodies: without a name, generators of clients invent one.
        component = ResolvedComponent(  # type: ignore[no-untyped-call]
            "CertificationOrCode",
            ResolvedComponent.SCHEMA,
            {"oneOf": [whole, code], "description": "A certification, or only its code."},
            CertificationField,
        )
        auto_schema.registry.register_on_missing(component)
        return component.ref


class CertificationAssignmentSerializer(RowSerializer[CertificationAssignment]):
    """A trade item's certificate, valid from one day to another."""

    gtin = GtinField(
        source="product.gtin",
        help_text="GTIN of the trade item that is certified.",
        style={"example": "04012345678901"},
    )
    certification = CertificationField(
        help_text="The certification; request bodies may contain only its code. An unknown "
        "code creates a certification.",
        style={"example": {"code": "eu-organic", "label": "EU Organic", "body": "European Union"}},
    )
    is_active = serializers.SerializerMethodField(
        help_text="Whether it is valid today, in the organization's time zone.",
        style={"example": True},
    )

    class Meta:
        model = CertificationAssignment
        fields = (
            "id",
            "gtin",
            "certification",
            "certificate_number",
            "issuing_body",
            "valid_from",
            "expiry_date",
            "verification_status",
            "is_active",
            "verification_url",
            "metadata",
            "created_at",
            "updated_at",
        )
        extra_kwargs = {
            "id": about("Id of the assignment."),
            "metadata": about(example={"audit": "2026"}),
            "certificate_number": about("Number of the certificate.", "DE-ÖKO-007-12345"),
            "issuing_body": about(example="Example Inspection Ltd"),
            "valid_from": about("First valid day; null if there is no start date.", "2025-03-01"),
            "expiry_date": about(
                "Last valid day, not before `valid_from`; null if it never expires.",
                "2027-02-28",
            ),
            "verification_status": about(
                "Whether the certificate was verified: `unverified` (the default), `verified` or "
                "`expired`. Does not affect `is_active`.",
                "verified",
            ),
            "verification_url": about(example="https://certificates.example.com/12345"),
        }

    def get_is_active(self, assignment: CertificationAssignment) -> bool:
        """Whether the certificate is valid on the ``today`` of the context."""
        return assignment.is_active(self.context["today"])
