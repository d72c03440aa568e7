"""Admin pages of rows that belong to products, as offers: found by what a person types."""

from __future__ import annotations

from typing import Any, TypeVar
from uuid import UUID

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from catalog.models import Product
from closient.accounts.tenant_admin import TenantAdmin, organization_asked_for

# So many products are looked at: whoever finds more types more.
PRODUCTS_LOOKED_AT = 1_000

Rows = TypeVar("Rows", bound=QuerySet[Any])


def of_products_like(
    rows: Rows, text: str, *, or_beginning_of: str, organization_id: UUID | None
) -> Rows:
    """Return the rows whose product fits the text, or whose own column begins with it.

    The products are looked up first, in one query: the planner cannot know how rare a word is,
    and would join all rows of both tables.
    """
    text = text.strip().replace("\x00", "")
    if not text:
        return rows
    products = Product.objects.search(text)
    if organization_id:
        products = products.of(organization_id)
    keys = list(products.order_by().values_list("organization_id", "pk")[:PRODUCTS_LOOKED_AT])
    # Every index begins with the organization.
    of_products = Q(
        organization__in={organization for organization, _ in keys},
        product__in=[product for _, product in keys],
    )
    return rows.filter(of_products | Q(**{f"{or_beginning_of}__istartswith": text}))


class OfProductAdmin(TenantAdmin):
    """Rows of a product, listed with its GTIN and name.

    ``searched_column`` is the rows' own column that a search also looks at.
    """

    organization_from = "product"
    searched_column = ""

    def ordering_of_results(self, searched: str) -> tuple[str, ...]:
        """Return the order of results: newest first, as ever, by a column without an index."""
        return ("-created_at", "-id")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Return the rows that are looked for."""
        found = of_products_like(
            queryset,
            search_term,
            or_beginning_of=self.searched_column,
            organization_id=organization_asked_for(request),
        )
        return found, False

    @admin.display(description="GTIN")
    def gtin(self, row: Any) -> str:
        """Return the product's GTIN."""
        return str(row.product.gtin)

    @admin.display(description="Product")
    def product_name(self, row: Any) -> str:
        """Return the product's name."""
        return str(row.product.name)
