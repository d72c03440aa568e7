"""The API of sources: addresses whose files are imported regularly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response

from catalog.models import ImportSource
from closient.accounts.api_views import OrganizationResource
from closient.accounts.models import ApiKeyRole
from closient.http import openapi, pagination
from closient.http.lists import PagedList
from closient.http.resources import (
    AllRows,
    CreateEndpoint,
    ListEndpoint,
    ResourceSchema,
    RowEndpoint,
)
from dashboard.api.refusals import refusals
from dashboard.imports.serializers import ImportSourceSerializer
from dashboard.imports.sources import editing
from dashboard.imports.sources.states import shown_sources

SOURCES = ResourceSchema(
    noun="source",
    nouns="sources",
    a_noun="a source",
    serializer=ImportSourceSerializer,
    tags=["Imports"],
    row=openapi.id_parameter("source_id", "the source"),
)


class SourceResource(OrganizationResource):
    """The sources of an organization."""

    model = ImportSource
    serializer_class = ImportSourceSerializer
    route = "source"
    lookup_argument = "source_id"
    read_role = ApiKeyRole.EDITOR

    def shown_rows(self, rows: Sequence[Any]) -> list[dict[str, Any]]:
        """Serialize several sources, whose last imports are read at once."""
        shown = {each.source.pk: each for each in shown_sources(rows)}
        serializer = ImportSourceSerializer(context={"shown": shown})
        return [serializer.to_representation(row) for row in rows]


@extend_schema_view(
    get=SOURCES.list(
        "The organization's sources by name.",
        parameters=pagination.PARAMETERS,
    ),
    post=SOURCES.create(
        "Adds an address whose file is fetched and imported at once, and then regularly. A file "
        "with less than half of the last one's rows, or with other columns, waits for `apply` "
        f"instead. An organization has at most {editing.MAX_SOURCES} sources; more get 409."
    ),
)
class SourcesView(SourceResource, ListEndpoint, CreateEndpoint):
    """The list, and new sources."""

    query_parameters = pagination.PARAMETERS

    def row_list(self, values: Mapping[str, Any]) -> PagedList:
        """Return the sources."""
        return AllRows(self.rows())

    def create(self, values: dict[str, Any]) -> ImportSource:
        """Create a source."""
        with refusals():
            source = editing.create_source(self.organization, values)
        source.refresh_from_db()
        return source


@extend_schema_view(
    get=SOURCES.get(),
    patch=SOURCES.update(
        "Changes the given fields and keeps the rest. Another address, and another way to read "
        "the file (all options except `skip_bad_rows`), make the source due at once, even if the "
        "file is the same."
    ),
    delete=SOURCES.delete("Deletes the source. Its products, offers and imports stay."),
)
class SourceView(SourceResource, RowEndpoint):
    """One source."""

    def change(self, row: ImportSource, values: dict[str, Any]) -> ImportSource:
        """Change a source."""
        editing.change_source(row, values)
        return row


class SourceRunView(SourceResource):
    """A fetch of a source, now."""

    @extend_schema(
        operation_id="run_source",
        summary="Fetch a source now",
        description="Makes the source due: a worker fetches its file within seconds, also of a "
        "paused source. An unchanged file is not imported again.",
        tags=SOURCES.tags,
        parameters=[*SOURCES.path, SOURCES.row],
        request=None,
        responses=openapi.written(200, ImportSourceSerializer, "The source, which is due."),
    )
    def post(self, request: Request, **kwargs: Any) -> Response:
        """Make the source due."""
        source = self.find()
        editing.run_now(source)
        return Response(self.shown(source))
