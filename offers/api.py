"""The API of offers, which is the list behind two of the numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response

from catalog.editing import with_product
from closient.accounts.api_views import OrganizationResource, OrganizationView
from closient.http import cursors, openapi, pagination
from closient.http.batches import BatchEndpoint, document_batch
from closient.http.pagination import ListPage, page_of
from closient.http.problems import Problem
from closient.http.resources import (
    CreateEndpoint,
    ListEndpoint,
    ResourceSchema,
    RowEndpoint,
)
from offers.batches import OfferUpsert
from offers.editing import change_offer, create_offer
from offers.lists import MOST_BROKEN_FIRST, OfferList, broken_by_retailer
from offers.models import Offer
from offers.serializers import BrokenAtRetailerSerializer, OfferSerializer
from offers.url_checks.check_now import HostThrottled, NoUrl, check_now

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


@extend_schema_view(
    get=OFFERS.list(
        "The organization's offers that match all given filters; newest first unless `ordering` is "
        "given. `total_count` of `status=active` is `active_offers`, that of "
        "`url_status=failing` `broken_offers`.",
        parameters=OfferList.parameters(),
    ),
    post=OFFERS.create(
        "Adds an offer of a trade item. A trade item has at most one offer for each channel, "
        "retailer, store and SKU; another one gets 409."
    ),
)
class OffersView(OfferResource, ListEndpoint, CreateEndpoint):
    """The list, and new offers."""

    query_parameters = OfferList.parameters()

    def row_list(self, values: Mapping[str, Any]) -> OfferList:
        """Return the list for the values of the query parameters."""
        return OfferList.of(self.organization, values)

    def create(self, values: dict[str, Any]) -> Offer:
        """Create an offer."""
        fields = with_product(self.organization, values)
        return create_offer(fields.pop("product"), fields)


@extend_schema_view(
    post=document_batch(
        OFFERS,
        "Creates or changes up to 1,000 offers, found by GTIN, channel, retailer, store and SKU; "
        "those that an item does not name have their defaults. Another `url` makes the URL "
        "unchecked.",
        example={
            "gtin": "04012345678901",
            "retailer": "Example Market",
            "sku": "EM-10042",
            "url": "https://shop.example.com/item/10042",
            "price": "12.50",
            "currency": "EUR",
        },
    )
)
class OffersBatchView(OfferResource, BatchEndpoint):
    """Many offers at once."""

    upsert = OfferUpsert


@extend_schema_view(
    get=OFFERS.get(),
    patch=OFFERS.update(
        "Changes the given fields and keeps the rest; metadata is merged, and null removes a key. "
        "Another `url` or `channel` makes the URL unchecked and clears the results of the last "
        "check. Another `gtin` moves the offer to that trade item."
    ),
    delete=OFFERS.delete(
        "Deletes the offer permanently. If it may come back, set it to `discontinued` instead."
    ),
)
class OfferView(OfferResource, RowEndpoint):
    """One offer."""

    def change(self, row: Offer, values: dict[str, Any]) -> Offer:
        """Change an offer."""
        change_offer(row, with_product(self.organization, values))
        return row


class OfferCheckView(OfferResource):
    """A check of an offer's URL, now."""

    post_checks_version = True

    @extend_schema(
        operation_id="check_offer",
        summary="Check an offer's URL now",
        description="Requests the shop's page now, as the URL checker does on its schedule, and "
        "returns the updated offer, after up to 40 seconds. One failure does not make an offer "
        "broken: `url_detail` describes it, and more checks follow. If the shop has reached its "
        "request limit, the response is 503 with `Retry-After`. An in-store offer has no URL: 409.",
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
