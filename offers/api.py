"""Offers: the list behind two of the numbers, and each offer's life."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response

from catalog.editing import product_named
from catalog.lists import gtin_parameter
from closient.accounts.views import OrganizationResource, OrganizationView
from closient.http import cursors, openapi, pagination, parameters
from closient.http.pagination import ListPage, page_of
from closient.http.problems import Problem
from closient.http.resources import (
    CreateEndpoint,
    Listed,
    ListEndpoint,
    ResourceSchema,
    RowEndpoint,
)
from offers.editing import change_offer, create_offer
from offers.lists import MOST_BROKEN_FIRST, OfferFilter, Order, broken_by_retailer, offers_page
from offers.models import FAILING, Channel, Offer, OfferStatus, UrlStatus
from offers.serializers import BrokenAtRetailerSerializer, OfferSerializer
from offers.url_checks.check_now import HostThrottled, NoUrl, check_now

ALL_FAILING = "failing"

FILTERS = (
    parameters.choice(
        "status",
        "Offers in this status; `active` is the list behind `active_offers`.",
        words=OfferStatus.values,
        example="active",
    ),
    parameters.choice("channel", "Offers of this channel.", words=Channel.values, example="online"),
    parameters.choices(
        "url_status",
        f"Offers in one of these URL statuses. `{ALL_FAILING}` stands for "
        f"`{'`, `'.join(FAILING)}`: the list behind `broken_offers`. Offers in a store have none.",
        words=[*UrlStatus.values, ALL_FAILING],
        example=ALL_FAILING,
    ),
    parameters.text(
        "retailer",
        "Offers of the retailer with exactly this name; empty: of no named retailer.",
        min_length=0,
        max_length=255,
        example="Example Market",
    ),
    gtin_parameter("Offers"),
    parameters.text("sku", "Offers with exactly this SKU.", max_length=100, example="EM-10042"),
    parameters.text(
        "q",
        "Digits: offers of trade items whose GTIN begins so, in any of its lengths. Else offers of "
        "trade items with these words, or beginnings of words, in their name.",
        max_length=255,
        example="oat",
    ),
)
ORDERING = parameters.choice(
    "ordering",
    "By the retailer's name, ascending or descending; newest first by default.",
    words=[order.value for order in Order if order is not Order.NEWEST],
    example=Order.RETAILER.value,
)
LIST_PARAMETERS = (*FILTERS, ORDERING, *pagination.PARAMETERS)


def offer_filter(values: dict[str, Any]) -> OfferFilter:
    """Return which offers the parameters ask for, and in which order."""
    url_statuses = values["url_status"]
    if url_statuses is not None and ALL_FAILING in url_statuses:
        url_statuses = (url_statuses - {ALL_FAILING}) | {status.value for status in FAILING}
    return OfferFilter(
        channel=values["channel"],
        status=values["status"],
        url_statuses=url_statuses,
        retailer=values["retailer"],
        gtin=values["gtin"],
        sku=values["sku"],
        text=values["q"],
        order=Order(values["ordering"] or ""),
    )


OFFERS = ResourceSchema(
    noun="offer",
    nouns="offers",
    a_noun="an offer",
    serializer=OfferSerializer,
    tags=["Offers"],
    row=openapi.id_parameter("offer_id", "the offer"),
)


class OfferResource(OrganizationResource):
    """The offers of an organization."""

    model = Offer
    serializer_class = OfferSerializer
    route = "offer"
    lookup_argument = "offer_id"

    def with_related(self, rows: Any) -> Any:
        """Add the GTIN."""
        return rows.with_gtin()

    def with_product(self, values: dict[str, Any]) -> dict[str, Any]:
        """Replace the GTIN in the values of a body by the product."""
        if "product" not in values:
            return values
        return {**values, "product": product_named(self.organization, values["product"]["gtin"])}


@extend_schema_view(
    get=OFFERS.list(
        "The organization's offers, newest first unless `ordering` says otherwise. All filters "
        "that are given hold. `total_count` of `status=active` is `active_offers`, that of "
        "`url_status=failing` `broken_offers`.",
        parameters=LIST_PARAMETERS,
    ),
    post=OFFERS.create(
        "Adds an offer of a trade item. A trade item has at most one offer for each channel, "
        "retailer, store and SKU; another one gets 409."
    ),
)
class OffersView(OfferResource, ListEndpoint, CreateEndpoint):
    """The list, and new offers."""

    query_parameters = LIST_PARAMETERS

    def listed(self, values: dict[str, Any], page: ListPage) -> Listed:
        """Return the offers of a page."""
        filters = offer_filter(values)
        offers, total_count = offers_page(
            self.organization.id, filters, start=page.start, end=page.end, after=page.after
        )
        return Listed(
            offers, total_count, lambda offer: cursors.position_of(offer, filters.order.columns)
        )

    def create(self, values: dict[str, Any]) -> Offer:
        """Create an offer."""
        fields = self.with_product(values)
        return create_offer(fields.pop("product"), fields)


@extend_schema_view(
    get=OFFERS.get(),
    patch=OFFERS.update(
        "Changes the given fields and keeps the rest; metadata is merged, and null removes a key. "
        "Another `url` or `channel` makes the address unchecked and empties what the last check "
        "found. With another `gtin` the offer moves to that trade item."
    ),
    delete=OFFERS.delete(
        "Deletes the offer for good. One that comes back is better `discontinued`."
    ),
)
class OfferView(OfferResource, RowEndpoint):
    """One offer."""

    def change(self, row: Offer, values: dict[str, Any]) -> Offer:
        """Change an offer."""
        change_offer(row, self.with_product(values))
        return row


class OfferCheckView(OfferResource):
    """A check of an offer's URL, now."""

    post_checks_version = True

    @extend_schema(
        operation_id="check_offer",
        summary="Check an offer's address now",
        description="Requests the shop's page now, as the URL checker does on its schedule, and "
        "answers with the updated offer, after up to 40 seconds. One failure does not make an "
        "offer broken: `url_detail` says what was found, and more checks follow. If the shop has "
        "just had enough requests, the answer is 503 with `Retry-After`. An in-store offer has no "
        "URL: 409.",
        tags=OFFERS.tags,
        parameters=[*OFFERS.path, OFFERS.row],
        request=None,
        responses=openapi.written(200, OfferSerializer, "The offer, checked.", "conflict"),
    )
    def post(self, request: Request, **kwargs: Any) -> Response:
        """Check the URL."""
        offer = self.find()
        self.check_version(lambda: self.shown(offer))
        try:
            offer = check_now(offer)
        except NoUrl as error:
            raise Problem("conflict", str(error)) from None
        except HostThrottled as error:
            raise Problem("unavailable", str(error), retry_after=error.retry_after) from None
        return Response(self.shown(offer))


class BrokenByRetailerView(OrganizationView):
    """The broken offers, by retailer."""

    query_parameters = pagination.PARAMETERS

    @extend_schema(
        operation_id="list_broken_offers_by_retailer",
        summary="Count broken offers by retailer",
        description="The retailers with broken offers, those with the most first, ties by name. "
        "The counts of all pages sum to `broken_offers`. To list the offers, filter by "
        "`url_status=failing` and `retailer`.",
        tags=OFFERS.tags,
        parameters=[*OFFERS.path, *(p.documented() for p in pagination.PARAMETERS)],
        responses=openapi.responses(
            page_of(BrokenAtRetailerSerializer), "A page.", "validation_error"
        ),
    )
    def get(self, request: Request, **kwargs: Any) -> Response:
        """Return a page of retailers."""
        page, _ = ListPage.read(request, self.query_parameters)
        retailers, total_count = broken_by_retailer(
            self.organization.id, start=page.start, end=page.end, after=page.after
        )
        return page.answer(
            retailers,
            total_count=total_count,
            show=lambda rows: BrokenAtRetailerSerializer(list(rows), many=True).data,
            position=lambda group: cursors.position_of(group, MOST_BROKEN_FIRST),
        )
