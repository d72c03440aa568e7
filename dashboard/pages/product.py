"""The pages of one product: its facts and the forms to complete them, all on one page.

Every change sends the event ``product-changed`` in the header ``HX-Trigger``; the page then reloads
the percentage and the facts.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from catalog.completeness import FACTS
from catalog.completeness_report import completeness_report
from catalog.editing import change_product, create_product
from catalog.images.validation import ACCEPTED, MAX_BYTES
from catalog.models import Product, ProductImage, effective_rule
from closient.accounts.models import ApiKeyRole, Organization
from closient.accounts.permissions import Access
from closient.db.transactions import run_with_retry
from dashboard.api.fields import merged_metadata
from dashboard.pages.base import is_fragment, organization_page, render_page, row_or_404
from dashboard.pages.certification import certificates_of
from dashboard.pages.lists import redirect_with_message
from dashboard.pages.offer import offers_of
from dashboard.pages.product_form import ProductForm

CHANGED = "product-changed"
# The id of the element where each fact is edited.
_EDIT_TARGETS = {
    "name": "id_name",
    "description": "id_description",
    "brand": "id_brand",
    "category": "id_category",
    "images": "add-image",
    "nutrition": "add-nutrient",
    "certifications": "certifications",
    "offers": "offers",
    "country": "id_country_of_origin",
}


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


def find_product(access: Access, gtin: str | None, *, is_locked: bool = False) -> Product:
    """Return the organization's product with a GTIN, and its brand, or raise :class:`Http404`."""
    if gtin is None:
        raise Http404
    products = Product.objects.of(access.organization).filter(gtin=gtin)
    return row_or_404(products.select_related("brand"), is_locked=is_locked)


def facts_context(organization: Organization, product: Product) -> dict[str, Any]:
    """Return the context of ``dashboard/product_facts.html``."""
    rule = effective_rule(organization)
    explained = completeness_report(rule, product.fact_mask(organization.today()))
    lines = [
        FactLine(
            name=fact.name,
            has=bool(explained.fields[fact.name].score),
            counts=rule.weight(fact) > 0,
            points=explained.fields[fact.name].points,
            hint=fact.hint,
            target=_EDIT_TARGETS[fact.name],
        )
        for fact in FACTS
    ]
    return {
        "product": product,
        "percentage": explained.percentage,
        "threshold": rule.threshold,
        "is_complete": explained.percentage >= rule.threshold,
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
    product = find_product(access, gtin)
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
    return render_page(request, "dashboard/product.html", context, status=status)


@organization_page()
def show_facts(request: HttpRequest, access: Access, gtin: str | None) -> HttpResponse:
    """Render only the percentage and the facts."""
    context = facts_context(access.organization, find_product(access, gtin))
    return render_page(request, "dashboard/product_facts.html", context)


def _form(access: Access, product: Product, data: Any = None) -> ProductForm:
    organization = access.organization
    context = {"rule": effective_rule(organization), "day": organization.today()}
    return ProductForm(data, changes=product, context=context)


def _save(request: HttpRequest, access: Access, product: Product) -> HttpResponse:
    form = _form(access, product, request.POST)

    def write() -> Product:
        found = find_product(access, product.gtin, is_locked=True)
        form.check_version(found)
        values = dict(form.values)
        values["metadata"] = merged_metadata(found.metadata, values.get("metadata", {}))
        change_product(found, values)
        return found

    if not form.is_valid() or form.save(write) is None:
        if not is_fragment(request):
            return _show_page(request, access, product, form, status=422)
        context = {"form": form, "product": product}
        return render_page(request, "dashboard/product_form.html", context, status=422)
    if not is_fragment(request):
        messages.success(request, form.saved_message())
        return redirect("page-product", access.organization.id, product.gtin)
    product = find_product(access, product.gtin)
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
    product = find_product(access, gtin)
    run_with_retry(lambda: find_product(access, gtin, is_locked=True).delete())
    messages.success(request, f"{product.name or product.gtin} deleted.")
    return redirect("page-products", access.organization.id)
