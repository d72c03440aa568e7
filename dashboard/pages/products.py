"""The list of products: the rows behind four of the numbers."""

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
from catalog.models import Product, ProductStatus, rule_of
from closient.accounts.models import Organization
from closient.accounts.permissions import Access
from closient.db.transactions import commit
from closient.http.problems import FieldError, Problem
from dashboard.api.products import LIST_PARAMETERS, wanted_products
from dashboard.pages.base import organization_page
from dashboard.pages.exports import csv_download
from dashboard.pages.filters import Filter
from dashboard.pages.lists import Column, Listing

_FACTS = [(fact.name, fact.name.capitalize()) for fact in FACTS]
PRODUCTS = Listing(
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
            help="GTIN or words of the name",
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
    """A product as the list shows it; ``missing`` are the facts that would add points."""

    id: Any
    gtin: str
    name: str
    brand: str
    status: str
    percentage: int
    is_complete: bool
    missing: list[str]
    changed_at: datetime.datetime


def product_list(organization: Organization, asked: dict[str, Any]) -> ProductList:
    """Return the list that the values of a query ask for."""
    return ProductList(
        organization.id,
        rule=rule_of(organization),
        day=organization.today(),
        wanted=wanted_products(asked),
        order=Order(asked["ordering"] or ""),
    )


@organization_page()
def show_products(request: HttpRequest, access: Access) -> HttpResponse:
    """Show a page of the list."""
    asked = PRODUCTS.read(request)
    listed = product_list(access.organization, dict(asked.values))
    products, total = listed.page(start=asked.page.start, end=asked.page.end)
    rows = [_row(product, listed) for product in products]
    return PRODUCTS.show(request, access, asked, rows=rows, total=total)


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
    """Send all products that are filtered, as a CSV that can be imported again."""
    organization, asked = access.organization, PRODUCTS.read_strictly(request)
    rows = exported_products(product_list(organization, asked))
    return csv_download(request, "products", HEADER, rows, separator=asked["separator"])


@require_POST
@organization_page()
def change_products(request: HttpRequest, access: Access) -> HttpResponse:
    """Give the ticked products another status."""
    status = request.POST.get("action", "")
    if status not in ProductStatus.values:
        detail = f"Must be one of {', '.join(ProductStatus.values)}."
        raise Problem("validation_error", errors=[FieldError("#/action", "choice", detail)])
    keys = PRODUCTS.chosen(request)
    changed = commit(lambda: change_status(access.organization.id, keys, status))
    sentence = f"{changed} {'product is' if changed == 1 else 'products are'} {status} now."
    return PRODUCTS.shown_again(request, access, sentence if changed else "Nothing had to change.")
