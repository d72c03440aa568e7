"""The list page of products and its bulk actions."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_POST

from catalog.completeness import FACTS, facts_of
from catalog.editing import change_status
from catalog.exporting import HEADER, exported_products
from catalog.lists import Order, ProductList
from catalog.models import Product, ProductStatus, effective_rule
from closient.accounts.models import Organization
from closient.accounts.permissions import Access
from closient.db.transactions import run_with_retry
from closient.http.problems import FieldError, Problem
from dashboard.api.products import LIST_PARAMETERS, product_filter
from dashboard.pages.base import organization_page
from dashboard.pages.exports import csv_download
from dashboard.pages.filters import Filter
from dashboard.pages.lists import Column, ListPage

_FACTS = [(fact.name, fact.name.capitalize()) for fact in FACTS]
PRODUCTS = ListPage(
    route="page-products",
    title="Products",
    one="product",
    many="products",
    parameters=LIST_PARAMETERS,
    filters=(
        Filter(
            name="q",
            label="Search",
            kind="search",
            chip="“{text}”",
            help="GTIN or name",
        ),
        Filter(
            name="complete",
            label="Complete",
            kind="select",
            options=[("true", "Complete"), ("false", "Not complete")],
            chip="{text}",
        ),
        Filter(name="missing", label="Missing", kind="checks", options=_FACTS),
        Filter(name="status", label="Status", kind="select", options=ProductStatus.choices),
        Filter(name="brand", label="Brand"),
        Filter(
            name="min_completeness",
            label="From %",
            kind="number",
            minimum=0,
            maximum=100,
            chip="At least {text}%",
        ),
        Filter(
            name="max_completeness",
            label="To %",
            kind="number",
            minimum=0,
            maximum=100,
            chip="At most {text}%",
        ),
    ),
    columns=(
        Column("Product", up=Order.NAME),
        Column("Completeness", up=Order.LEAST_COMPLETE, down=Order.MOST_COMPLETE),
        Column("Missing"),
        Column("Status"),
        Column("Changed", down=Order.LAST_CHANGED),
    ),
    rows="dashboard/products_rows.html",
    empty="dashboard/products_empty.html",
    actions="dashboard/products_actions.html",
    bulk="dashboard/products_bulk.html",
    bulk_route="page-products-bulk",
)


@dataclasses.dataclass(frozen=True)
class ProductRow:
    """A product in the list; ``missing`` are the facts that would add points."""

    id: Any
    gtin: str
    name: str
    brand: str
    status: str
    percentage: int
    is_complete: bool
    missing: list[str]
    changed_at: datetime.datetime


def product_list(organization: Organization, values: dict[str, Any]) -> ProductList:
    """Return the filtered and ordered list of a parsed query."""
    return ProductList(
        organization.id,
        rule=effective_rule(organization),
        day=organization.today(),
        filters=product_filter(values),
        order=Order(values["ordering"] or ""),
    )


@organization_page()
def show_products(request: HttpRequest, access: Access) -> HttpResponse:
    """Show the list of products."""
    list_query = PRODUCTS.read(request)
    listed = product_list(access.organization, dict(list_query.values))
    products, total = listed.page(start=list_query.page.start, end=list_query.page.end)
    rows = [_row(product, listed) for product in products]
    return PRODUCTS.render(request, access, list_query, rows=rows, total=total)


def _row(product: Product, listed: ProductList) -> ProductRow:
    rule, mask = listed.rule, product.fact_mask(listed.day)
    has = facts_of(mask)
    return ProductRow(
        id=product.id,
        gtin=product.gtin,
        name=product.name,
        brand=product.brand_name,
        status=product.status,
        percentage=rule.percentage(mask),
        is_complete=rule.is_complete(mask),
        missing=[fact.name for fact in FACTS if not has[fact.name] and rule.weight(fact)],
        changed_at=product.updated_at,
    )


@organization_page()
def export_products(request: HttpRequest, access: Access) -> HttpResponseBase:
    """Send the filtered products as CSV that can be imported again."""
    organization, values = access.organization, PRODUCTS.read_export(request)
    rows = exported_products(product_list(organization, values))
    return csv_download(request, "products", HEADER, rows, separator=values["separator"])


@require_POST
@organization_page()
def change_products(request: HttpRequest, access: Access) -> HttpResponse:
    """Change the status of the selected products."""
    status = request.POST.get("action", "")
    if status not in ProductStatus.values:
        detail = f"Must be one of {', '.join(ProductStatus.values)}."
        raise Problem("validation_error", errors=[FieldError("#/action", "choice", detail)])
    keys = PRODUCTS.selected_ids(request)
    changed = run_with_retry(lambda: change_status(access.organization.id, keys, status))
    sentence = f"{changed} {'product' if changed == 1 else 'products'} marked as {status}."
    return PRODUCTS.redirect_back(request, access, sentence if changed else "No changes needed.")
