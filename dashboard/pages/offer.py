"""One offer: create, change and delete it, change its address, check the address."""

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
from closient.db.transactions import commit
from closient.http.pagination import LARGEST_SIZE
from closient.http.problems import FieldError, Problem
from dashboard.api.offers import invalid_price
from dashboard.api.offers_fields import OfferSerializer
from dashboard.api.references import product_named
from dashboard.pages.base import is_fragment, organization_page, row_or_404, show
from dashboard.pages.forms import (
    BodyForm,
    VersionedForm,
    sent,
    shown_as,
    text_input,
    version_token,
    way_back,
)
from dashboard.pages.lists import ids_in, shown_again
from dashboard.templatetags.labels import status_label
from offers.currencies import CODES, InvalidPrice
from offers.editing import UrlMissing, change_offer, create_offer
from offers.models import Channel, Offer, OfferStatus
from offers.url_checks.check_now import HostBusy, NothingToCheck, check_now
from offers.url_checks.schedule.due import is_first_check_due, is_first_check_expected

T = TypeVar("T")

_ADDRESS = {"type": "url", "inputmode": "url", "placeholder": "https://"}


class OfferForm(VersionedForm):
    """What a person decides about an offer."""

    noun = "offer"

    serializer_class = OfferSerializer

    gtin = shown_as(
        "Product (GTIN)",
        widget=text_input(inputmode="numeric", **{"class": "mono"}),
        help_text="The number below the barcode: 8 to 14 digits.",
    )
    channel = shown_as(
        "Channel",
        widget=forms.Select(choices=[(word, status_label(word)) for word in Channel]),
        initial=Channel.ONLINE.value,
    )
    url = shown_as(
        "Address",
        widget=text_input(**_ADDRESS),
        help_text="The product page in the shop. Required for online offers.",
    )
    retailer = shown_as("Retailer")
    store = shown_as("Store", help_text="The retailer's store, if the offer is for one store.")
    sku = shown_as("SKU", help_text="The retailer's number for the product.")
    price = shown_as("Price", widget=text_input(inputmode="decimal", placeholder="12.50"))
    currency = shown_as(
        "Currency",
        widget=forms.Select(choices=[("", "None"), *((code, code) for code in sorted(CODES))]),
    )
    status = shown_as(
        "Status",
        widget=forms.Select(choices=[(word, status_label(word)) for word in OfferStatus]),
        initial=OfferStatus.ACTIVE.value,
    )


class AddressForm(VersionedForm):
    """The address alone, in the offer's row of a list."""

    noun = "offer"

    serializer_class = OfferSerializer

    url = shown_as("Address", widget=text_input(**_ADDRESS))

    def shown_of(self, row: Offer) -> dict[str, Any]:
        """Return the address."""
        return {"url": row.url}

    @classmethod
    def version_shown(cls, offer: Offer) -> str:
        """Return the hidden version of an offer's form; a list of many rows makes no forms."""
        return version_token(cls.version_of(offer), {"url": offer.url})


def find_offer(access: Access, offer_id: UUID | None, *, is_locked: bool = False) -> Offer:
    """Return the organization's offer of an id, with its product; else there is no such page."""
    if offer_id is None:
        raise Http404
    offers = Offer.objects.of(access.organization).filter(pk=offer_id)
    return row_or_404(offers.with_gtin(), is_locked=is_locked)


def offers_of(product: Product) -> list[Offer]:
    """Return the first of a product's offers as ``dashboard/product_offers.html`` shows them.

    A page of them at most, in one query; those online come first.
    """
    offers = Offer.objects.of(product.organization_id).filter(product=product).with_gtin()
    return list(offers.order_by("-channel", "retailer", "store", "sku")[:LARGEST_SIZE])


def list_of_offers(access: Access) -> str:
    """Return the address of the organization's offers."""
    return reverse("page-offers", args=[access.organization.id])


@organization_page(read_role=ApiKeyRole.EDITOR)
def new_offer(request: HttpRequest, access: Access) -> HttpResponse:
    """Ask for a new offer, and make it."""
    form = OfferForm(sent(request), initial={"gtin": request.GET.get("gtin", "")})

    def create() -> Offer:
        values = dict(form.values)
        product = product_named(access.organization, values.pop("product")["gtin"])
        return _with_url(create_offer, product, values)

    if form.is_valid() and form.save(create) is not None:
        return shown_again(
            request, way_back(request, list_of_offers(access)), "The offer is added."
        )
    return _show_form(request, access, form, None)


@organization_page()
def show_offer(request: HttpRequest, access: Access, offer_id: UUID | None) -> HttpResponse:
    """Show an offer, and take changes to it."""
    offer = find_offer(access, offer_id)
    form = OfferForm(sent(request), changes=offer)
    # To which product it belongs is settled: its page says so.
    del form.fields["gtin"]
    changed = _change(access, offer_id, form) if form.is_valid() else None
    if changed is None:
        return _show_form(request, access, form, offer)
    address = back = way_back(request, list_of_offers(access))
    if is_first_check_due(changed) and (changed.url, changed.channel) != (offer.url, offer.channel):
        # The page of the offer shows the check of the new address; a filtered list may not.
        address = f"{request.path}?{urlencode({'back': back})}"
    return shown_again(request, address, form.saved_sentence())


@organization_page(read_role=ApiKeyRole.EDITOR)
def delete_offer(request: HttpRequest, access: Access, offer_id: UUID | None) -> HttpResponse:
    """Ask whether an offer is to be deleted, and delete it."""
    offer = find_offer(access, offer_id)
    if request.method == "POST":
        commit(lambda: find_offer(access, offer_id, is_locked=True).delete())
        messages.success(request, "The offer is deleted.")
        return redirect(way_back(request, list_of_offers(access)))
    context = {
        "place": "page-offers",
        "offer": offer,
        "back": way_back(request, list_of_offers(access)),
    }
    return show(request, "dashboard/offer_delete.html", context)


@require_POST
@organization_page()
def change_address(request: HttpRequest, access: Access, offer_id: UUID | None) -> HttpResponse:
    """Give an offer another address, and return its row of a list."""
    offer = find_offer(access, offer_id)
    form = AddressForm(request.POST, changes=offer)
    changed = _change(access, offer_id, form) if form.is_valid() else None
    if changed is not None:
        if form.merged:
            sentence = form.saved_sentence()
        elif changed.url == offer.url:
            sentence = "The address has not changed."
        else:
            sentence = "The address is saved and will be checked."
        messages.success(request, sentence)
        return _answer(request, access, changed)
    if is_fragment(request):
        return _show_row(request, access, offer, form=form)
    return _show_form(request, access, form, offer)


@require_POST
@organization_page()
def check_offer(request: HttpRequest, access: Access, offer_id: UUID | None) -> HttpResponse:
    """Check an offer's address while the person waits, and return its row of a list."""
    offer = find_offer(access, offer_id)
    try:
        offer = check_now(offer)
    except (NothingToCheck, HostBusy) as error:
        messages.warning(request, str(error))
    else:
        messages.success(request, offer.url_detail or "The address works.")
    return _answer(request, access, offer)


@require_GET
@organization_page()
def show_checks(request: HttpRequest, access: Access) -> HttpResponse:
    """Show the addresses of those offers whose first check is over, or is late; else nothing.

    A page asks for all offers whose check it waits for, a page of a list at most.
    """
    keys = ids_in(request.GET.getlist("offer"))
    offers = {o.pk: o for o in Offer.objects.of(access.organization).filter(pk__in=keys)}
    gone = [key for key in keys if key not in offers]
    found = [offers[key] for key in keys if key in offers]
    over = [offer for offer in found if not is_first_check_expected(offer)]
    if not over and not gone:
        return HttpResponse(status=204)
    return show(request, "dashboard/offer_checks.html", {"offers": over, "gone": gone})


def _change(access: Access, offer_id: UUID | None, form: VersionedForm) -> Offer | None:
    """Write what a form says; return the offer, or ``None`` when the form says why not."""

    def change() -> Offer:
        offer = find_offer(access, offer_id, is_locked=True)
        form.check_version(offer)
        if _with_url(change_offer, offer, form.values):
            # The database decides when another address is checked.
            offer.refresh_from_db(fields=["url_check_at"])
        return offer

    return form.save(change)


def _with_url(write: Callable[[Any, Mapping[str, Any]], T], row: Any, values: Any) -> T:
    """Write an offer; a missing address and a wrong price are errors of their fields."""
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
        "place": "page-offers",
        "form": form,
        "offer": offer,
        "back": way_back(request, list_of_offers(access)),
    }
    return show(request, "dashboard/offer.html", context, status=422 if form.is_refused else 200)


def _answer(request: HttpRequest, access: Access, offer: Offer) -> HttpResponse:
    """Return an offer's row of a list and say what was done; without htmx, lead back."""
    if not is_fragment(request):
        return redirect(way_back(request, list_of_offers(access)))
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
        "back": way_back(request, list_of_offers(access)),
        "of_product": "of_product" in request.POST,
        "is_selecting": "of_product" not in request.POST,
    }
    status = 200 if form is None else 422
    return show(request, "dashboard/offer_row.html", context, status=status)
