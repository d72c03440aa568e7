"""Admin pages of offers."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest

from catalog.product_rows import OfProductAdmin
from closient.admin.forms import save_changed
from offers.checking.now import MOST_AT_ONCE, check_some_now
from offers.editing import OVERRULED_FOR, overrule
from offers.models import Offer, OfferQuerySet


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
    actions = ("check_now",)
    readonly_fields = (
        "http_status",
        "url_checked_at",
        "url_failing_since",
        "url_detail",
        "url_check_at",
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
                    "The URL checker writes the status. What you choose here holds for "
                    f"{OVERRULED_FOR.days * 24} hours, until it looks again; another address is "
                    "unchecked, and an offer in a store has no status."
                ),
                "fields": (
                    "url",
                    "url_status",
                    "http_status",
                    "url_checked_at",
                    "url_failing_since",
                    "url_detail",
                    "url_check_at",
                ),
            },
        ),
        ("Dates", {"fields": ("created_at", "updated_at")}),
    )

    @admin.action(description="Check addresses now", permissions=["change"])
    def check_now(self, request: HttpRequest, queryset: OfferQuerySet) -> None:
        """Check the first of the offers at once, and leave the others to the workers."""
        outcome = check_some_now(queryset)
        told = [f"Addresses checked: {outcome.checked}."]
        if outcome.made_due:
            told.append(
                f"Left to the workers, which check them next: {outcome.made_due}. At most "
                f"{MOST_AT_ONCE} are checked at once, and of one shop only as many as is polite."
            )
        if outcome.skipped:
            told.append(f"In a store, where there is no address to check: {outcome.skipped}.")
        level = messages.SUCCESS if outcome.checked else messages.WARNING
        self.message_user(request, " ".join(told), level)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Save a new offer, or of another one what the person changed and what follows from it."""
        if not change:
            super().save_model(request, obj, form, change)
            return
        changed = set(form.changed_columns)
        if "channel" in changed:
            changed.add("url_status")
        elif "url_status" in changed and "url" not in changed and obj.url_status:
            changed |= overrule(obj, obj.url_status)
        save_changed(obj, sorted(changed))
