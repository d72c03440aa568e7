"""Exports: lists as files, and the archive of an organization."""

from __future__ import annotations

from typing import Any, ClassVar

from django.http import StreamingHttpResponse
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.exceptions import NotAcceptable
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from closient.accounts.api_views import OrganizationView
from closient.accounts.models import ApiKeyRole
from closient.http import openapi
from closient.http.parameters import Parameter, read_query
from closient.http.problems import Problem
from dashboard.archive.writing import archive_pieces
from dashboard.exports import tables
from dashboard.exports.formats import FORMAT, SEPARATOR, ExportFormat
from dashboard.exports.responses import archive_response, list_response
from dashboard.exports.snapshots import Exporter
from dashboard.exports.tables import ExportTable


class _FileRenderer(BaseRenderer):
    """Names a media type, by which content negotiation chooses; views send the files."""


class _CsvRenderer(_FileRenderer):
    media_type = ExportFormat.CSV.media_type
    format = ExportFormat.CSV.value


class _XlsxRenderer(_FileRenderer):
    media_type = ExportFormat.XLSX.media_type
    format = ExportFormat.XLSX.value


class _JsonLinesRenderer(_FileRenderer):
    media_type = ExportFormat.JSONL.media_type
    format = ExportFormat.JSONL.value


class _ZipRenderer(_FileRenderer):
    media_type = "application/zip"
    format = "zip"


class _ExportView(OrganizationView):
    """An export of an organization; counts in the limits of the key or the user."""

    has_version = False
    organization_related = ("completeness_rule",)

    @property
    def exporter(self) -> Exporter:
        """The key or the user of the request."""
        user: Any = self.request.user
        key: Any = self.request.auth
        return Exporter.of(user=user if key is None else None, key=key)

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        """Return the renderer of the format; raises ``not_acceptable`` with those there are."""
        try:
            return super().perform_content_negotiation(request, force)
        except NotAcceptable:
            names = " or ".join(renderer.media_type for renderer in self.get_renderers())
            raise Problem("not_acceptable", f"The file is only available as {names}.") from None


class ListExportView(_ExportView):
    """All rows of a list as a file."""

    renderer_classes = [_CsvRenderer, _XlsxRenderer, _JsonLinesRenderer]
    table: ClassVar[ExportTable]

    def get_renderers(self) -> list[Any]:
        """Return the renderer of the parameter ``format``, or all of them."""
        renderers = super().get_renderers()
        request = getattr(self, "request", None)
        chosen = request.query_params.get(FORMAT.name) if request is not None else None
        return [one for one in renderers if one.format == chosen] or renderers

    def get(self, request: Request, **kwargs: Any) -> StreamingHttpResponse:
        """Return the file."""
        values = read_query(request.query_params, self.query_parameters)
        renderer: Any = request.accepted_renderer
        return list_response(
            self.exporter, self.organization, self.table, values, ExportFormat(renderer.format)
        )


def _parameters(table: ExportTable) -> tuple[Parameter, ...]:
    return (FORMAT, SEPARATOR, *table.row_list.unpaged_parameters())


def _documented(table: ExportTable, nouns: str, of: str) -> Any:
    """Document the export of a list; ``of`` names its rows in the description."""
    return extend_schema_view(
        get=extend_schema(
            operation_id=f"export_{nouns}",
            summary=f"Export {nouns.replace('_', ' ')}",
            description=f"{of} that match all given filters, in the order of the list, as a file. "
            "It is read from one snapshot: exactly what the list is at one moment. The first bytes "
            "come at once, except with `xlsx`, which is written completely first. An export counts "
            "as one request, and in the limits of exports: a key or a user may run two at a time.",
            tags=["Exports"],
            parameters=[
                openapi.ORGANIZATION_ID,
                *(parameter.documented() for parameter in _parameters(table)),
            ],
            responses=openapi.download("The file."),
        )
    )


@_documented(
    tables.PRODUCTS,
    "trade_items",
    "The trade items, in a form that an import reads back without changes,",
)
class TradeItemExportView(ListExportView):
    """The trade items."""

    table = tables.PRODUCTS
    query_parameters = _parameters(table)


@_documented(tables.OFFERS, "offers", "The offers")
class OfferExportView(ListExportView):
    """The offers."""

    table = tables.OFFERS
    query_parameters = _parameters(table)


@_documented(tables.CERTIFICATIONS, "certification_assignments", "The certificates of trade items")
class CertificationExportView(ListExportView):
    """The certification assignments."""

    table = tables.CERTIFICATIONS
    query_parameters = _parameters(table)


class ArchiveView(_ExportView):
    """Everything of an organization in one file."""

    renderer_classes = [_ZipRenderer]
    read_role = ApiKeyRole.MANAGER

    @extend_schema(
        operation_id="export_organization",
        summary="Export everything",
        description="Everything of the organization in one ZIP archive, read from one snapshot: "
        "trade items with all images and their files, offers, certificates, the rule, and a "
        "manifest with the seven numbers. `manage.py import_archive` brings it into an empty "
        "organization. It contains no keys and no people. For owners, managers and manager keys.",
        tags=["Exports"],
        parameters=[openapi.ORGANIZATION_ID],
        responses=openapi.download("The archive."),
    )
    def get(self, request: Request, **kwargs: Any) -> StreamingHttpResponse:
        """Return the archive."""
        organization = self.organization
        return archive_response(self.exporter, organization, archive_pieces(organization))
