"""Addresses of the API, below ``/dashboard/api/v1/``."""

from __future__ import annotations

from django.urls import path, register_converter

from catalog.converters import GtinConverter
from closient.api.converters import IdConverter
from closient.api.documents import DocsView, OpenApiView
from dashboard.api.views import CompletenessView, StatsView

register_converter(IdConverter, "id")
register_converter(GtinConverter, "gtin")

urlpatterns = [
    path("openapi.json", OpenApiView.as_view(), name="openapi"),
    path("docs", DocsView.as_view(), name="docs"),
    path("stats/<id:organization_id>", StatsView.as_view(), name="stats"),
    path(
        "trade-items/<id:organization_id>/<gtin:gtin>/completeness",
        CompletenessView.as_view(),
        name="trade-item-completeness",
    ),
]
