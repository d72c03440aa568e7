"""Admin pages of rows that belong to products, such as offers, with search by product."""

from __future__ import annotations

from typing import Any, TypeVar
from uuid import UUID

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from catalog.models import Product
from closient.accounts.tenant_admin import TenantAdmin, requested_organization_id

# A search considers this many products; a longer search text narrows it down.
MAX_PRODUCTS_SEARCHED = 1_000

Rows = TypeVar("Rows", bound=QuerySet[Any])


def of_products_like(
    rows: Rows, text: str, *, or_beginning_of: str, organization_id: UUID | None
) -> Rows:
    """Return the rows whose product matches the text, or whose own column begins with it.

    The products are queried first: the planner cannot estimate how rare a word is, and would
    join all rows of both tables.
    """
    text = text.strip().replace("\x00", "")
    if not text:
        return rows
    products = Product.objects.search(text)
    if organization_id:
        products = products.of(organization_id)
    keys = list(products.order_by().values_list("organization_id", "pk")[:MAX_PRODUCTS_SEARCHED])
    # Every index begins with the organization.
    of_products = Q(
        organization__in={organization for organization, _ in keys},
        product__in=[product for _, product in keys],
    )
    return rows.filter(of_products | Q(**{f"{or_beginning_of}__istartswith": text}))


class OfProductAdmin(TenantAdmin):
    """Rows of a product, listed with its GTIN and name.

    ``searched_column`` is the rows' own column that is searched too.
    """

    organization_from = "product"
    searched_column = ""

    def search_ordering(self, searched: str) -> tuple[str, ...]:
        """Return the order of results: newest first, by a column without an index."""
        return ("-created_at", "-id")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Return the matching rows, without duplicates."""
        found = of_products_like(
            queryset,
            search_term,
            or_beginning_of=self.searched_column,
            organization_id=requested_organization_id(request),
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
