"""Admin pages of offers."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from catalog.search import of_products_like
from closient.admin.tenant import TenantAdmin, organization_asked_for
from offers.models import Offer


@admin.register(Offer)
class OfferAdmin(TenantAdmin):
    """Where products can be bought, and whether the addresses work."""

    organization_from = "product"
    list_display = (
        "gtin",
        "product_name",
        "retailer",
        "store",
        "channel",
        "status",
        "url_status",
        "url_checked_at",
        "organization",
    )
    list_filter = ("url_status", "status", "channel")
    list_select_related = ("product", "organization")
    search_fields = ("product__gtin", "product__name", "retailer")
    search_help_text = (
        "A GTIN or its beginning; else words of the product's name, or the retailer's beginning."
    )
    ordering = ("-id",)
    readonly_fields = (
        "http_status",
        "url_checked_at",
        "url_failing_since",
        "url_detail",
        "created_at",
        "updated_at",
    )
    fieldsets = (
        (None, {"fields": ("organization", "product", "channel", "retailer", "store", "sku")}),
        ("Offer", {"fields": ("status", "price", "currency", "metadata")}),
        (
            "Address",
            {
                "description": (
                    "The URL checker writes the status. What you choose here holds until it "
                    "looks again; an offer in a store has none."
                ),
                "fields": (
                    "url",
                    "url_status",
                    "http_status",
                    "url_checked_at",
                    "url_failing_since",
                    "url_detail",
                ),
            },
        ),
        ("Dates", {"fields": ("created_at", "updated_at")}),
    )

    def ordering_of_results(self, searched: str) -> tuple[str, ...]:
        """Return the order of results: newest first, as ever, by a column without an index."""
        return ("-created_at", "-id")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Return the offers that are looked for."""
        found = of_products_like(
            queryset,
            search_term,
            or_beginning_of="retailer",
            organization_id=organization_asked_for(request),
        )
        return found, False

    @admin.display(description="GTIN")
    def gtin(self, offer: Offer) -> str:
        """Return the product's GTIN."""
        return offer.product.gtin

    @admin.display(description="Product")
    def product_name(self, offer: Offer) -> str:
        """Return the product's name."""
        return offer.product.name
