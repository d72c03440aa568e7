"""The API of imports: files that the worker checks and imports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.conf import settings
from django.http import FileResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_view
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from catalog.models import ImportRun
from catalog.models.import_source import IMPORT_OPTIONS
from closient.accounts.api_views import OrganizationResource
from closient.accounts.models import ApiKeyRole, User
from closient.http import idempotency, openapi, pagination
from closient.http.bodies import accepts_body
from closient.http.downloads import Download
from closient.http.lists import PagedList
from closient.http.parsers import StrictJsonParser
from closient.http.problems import Problem
from closient.http.resources import AllRows, ListEndpoint, ResourceSchema
from closient.http.serializers import values_of
from dashboard.api.refusals import refusals
from dashboard.imports.runs import actions, files
from dashboard.imports.runs.actions import RunOptions
from dashboard.imports.serializers import (
    ApplySerializer,
    ImportSerializer,
    MapSerializer,
    NewImportFromUrlSerializer,
    NewImportSerializer,
)
from dashboard.imports.sources.editing import clean_address

# The part of a request that is not the file, in bytes.
MAX_FORM_BYTES = 64 * 1024

IMPORTS = ResourceSchema(
    noun="import",
    nouns="imports",
    a_noun="an import",
    serializer=ImportSerializer,
    tags=["Imports"],
    row=openapi.id_parameter("import_id", "the import"),
)


class ImportResource(OrganizationResource):
    """The imports of an organization."""

    model = ImportRun
    serializer_class = ImportSerializer
    route = "import"
    lookup_argument = "import_id"
    read_role = ApiKeyRole.EDITOR

    def caller(self) -> User | None:
        """Return the user who made the request, ``None`` for a key."""
        user: Any = self.request.user
        return user if isinstance(user, User) else None


@extend_schema_view(
    get=IMPORTS.list(
        "The organization's imports, the newest first: files that were sent, and files of its "
        "sources. They are kept for 30 days.",
        parameters=pagination.PARAMETERS,
    ),
    post=extend_schema(
        operation_id="create_import",
        summary="Import a file",
        description="Takes a file as `multipart/form-data`, or as JSON an address from which the "
        "service fetches it once. The file is checked in the background, and then imported by "
        "itself if there is no reason to ask: no rejected rows unless `skip_bad_rows` is true, and "
        "a column with the name. Otherwise, and with `dry_run`, it stays `checked` until it is "
        "applied or canceled. If the columns are not known, or none is the name, it stays "
        "`mapping` until they are mapped, unless the request has a `mapping`. An import is all or "
        "nothing. Follow `Location` until the status is `mapping`, `checked`, `done`, `failed` or "
        "`cancelled`.",
        tags=IMPORTS.tags,
        parameters=[*IMPORTS.path, idempotency.PARAMETER, idempotency.REPLAYED_HEADER],
        request={
            "multipart/form-data": NewImportSerializer,
            "application/json": NewImportFromUrlSerializer,
        },
        responses=openapi.written(
            202,
            ImportSerializer,
            "The import, which waits for a worker.",
            "unsupported_media_type",
            "validation_error",
            "conflict",
        ),
    ),
)
class ImportsView(ImportResource, ListEndpoint):
    """The list, and new imports."""

    query_parameters = pagination.PARAMETERS
    parser_classes = [MultiPartParser, StrictJsonParser]

    def row_list(self, values: Mapping[str, Any]) -> PagedList:
        """Return the imports, the newest first."""
        return AllRows(self.rows(), order=["-created_at", "-id"])

    def post(self, request: Request, **kwargs: Any) -> Response:
        """Store the file or its address, and queue it."""
        is_form = (request.content_type or "").startswith("multipart/form-data")
        serializer = NewImportSerializer if is_form else NewImportFromUrlSerializer
        given = values_of(serializer(data=request.data))
        options = _options(given)
        if not is_form:
            url = clean_address(given["url"])
            with refusals("url"):
                return self._accept(
                    lambda: actions.start_from(self.organization, self.caller(), url, options)
                )
        file = given["file"]
        with refusals("file"), actions.stored(self.organization, file, file.name) as kept:
            return self._accept(
                lambda: actions.create(self.organization, self.caller(), kept, options)
            )

    def _accept(self, create: Callable[[], ImportRun]) -> Response:
        def write() -> Response:
            run = create()
            run.refresh_from_db()
            return Response(self.shown(run), 202, headers={"Location": self.address_of(run)})

        return idempotency.idempotent(self.request, self.organization.id, write)


def _options(given: Mapping[str, Any]) -> RunOptions:
    chosen = {name: given[name] for name in IMPORT_OPTIONS if name in given}
    return RunOptions(
        confirms_itself=not given["dry_run"],
        saves_mapping=given["save_mapping"] and bool(given.get("mapping")),
        **chosen,
    )


imports_view = accepts_body(
    lambda: int(settings.IMPORT_LARGEST_FILE) + MAX_FORM_BYTES, only_forms=True
)(ImportsView.as_view())


@extend_schema_view(get=IMPORTS.get("The import, with its state and its result so far."))
class ImportView(ImportResource):
    """One import."""

    def get(self, request: Request, **kwargs: Any) -> Response:
        """Return the import; one whose worker has died is noticed."""
        return Response(self.shown(actions.refresh(self.find())))


class ImportActionView(ImportResource):
    """A change of the state of an import."""

    def respond(self, change: Callable[[ImportRun], ImportRun]) -> Response:
        """Return the changed import; a change that its state does not allow is a conflict."""
        run = self.find()
        with refusals():
            changed = change(run)
        return Response(self.shown(changed))


_QUEUED_AGAIN = openapi.written(
    200,
    ImportSerializer,
    "The import, which waits for a worker.",
    "unsupported_media_type",
    "validation_error",
    "conflict",
)


class ImportMapView(ImportActionView):
    """The mapping of an import's columns."""

    @extend_schema(
        operation_id="map_import",
        summary="Map the columns of an import",
        description="Says what the columns of the file are, and queues it for another check. For "
        "an import with the status `mapping`, and also for one that is `checked` or `failed` if "
        "its columns are known; others get 409. `found.samples` are the columns with their first "
        "values, `suggested_mapping` is what to begin with. After the check the import goes on "
        "as its request asked for.",
        tags=IMPORTS.tags,
        parameters=[*IMPORTS.path, IMPORTS.row],
        request=MapSerializer,
        responses=_QUEUED_AGAIN,
    )
    def post(self, request: Request, **kwargs: Any) -> Response:
        """Map the columns."""
        self.find()
        given = values_of(MapSerializer(data=request.data))
        return self.respond(
            lambda run: actions.map_columns(
                run, given["mapping"] or {}, remember=given["save_mapping"]
            )
        )


class ImportApplyView(ImportActionView):
    """The confirmation of a checked import."""

    @extend_schema(
        operation_id="apply_import",
        summary="Apply a checked import",
        description="Queues an import with the status `checked` for its import. With rejected "
        "rows `skip_bad_rows` must be true; other statuses get 409.",
        tags=IMPORTS.tags,
        parameters=[*IMPORTS.path, IMPORTS.row],
        request=ApplySerializer,
        responses=_QUEUED_AGAIN,
    )
    def post(self, request: Request, **kwargs: Any) -> Response:
        """Confirm the import."""
        run = self.find()
        given = values_of(ApplySerializer(data=request.data))
        skip = given.get("skip_bad_rows", run.skip_bad_rows)
        return self.respond(lambda found: actions.confirm(found, skip_bad_rows=skip))


class ImportCancelView(ImportActionView):
    """The end of an import that is not done."""

    @extend_schema(
        operation_id="cancel_import",
        summary="Cancel an import",
        description="Ends an import that is not done, and deletes its files. While a worker has "
        "it, the status changes to `cancelled` a moment later. An import that is done gets 409.",
        tags=IMPORTS.tags,
        parameters=[*IMPORTS.path, IMPORTS.row],
        request=None,
        responses=openapi.written(200, ImportSerializer, "The import.", "conflict"),
    )
    def post(self, request: Request, **kwargs: Any) -> Response:
        """Cancel the import."""
        return self.respond(actions.cancel)


class ImportRejectsView(Download, ImportResource):
    """The rejected rows of an import."""

    @extend_schema(
        operation_id="get_import_rejects",
        summary="Download the rejected rows",
        description="The rejected rows of an import as a file in the format of the import, with "
        "the columns `_line` and `_reason`: correct them and import the file. 404 without any.",
        tags=IMPORTS.tags,
        parameters=[*IMPORTS.path, IMPORTS.row],
        responses={
            (200, "application/octet-stream"): OpenApiResponse(
                OpenApiTypes.BINARY, "The rejected rows."
            ),
            304: OpenApiResponse(description="Not modified (If-None-Match)."),
            **openapi.errors(),
        },
    )
    def get(self, request: Request, **kwargs: Any) -> Any:
        """Send the file."""
        run = self.find()
        name = run.rejects_file
        if name and (known := self.not_modified(name)) is not None:
            return known
        try:
            file = files.open_rejects(run)
        except files.FileMissing:
            raise Problem("not_found", "This import has no rejected rows.") from None
        response: Any = FileResponse(
            file,
            as_attachment=True,
            filename=files.rejects_name(run),
            content_type="application/octet-stream",
            headers=self.cache_headers(name),
        )
        return response
