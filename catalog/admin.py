"""Admin pages of brands, products with their images, and rules."""

from __future__ import annotations

import datetime
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from catalog.admin_filters import CompleteFilter, FactsFilter
from catalog.admin_forms import ImageForm, ImageFormSet, ProductForm
from catalog.completeness import FACTS
from catalog.gtin import gtins_beginning_with
from catalog.models import Brand, CompletenessRule, Product, ProductImage, effective_rule
from closient.accounts.admin import OrganizationAdmin
from closient.accounts.tenant_admin import TenantAdmin, changelist_url
from closient.admin.base import StackedInline, TabularInline


class CompletenessRuleInline(StackedInline):
    """An organization's own weights and threshold; without it, the default rule applies."""

    model = CompletenessRule
    extra = 0
    verbose_name = "completeness rule (without one, the default rule applies)"
    fieldsets = (
        (
            None,
            {
                "description": "Weights are whole numbers from 0 to 100; 0 leaves a fact out.",
                "fields": (tuple(fact.name for fact in FACTS), "threshold"),
            },
        ),
    )


OrganizationAdmin.extend(inlines=[CompletenessRuleInline])


@admin.register(Brand)
class BrandAdmin(TenantAdmin):
    """Brand names of organizations."""

    fields = ("organization", "name", "products", "created_at")
    readonly_fields = ("products", "created_at")
    list_display = ("name", "organization", "created_at")
    search_fields = ("name",)
    search_help_text = "Part of the name."
    ordering = ("name", "id")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the fields in order."""
        return self.fields if obj else ("organization", "name")

    @admin.display(description="Products")
    def products(self, brand: Brand) -> SafeString:
        """Return a link to the brand's products."""
        address = changelist_url(Product, organization=brand.organization_id, brand__exact=brand.pk)
        return format_html('<a href="{}">Products of this brand</a>', address)


class ImageInline(TabularInline):
    """The images of a product; they belong to the product's organization."""

    model = ProductImage
    form = ImageForm
    formset = ImageFormSet
    fields = ("image", "external_url", "title", "is_primary", "priority", "size")
    readonly_fields = ("size",)
    extra = 0

    @admin.display(description="Pixels")
    def size(self, image: ProductImage) -> str:
        """Return the size of a stored file."""
        return f"{image.width} x {image.height}" if image.width else ""


@admin.register(Product)
class ProductAdmin(TenantAdmin):
    """Trade items, with their missing facts."""

    form = ProductForm
    inlines = (ImageInline,)
    list_display = (
        "gtin",
        "name",
        "brand",
        "status",
        "percentage",
        "lacks",
        "organization",
    )
    list_display_links = ("gtin", "name")
    list_filter = (FactsFilter, CompleteFilter, "status")
    list_select_related = ("organization__completeness_rule", "brand", "summary")
    search_fields = ("gtin", "name")
    search_help_text = "A GTIN or its first digits, or words of the name or their first letters."
    ordering = ("-id",)
    readonly_fields = ("completeness", "related", "created_at", "updated_at")

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the groups of fields; completeness comes first."""
        item = (
            "Trade item",
            {"fields": ("organization", "gtin", "name", "brand", "description", "status")},
        )
        details = (
            "Details",
            {
                "fields": (
                    "category",
                    "gpc_brick_code",
                    "country_of_origin",
                    "manufacturer",
                    "net_content",
                    "nutrition",
                    "metadata",
                )
            },
        )
        if not obj:
            return [item, details]
        shown = {"fields": ("completeness", "related", ("created_at", "updated_at"))}
        return [("Completeness today", shown), item, details]

    def search_ordering(self, searched: str) -> tuple[str, ...]:
        """Return the order of results: by GTIN (indexed) for digits, otherwise by name."""
        return ("gtin", "-id") if gtins_beginning_with(searched.strip()) else ("name", "-id")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Return the products that match the search, using its indexes."""
        return queryset.search(search_term), False  # type: ignore[attr-defined]

    @admin.display(description="Complete")
    def percentage(self, product: Product) -> str:
        """Return the percentage by the organization's rule today."""
        rule = effective_rule(product.organization)
        return f"{rule.percentage(product.fact_mask(product.organization.today()))} %"

    @admin.display(description="Missing")
    def lacks(self, product: Product) -> str:
        """Return the missing facts that have a weight in the organization's rule."""
        mask = product.fact_mask(product.organization.today())
        rule = effective_rule(product.organization)
        return ", ".join(f.name for f in FACTS if rule.weight(f) and not mask & f.bit)

    @admin.display(description="Facts")
    def completeness(self, product: Product) -> SafeString:
        """Return the percentage and a table of the facts."""
        today: datetime.date = product.organization.today()
        mask, rule = product.fact_mask(today), effective_rule(product.organization)
        rows = format_html_join(
            "",
            '<tr><th scope="row">{}</th><td class="{}">{}</td><td>{}</td><td>{}</td></tr>',
            (
                (fact.name, "present", "✓", f"weight {rule.weight(fact)}", "")
                if mask & fact.bit
                else (fact.name, "absent", "missing", f"weight {rule.weight(fact)}", fact.hint)
                for fact in FACTS
            ),
        )
        return format_html(
            '<strong>{} %, {}</strong> (complete at {} % or more)<table class="facts">{}</table>',
            rule.percentage(mask),
            "complete" if rule.is_complete(mask) else "not complete",
            rule.threshold,
            rows,
        )

    @admin.display(description="Lists")
    def related(self, product: Product) -> SafeString:
        """Return links to the lists of the product's offers and certificates."""
        return format_html_join(
            " · ",
            '<a href="{}">{}</a>',
            (
                (
                    changelist_url(
                        model, organization=product.organization_id, product__exact=product.pk
                    ),
                    model._meta.verbose_name_plural,
                )
                for model in self._models_of_products()
            ),
        )

    def _models_of_products(self) -> list[Any]:
        related: Any = (relation.related_model for relation in Product._meta.related_objects)
        return [model for model in related if self.admin_site.is_registered(model)]
