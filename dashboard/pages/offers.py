"""The list of offers: the rows behind two of the numbers, and what is done to several of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_POST

from closient.accounts.permissions import Access
from closient.db.transactions import commit
from closient.http.problems import FieldError, Problem
from dashboard.api.offers import ALL_FAILING, LIST_PARAMETERS, wanted_offers
from dashboard.pages.base import organization_page
from dashboard.pages.exports import csv_download
from dashboard.pages.filters import Filter
from dashboard.pages.lists import Column, Listing
from dashboard.templatetags.labels import status_label
from offers.editing import discontinue
from offers.exporting import HEADER, exported_offers
from offers.lists import Order, offers_page
from offers.models import Channel, Offer, OfferQuerySet, OfferStatus, UrlStatus
from offers.url_checks.schedule.due import make_due

OFFERS = Listing(
    route="page-offers",
    title="Offers",
    one="offer",
    many="offers",
    parameters=LIST_PARAMETERS,
    filters=(
        Filter(
            name="q",
            label="Search",
            kind="search",
            chip="“{text}”",
            help="GTIN or words of the product's name",
        ),
        Filter(
            name="url_status",
            label="Address",
            kind="checks",
            options=[
                (ALL_FAILING, "Broken, in any way"),
                *((w, status_label(w)) for w in UrlStatus),
            ],
        ),
        Filter(
            name="status",
            label="Status",
            kind="select",
            options=[(word, status_label(word)) for word in OfferStatus],
        ),
        Filter(
            name="channel",
            label="Channel",
            kind="select",
            options=[(word, status_label(word)) for word in Channel],
        ),
        Filter(name="retailer", label="Retailer", blank="No retailer named"),
        Filter(name="gtin", label="GTIN"),
        Filter(name="sku", label="SKU"),
    ),
    columns=(
        Column("Product"),
        Column("Retailer", up=Order.RETAILER, down=Order.RETAILER_REVERSED),
        Column("Price", css="number"),
        Column("Status"),
        Column("Address"),
        Column(""),
    ),
    rows="dashboard/offers_rows.html",
    empty="dashboard/offers_empty.html",
    actions="dashboard/offers_actions.html",
    bulk="dashboard/offers_bulk.html",
    bulk_route="page-offers-bulk",
)


@organization_page()
def show_offers(request: HttpRequest, access: Access) -> HttpResponse:
    """Show a page of the list."""
    asked = OFFERS.read(request)
    offers, total = offers_page(
        access.organization.id,
        wanted_offers(dict(asked.values)),
        start=asked.page.start,
        end=asked.page.end,
    )
    return OFFERS.show(request, access, asked, rows=offers, total=total)


@organization_page()
def export_offers(request: HttpRequest, access: Access) -> HttpResponseBase:
    """Send all offers that are filtered, as a CSV."""
    organization, asked = access.organization, OFFERS.read_strictly(request)
    rows = exported_offers(organization.id, wanted_offers(asked))
    return csv_download(request, "offers", HEADER, rows, separator=asked["separator"])


def _discontinue(offers: OfferQuerySet) -> str:
    changed = commit(lambda: discontinue(offers))
    return f"{_count(changed)} marked as discontinued."


def _recheck(offers: OfferQuerySet) -> str:
    return f"{_count(make_due(offers))} due for a check now: the checker takes them next."


_BULK: Mapping[str, Callable[[OfferQuerySet], str]] = {
    "discontinue": _discontinue,
    "recheck": _recheck,
}


@require_POST
@organization_page()
def change_offers(request: HttpRequest, access: Access) -> HttpResponse:
    """Mark the ticked offers as discontinued, or have their addresses checked again."""
    change = _BULK.get(request.POST.get("action", ""))
    if change is None:
        detail = f"Must be one of {', '.join(_BULK)}."
        raise Problem("validation_error", errors=[FieldError("#/action", "choice", detail)])
    ticked = Offer.objects.of(access.organization).filter(pk__in=OFFERS.chosen(request))
    return OFFERS.shown_again(request, access, change(ticked))


def _count(offers: int) -> str:
    return "1 offer is" if offers == 1 else f"{offers} offers are"
