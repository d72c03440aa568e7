"""Addresses of the pages, below ``/dashboard/``."""

from __future__ import annotations

from django.urls import path

from dashboard.pages.certifications import show_certifications
from dashboard.pages.home import show_home, show_numbers
from dashboard.pages.imports import show_imports
from dashboard.pages.keys import show_keys
from dashboard.pages.offers import show_offers
from dashboard.pages.products import show_products
from dashboard.pages.rule import show_rule
from dashboard.pages.start import start

urlpatterns = [
    path("", start, name="page-start"),
    path("<id:organization_id>/", show_home, name="page-home"),
    path("<id:organization_id>/numbers", show_numbers, name="page-numbers"),
    path("<id:organization_id>/products", show_products, name="page-products"),
    path("<id:organization_id>/offers", show_offers, name="page-offers"),
    path("<id:organization_id>/certifications", show_certifications, name="page-certifications"),
    path("<id:organization_id>/imports", show_imports, name="page-imports"),
    path("<id:organization_id>/rule", show_rule, name="page-rule"),
    path("<id:organization_id>/keys", show_keys, name="page-keys"),
]
