"""Serializers of import runs and of their sources."""

from __future__ import annotations

from typing import Any

from django.db import models
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from catalog.models import ImportRun, ImportSource
from catalog.models.import_source import MAX_ADDRESS_LENGTH
from closient.http.fields import IdField, TextField
from closient.http.serializers import RowSerializer, StrictFields, about
from dashboard.imports.layouts import AUTO, LAYOUTS
from dashboard.imports.sources.states import SourceState, shown_sources

MAX_PASSWORD_LENGTH = 500
_TIME = "2026-11-24T09:30:00Z"
_EXAMPLE_ADDRESS = "https://feeds.example.com/products.csv"
_LAYOUT_HELP = (
    f"Layout of the file: `{AUTO}` recognizes it by its columns. Others: "
    f"`{'`, `'.join(sorted(LAYOUTS))}`."
)


class LayoutField(serializers.ChoiceField):
    """The name of a layout."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            choices=[AUTO, *sorted(LAYOUTS)],
            required=False,
            help_text=_LAYOUT_HELP,
            style={"example": AUTO},
            **kwargs,
        )


class ImportProblemSerializer(serializers.Serializer[Any]):
    """A rejected row."""

    line = serializers.IntegerField(
        help_text="The physical line where the row begins.", style={"example": 3}
    )
    reason = serializers.CharField(
        help_text="Each field with what is wrong.", style={"example": "gtin: wrong check digit"}
    )


@extend_schema_field({"type": "object", "additionalProperties": True})
class FoundField(serializers.JSONField):
    """What was recognized in a file."""


class ImportSerializer(RowSerializer[ImportRun]):
    """A file, the result of its check, and the result of its import."""

    # All fields are read-only, so they need no limits.
    serializer_field_mapping = {
        **RowSerializer.serializer_field_mapping,
        models.CharField: serializers.CharField,
        models.TextField: serializers.CharField,
    }

    source_id = IdField(
        allow_null=True, help_text="Id of the source that it comes from; null for none."
    )
    found = FoundField(
        read_only=True,
        allow_null=True,
        help_text="What was recognized: `format`, `layout`, `title` of the layout, `encoding`, "
        "`delimiter`, `is_compressed`, `columns` with the `field` of each `column`, the `ignored` "
        "columns, and `notices`; with a `suggestion`, the `unused` columns in it. Null "
        "before the check.",
        style={"example": {"format": "delimited", "layout": "csv", "ignored": ["Price"]}},
    )
    problems = ImportProblemSerializer(
        many=True, read_only=True, help_text="The first rejected rows, at most 20."
    )
    dry_run = serializers.SerializerMethodField(
        help_text="Whether it waits for `apply` after its check.", style={"example": False}
    )
    has_rejects = serializers.SerializerMethodField(
        help_text="Whether the rejected rows can be downloaded.", style={"example": True}
    )

    class Meta:
        model = ImportRun
        fields = (
            "id",
            "source_id",
            "name",
            "url",
            "size",
            "status",
            "detail",
            "dry_run",
            "layout",
            "retailer",
            "overwrite_blank",
            "skip_bad_rows",
            "found",
            "total",
            "created",
            "updated",
            "unchanged",
            "rejected",
            "gone",
            "problems",
            "has_rejects",
            "rows_done",
            "bytes_done",
            "created_at",
            "started_at",
            "ended_at",
        )
        read_only_fields = fields
        extra_kwargs = {
            "id": about("Id of the import."),
            "name": about("Name of the file, or of the source.", "products.csv"),
            "url": about("Where the file comes from; empty if it was sent.", _EXAMPLE_ADDRESS),
            "size": about("Bytes of the file; 0 until it is fetched.", 10_240),
            "status": about(
                "`waiting`, `checking`, `checked` (waits for `apply`), `confirmed`, `importing`; "
                "and in the end `done`, `failed` or `cancelled`.",
                "done",
            ),
            "detail": about("Why it failed, was canceled or waits for `apply`.", ""),
            "layout": about("The requested layout.", AUTO),
            "retailer": about("Who offers the products of a file with offers.", "Example Market"),
            "overwrite_blank": about("Whether empty cells clear the field.", False),
            "skip_bad_rows": about("Whether valid rows are imported without the others.", True),
            "total": about("Rows of the file; null before the check, as all counts.", 1000),
            "created": about("Rows that create something; after a check, that would.", 962),
            "updated": about("Rows that change something.", 10),
            "unchanged": about("Rows that change nothing.", 18),
            "rejected": about("Rejected rows.", 10),
            "gone": about(
                "Rows that the source brought before and no longer has; null if unknown or without "
                "a source.",
                0,
            ),
            "rows_done": about("Rows read so far in this step.", 1000),
            "bytes_done": about("Bytes read so far in this step.", 10_240),
            "started_at": about("When a worker started this step.", _TIME),
            "ended_at": about("When this step ended.", _TIME),
        }

    def get_dry_run(self, run: ImportRun) -> bool:
        """Return whether the run waits after its check."""
        return not run.confirms_itself

    def get_has_rejects(self, run: ImportRun) -> bool:
        """Return whether there is a file of rejected rows."""
        return bool(run.rejects_file)


class _NewImportSerializer(StrictFields, serializers.Serializer[Any]):
    """How a new file is imported."""

    layout = LayoutField()
    dry_run = serializers.BooleanField(
        default=False,
        help_text="Only check the file: nothing changes until `apply`. Otherwise it is imported "
        "after a check without objections.",
        style={"example": False},
    )
    skip_bad_rows = serializers.BooleanField(
        default=False,
        help_text="Import the valid rows even if others are rejected. Otherwise an import with "
        "rejected rows stays `checked`.",
        style={"example": True},
    )
    overwrite_blank = serializers.BooleanField(
        default=False,
        help_text="Empty cells clear the field; otherwise they leave it as it is.",
        style={"example": False},
    )
    retailer = TextField(
        max_length=255,
        required=False,
        allow_blank=True,
        help_text="Who offers the products of a file with offers that does not say so.",
        style={"example": "Example Market"},
    )


class NewImportSerializer(_NewImportSerializer):
    """A new import of a file in the request."""

    file = serializers.FileField(
        max_length=255,
        help_text="The file, at most 200 MB; it may be compressed with gzip.",
        style={"example": "products.csv"},
    )


class NewImportFromUrlSerializer(_NewImportSerializer):
    """A new import of a file that is fetched once."""

    url = TextField(
        max_length=MAX_ADDRESS_LENGTH,
        help_text="The https address of the file, which the service fetches.",
        style={"example": _EXAMPLE_ADDRESS},
    )


class ApplySerializer(StrictFields, serializers.Serializer[Any]):
    """How a checked import is applied."""

    skip_bad_rows = serializers.BooleanField(
        required=False,
        help_text="Import the valid rows without the rejected ones; by default as in the request "
        "that created the import.",
        style={"example": True},
    )


class ImportSourceSerializer(RowSerializer[ImportSource]):
    """An address whose file is imported regularly."""

    password = TextField(
        max_length=MAX_PASSWORD_LENGTH,
        write_only=True,
        required=False,
        allow_blank=True,
        trim_whitespace=False,
        help_text="Password of the user. Stored encrypted and never shown again; it has to be "
        "sent again with an address of another host. Empty removes it.",
        style={"example": "correct horse"},
    )
    has_password = serializers.BooleanField(
        read_only=True, help_text="Whether a password is stored.", style={"example": True}
    )
    layout = LayoutField()
    state = serializers.SerializerMethodField(
        help_text="`asking` (its last file waits for `apply` or `cancel`), `failing`, `running`, "
        "`paused`, `ok` or `waiting` (not fetched yet).",
        style={"example": "ok"},
    )
    last_outcome = serializers.CharField(
        read_only=True,
        help_text="How the last fetch ended: `importing`, `unchanged` or `failed`; empty before "
        "the first.",
        style={"example": "unchanged"},
    )
    last_import_id = serializers.SerializerMethodField(
        help_text="Id of its last import; null for none."
    )

    class Meta:
        model = ImportSource
        fields = (
            "id",
            "name",
            "url",
            "username",
            "password",
            "has_password",
            "layout",
            "retailer",
            "shop",
            "interval_hours",
            "when_gone",
            "is_paused",
            "state",
            "detail",
            "failures",
            "last_run_at",
            "next_run_at",
            "last_outcome",
            "last_import_id",
            "created_at",
            "updated_at",
        )
        read_only_fields = (
            "detail",
            "failures",
            "last_run_at",
            "next_run_at",
        )
        extra_kwargs = {
            "id": about("Id of the source."),
            "name": about(
                "Empty for the host of the address.", "Shop feed", required=False, allow_blank=True
            ),
            "url": about("The https address of the file.", _EXAMPLE_ADDRESS),
            "username": about("User of the address; empty for none.", "brand"),
            "retailer": about(example="Example Market"),
            "shop": about(
                "Address of the shop, for files without the addresses of product pages.",
                "https://shop.example.com",
            ),
            "interval_hours": about("Hours between two fetches: 1, 6 or 24 (the default).", 24),
            "when_gone": about(
                "What happens to rows that the file no longer has: `keep` (the default), "
                "`discontinue` the products, or mark their offers `out_of_stock`.",
                "keep",
            ),
            "is_paused": about("A paused source is not fetched.", False),
            "detail": about("Why the last fetch failed; otherwise empty.", ""),
            "failures": about("Failures in a row.", 0),
            "last_run_at": about("When it was last fetched; null if never.", _TIME),
            "next_run_at": about("When it is fetched next; null if it is paused.", _TIME),
        }

    def to_representation(self, instance: ImportSource) -> Any:
        """Show a source with its state and its last import, which a list reads at once."""
        shown = self.context.get("shown", {}).get(instance.pk) or shown_sources([instance])[0]
        self._shown = shown
        return super().to_representation(instance)

    @extend_schema_field(serializers.ChoiceField(choices=SourceState.values))
    def get_state(self, source: ImportSource) -> str:
        """Return the state."""
        return str(self._shown.state)

    @extend_schema_field(IdField(allow_null=True))
    def get_last_import_id(self, source: ImportSource) -> str | None:
        """Return the id of the last run."""
        run = self._shown.run
        return IdField().to_representation(run.pk) if run else None
