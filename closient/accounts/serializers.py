"""Serializers of API keys and of the caller."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rest_framework import serializers

from closient.accounts.models import ApiKey, ApiKeyKind, ApiKeyRole, MemberRole
from closient.http.fields import IdField
from closient.http.serializers import RowSerializer, StrictFields, about

# What a PositiveIntegerField holds.
MAX_LIMIT = 2**31 - 1
# The kinds that belong to an organization, not to a user.
KINDS = [ApiKeyKind.ORGANIZATION, ApiKeyKind.PUBLISHABLE]

_LIMIT = "Requests {}; 0 for the default. At most your own limit."


def role_field(help_text: str, **kwargs: Any) -> serializers.ChoiceField:
    """Return a field of a key's role."""
    return serializers.ChoiceField(
        choices=ApiKeyRole.values, help_text=help_text, style={"example": "editor"}, **kwargs
    )


class ApiKeySerializer(RowSerializer[ApiKey]):
    """An API key without its text, which is shown only when the key is created."""

    kind = serializers.ChoiceField(
        choices=[kind.value for kind in KINDS],
        read_only=True,
        help_text="`csb`: secret key of the organization. `cpk`: publishable key for a web page, "
        "which only reads stats, forecast and history, from allowed origins.",
        style={"example": "csb"},
    )
    name = serializers.CharField(
        max_length=100,
        help_text="What the key is used for.",
        style={"example": "Nightly export"},
    )
    role = role_field(
        "What the key may do: `readonly` reads, `editor` also writes catalog data, `manager` also "
        "changes the rule and the keys. Never above your own.",
        required=False,
    )

    class Meta:
        model = ApiKey
        fields: Sequence[str] = (
            "id",
            "kind",
            "name",
            "prefix",
            "role",
            "is_active",
            "expires_at",
            "limit_per_minute",
            "limit_per_day",
            "last_used_at",
            "created_at",
        )
        extra_kwargs = {
            "id": about("Id of the key."),
            "prefix": about(
                "The first 8 characters after `csb_`, which identify the key.", "k3Jx9QpZ"
            ),
            "is_active": about("False revokes the key: its next request gets 401.", True),
            "expires_at": about(
                "When the key expires; null for never. No later than your own key's expiry.",
                "2027-12-31T23:59:59Z",
            ),
            "limit_per_minute": about(_LIMIT.format("a minute"), 0, max_value=MAX_LIMIT),
            "limit_per_day": about(_LIMIT.format("a day"), 0, max_value=MAX_LIMIT),
            "last_used_at": about(
                "When the key was last used, to the minute; null for never.",
                "2026-11-24T09:30:00Z",
            ),
            "created_at": about("When the key was created.", "2026-11-24T09:00:00Z"),
        }

    def validate_name(self, name: str) -> str:
        """Reject names that lists and logs cannot show on one line."""
        if not name.isprintable():
            raise serializers.ValidationError(
                "A name is one line, without control characters.", code="control_character"
            )
        return name


class NewApiKeySerializer(ApiKeySerializer):
    """A key to create. Its kind cannot be changed later."""

    kind = serializers.ChoiceField(
        choices=[kind.value for kind in KINDS],
        required=False,
        help_text="`csb` (default): secret key of the organization. `cpk`: publishable key for a "
        "web page, which only reads stats, forecast and history, from allowed origins.",
        style={"example": "csb"},
    )
    is_active = serializers.BooleanField(
        read_only=True, help_text="True: a new key works.", style={"example": True}
    )


class CreatedApiKeySerializer(ApiKeySerializer):
    """A new key with its text. The text is not stored and appears only in this response."""

    key = serializers.CharField(
        read_only=True,
        help_text="The key, to send as X-API-Key. Store it now: it is never shown again.",
        style={"example": "csb_" + "k3Jx9QpZ" * 4 + "_00000000"},
    )

    class Meta(ApiKeySerializer.Meta):
        fields = (*ApiKeySerializer.Meta.fields, "key")


class RotationSerializer(StrictFields, serializers.Serializer[Any]):
    """When the new key and the old key expire."""

    expires_at = serializers.DateTimeField(
        required=False,
        allow_null=True,
        help_text="When the new key expires; null for never. Default: the expiry of the old key.",
        style={"example": "2027-12-31T23:59:59Z"},
    )
    old_expires_at = serializers.DateTimeField(
        required=False,
        help_text="When the old key expires; no later than its current expiry. Default: unchanged.",
        style={"example": "2026-12-01T00:00:00Z"},
    )


class LimitsSerializer(serializers.Serializer[Any]):
    """The numbers of allowed requests."""

    per_minute = serializers.IntegerField(
        min_value=0, help_text="Requests per minute.", style={"example": 300}
    )
    per_day = serializers.IntegerField(
        min_value=0, help_text="Requests per day.", style={"example": 10_000}
    )


class WhoamiKeySerializer(serializers.Serializer[Any]):
    """The key that was sent."""

    id = IdField(help_text="Id of the key.")
    kind = serializers.ChoiceField(
        choices=[ApiKeyKind.ORGANIZATION.value, ApiKeyKind.USER.value],
        help_text="`csb`: key of an organization. `csu`: key of a user.",
        style={"example": "csb"},
    )
    name = serializers.CharField(
        help_text="What the key is used for.", style={"example": "Nightly export"}
    )
    prefix = serializers.CharField(
        help_text="The first 8 characters after the kind.", style={"example": "k3Jx9QpZ"}
    )
    role = role_field("The key's role.")
    expires_at = serializers.DateTimeField(
        allow_null=True,
        help_text="When the key expires; null for never.",
        style={"example": "2027-12-31T23:59:59Z"},
    )


class WhoamiUserSerializer(serializers.Serializer[Any]):
    """The user whose key or session it is."""

    id = IdField(help_text="Id of the user.")
    email = serializers.EmailField(
        help_text="Email address of the user.", style={"example": "alice@example.com"}
    )


class WhoamiOrganizationSerializer(serializers.Serializer[Any]):
    """An accessible organization."""

    id = IdField(help_text="Id of the organization, as used in paths.")
    name = serializers.CharField(
        help_text="Name of the organization.", style={"example": "Example Foods"}
    )
    time_zone = serializers.CharField(
        help_text="IANA name of the time zone in which its days begin.",
        style={"example": "Europe/Berlin"},
    )
    role = role_field("Your effective role: the lower of the key's role and the member's.")
    member_role = serializers.ChoiceField(
        choices=MemberRole.values,
        allow_null=True,
        help_text="The user's role as a member; null for an organization's key.",
        style={"example": "owner"},
    )


class WhoamiSerializer(serializers.Serializer[Any]):
    """The caller and the organizations that the caller can access."""

    key = WhoamiKeySerializer(
        allow_null=True, help_text="The key that was sent; null in a browser session."
    )
    user = WhoamiUserSerializer(
        allow_null=True, help_text="The user of the key or session; null for other keys."
    )
    limits = LimitsSerializer(help_text="The rate limits that apply.")
    organizations = WhoamiOrganizationSerializer(
        many=True, help_text="The accessible organizations, sorted by name."
    )
