"""Serializers of certification assignments."""

from __future__ import annotations

import datetime
from typing import Any

from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from drf_spectacular.openapi import AutoSchema
from rest_framework import serializers

from certifications.models import CertificationAssignment, VerificationStatus
from closient.http import parameters
from closient.http.fields import IdField, StrictFields
from closient.text.urls import clean_url
from dashboard.api.fields import METADATA_HELP, CleanedField, GtinField, MetadataField, TextField

CODE_LENGTH = 64


class DayField(serializers.DateField):
    """A date, given as YYYY-MM-DD and in no other way."""

    def to_internal_value(self, value: Any) -> datetime.date:
        """Return the date."""
        try:
            return parameters.read_date(value if isinstance(value, str) else "")
        except parameters.Refused as error:
            raise serializers.ValidationError(str(error), code=error.code) from None


class CertificationSerializer(StrictFields, serializers.Serializer[Any]):
    """A certification that an organization's trade items can hold."""

    code = TextField(
        max_length=CODE_LENGTH,
        help_text="Code of the certification, unique in the organization.",
        style={"example": "eu-organic"},
    )
    label = TextField(  # type: ignore[assignment]
        max_length=255,
        required=False,
        allow_blank=True,
        help_text="Name for people. Fills a blank one; a label that is there stays.",
        style={"example": "EU Organic"},
    )
    body = TextField(
        max_length=255,
        required=False,
        allow_blank=True,
        help_text="The organization behind it. Fills a blank one; a body that is there stays.",
        style={"example": "European Union"},
    )


class CertificationField(serializers.Field[Any, Any, Any, Any]):
    """A certification: an object in responses, an object or its code in request bodies."""

    def to_internal_value(self, data: Any) -> dict[str, str]:
        """Return the parts that are given by name; errors point to the part."""
        serializer = CertificationSerializer(data={"code": data} if isinstance(data, str) else data)
        if not serializer.is_valid():
            # Given as a text, the text is what the errors of the code are about.
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
        return {"oneOf": [whole, code]}


class CertificationAssignmentSerializer(
    StrictFields, serializers.Serializer[CertificationAssignment]
):
    """A trade item's certificate, which holds from one day to another."""

    id = IdField(help_text="Id of the assignment.")
    gtin = GtinField(
        source="product.gtin",
        help_text="GTIN of the trade item that is certified.",
        style={"example": "04012345678901"},
    )
    certification = CertificationField(
        help_text="What is certified; in bodies its code alone will do. One that the organization "
        "does not have yet is made.",
        style={"example": {"code": "eu-organic", "label": "EU Organic", "body": "European Union"}},
    )
    certificate_number = TextField(
        max_length=100,
        required=False,
        allow_blank=True,
        help_text="Number of the certificate.",
        style={"example": "DE-ÖKO-007-12345"},
    )
    issuing_body = TextField(
        max_length=255,
        required=False,
        allow_blank=True,
        help_text="Who issued the certificate.",
        style={"example": "Example Inspection Ltd"},
    )
    valid_from = DayField(
        required=False,
        allow_null=True,
        help_text="First day on which it holds; null for since ever.",
        style={"example": "2025-03-01"},
    )
    expiry_date = DayField(
        required=False,
        allow_null=True,
        help_text="Last day on which it holds, not before `valid_from`; null for never ending.",
        style={"example": "2027-02-28"},
    )
    verification_status = serializers.ChoiceField(
        choices=VerificationStatus.values,
        required=False,
        help_text="Whether the certificate was verified: `unverified` (the default), `verified` or "
        "`expired`. Does not affect `is_active`.",
        style={"example": "verified"},
    )
    is_active = serializers.SerializerMethodField(
        help_text="Whether it holds today, in the organization's time zone.",
        style={"example": True},
    )
    verification_url = CleanedField(
        cleaner=clean_url,
        code="url",
        max_length=1000,
        required=False,
        allow_blank=True,
        help_text="Where it can be verified, http or https.",
        style={"example": "https://certificates.example.com/12345"},
    )
    metadata = MetadataField(
        required=False, help_text=METADATA_HELP, style={"example": {"audit": "2026"}}
    )
    created_at = serializers.DateTimeField(
        read_only=True,
        help_text="When it was created.",
        style={"example": "2026-11-24T09:30:00Z"},
    )
    updated_at = serializers.DateTimeField(
        read_only=True,
        help_text="When one of the fields that can be written last changed.",
        style={"example": "2026-11-24T09:30:00Z"},
    )

    def get_is_active(self, assignment: CertificationAssignment) -> bool:
        """Return whether the certificate holds on the ``today`` of the context."""
        return assignment.is_active(self.context["today"])
