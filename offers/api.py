"""Offers: the list behind two of the numbers, and each offer's life."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from closient.accounts.views import OrganizationView
from closient.db.transactions import run_with_retry
from closient.http import cursors, idempotency, openapi, pagination, parameters
from closient.http.fields import values_of
from closient.http.pagination import ListPage, page_of
from closient.http.problems import FieldError, Problem
from dashboard.api.fields import merged_metadata
from offers.serializers import BrokenAtRetailerSerializer, OfferSerializer
from dashboard.api.references import gtin_parameter, product_named
from offers.currencies import InvalidPrice
from offers.editing import UrlMissing, change_offer, create_offer
from offers.lists import MOST_BROKEN_FIRST, OfferFilter, Order, broken_by_retailer, offers_page
from offers.models import FAILING, Channel, Offer, OfferStatus, UrlStatus
from offers.url_checks.check_now import HostThrottled, NoUrl, check_now

TAGS = ["Offers"]
ALL_FAILING = "failing"
OFFER_ID = openapi.id_parameter("offer_id", "the offer")

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


class _OffersView(OrganizationView):
    """A view of offers."""

    def address_of(self, row: Offer) -> str:
        """Return the address of an offer."""
        return reverse("offer", args=(row.organization_id, row.pk))


class OffersView(_OffersView):
    """The list, and a new offer."""

    query_parameters = LIST_PARAMETERS

    @extend_schema(
        operation_id="list_offers",
        summary="List offers",
        description="The organization's offers, newest first unless `ordering` says otherwise. "
        "All filters that are given hold. "
        "`total_count` of `status=active` is `active_offers`, that of `url_status=failing` "
        "`broken_offers`.",
        tags=TAGS,
        parameters=[openapi.ORGANIZATION_ID, *(p.documented() for p in LIST_PARAMETERS)],
        responses=openapi.responses(page_of(OfferSerializer), "A page.", "validation_error"),
    )
    def get(self, request: Request, organization_id: UUID) -> Response:
        """Return a page of offers."""
        page, values = ListPage.read(request, self.query_parameters)
        filters = offer_filter(values)
        offers, total_count = offers_page(
            self.organization.id, filters, start=page.start, end=page.end, after=page.after
        )
        return page.answer(
            offers,
            total_count=total_count,
            show=self._shown,
            position=lambda offer: cursors.position_of(offer, filters.order.columns),
        )

    def _shown(self, offers: Any) -> Any:
        """Return offers as a page shows them."""
        return OfferSerializer(offers, many=True).data

    @extend_schema(
        operation_id="create_offer",
        summary="Create an offer",
        description="Adds an offer of a trade item. A trade item has at most one offer for each "
        "channel, retailer, store and SKU; another one gets 409.",
        tags=TAGS,
        parameters=[openapi.ORGANIZATION_ID, idempotency.PARAMETER, idempotency.REPLAYED_HEADER],
        request=OfferSerializer,
        responses=openapi.written(
            201,
            OfferSerializer,
            "The new offer.",
            "conflict",
            "unsupported_media_type",
            "validation_error",
        ),
    )
    def post(self, request: Request, organization_id: UUID) -> Response:
        """Make an offer."""
        values = values_of(OfferSerializer(data=request.data))
        gtin = values.pop("product")["gtin"]
        organization = self.organization

        def write() -> Response:
            try:
                offer = create_offer(product_named(organization, gtin), values)
            except UrlMissing as error:
                raise _url_missing(error) from None
            except InvalidPrice as error:
                raise invalid_price(error) from None
            body = OfferSerializer(offer).data
            return Response(body, status=201, headers={"Location": self.address_of(offer)})

        return idempotency.idempotent(request, organization.id, write)


class _OneOfferView(_OffersView):
    """A view of one offer."""

    def find(self, offer_id: UUID | None, *, is_locked: bool = False) -> Offer:
        """Return the organization's offer of an id, or raise ``not_found``."""
        if offer_id is None:
            raise Problem("not_found")
        offers = Offer.objects.of(self.organization).filter(pk=offer_id).order_by()
        if is_locked:
            # A statement before the one that reads: a lock that waited returns the row as it is
            # now only if it is still joined to the product that it was joined to.
            offers.select_for_update(no_key=True).values_list("pk").first()
        offer = offers.with_gtin().first()
        if offer is None:
            raise Problem("not_found")
        return offer

    def find_to_write(self, offer_id: UUID | None) -> Offer:
        """Return the offer with its row locked and its version checked."""
        offer = self.find(offer_id, is_locked=True)
        self.check_version(lambda: OfferSerializer(offer).data)
        return offer


class OfferView(_OneOfferView):
    """One offer."""

    @extend_schema(
        operation_id="get_offer",
        summary="Get an offer",
        description="The offer.",
        tags=TAGS,
        parameters=[openapi.ORGANIZATION_ID, OFFER_ID],
        responses=openapi.responses(OfferSerializer, "The offer."),
    )
    def get(self, request: Request, organization_id: UUID, offer_id: UUID | None) -> Response:
        """Return the offer."""
        return Response(OfferSerializer(self.find(offer_id)).data)

    @extend_schema(
        operation_id="update_offer",
        summary="Change an offer",
        description="Changes the given fields and keeps the rest; metadata is merged, and null "
        "removes a key. Another `url` or `channel` makes the address unchecked and empties "
        "what the last check found. With another `gtin` the offer moves to that trade item.",
        tags=TAGS,
        parameters=[openapi.ORGANIZATION_ID, OFFER_ID],
        request=OfferSerializer(partial=True),
        responses=openapi.written(
            200,
            OfferSerializer,
            "The offer.",
            "conflict",
            "unsupported_media_type",
            "validation_error",
        ),
    )
    def patch(self, request: Request, organization_id: UUID, offer_id: UUID | None) -> Response:
        """Change the offer."""
        # What is not there is 404 whatever the body says; and a body may come slowly, so that it
        # is read before the row is locked.
        self.find(offer_id)
        given = values_of(OfferSerializer(data=request.data, partial=True))

        def write() -> Offer:
            offer = self.find_to_write(offer_id)
            values = dict(given)
            if "product" in values:
                values["product"] = product_named(self.organization, values["product"]["gtin"])
            if "metadata" in values:
                values["metadata"] = merged_metadata(offer.metadata, values["metadata"])
            try:
                change_offer(offer, values)
            except UrlMissing as error:
                raise _url_missing(error) from None
            except InvalidPrice as error:
                raise invalid_price(error) from None
            return offer

        return Response(OfferSerializer(run_with_retry(write)).data)

    @extend_schema(
        operation_id="delete_offer",
        summary="Delete an offer",
        description="Deletes the offer for good. One that comes back is better `discontinued`.",
        tags=TAGS,
        parameters=[openapi.ORGANIZATION_ID, OFFER_ID],
        responses=openapi.written(204, None, "Deleted."),
    )
    def delete(self, request: Request, organization_id: UUID, offer_id: UUID | None) -> Response:
        """Delete the offer."""
        run_with_retry(lambda: self.find_to_write(offer_id).delete())
        return Response(status=204)


class OfferCheckView(_OneOfferView):
    """A check of one offer's address, now."""

    post_checks_version = True

    @extend_schema(
        operation_id="check_offer",
        summary="Check an offer's address now",
        description="Requests the shop's page now, as the URL checker does on its schedule, and "
        "answers with the updated offer, after up to 40 seconds. One failure does not make an "
        "offer broken: `url_detail` says what was found, and more checks follow. If the shop has "
        "just had enough requests, the answer is 503 with `Retry-After`. An in-store offer has no "
        "URL: 409.",
        tags=TAGS,
        parameters=[openapi.ORGANIZATION_ID, OFFER_ID],
        request=None,
        responses=openapi.written(200, OfferSerializer, "The offer, checked.", "conflict"),
    )
    def post(self, request: Request, organization_id: UUID, offer_id: UUID | None) -> Response:
        """Check the address."""
        offer = self.find(offer_id)
        self.check_version(lambda: OfferSerializer(offer).data)
        try:
            offer = check_now(offer)
        except NoUrl as error:
            raise Problem("conflict", str(error)) from None
        except HostThrottled as error:
            raise Problem("unavailable", str(error), retry_after=error.retry_after) from None
        return Response(OfferSerializer(offer).data)


class BrokenByRetailerView(OrganizationView):
    """The broken offers, by retailer."""

    query_parameters = pagination.PARAMETERS

    @extend_schema(
        operation_id="list_broken_offers_by_retailer",
        summary="Count broken offers by retailer",
        description="The retailers with broken offers, those with the most first, ties by name. "
        "The counts of all pages sum to `broken_offers`. To list the offers, filter by "
        "`url_status=failing` and `retailer`.",
        tags=TAGS,
        parameters=[openapi.ORGANIZATION_ID, *(p.documented() for p in pagination.PARAMETERS)],
        responses=openapi.responses(
            page_of(BrokenAtRetailerSerializer), "A page.", "validation_error"
        ),
    )
    def get(self, request: Request, organization_id: UUID) -> Response:
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


def _url_missing(error: UrlMissing) -> Problem:
    return Problem("validation_error", errors=[FieldError("#/url", "required", str(error))])


def invalid_price(error: InvalidPrice) -> Problem:
    """Return the problem of a price that does not fit its currency."""
    errors = [FieldError(f"#/{error.field}", error.code, str(error))]
    return Problem("validation_error", errors=errors)
