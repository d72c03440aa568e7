"""The keys of an organization: for its owners, managers and manager keys."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response

from closient.accounts import api_keys
from closient.accounts.api_views import OrganizationResource
from closient.accounts.key_policy import KeyPolicy, key_policy
from closient.accounts.models import ApiKey, ApiKeyRole
from closient.accounts.serializers import (
    ApiKeySerializer,
    CreatedApiKeySerializer,
    NewApiKeySerializer,
    RotationSerializer,
)
from closient.http import idempotency, openapi, pagination
from closient.http.resources import ListEndpoint, ResourceSchema, RowEndpoint
from closient.http.serializers import values_of

API_KEYS = ResourceSchema(
    noun="api_key",
    nouns="api_keys",
    a_noun="an API key",
    serializer=ApiKeySerializer,
    tags=["Account"],
    row=openapi.id_parameter("key_id", "the key"),
    has_conflicts=False,
)
# The text of a key must not be cached.
SECRET = {"Cache-Control": "no-store"}


class ApiKeyResource(OrganizationResource):
    """The keys of an organization, for managers only: even their list is sensitive."""

    model = ApiKey
    serializer_class = ApiKeySerializer
    route = "api-key"
    lookup_argument = "key_id"
    read_role = ApiKeyRole.MANAGER
    write_role = ApiKeyRole.MANAGER

    @property
    def key_policy(self) -> KeyPolicy:
        """The caller's key policy."""
        key: Any = self.request.auth
        return key_policy(self.access, key)

    def created(self, key: ApiKey, text: str) -> Response:
        """Return the response that shows the text of a new key."""
        shown = self.shown(key)
        # The ETag is that of the key's own URL, which never shows the text.
        headers = {"Location": self.address_of(key), "ETag": self.etag_of(shown), **SECRET}
        return Response({**shown, "key": text}, status=201, headers=headers)


@extend_schema_view(
    get=API_KEYS.list(
        "The organization's keys, newest first, revoked and expired ones too. A key's text is "
        "never shown again; `prefix` identifies it. Keys of users (`csu_...`) belong to the users "
        "and are not listed.",
        summary="List API keys",
        parameters=pagination.PARAMETERS,
    ),
    post=API_KEYS.create(
        "Creates a key. Only this response contains its text; the service stores the SHA-256 hash. "
        "Omitted fields get the default, or your own key's limits and expiry if those are lower. A "
        "key cannot have a higher role, higher limits or a later expiry than yours. The response "
        "is not stored for an Idempotency-Key: a repeated request creates no second key and gets "
        "409.",
        request=NewApiKeySerializer,
        serializer=CreatedApiKeySerializer,
        answer="The key, with its text.",
        is_kept=False,
    ),
)
class ApiKeysView(ApiKeyResource, ListEndpoint):
    """The list, and new keys."""

    query_parameters = pagination.PARAMETERS

    def post(self, request: Request, **kwargs: Any) -> Response:
        """Create a key."""
        given = values_of(NewApiKeySerializer(data=request.data))
        policy, organization = self.key_policy, self.organization

        def write() -> Response:
            return self.created(*api_keys.grant_api_key(policy, organization, given))

        return idempotency.idempotent(request, organization.id, write, keeps_answer=False)


@extend_schema_view(
    get=API_KEYS.get("The key as it is now, without its text."),
    patch=API_KEYS.update(
        "Changes the given fields and keeps the rest. `is_active: false` revokes the key: its next "
        "request gets 401. `true` activates it again. The kind and the text never change. No key, "
        "your own included, can get a higher role, higher limits or a later expiry than yours. A "
        "change that activates or extends a key must leave all of it within your own role, limits "
        "and expiry: lower what exceeds them in the same request.",
        summary="Change or revoke an API key",
    ),
    delete=API_KEYS.delete(
        "Revokes the key immediately and deletes it. To keep it in the list as revoked, set "
        "`is_active` to false instead. A key can delete itself."
    ),
)
class ApiKeyView(ApiKeyResource, RowEndpoint):
    """One key."""

    def change(self, row: ApiKey, values: dict[str, Any]) -> ApiKey:
        """Change a key."""
        api_keys.change_api_key(self.key_policy, row, values)
        return row


class RotationView(ApiKeyResource):
    """The rotation of a key: creates a copy of it."""

    @extend_schema(
        operation_id="rotate_api_key",
        summary="Rotate an API key",
        description="Creates a key with the name, kind, role and limits of an old one. Only this "
        "response contains its text. The old key keeps working, so that no request fails while you "
        "replace it: revoke it afterwards, or set `old_expires_at` now. A revoked key cannot be "
        "rotated (409). The response is not stored for an Idempotency-Key: a repeated request "
        "creates no second key and gets 409.",
        tags=API_KEYS.tags,
        parameters=[*API_KEYS.path, API_KEYS.row, idempotency.PARAMETER],
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
    def post(self, request: Request, **kwargs: Any) -> Response:
        """Create the new key."""
        self.find()
        given = values_of(RotationSerializer(data=request.data))
        policy = self.key_policy

        def write() -> Response:
            return self.created(*api_keys.rotate_api_key(policy, self.find(is_locked=True), given))

        return idempotency.idempotent(request, self.organization.id, write, keeps_answer=False)
