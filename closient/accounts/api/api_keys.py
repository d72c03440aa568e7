"""The keys of an organization: for its owners, managers and manager keys."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from closient.accounts import api_keys
from closient.accounts.serializers import (
    ApiKeySerializer,
    CreatedApiKeySerializer,
    NewApiKeySerializer,
    RotationSerializer,
)
from closient.accounts.key_policy import KeyPolicy, key_policy
from closient.accounts.models import ApiKey, ApiKeyRole
from closient.accounts.views import OrganizationView
from closient.db.transactions import run_with_retry
from closient.http import cursors, idempotency, openapi, pagination
from closient.http.fields import values_of
from closient.http.pagination import ListPage, page_of

TAGS = ["Account"]
KEY_ID = openapi.id_parameter("key_id", "the key")
# The text of a key must not be cached.
SECRET = {"Cache-Control": "no-store"}


class _ManagersView(OrganizationView):
    """A view for managers only: even the list of keys is sensitive."""

    read_role = ApiKeyRole.MANAGER
    write_role = ApiKeyRole.MANAGER

    def key_policy(self, request: Request) -> KeyPolicy:
        """Return the caller's key policy."""
        key: Any = request.auth
        return key_policy(self.access, key)

    def created(self, key: ApiKey, text: str) -> Response:
        """Return the response that shows the text of a new key."""
        shown = ApiKeySerializer(key).data
        address = reverse("api-key", args=(self.organization.id, key.id))
        # The version is that of the key at its address, which never shows the text.
        headers = {"Location": address, "ETag": self.etag_of(shown), **SECRET}
        return Response({**shown, "key": text}, status=201, headers=headers)


class ApiKeysView(_ManagersView):
    """The list, and a new key."""

    query_parameters = pagination.PARAMETERS

    @extend_schema(
        operation_id="list_api_keys",
        summary="List API keys",
        description="The organization's keys, newest first, revoked and expired ones too. A key's "
        "text is never shown again: `prefix` tells one from another. Keys of users (`csu_...`) "
        "belong to the users and are not listed.",
        tags=TAGS,
        parameters=[openapi.ORGANIZATION_ID, *(p.documented() for p in pagination.PARAMETERS)],
        responses=openapi.responses(page_of(ApiKeySerializer), "A page.", "validation_error"),
    )
    def get(self, request: Request, organization_id: UUID) -> Response:
        """Return a page of keys."""
        page, _ = ListPage.read(request, self.query_parameters)
        keys = ApiKey.objects.filter(organization=self.organization)
        order: Any = ApiKey._meta.ordering
        return page.answer(
            cursors.rows_between(keys, order, start=page.start, end=page.end, after=page.after),
            total_count=keys.order_by().count(),
            show=lambda rows: ApiKeySerializer(list(rows), many=True).data,
            position=lambda key: cursors.position_of(key, order),
        )

    @extend_schema(
        operation_id="create_api_key",
        summary="Create an API key",
        description="Creates a key. Its text is in this answer only: the service stores its "
        "SHA-256. Fields that you leave out get the default, or your own key's limits and expiry "
        "if those are lower. A key cannot have a higher role, higher limits or a later expiry than "
        "yours. The answer is not stored for an Idempotency-Key: a repeated request creates no "
        "second key and gets 409.",
        tags=TAGS,
        parameters=[openapi.ORGANIZATION_ID, idempotency.PARAMETER],
        request=NewApiKeySerializer,
        responses=openapi.written(
            201,
            CreatedApiKeySerializer,
            "The key, with its text.",
            "conflict",
            "unsupported_media_type",
            "validation_error",
        ),
    )
    def post(self, request: Request, organization_id: UUID) -> Response:
        """Make a key."""
        given = values_of(NewApiKeySerializer(data=request.data))
        key_policy = self.key_policy(request)
        organization = self.organization

        def write() -> Response:
            return self.created(*api_keys.grant_api_key(key_policy, organization, given))

        return idempotency.idempotent(request, organization.id, write, keeps_answer=False)


class ApiKeyView(_ManagersView):
    """One key."""

    @extend_schema(
        operation_id="get_api_key",
        summary="Get an API key",
        description="The key as it is now, without its text.",
        tags=TAGS,
        parameters=[openapi.ORGANIZATION_ID, KEY_ID],
        responses=openapi.responses(ApiKeySerializer, "The key."),
    )
    def get(self, request: Request, organization_id: UUID, key_id: UUID | None) -> Response:
        """Return a key."""
        return Response(ApiKeySerializer(api_keys.find(self.organization, key_id)).data)

    @extend_schema(
        operation_id="update_api_key",
        summary="Change or revoke an API key",
        description="Changes the given fields and keeps the rest. `is_active: false` revokes the "
        "key: its next request gets 401. `true` activates it again. The kind and the text "
        "never change. No key, your own included, can get a higher role, higher limits or a later "
        "expiry than yours. A change that activates or extends a key must leave all of it within "
        "your own role, limits and expiry: lower what exceeds them in the same request.",
        tags=TAGS,
        parameters=[openapi.ORGANIZATION_ID, KEY_ID],
        request=ApiKeySerializer(partial=True),
        responses=openapi.written(
            200, ApiKeySerializer, "The key.", "unsupported_media_type", "validation_error"
        ),
    )
    def patch(self, request: Request, organization_id: UUID, key_id: UUID | None) -> Response:
        """Change a key."""
        # What is not there is 404 whatever the body says.
        api_keys.find(self.organization, key_id)
        given = values_of(ApiKeySerializer(data=request.data, partial=True))
        key_policy = self.key_policy(request)

        def write() -> ApiKey:
            key = self._find_to_write(key_id)
            api_keys.change_api_key(key_policy, key, given)
            return key

        return Response(ApiKeySerializer(run_with_retry(write)).data)

    @extend_schema(
        operation_id="delete_api_key",
        summary="Delete an API key",
        description="Revokes the key at once and forgets it. To keep it in the list as revoked, "
        "set `is_active` to false instead. A key may delete itself.",
        tags=TAGS,
        parameters=[openapi.ORGANIZATION_ID, KEY_ID],
        responses=openapi.written(204, None, "Deleted."),
    )
    def delete(self, request: Request, organization_id: UUID, key_id: UUID | None) -> Response:
        """Delete a key."""
        run_with_retry(lambda: self._find_to_write(key_id).delete())
        return Response(status=204)

    def _find_to_write(self, key_id: UUID | None) -> ApiKey:
        """Return the key with its row locked and its version checked."""
        key = api_keys.find(self.organization, key_id, is_locked=True)
        self.check_version(lambda: ApiKeySerializer(key).data)
        return key


class RotationView(_ManagersView):
    """A new key beside an old one."""

    @extend_schema(
        operation_id="rotate_api_key",
        summary="Rotate an API key",
        description="Makes a key with the name, kind, role and limits of an old one, and answers "
        "with its text, this once. The old key goes on working, so that no request fails while "
        "the new one is put in place: revoke it then, or say now in `old_expires_at` when it is "
        "to end. A revoked key is not rotated (409). For an Idempotency-Key the same holds as for "
        "a new key.",
        tags=TAGS,
        parameters=[openapi.ORGANIZATION_ID, KEY_ID, idempotency.PARAMETER],
        request=RotationSerializer,
        responses=openapi.written(
            201,
            CreatedApiKeySerializer,
            "The new key, with its text.",
            "conflict",
            "unsupported_media_type",
            "validation_error",
        ),
    )
    def post(self, request: Request, organization_id: UUID, key_id: UUID | None) -> Response:
        """Make the new key."""
        api_keys.find(self.organization, key_id)
        given = values_of(RotationSerializer(data=request.data))
        key_policy = self.key_policy(request)

        def write() -> Response:
            old = api_keys.find(self.organization, key_id, is_locked=True)
            return self.created(*api_keys.rotate_api_key(key_policy, old, given))

        return idempotency.idempotent(request, self.organization.id, write, keeps_answer=False)
