"""Serializers of import runs and of their sources."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import models
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from catalog.models import ImportRun, ImportSource
from catalog.models.import_source import MAX_ADDRESS_LENGTH
from closient.http.fields import IdField, TextField, UrlField
from closient.http.parsers import parse_json
from closient.http.problems import Problem
from closient.http.serializers import RowSerializer, StrictFields, about
from dashboard.imports.layouts import AUTO, LAYOUTS
from dashboard.imports.layouts.mapping import (
    MAX_COLUMNS,
    MAX_TITLE_LENGTH,
    InvalidMapping,
    check_mapping,
)
from dashboard.imports.runs.actions import suggested_mapping
from dashboard.imports.sources.states import SourceState, shown_sources
from offers.serializers import CurrencyField

MAX_PASSWORD_LENGTH = 500
_TIME = "2026-11-24T09:30:00Z"
_EXAMPLE_ADDRESS = "https://feeds.example.com/products.csv"
_CURRENCY_HELP = "Currency of prices without one (ISO 4217); empty for none."
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


_EXAMPLE_MAPPING = {"EAN-Code": "gtin", "Titel": "name"}
_MAPPING_HELP = (
    "What the columns are, for a file that no layout recognizes: the field of each column by its "
    "title, such as `gtin`, `name`, `nutrient:fat:g`, `metadata:color`, `offer_url` or "
    "`certification`. A title that begins with `=` is a value for all rows. It takes the place of "
    "the layout. The fields are listed in the documentation of imports."
)


@extend_schema_field(
    {
        "type": "object",
        "additionalProperties": {"type": "string"},
        "propertyNames": {"minLength": 1, "maxLength": MAX_TITLE_LENGTH},
        "maxProperties": MAX_COLUMNS,
    }
)
class MappingField(serializers.Field[Any, Any, Any, Any]):
    """A mapping of columns by hand; an empty one is none."""

    default_error_messages = {
        "invalid": 'Must be an object of strings, such as {{"EAN-Code": "gtin"}}.',
    }

    def __init__(self, *, help_text: str = _MAPPING_HELP, **kwargs: Any) -> None:
        super().__init__(help_text=help_text, style={"example": _EXAMPLE_MAPPING}, **kwargs)

    def to_internal_value(self, data: Any) -> dict[str, str] | None:
        """Return the mapping without blanks around its texts."""
        if not isinstance(data, Mapping):
            self.fail("invalid")
        try:
            return check_mapping(data) if data else None
        except InvalidMapping as error:
            raise serializers.ValidationError(str(error), code="mapping") from None

    def to_representation(self, value: Any) -> Any:
        """Return the object."""
        return value


class FormMappingField(MappingField):
    """A mapping in a form, as JSON."""

    def to_internal_value(self, data: Any) -> dict[str, str] | None:
        """Read the JSON."""
        try:
            value = parse_json(str(data).encode()) if data else {}
        except Problem:
            self.fail("invalid")
        return super().to_internal_value(value)


class ImportProblemSerializer(serializers.Serializer[Any]):
    """A rejected row."""

    line = serializers.IntegerField(
        help_text="The physical line where the row begins.", style={"example": 3}
    )
    reason = serializers.CharField(
        help_text="Each field with what is wrong.", style={"example": "gtin: wrong check digit"}
    )


class ImportColumnSerializer(serializers.Serializer[Any]):
    """A column that is imported."""

    column = serializers.CharField(help_text="Its title.", style={"example": "Artikelname"})
    field = serializers.CharField(
        help_text="What it is; of repeated parts such as offers with their name.",
        style={"example": "name"},
    )


class ImportSampleSerializer(serializers.Serializer[Any]):
    """A column with its first values."""

    column = serializers.CharField(help_text="Its title.", style={"example": "Artikelname"})
    values = serializers.ListField(
        child=serializers.CharField(),
        help_text="The first different values that are not empty, at most three.",
        style={"example": ["Hafer", "Dinkel"]},
    )


class ImportFoundSerializer(serializers.Serializer[Any]):
    """What was recognized in a file."""

    format = serializers.CharField(
        help_text="Format of the file: `delimited`, `workbook`, `xml`, `json` or `jsonl`.",
        style={"example": "delimited"},
    )
    layout = serializers.CharField(
        default="",
        help_text="The layout that is used; `mapping` for a mapping, empty if none is recognized.",
        style={"example": "csv"},
    )
    title = serializers.CharField(
        default="", help_text="Title of the layout.", style={"example": "CSV"}
    )
    encoding = serializers.CharField(help_text="Character encoding.", style={"example": "utf-8"})
    delimiter = serializers.CharField(
        allow_null=True,
        help_text="Character between cells; null unless the file is delimited text.",
        style={"example": ";"},
    )
    is_compressed = serializers.BooleanField(
        help_text="Whether the file is in gzip or ZIP.", style={"example": False}
    )
    columns = ImportColumnSerializer(
        many=True, help_text="The columns that are imported, at most 300."
    )
    ignored = serializers.ListField(
        child=serializers.CharField(),
        help_text="Titles of the columns that are not imported, at most 300.",
        style={"example": ["Lager"]},
    )
    unused = ImportColumnSerializer(
        many=True,
        default=list,
        help_text="Ignored columns that may be fields of a trade item.",
    )
    samples = ImportSampleSerializer(
        many=True,
        default=list,
        help_text="All columns with a title, at most 300; none for JSON Lines of our own.",
    )
    notices = serializers.ListField(
        child=serializers.CharField(),
        default=list,
        help_text="Sentences on how the file was read.",
        style={"example": ["Read the sheet 'Products'."]},
    )


class ImportTableSerializer(serializers.Serializer[Any]):
    """What an import does in one table."""

    created = serializers.IntegerField(help_text="Rows created.", style={"example": 962})
    updated = serializers.IntegerField(help_text="Rows changed.", style={"example": 10})


class ImportTablesSerializer(serializers.Serializer[Any]):
    """What an import does in each table."""

    products = ImportTableSerializer(help_text="Trade items.")
    offers = ImportTableSerializer(allow_null=True, help_text="Offers; null if the file has none.")
    certificates = ImportTableSerializer(
        allow_null=True, help_text="Certifications of trade items; null if the file has none."
    )


class ImportPreviewSerializer(serializers.Serializer[Any]):
    """One of the first valid rows, as it is imported."""

    line = serializers.IntegerField(help_text="The line where it begins.", style={"example": 2})
    gtin = serializers.CharField(help_text="GTIN-14.", style={"example": "04006381333931"})
    name = serializers.CharField(
        allow_null=True, help_text="Name; null if the row has none.", style={"example": "Hafer"}
    )
    brand = serializers.CharField(
        allow_null=True, help_text="Brand; null if the row has none.", style={"example": "Acme"}
    )
    category = serializers.CharField(
        allow_null=True, help_text="Category; null if the row has none.", style={"example": "Oats"}
    )
    status = serializers.CharField(
        allow_null=True, help_text="Status; null if the row has none.", style={"example": "active"}
    )
    image = serializers.CharField(
        allow_null=True,
        help_text="Address of the first image; null if the row has none.",
        style={"example": "https://images.example.com/1.jpg"},
    )
    images = serializers.IntegerField(help_text="Number of images.", style={"example": 1})
    offers = serializers.IntegerField(help_text="Number of offers.", style={"example": 1})
    certificates = serializers.IntegerField(
        help_text="Number of certificates.", style={"example": 0}
    )
    is_new = serializers.BooleanField(
        allow_null=True,
        help_text="Whether it creates the trade item; false if it changes it, null for neither.",
        style={"example": True},
    )


class ImportProblemGroupSerializer(serializers.Serializer[Any]):
    """The rejected rows that break the same rule."""

    rule = serializers.CharField(
        help_text="The rule.", style={"example": "gtin: wrong check digit"}
    )
    count = serializers.IntegerField(help_text="Number of rows.", style={"example": 31})
    line = serializers.IntegerField(help_text="Line of the first.", style={"example": 3})
    example = serializers.CharField(
        help_text="Reason of the first.", style={"example": "gtin: wrong check digit"}
    )


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
    mapping = MappingField(read_only=True, allow_null=True, help_text="The requested mapping.")
    found = ImportFoundSerializer(
        read_only=True,
        allow_null=True,
        help_text="What was recognized; null before the check.",
    )
    suggested_mapping = serializers.SerializerMethodField(
        help_text="The mapping to begin with: the requested one, else the columns in use, else "
        "what the titles and values of the columns suggest. It may be incomplete. Null if the "
        "columns cannot be mapped now.",
        style={"example": {"EAN-Code": "gtin"}},
    )
    tables = ImportTablesSerializer(
        read_only=True, allow_null=True, help_text="Counts by table; null before the check."
    )
    preview = ImportPreviewSerializer(
        many=True, read_only=True, help_text="The first valid rows as they are imported."
    )
    problem_groups = serializers.SerializerMethodField(
        help_text="The rejected rows by the broken rule, the most frequent first."
    )
    repairs = serializers.DictField(
        child=serializers.IntegerField(),
        read_only=True,
        allow_null=True,
        help_text="How many cells were repaired, by what was repaired.",
        style={"example": {"GTINs: added zeros at the start": 12}},
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
            "mapping",
            "saves_mapping",
            "retailer",
            "shop",
            "currency",
            "overwrite_blank",
            "skip_bad_rows",
            "found",
            "suggested_mapping",
            "total",
            "created",
            "updated",
            "unchanged",
            "rejected",
            "gone",
            "tables",
            "repairs",
            "preview",
            "problem_groups",
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
                "`waiting`, `checking`, `mapping` (waits for `map`), `checked` (waits for "
                "`apply`), `confirmed`, `importing`; and in the end `done`, `failed` or "
                "`cancelled`.",
                "done",
            ),
            "detail": about("Why it failed, was canceled or waits for `map` or `apply`.", ""),
            "saves_mapping": about("Whether its check saves the mapping.", False),
            "shop": about("Address of the shop.", "https://shop.example.com"),
            "currency": about("Currency of prices without one.", "EUR"),
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

    @extend_schema_field({"type": ["object", "null"], "additionalProperties": {"type": "string"}})
    def get_suggested_mapping(self, run: ImportRun) -> dict[str, str] | None:
        """Return the mapping to begin with."""
        return suggested_mapping(run)

    @extend_schema_field(ImportProblemGroupSerializer(many=True))
    def get_problem_groups(self, run: ImportRun) -> list[dict[str, Any]]:
        """Return the groups; none before the check."""
        return run.problem_groups or []

    def get_has_rejects(self, run: ImportRun) -> bool:
        """Return whether there is a file of rejected rows."""
        return bool(run.rejects_file)


class SaveMappingField(serializers.BooleanField):
    """Whether a mapping is also for later files."""

    def __init__(self) -> None:
        super().__init__(
            default=False,
            help_text="Also use the mapping for the organization's next files with the same "
            "columns, if they are imported with the layout `auto`.",
            style={"example": False},
        )


class MapSerializer(StrictFields, serializers.Serializer[Any]):
    """What the columns of an import are."""

    mapping = MappingField()
    save_mapping = SaveMappingField()


class ReadingOptionsSerializer(StrictFields, serializers.Serializer[Any]):
    """How a file is read."""

    layout = LayoutField()
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
    shop = UrlField(
        max_length=1000,
        required=False,
        allow_blank=True,
        help_text="Address of the shop, for files without the addresses of product pages.",
        style={"example": "https://shop.example.com"},
    )
    currency = CurrencyField(help_text=_CURRENCY_HELP)


class _NewImportSerializer(ReadingOptionsSerializer):
    """How a new file is imported."""

    save_mapping = SaveMappingField()
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


class NewImportSerializer(_NewImportSerializer):
    """A new import of a file in the request."""

    file = serializers.FileField(
        max_length=255,
        help_text="The file, at most 200 MB; it may be compressed with gzip.",
        style={"example": "products.csv"},
    )
    mapping = FormMappingField(required=False, help_text=f"{_MAPPING_HELP} As JSON.")


class NewImportFromUrlSerializer(_NewImportSerializer):
    """A new import of a file that is fetched once."""

    url = TextField(
        max_length=MAX_ADDRESS_LENGTH,
        help_text="The https address of the file, which the service fetches.",
        style={"example": _EXAMPLE_ADDRESS},
    )
    mapping = MappingField(required=False, allow_null=True)


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
    mapping = MappingField(required=False, allow_null=True)
    currency = CurrencyField(help_text=_CURRENCY_HELP)
    state = serializers.SerializerMethodField(
        help_text="`asking` (its last file waits for `map`, `apply` or `cancel`), `failing`, "
        "`running`, `paused`, `ok` or `waiting` (not fetched yet).",
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
            "mapping",
            "retailer",
            "shop",
            "currency",
            "overwrite_blank",
            "skip_bad_rows",
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
            "overwrite_blank": about(
                "Empty cells clear the field; otherwise (the default) they leave it as it is.",
                False,
            ),
            "skip_bad_rows": about(
                "Import the valid rows of a file even if others are rejected (the default). "
                "Otherwise such a file waits for `apply`.",
                True,
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
