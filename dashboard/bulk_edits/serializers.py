"""Serializers of bulk edits and undos."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from closient.db.ids import format_id, parse_id
from closient.http.fields import IdField, TrueOrFalseField
from closient.http.serializers import StrictFields
from dashboard.bulk_edits.targets import MAX_IDS
from dashboard.models import BulkEdit, BulkEditKind, BulkEditStatus


@extend_schema_field({"type": "string", "maxLength": 36})
class _RowIdField(serializers.Field[UUID, Any, str, Any]):
    """The id of a row in a body."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(style={"example": "KwSysDpxcBU9FNhGkn2dCf"}, **kwargs)

    def to_representation(self, value: UUID) -> str:
        """Format the id."""
        return format_id(value)

    def to_internal_value(self, data: Any) -> UUID:
        """Return the key."""
        try:
            return parse_id(data if isinstance(data, str) else "")
        except ValueError as error:
            raise serializers.ValidationError(str(error), code="id") from error


class BulkEditRequestSerializer(StrictFields, serializers.Serializer[Any]):
    """Which rows to change, and what to set."""

    filter = serializers.DictField(
        required=False,
        help_text="The rows that match: the filters of the list by name, as in its query. An empty "
        "object means all rows.",
        style={"example": {"missing": "country", "brand": "Haferhof"}},
    )
    ids = serializers.ListField(
        child=_RowIdField(),
        required=False,
        min_length=1,
        max_length=MAX_IDS,
        help_text=f"Instead of `filter`: the ids of the rows, at most {MAX_IDS:,}.",
    )
    set = serializers.DictField(
        help_text="The values that all of these rows get, by field, as in the resource. For offers "
        'also `replace_in_url`: `{"old": "...", "new": "..."}` replaces a part of each '
        "address.",
        style={"example": {"country_of_origin": "DE"}},
    )
    dry_run = TrueOrFalseField(
        required=False,
        default=False,
        help_text="Only return what would change (200).",
        style={"example": False},
    )


PREVIEW, UNDO = "preview", "undo"


class BulkEditSerializer(serializers.Serializer[Any]):
    """A bulk edit, the undo of a change, or with `dry_run` what a bulk edit would do."""

    id = IdField(
        allow_null=True,
        help_text="Id of the bulk edit, and of its change in the activity; null for a preview.",
    )
    kind = serializers.ChoiceField(
        choices=[*BulkEditKind.values, UNDO],
        help_text="What it changes; `undo` takes a change back.",
        style={"example": BulkEditKind.TRADE_ITEMS.value},
    )
    undoes = IdField(allow_null=True, help_text="The change that it takes back; or null.")
    status = serializers.ChoiceField(
        choices=[*BulkEditStatus.values, PREVIEW],
        help_text="`waiting` and `running`: a worker makes it. `preview`: nothing was changed.",
        style={"example": BulkEditStatus.DONE.value},
    )
    detail = serializers.CharField(
        help_text="Why it failed, or what an undo left as it is.", style={"example": ""}
    )
    matched = serializers.IntegerField(
        min_value=0, allow_null=True, help_text="Rows that are meant.", style={"example": 142}
    )
    done = serializers.IntegerField(
        min_value=0, help_text="Rows looked at so far.", style={"example": 142}
    )
    changed = serializers.IntegerField(
        min_value=0,
        allow_null=True,
        help_text="Rows that changed, or would change; null until it is done.",
        style={"example": 142},
    )
    completes = serializers.IntegerField(
        allow_null=True,
        default=None,
        help_text="Of a preview: how many more products would be complete, fewer if negative; null "
        "otherwise, and for too many offers or certificates to try.",
        style={"example": 61},
    )
    average_gain = serializers.FloatField(
        allow_null=True,
        default=None,
        help_text="Of a preview: points that the mean percentage of all products would gain, with "
        "two decimals; null as `completes`.",
        style={"example": 1.14},
    )
    created_at = serializers.DateTimeField(
        allow_null=True,
        help_text="When it was asked for; null for a preview.",
        style={"example": "2026-11-24T09:30:00.123456Z"},
    )
    ended_at = serializers.DateTimeField(
        allow_null=True,
        help_text="When it ended.",
        style={"example": "2026-11-24T09:30:01.123456Z"},
    )

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """Return a bulk edit, or the preview of one (a pair of its kind and the effect)."""
        if isinstance(instance, BulkEdit):
            shown = dict.fromkeys(("completes", "average_gain"))
            columns = {
                name: getattr(instance, name)
                for name in (*_COLUMNS, "id", "undoes", "created_at", "ended_at")
            }
            kind = instance.kind or UNDO
            return super().to_representation({**columns, **shown, "kind": kind})
        kind, effect = instance
        nothing = dict.fromkeys(("id", "undoes", "created_at", "ended_at"))
        counts = {"matched": effect.matched, "changed": effect.changed, "done": 0}
        gains = {"completes": effect.completes, "average_gain": effect.average_gain}
        return super().to_representation(
            {**nothing, **counts, **gains, "kind": kind, "status": PREVIEW, "detail": ""}
        )


_COLUMNS = ("status", "detail", "matched", "done", "changed")
