"""The pages of one offer: create, edit and delete it, change and check its address."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlencode
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from catalog.models import Product
from closient.accounts.models import ApiKeyRole
from closient.accounts.permissions import Access
from closient.db.transactions import run_with_retry
from closient.http.pagination import MAX_PAGE_SIZE
from closient.http.problems import FieldError, Problem
from dashboard.api.offers import invalid_price
from dashboard.api.offers_fields import OfferSerializer
from dashboard.api.references import product_named
from dashboard.pages.base import is_fragment, organization_page, render_page, row_or_404
from dashboard.pages.forms import (
    BodyForm,
    VersionedForm,
    form_field,
    post_data,
    return_url,
    text_input,
    version_token,
)
from dashboard.pages.lists import parse_ids, redirect_with_message
from dashboard.templatetags.labels import status_label
from offers.currencies import CODES, InvalidPrice
from offers.editing import UrlMissing, change_offer, create_offer
from offers.models import Channel, Offer, OfferStatus
from offers.url_checks.check_now import HostThrottled, NoUrl, check_now
from offers.url_checks.schedule.due import is_first_check_due, is_first_check_expected

T = TypeVar("T")

_ADDRESS = {"type": "url", "inputmode": "url", "placeholder": "https://"}


class OfferForm(VersionedForm):
    """The form of an offer."""

    noun = "offer"

    serializer_class = OfferSerializer

    gtin = form_field(
        "Product (GTIN)",
        widget=text_input(inputmode="numeric", **{"class": "mono"}),
        help_text="The number below the barcode: 8 to 14 digits.",
    )
    channel = form_field(
        "Channel",
        widget=forms.Select(choices=[(word, status_label(word)) for word in Channel]),
        initial=Channel.ONLINE.value,
    )
    url = form_field(
        "Address",
        widget=text_input(**_ADDRESS),
        help_text="The product page in the shop. Required for online offers.",
    )
    retailer = form_field("Retailer")
    store = form_field("Store", help_text="The retailer's store, if the offer is for one store.")
    sku = form_field("SKU", help_text="The retailer's number for the product.")
    price = form_field("Price", widget=text_input(inputmode="decimal", placeholder="12.50"))
    currency = form_field(
        "Currency",
        widget=forms.Select(choices=[("", "None"), *((code, code) for code in sorted(CODES))]),
    )
    status = form_field(
        "Status",
        widget=forms.Select(choices=[(word, status_label(word)) for word in OfferStatus]),
        initial=OfferStatus.ACTIVE.value,
    )


class AddressForm(VersionedForm):
    """The form of an offer's address, in its table row."""

    noun = "offer"

    serializer_class = OfferSerializer

    url = form_field("Address", widget=text_input(**_ADDRESS))

    def field_values(self, row: Offer) -> dict[str, Any]:
        """Return only the address."""
        return {"url": row.url}

    @classmethod
    def version_shown(cls, offer: Offer) -> str:
        """Return the hidden version of an offer's form, without the cost of a form per row."""
        return version_token(cls.version_of(offer), {"url": offer.url})


def find_offer(access: Access, offer_id: UUID | None, *, is_locked: bool = False) -> Offer:
    """Return the organization's offer with an id, and its product, or raise :class:`Http404`."""
    if offer_id is None:
        raise Http404
    offers = Offer.objects.of(access.organization).filter(pk=offer_id)
    return row_or_404(offers.with_gtin(), is_locked=is_locked)


def offers_of(product: Product) -> list[Offer]:
    """Return a product's offers for ``dashboard/product_offers.html``.

    Online offers first, at most ``MAX_PAGE_SIZE``; one query.
    """
    offers = Offer.objects.of(product.organization_id).filter(product=product).with_gtin()
    return list(offers.order_by("-channel", "retailer", "store", "sku")[:MAX_PAGE_SIZE])


def list_of_offers(access: Access) -> str:
    """Return the URL of the organization's offers."""
    return reverse("page-offers", args=[access.organization.id])


@organization_page(read_role=ApiKeyRole.EDITOR)
def new_offer(request: HttpRequest, access: Access) -> HttpResponse:
    """Show the form of a new offer, and create it."""
    form = OfferForm(post_data(request), initial={"gtin": request.GET.get("gtin", "")})

    def create() -> Offer:
        values = dict(form.values)
        product = product_named(access.organization, values.pop("product")["gtin"])
        return _with_url(create_offer, product, values)

    if form.is_valid() and form.save(create) is not None:
        return redirect_with_message(
            request, return_url(request, list_of_offers(access)), "Offer added."
        )
    return _show_form(request, access, form, None)


@organization_page()
def show_offer(request: HttpRequest, access: Access, offer_id: UUID | None) -> HttpResponse:
    """Show an offer, and save changes to it."""
    offer = find_offer(access, offer_id)
    form = OfferForm(post_data(request), changes=offer)
    # An offer cannot move to another product.
    del form.fields["gtin"]
    changed = _change(access, offer_id, form) if form.is_valid() else None
    if changed is None:
        return _show_form(request, access, form, offer)
    address = back = return_url(request, list_of_offers(access))
    if is_first_check_due(changed) and (changed.url, changed.channel) != (offer.url, offer.channel):
        # Stay on the offer: it shows the check of the new address, a filtered list may not.
        address = f"{request.path}?{urlencode({'back': back})}"
    return redirect_with_message(request, address, form.saved_message())


@organization_page(read_role=ApiKeyRole.EDITOR)
def delete_offer(request: HttpRequest, access: Access, offer_id: UUID | None) -> HttpResponse:
    """Ask for confirmation, and delete an offer."""
    offer = find_offer(access, offer_id)
    if request.method == "POST":
        run_with_retry(lambda: find_offer(access, offer_id, is_locked=True).delete())
        messages.success(request, "Offer deleted.")
        return redirect(return_url(request, list_of_offers(access)))
    context = {
        "active_route": "page-offers",
        "offer": offer,
        "back": return_url(request, list_of_offers(access)),
    }
    return render_page(request, "dashboard/offer_delete.html", context)


@require_POST
@organization_page()
def change_address(request: HttpRequest, access: Access, offer_id: UUID | None) -> HttpResponse:
    """Change the address of an offer, and return its table row."""
    offer = find_offer(access, offer_id)
    form = AddressForm(request.POST, changes=offer)
    changed = _change(access, offer_id, form) if form.is_valid() else None
    if changed is not None:
        if form.merged:
            sentence = form.saved_message()
        elif changed.url == offer.url:
            sentence = "The address has not changed."
        else:
            sentence = "Address saved. It will be checked next."
        messages.success(request, sentence)
        return _row_or_redirect(request, access, changed)
    if is_fragment(request):
        return _show_row(request, access, offer, form=form)
    return _show_form(request, access, form, offer)


@require_POST
@organization_page()
def check_offer(request: HttpRequest, access: Access, offer_id: UUID | None) -> HttpResponse:
    """Check the address of an offer now, and return its table row."""
    offer = find_offer(access, offer_id)
    try:
        offer = check_now(offer)
    except (NoUrl, HostThrottled) as error:
        messages.warning(request, str(error))
    else:
        messages.success(request, offer.url_detail or "The address works.")
    return _row_or_redirect(request, access, offer)


@require_GET
@organization_page()
def show_checks(request: HttpRequest, access: Access) -> HttpResponse:
    """Return the new address states of offers whose first check is done or late; else a 204.

    The page polls this with the ids of all offers that wait for a check, at most a page of them.
    """
    keys = parse_ids(request.GET.getlist("offer"))
    offers = {o.pk: o for o in Offer.objects.of(access.organization).filter(pk__in=keys)}
    deleted = [key for key in keys if key not in offers]
    found = [offers[key] for key in keys if key in offers]
    checked = [offer for offer in found if not is_first_check_expected(offer)]
    if not checked and not deleted:
        return HttpResponse(status=204)
    context = {"offers": checked, "deleted": deleted}
    return render_page(request, "dashboard/offer_checks.html", context)


def _change(access: Access, offer_id: UUID | None, form: VersionedForm) -> Offer | None:
    """Save a form; return the offer, or ``None`` if the form has errors or conflicts."""

    def change() -> Offer:
        offer = find_offer(access, offer_id, is_locked=True)
        form.check_version(offer)
        if _with_url(change_offer, offer, form.values):
            # A trigger schedules the check of a new address.
            offer.refresh_from_db(fields=["url_check_at"])
        return offer

    return form.save(change)


def _with_url(write: Callable[[Any, Mapping[str, Any]], T], row: Any, values: Any) -> T:
    """Write an offer. Raises the problem of the field for a missing address or invalid price."""
    try:
        return write(row, values)
    except UrlMissing:
        errors = [FieldError("#/url", "required", "An online offer needs an address.")]
        raise Problem("validation_error", errors=errors) from None
    except InvalidPrice as error:
        raise invalid_price(error) from None


def _show_form(
    request: HttpRequest, access: Access, form: BodyForm, offer: Offer | None
) -> HttpResponse:
    context = {
        "active_route": "page-offers",
        "form": form,
        "offer": offer,
        "back": return_url(request, list_of_offers(access)),
    }
    return render_page(
        request, "dashboard/offer.html", context, status=422 if form.is_rejected else 200
    )


def _row_or_redirect(request: HttpRequest, access: Access, offer: Offer) -> HttpResponse:
    """Return the table row of an offer with the messages; without htmx, redirect back."""
    if not is_fragment(request):
        return redirect(return_url(request, list_of_offers(access)))
    response = _show_row(request, access, offer)
    sentences = [str(message) for message in messages.get_messages(request)]
    response.headers["HX-Trigger"] = json.dumps({"say": " ".join(sentences)})
    return response


def _show_row(
    request: HttpRequest, access: Access, offer: Offer, *, form: AddressForm | None = None
) -> HttpResponse:
    context = {
        "offer": offer,
        "form": form,
        "back": return_url(request, list_of_offers(access)),
        "of_product": "of_product" in request.POST,
        "is_selecting": "of_product" not in request.POST,
    }
    status = 200 if form is None else 422
    return render_page(request, "dashboard/offer_row.html", context, status=status)
