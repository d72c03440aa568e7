"""Admin pages of offers."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest

from catalog.admin_product_rows import OfProductAdmin
from closient.accounts.tenant_admin import TenantForm
from closient.admin.forms import save_changed
from offers.editing import MANUAL_STATUS_FOR, set_status_manually
from offers.models import Offer, OfferQuerySet
from offers.url_checks.check_now import MAX_CHECKED_NOW, check_some_now

# Fields shown instead to people who may only view an offer.
_VIEWED = {"price": "viewed_price"}


class OfferForm(TenantForm):
    """The form of an offer, whose price has the digits of its currency (ISO 4217)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Absent for people who may only view the offer.
        if "price" in self.fields:
            self.fields["price"].widget.attrs["step"] = "any"
            self.initial["price"] = self._stored("price")

    def _stored(self, name: str) -> Any:
        value = super()._stored(name)
        if name == "price" and value is not None:
            return Decimal(self.instance.shown_price)
        return value


@admin.register(Offer)
class OfferAdmin(OfProductAdmin):
    """Where products can be bought, and whether the URLs work."""

    form = OfferForm
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
        "A GTIN or its first digits, words of the product name, or the beginning of the retailer."
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
                    "The URL checker sets the status. A status that you choose stays for "
                    f"{MANUAL_STATUS_FOR.days * 24} hours, until the next check. A new URL is "
                    "unchecked. An offer in a store has no URL status."
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

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the fields; a price that can only be viewed is text in its currency."""
        fieldsets: Any = super().get_fieldsets(request, obj)
        if obj is None or self.has_change_permission(request, obj):
            return fieldsets
        return [
            (name, {**options, "fields": [_VIEWED.get(f, f) for f in options["fields"]]})
            for name, options in fieldsets
        ]

    @admin.display(description="Price")
    def viewed_price(self, offer: Offer) -> str | None:
        """Return the price with the digits of its currency."""
        return offer.shown_price

    @admin.action(description="Check URLs now", permissions=["change"])
    def check_now(self, request: HttpRequest, queryset: OfferQuerySet) -> None:
        """Check the first offers immediately, and leave the others to the workers."""
        summary = check_some_now(queryset)
        sentences = [f"URLs checked: {summary.checked}."]
        if summary.made_due:
            sentences.append(
                f"Queued for the workers: {summary.made_due}. At most {MAX_CHECKED_NOW} URLs are "
                "checked immediately, within the limits of each shop."
            )
        if summary.skipped:
            sentences.append(f"In store, without a URL to check: {summary.skipped}.")
        level = messages.SUCCESS if summary.checked else messages.WARNING
        self.message_user(request, " ".join(sentences), level)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Save a new offer; of an existing one, save what was changed and what follows from it."""
        if not change:
            super().save_model(request, obj, form, change)
            return
        changed = set(form.changed_columns)
        if "channel" in changed:
            changed.add("url_status")
        elif "url_status" in changed and "url" not in changed and obj.url_status:
            changed |= set_status_manually(obj, obj.url_status)
        save_changed(obj, sorted(changed))
