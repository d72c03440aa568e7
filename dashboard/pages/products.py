"""The pages of products: the list with its bulk actions, and the page of one product.

The page of a product shows its facts and the forms to complete them. Every change sends the event
``product-changed`` in the header ``HX-Trigger``, and the page reloads the percentage and the facts.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from catalog.completeness import FACTS, facts_of
from catalog.completeness_report import completeness_report
from catalog.countries import country_names
from catalog.editing import change_product, change_status, create_product
from catalog.images.reencoding import ACCEPTED, MAX_BYTES
from catalog.lists import Order, ProductList
from catalog.models import Product, ProductImage, ProductStatus, effective_rule
from closient.accounts.models import ApiKeyRole, Organization
from closient.accounts.permissions import Access
from closient.db.transactions import run_with_retry
from closient.http.fields import merged_metadata
from dashboard.exports import tables
from dashboard.pages.base import is_fragment, organization_page, render_page
from dashboard.pages.certificates import certificates_of
from dashboard.pages.offers import offers_of
from dashboard.pages.product_form import ProductForm
from dashboard.pages.resources import (
    Column,
    ListView,
    RowPages,
    read_action,
    redirect_with_message,
)

_COUNTRIES = dict(country_names())
_FACTS = [(fact.name, fact.name.capitalize()) for fact in FACTS]
CHANGED = "product-changed"
EDIT = "edit"


@dataclasses.dataclass(frozen=True)
class ProductRow:
    """A product in the list; ``missing`` are the facts that would add points."""

    id: Any
    gtin: str
    name: str
    brand: str
    category: str
    country: str
    images: int
    offers: int
    changed_by: str
    status: str
    percentage: int
    is_complete: bool
    missing: list[str]
    changed_at: datetime.datetime


def _row(product: Product, products: ProductList) -> ProductRow:
    rule, mask = products.rule, product.fact_mask(products.day)
    has = facts_of(mask)
    return ProductRow(
        id=product.id,
        gtin=product.gtin,
        name=product.name,
        brand=product.brand_name,
        category=product.category,
        country=_COUNTRIES.get(product.country_of_origin, product.country_of_origin),
        images=product.summary.image_count,
        offers=product.summary.active_offer_count,
        changed_by=product.updated_by,
        status=product.status,
        percentage=rule.percentage(mask),
        is_complete=rule.is_complete(mask),
        missing=[fact.name for fact in FACTS if not has[fact.name] and rule.weight(fact)],
        changed_at=product.updated_at,
    )


PRODUCTS = ListView(
    name="products",
    title="Products",
    one="product",
    many="products",
    row_list=ProductList,
    shown=_row,
    columns=(
        Column("Product", up=Order.NAME),
        Column("GTIN", name="gtin", is_extra=True),
        Column("Brand", name="brand", is_extra=True),
        Column("Category", name="category", is_extra=True),
        Column("Country", name="country", is_extra=True),
        Column(
            "Completeness",
            up=Order.LEAST_COMPLETE,
            down=Order.MOST_COMPLETE,
            name="completeness",
        ),
        Column("Missing", name="missing"),
        Column("Images", css="number", name="images", is_extra=True),
        Column("Active offers", css="number", name="offers", is_extra=True),
        Column("Status", name="status"),
        Column("Changed", down=Order.LAST_CHANGED, name="changed"),
        Column("Changed by", name="changed_by", is_extra=True),
    ),
    export_table=tables.PRODUCTS,
    create_route="page-product-new",
    create_label="Add a product",
    bulk_actions=((EDIT, "Edit"), ("discontinued", "Mark discontinued"), ("active", "Mark active")),
    rows="dashboard/products_rows.html",
    empty="dashboard/products_empty.html",
    product_of=lambda row: row.id,
)
PRODUCT: RowPages[Product] = RowPages(
    noun="product",
    context_name="product",
    list_view=PRODUCTS,
    queryset=lambda organization: Product.objects.of(organization).select_related(
        "brand", "summary"
    ),
    template="dashboard/product.html",
    lookup="gtin",
)
show_products = organization_page()(PRODUCTS.show)
export_products = organization_page()(PRODUCTS.export)
display_products = require_POST(
    organization_page(write_role=ApiKeyRole.READONLY)(PRODUCTS.change_display)
)
change_product_views = require_POST(organization_page()(PRODUCTS.change_views))


@require_POST
@organization_page()
def change_products(request: HttpRequest, access: Access) -> HttpResponse:
    """Change the status of the selected products, or go to the page that edits them."""
    status = read_action(request, [EDIT, *ProductStatus.values])
    if status == EDIT:
        return PRODUCTS.redirect_to_edit(request, access)
    keys = PRODUCTS.selected_ids(request)
    changed = run_with_retry(lambda: change_status(access.organization.id, keys, status))
    sentence = f"{changed} {'product' if changed == 1 else 'products'} marked as {status}."
    return PRODUCTS.redirect_back(request, access, sentence if changed else "No changes needed.")


@dataclasses.dataclass(frozen=True)
class FactLine:
    """A fact on the page.

    ``counts`` is whether the rule gives it weight, ``points`` what it would add, ``target`` the id
    of the element where it is edited.
    """

    name: str
    has: bool
    counts: bool
    points: int
    hint: str
    target: str


def facts_context(organization: Organization, product: Product) -> dict[str, Any]:
    """Return the context of ``dashboard/product_facts.html``."""
    rule = effective_rule(organization)
    report = completeness_report(rule, product.fact_mask(organization.today()))
    lines = [
        FactLine(
            name=fact.name,
            has=bool(report.fields[fact.name].score),
            counts=rule.weight(fact) > 0,
            points=report.fields[fact.name].points,
            hint=fact.hint,
            target=f"id_{fact.field}" if fact.field else fact.name,
        )
        for fact in FACTS
    ]
    return {
        "product": product,
        "percentage": report.percentage,
        "threshold": rule.threshold,
        "is_complete": report.percentage >= rule.threshold,
        "facts": lines,
    }


def images_context(product: Product) -> dict[str, Any]:
    """Return the context of ``dashboard/product_images.html``; one query."""
    return {
        "product": product,
        "images": list(ProductImage.objects.of_product(product)),
        "accepted": ACCEPTED,
        "max_bytes": MAX_BYTES,
    }


def with_change_event(response: HttpResponse, sentence: str) -> HttpResponse:
    """Add the events that reload the facts and show a message."""
    response.headers["HX-Trigger"] = json.dumps({"say": sentence, CHANGED: True})
    return response


@organization_page()
def show_product(request: HttpRequest, access: Access, gtin: str | None) -> HttpResponse:
    """Show a product, and save changes to its fields."""
    product = PRODUCT.find(access, gtin)
    if request.method == "POST":
        return _save(request, access, product)
    return _show_page(request, access, product, _form(access, product))


def _show_page(
    request: HttpRequest, access: Access, product: Product, form: ProductForm, *, status: int = 200
) -> HttpResponse:
    context = {
        "active_route": "page-products",
        "form": form,
        "offers": offers_of(product),
        "certifications": certificates_of(product),
        **facts_context(access.organization, product),
        **images_context(product),
    }
    return render_page(request, PRODUCT.template, context, status=status)


@organization_page()
def show_facts(request: HttpRequest, access: Access, gtin: str | None) -> HttpResponse:
    """Render only the percentage and the facts."""
    context = facts_context(access.organization, PRODUCT.find(access, gtin))
    return render_page(request, "dashboard/product_facts.html", context)


def _form(access: Access, product: Product, data: Any = None) -> ProductForm:
    organization = access.organization
    context = {"rule": effective_rule(organization), "day": organization.today()}
    return ProductForm(data, changes=product, context=context)


def _save(request: HttpRequest, access: Access, product: Product) -> HttpResponse:
    form = _form(access, product, request.POST)

    def write(found: Product, values: dict[str, Any]) -> None:
        metadata = merged_metadata(found.metadata, values.get("metadata", {}))
        change_product(found, {**values, "metadata": metadata})

    if PRODUCT.save(access, product.gtin, form, write) is None:
        if not is_fragment(request):
            return _show_page(request, access, product, form, status=422)
        context = {"form": form, "product": product}
        return render_page(request, "dashboard/product_form.html", context, status=422)
    if not is_fragment(request):
        messages.success(request, form.saved_message())
        return redirect("page-product", access.organization.id, product.gtin)
    product = PRODUCT.find(access, product.gtin)
    context = {"form": _form(access, product), "product": product, "is_saved": True}
    response = render_page(request, "dashboard/product_form.html", context)
    return with_change_event(response, form.saved_message())


@organization_page(read_role=ApiKeyRole.EDITOR)
def new_product(request: HttpRequest, access: Access) -> HttpResponse:
    """Show the form of a new product, and create it."""
    form = ProductForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        product = form.save(lambda: create_product(access.organization.id, form.values))
        if product is not None:
            address = reverse("page-product", args=[access.organization.id, product.gtin])
            return redirect_with_message(request, address, "Product added.")
    context = {"active_route": "page-products", "form": form}
    status = 422 if form.is_bound else 200
    return render_page(request, "dashboard/product_new.html", context, status=status)


@require_POST
@organization_page()
def delete_product(request: HttpRequest, access: Access, gtin: str | None) -> HttpResponse:
    """Delete a product with its images, offers and certificates."""
    product = PRODUCT.find(access, gtin)
    run_with_retry(lambda: PRODUCT.find(access, gtin, is_locked=True).delete())
    messages.success(request, f"{product.name or product.gtin} deleted.")
    return redirect("page-products", access.organization.id)
