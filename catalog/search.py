"""Finding the rows that belong to products, as offers, by what a person types."""

from __future__ import annotations

from typing import Any, TypeVar
from uuid import UUID

from django.db.models import Q, QuerySet

from catalog.models import Product

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
