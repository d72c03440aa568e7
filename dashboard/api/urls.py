"""Addresses of the API, below ``/dashboard/api/v1/``."""

from __future__ import annotations

from django.urls import path

from catalog.api import CompletenessView, ProductsBatchView, ProductsView, ProductView, RuleView
from catalog.images.api import ImageOrderView, ImagesView, ImageView
from certifications.api import (
    CertificationAssignmentsBatchView,
    CertificationAssignmentsView,
    CertificationAssignmentView,
)
from certifications.attachments_api import (
    AttachmentContentView,
    AttachmentsView,
    AttachmentView,
)
from closient.http.docs.documents import DocsView, OpenApiView
from dashboard.api.activity import ActivityView, ExplainView, ProductHistoryView
from dashboard.api.breakdown import BreakdownView
from dashboard.api.bulk_edits import (
    BulkEditView,
    CertificationsBulkView,
    OffersBulkView,
    ProductsBulkView,
    UndoView,
)
from dashboard.api.changes import ChangesView
from dashboard.api.exports import (
    ArchiveView,
    CertificationExportView,
    OfferExportView,
    TradeItemExportView,
)
from dashboard.api.forecast import ForecastView
from dashboard.api.history import HistoryView
from dashboard.api.imports import (
    ImportApplyView,
    ImportCancelView,
    ImportMapView,
    ImportRejectsView,
    ImportView,
    imports_view,
)
from dashboard.api.opportunities import OpportunitiesView
from dashboard.api.sources import SourceRunView, SourcesView, SourceView
from dashboard.api.stats import StatsView
from offers.api import (
    BrokenByRetailerView,
    OfferCheckView,
    OffersBatchView,
    OffersView,
    OfferView,
)

urlpatterns = [
    path("openapi.json", OpenApiView.as_view(), name="openapi"),
    path("docs", DocsView.as_view(), name="docs"),
    path("stats/<id:organization_id>", StatsView.as_view(), name="stats"),
    path("stats/<id:organization_id>/rule", RuleView.as_view(), name="rule"),
    path("stats/<id:organization_id>/forecast", ForecastView.as_view(), name="forecast"),
    path(
        "stats/<id:organization_id>/opportunities",
        OpportunitiesView.as_view(),
        name="opportunities",
    ),
    path("stats/<id:organization_id>/history", HistoryView.as_view(), name="history"),
    path("stats/<id:organization_id>/explain", ExplainView.as_view(), name="explain"),
    path("activity/<id:organization_id>", ActivityView.as_view(), name="activity"),
    path(
        "changes/<id:organization_id>/<id:change_id>/undo", UndoView.as_view(), name="change-undo"
    ),
    path(
        "bulk-edits/<id:organization_id>/<id:bulk_edit_id>",
        BulkEditView.as_view(),
        name="bulk-edit",
    ),
    path(
        "trade-items/<id:organization_id>/bulk",
        ProductsBulkView.as_view(),
        name="trade-items-bulk",
    ),
    path(
        "trade-items/<id:organization_id>/<gtin:gtin>/history",
        ProductHistoryView.as_view(),
        name="trade-item-history",
    ),
    path("offers/<id:organization_id>/bulk", OffersBulkView.as_view(), name="offers-bulk"),
    path(
        "certifications/<id:organization_id>/bulk",
        CertificationsBulkView.as_view(),
        name="certification-assignments-bulk",
    ),
    path("breakdown/<id:organization_id>", BreakdownView.as_view(), name="breakdown"),
    path("changes/<id:organization_id>", ChangesView.as_view(), name="changes"),
    path("trade-items/<id:organization_id>", ProductsView.as_view(), name="trade-items"),
    path(
        "trade-items/<id:organization_id>/batch",
        ProductsBatchView.as_view(),
        name="trade-items-batch",
    ),
    path(
        "trade-items/<id:organization_id>/<gtin:gtin>",
        ProductView.as_view(),
        name="trade-item",
    ),
    path(
        "trade-items/<id:organization_id>/<gtin:gtin>/completeness",
        CompletenessView.as_view(),
        name="trade-item-completeness",
    ),
    path(
        "trade-items/<id:organization_id>/<gtin:gtin>/images",
        ImagesView.as_view(),
        name="trade-item-images",
    ),
    path(
        "trade-items/<id:organization_id>/<gtin:gtin>/images/order",
        ImageOrderView.as_view(),
        name="trade-item-image-order",
    ),
    path(
        "trade-items/<id:organization_id>/<gtin:gtin>/images/<id:image_id>",
        ImageView.as_view(),
        name="trade-item-image",
    ),
    path("offers/<id:organization_id>", OffersView.as_view(), name="offers"),
    path("offers/<id:organization_id>/batch", OffersBatchView.as_view(), name="offers-batch"),
    path(
        "offers/<id:organization_id>/broken/by-retailer",
        BrokenByRetailerView.as_view(),
        name="broken-offers-by-retailer",
    ),
    path("offers/<id:organization_id>/<id:offer_id>", OfferView.as_view(), name="offer"),
    path(
        "offers/<id:organization_id>/<id:offer_id>/check",
        OfferCheckView.as_view(),
        name="offer-check",
    ),
    path(
        "certifications/<id:organization_id>",
        CertificationAssignmentsView.as_view(),
        name="certification-assignments",
    ),
    path(
        "certifications/<id:organization_id>/batch",
        CertificationAssignmentsBatchView.as_view(),
        name="certification-assignments-batch",
    ),
    path(
        "certifications/<id:organization_id>/<id:assignment_id>",
        CertificationAssignmentView.as_view(),
        name="certification-assignment",
    ),
    path(
        "certifications/<id:organization_id>/<id:assignment_id>/attachments",
        AttachmentsView.as_view(),
        name="certification-assignment-attachments",
    ),
    path(
        "certifications/<id:organization_id>/<id:assignment_id>/attachments/<id:attachment_id>",
        AttachmentView.as_view(),
        name="certification-assignment-attachment",
    ),
    path(
        "certifications/<id:organization_id>/<id:assignment_id>/attachments/<id:attachment_id>"
        "/content",
        AttachmentContentView.as_view(),
        name="certification-assignment-attachment-content",
    ),
    path(
        "exports/<id:organization_id>/trade-items",
        TradeItemExportView.as_view(),
        name="export-trade-items",
    ),
    path("exports/<id:organization_id>/offers", OfferExportView.as_view(), name="export-offers"),
    path(
        "exports/<id:organization_id>/certifications",
        CertificationExportView.as_view(),
        name="export-certifications",
    ),
    path("exports/<id:organization_id>", ArchiveView.as_view(), name="export-organization"),
    path("imports/<id:organization_id>", imports_view, name="imports"),
    path("imports/<id:organization_id>/<id:import_id>", ImportView.as_view(), name="import"),
    path(
        "imports/<id:organization_id>/<id:import_id>/rejects",
        ImportRejectsView.as_view(),
        name="import-rejects",
    ),
    path(
        "imports/<id:organization_id>/<id:import_id>/map",
        ImportMapView.as_view(),
        name="import-map",
    ),
    path(
        "imports/<id:organization_id>/<id:import_id>/apply",
        ImportApplyView.as_view(),
        name="import-apply",
    ),
    path(
        "imports/<id:organization_id>/<id:import_id>/cancel",
        ImportCancelView.as_view(),
        name="import-cancel",
    ),
    path("sources/<id:organization_id>", SourcesView.as_view(), name="sources"),
    path("sources/<id:organization_id>/<id:source_id>", SourceView.as_view(), name="source"),
    path(
        "sources/<id:organization_id>/<id:source_id>/run",
        SourceRunView.as_view(),
        name="source-run",
    ),
]
