"""The list page of offers and its bulk actions."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_POST

from closient.accounts.permissions import Access
from closient.db.transactions import run_with_retry
from closient.http.problems import FieldError, Problem
from dashboard.api.offers import ALL_FAILING, LIST_PARAMETERS, offer_filter
from dashboard.pages.base import organization_page
from dashboard.pages.exports import csv_download
from dashboard.pages.filters import Filter
from dashboard.pages.lists import Column, ListPage
from dashboard.templatetags.labels import status_label
from offers.editing import discontinue
from offers.exporting import HEADER, exported_offers
from offers.lists import Order, offers_page
from offers.models import Channel, Offer, OfferQuerySet, OfferStatus, UrlStatus
from offers.url_checks.schedule.due import make_due

OFFERS = ListPage(
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
            help="GTIN or product name",
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
    """Show the list of offers."""
    list_query = OFFERS.read(request)
    offers, total = offers_page(
        access.organization.id,
        offer_filter(dict(list_query.values)),
        start=list_query.page.start,
        end=list_query.page.end,
    )
    return OFFERS.render(request, access, list_query, rows=offers, total=total)


@organization_page()
def export_offers(request: HttpRequest, access: Access) -> HttpResponseBase:
    """Send the filtered offers as CSV."""
    organization, values = access.organization, OFFERS.read_export(request)
    rows = exported_offers(organization.id, offer_filter(values))
    return csv_download(request, "offers", HEADER, rows, separator=values["separator"])


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
    change = _BULK.get(request.POST.get("action", ""))
    if change is None:
        detail = f"Must be one of {', '.join(_BULK)}."
        raise Problem("validation_error", errors=[FieldError("#/action", "choice", detail)])
    selected = Offer.objects.of(access.organization).filter(pk__in=OFFERS.selected_ids(request))
    return OFFERS.redirect_back(request, access, change(selected))


def _count(offers: int) -> str:
    return "1 offer" if offers == 1 else f"{offers} offers"
