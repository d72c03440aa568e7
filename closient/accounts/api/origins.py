"""The allowed origins of an organization: web pages that may call the API from a browser."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from closient.accounts.api_views import OrganizationView
from closient.accounts.cors import change_allowed_origins
from closient.accounts.models import ApiKeyRole, Organization
from closient.accounts.origins import MAX_LENGTH, MAX_ORIGINS, InvalidOrigin, clean_origins
from closient.http import openapi
from closient.http.serializers import StrictFields, values_of


class AllowedOriginsSerializer(StrictFields, serializers.Serializer[Any]):
    """The origins of web pages that may call the API from a browser."""

    origins = serializers.ListField(
        child=serializers.CharField(max_length=2 * MAX_LENGTH),
        max_length=MAX_ORIGINS,
        help_text="Each is a scheme, a host and optionally a port, without a path: https, or http "
        "for a loopback address. Returned as browsers send them.",
        style={"example": ["https://www.example.com"]},
    )

    def validate_origins(self, origins: list[str]) -> list[str]:
        """Return the origins in their stored form."""
        try:
            return clean_origins(origins)
        except InvalidOrigin as error:
            raise serializers.ValidationError(str(error), code="origin") from None


class AllowedOriginsView(OrganizationView):
    """The allowed origins, for owners, managers and manager keys."""

    read_role = ApiKeyRole.MANAGER
    write_role = ApiKeyRole.MANAGER

    @extend_schema(
        operation_id="get_allowed_origins",
        summary="Get the allowed origins",
        description="The origins of web pages that may call the API for this organization from a "
        "browser (CORS). If the list is empty, only pages of this service can.",
        tags=["Account"],
        parameters=[openapi.ORGANIZATION_ID],
        responses=openapi.responses(AllowedOriginsSerializer, "The origins."),
    )
    def get(self, request: Request, organization_id: UUID) -> Response:
        """Return the origins."""
        return Response(_shown(self.organization))

    @extend_schema(
        operation_id="set_allowed_origins",
        summary="Set the allowed origins",
        description="Replaces the list. The change applies to the next request, but browsers cache "
        "a permission for up to ten minutes.",
        tags=["Account"],
        parameters=[openapi.ORGANIZATION_ID],
        request=AllowedOriginsSerializer,
        responses=openapi.written(
            200,
            AllowedOriginsSerializer,
            "The origins as they are now.",
            "unsupported_media_type",
            "validation_error",
        ),
    )
    def put(self, request: Request, organization_id: UUID) -> Response:
        """Replace the origins."""
        origins = values_of(AllowedOriginsSerializer(data=request.data))["origins"]

        def check(organization: Organization) -> None:
            self.check_version(lambda: _shown(organization))

        organization = change_allowed_origins(self.organization.id, origins, check=check)
        return Response(_shown(organization))


def _shown(organization: Organization) -> dict[str, list[str]]:
    return {"origins": organization.allowed_origins}
