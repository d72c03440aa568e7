"""The pages of offers: the list with its bulk actions, and the pages of one offer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlencode
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_GET, require_POST

from catalog.editing import with_product
from catalog.models import Product
from closient.accounts.models import ApiKeyRole
from closient.accounts.permissions import Access
from closient.db.transactions import run_with_retry
from closient.http.pagination import MAX_PAGE_SIZE
from dashboard.exports import tables
from dashboard.pages.base import is_fragment, organization_page, render_page
from dashboard.pages.forms import (
    VersionedForm,
    form_field,
    post_data,
    suggesting,
    text_input,
    version_token,
)
from dashboard.pages.resources import (
    Column,
    ListView,
    RowPages,
    parse_ids,
    read_action,
    redirect_with_message,
    thumbnails_of,
)
from dashboard.templatetags.labels import status_label
from offers.currencies import CODES
from offers.editing import change_offer, create_offer, discontinue
from offers.lists import OfferList, Order
from offers.models import Channel, Offer, OfferQuerySet, OfferStatus
from offers.serializers import OfferSerializer
from offers.url_checks.check_now import HostThrottled, NoUrl, check_now
from offers.url_checks.schedule.due import (
    is_first_check_due,
    is_first_check_expected,
    make_due,
)

T = TypeVar("T")

EDIT = "edit"
_ADDRESS = {"type": "url", "inputmode": "url", "placeholder": "https://"}


OFFERS = ListView(
    name="offers",
    title="Offers",
    one="offer",
    many="offers",
    row_list=OfferList,
    columns=(
        Column("Product"),
        Column("Retailer", up=Order.RETAILER, down=Order.RETAILER_REVERSED, name="retailer"),
        Column("Price", css="number", name="price"),
        Column("Status", name="status"),
        Column("Address", name="address"),
        Column(""),
    ),
    export_table=tables.OFFERS,
    create_route="page-offer-new",
    create_label="Add an offer",
    bulk_actions=((EDIT, "Edit"), ("discontinue", "Mark discontinued"), ("recheck", "Check again")),
    rows="dashboard/offers_rows.html",
    empty="dashboard/offers_empty.html",
    footer="dashboard/offer_checks_wait.html",
    product_of=lambda offer: offer.product_id,
)


show_offers = organization_page()(OFFERS.show)
export_offers = organization_page()(OFFERS.export)
display_offers = require_POST(
    organization_page(write_role=ApiKeyRole.READONLY)(OFFERS.change_display)
)
change_offer_views = require_POST(organization_page()(OFFERS.change_views))


def _discontinue(offers: OfferQuerySet) -> str:
    changed = run_with_retry(lambda: discontinue(offers))
    return f"{_count(changed)} marked as discontinued."


def _recheck(offers: OfferQuerySet) -> str:
    return f"{_count(make_due(offers))} queued for a check."


_BULK: Mapping[str, Callable[[OfferQuerySet], str]] = {
    "discontinue": _discontinue,
    "recheck": _recheck,
}


@require_POST
@organization_page()
def change_offers(request: HttpRequest, access: Access) -> HttpResponse:
    """Mark the selected offers as discontinued, or queue checks of their addresses."""
    action = read_action(request, [EDIT, *_BULK])
    if action == EDIT:
        return OFFERS.redirect_to_edit(request, access)
    change = _BULK[action]
    selected = Offer.objects.of(access.organization).filter(pk__in=OFFERS.selected_ids(request))
    return OFFERS.redirect_back(request, access, change(selected))


def _count(offers: int) -> str:
    return "1 offer" if offers == 1 else f"{offers} offers"


class OfferForm(VersionedForm):
    """The form of an offer."""

    noun = "offer"
    messages = {"url": "An online offer needs an address."}
    serializer_class = OfferSerializer

    gtin = form_field(
        "Product",
        widget=suggesting("product", placeholder="Name or GTIN"),
        help_text="Search by name and choose, or enter the GTIN: the number below the barcode.",
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
    retailer = form_field("Retailer", widget=suggesting("retailer"))
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
    messages = {"url": "An online offer needs an address."}
    serializer_class = OfferSerializer

    url = form_field("Address", widget=text_input(**_ADDRESS))

    def field_values(self, row: Offer) -> dict[str, Any]:
        """Return only the address."""
        return {"url": row.url}

    @classmethod
    def version_shown(cls, offer: Offer) -> str:
        """Return the hidden version of an offer's form, without the cost of a form per row."""
        return version_token(cls.version_of(offer), {"url": offer.url})


OFFER: RowPages[Offer] = RowPages(
    noun="offer",
    context_name="offer",
    list_view=OFFERS,
    queryset=lambda organization: Offer.objects.of(organization).with_gtin(),
    template="dashboard/offer.html",
    delete_template="dashboard/offer_delete.html",
)


def offers_of(product: Product) -> list[Offer]:
    """Return a product's offers for ``dashboard/product_offers.html``.

    Online offers first, at most ``MAX_PAGE_SIZE``; one query.
    """
    offers = Offer.objects.of(product.organization_id).filter(product=product).with_gtin()
    return list(offers.order_by("-channel", "retailer", "store", "sku")[:MAX_PAGE_SIZE])


@organization_page(read_role=ApiKeyRole.EDITOR)
def new_offer(request: HttpRequest, access: Access) -> HttpResponse:
    """Show the form of a new offer, and create it."""

    def create(values: dict[str, Any]) -> Offer:
        fields = with_product(access.organization, values)
        return create_offer(fields.pop("product"), fields)

    form = OfferForm(post_data(request), initial={"gtin": request.GET.get("gtin", "")})
    return OFFER.create(request, access, form, create)


@organization_page()
def show_offer(request: HttpRequest, access: Access, offer_id: UUID | None) -> HttpResponse:
    """Show an offer, and save changes to it."""
    offer = OFFER.find(access, offer_id)
    form = OfferForm(post_data(request), changes=offer)
    # An offer cannot move to another product.
    del form.fields["gtin"]
    changed = OFFER.save(access, offer_id, form, _change)
    if changed is None:
        return OFFER.render_form(request, access, form, offer)
    url = back = OFFER.return_url(request, access)
    if is_first_check_due(changed) and (changed.url, changed.channel) != (offer.url, offer.channel):
        # Stay on the offer: it shows the check of the new address, a filtered list may not.
        url = f"{request.path}?{urlencode({'back': back})}"
    return redirect_with_message(request, url, form.saved_message())


@organization_page(read_role=ApiKeyRole.EDITOR)
def delete_offer(request: HttpRequest, access: Access, offer_id: UUID | None) -> HttpResponse:
    """Ask for confirmation, and delete an offer."""
    return OFFER.delete(request, access, offer_id)


@require_POST
@organization_page()
def change_address(request: HttpRequest, access: Access, offer_id: UUID | None) -> HttpResponse:
    """Change the address of an offer, and return its table row."""
    offer = OFFER.find(access, offer_id)
    form = AddressForm(request.POST, changes=offer)
    changed = OFFER.save(access, offer_id, form, _change)
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
    return OFFER.render_form(request, access, form, offer)


@require_POST
@organization_page()
def check_offer(request: HttpRequest, access: Access, offer_id: UUID | None) -> HttpResponse:
    """Check the address of an offer now, and return its table row."""
    offer = OFFER.find(access, offer_id)
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


def _change(offer: Offer, values: Mapping[str, Any]) -> None:
    if change_offer(offer, values):
        # A trigger schedules the check of a new address.
        offer.refresh_from_db(fields=["url_check_at"])


def _row_or_redirect(request: HttpRequest, access: Access, offer: Offer) -> HttpResponse:
    """Return the table row of an offer with the messages; without htmx, redirect back."""
    if not is_fragment(request):
        return redirect(OFFER.return_url(request, access))
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
        "back": OFFER.return_url(request, access),
        "of_product": "of_product" in request.POST,
        "shown": OFFERS.display_of(request).columns,
        "is_selecting": "of_product" not in request.POST,
        "thumbnails": thumbnails_of(access.organization, [offer.product_id]),
    }
    status = 200 if form is None else 422
    return render_page(request, "dashboard/offer_row.html", context, status=status)
