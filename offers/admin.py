"""Admin pages of offers."""

from __future__ import annotations

from django.contrib import admin

from catalog.product_rows import OfProductAdmin
from offers.models import Offer


@admin.register(Offer)
class OfferAdmin(OfProductAdmin):
    """Where products can be bought, and whether the addresses work."""

    searched_column = "retailer"
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
