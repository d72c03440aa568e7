"""Admin pages of certifications and their assignments to products."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from catalog.admin_filters import chosen_organization, day_of_list
from catalog.admin_product_rows import OfProductAdmin
from certifications.models import Certification, CertificationAssignment
from closient.accounts.tenant_admin import TenantAdmin, changelist_url


@admin.register(Certification)
class CertificationAdmin(TenantAdmin):
    """Certificates that an organization's products can hold."""

    list_display = ("code", "label", "body", "organization")
    search_fields = ("code", "label")
    search_help_text = "Part of the code or the label."
    ordering = ("code", "id")
    readonly_fields = ("assignments", "created_at")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the fields in order."""
        fields = ("organization", "code", "label", "body")
        return (*fields, "assignments", "created_at") if obj else fields

    @admin.display(description="Products")
    def assignments(self, certification: Certification) -> SafeString:
        """Return a link to the products that hold the certification."""
        address = changelist_url(
            CertificationAssignment,
            organization=certification.organization_id,
            certification__exact=certification.pk,
        )
        return format_html('<a href="{}">Assignments of this certification</a>', address)


class ExpiryFilter(admin.SimpleListFilter):
    """By expiry, relative to today in the organization's time zone (UTC for all organizations)."""

    title = "expiry"
    parameter_name = "expiry"
    choices_in_days = (30, 60, 90)

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        """Return the choices."""
        return [
            ("expired", "expired"),
            *[(str(days), f"expires within {days} days") for days in self.choices_in_days],
            ("later", "not expired"),
            ("never", "never expires"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the assignments that match the choice."""
        value = self.value()
        if value is None:
            return queryset
        today = day_of_list(chosen_organization(request))
        if value == "expired":
            return queryset.filter(expiry_date__lt=today)
        if value == "later":
            return queryset.filter(expiry_date__gte=today)
        if value == "never":
            return queryset.filter(expiry_date=None)
        if value in map(str, self.choices_in_days):
            return queryset.expiring_within(int(value), today)  # type: ignore[attr-defined,no-any-return]
        return queryset


@admin.register(CertificationAssignment)
class CertificationAssignmentAdmin(OfProductAdmin):
    """Certificates of products, with their validity."""

    searched_column = "certificate_number"
    list_display = (
        "gtin",
        "product_name",
        "certification",
        "certificate_number",
        "valid_from",
        "expiry_date",
        "is_valid",
        "verification_status",
        "organization",
    )
    list_filter = (ExpiryFilter, "verification_status")
    list_select_related = ("product", "certification", "organization")
    search_fields = ("product__gtin", "product__name", "certificate_number")
    search_help_text = (
        "A GTIN or its first digits, words of the product name, or the beginning of the "
        "certificate number."
    )
    ordering = ("-id",)
    readonly_fields = ("created_at", "updated_at")
    fieldsets = (
        (None, {"fields": ("organization", "product", "certification")}),
        ("Certificate", {"fields": ("certificate_number", "issuing_body", "verification_url")}),
        ("Validity", {"fields": ("valid_from", "expiry_date", "verification_status")}),
        ("Other", {"fields": ("metadata", "created_at", "updated_at")}),
    )

    @admin.display(description="Valid today", boolean=True)
    def is_valid(self, assignment: CertificationAssignment) -> bool:
        """Return whether the certificate is valid today."""
        return assignment.is_active(assignment.organization.today())
