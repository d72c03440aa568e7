"""The filters of lists of offers."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

from django.db.models import Q

from catalog.filters import (
    gtin_filter,
    product_filters,
    product_search_filter,
    updated_since_filter,
)
from closient.http import parameters
from closient.http.lists import Filter
from closient.tally.declarations import BUCKET_SEPARATOR
from offers.models import FAILING, Channel, OfferStatus, UrlStatus

# Selects all failing URL statuses.
ALL_FAILING = "failing"


class Bucket(NamedTuple):
    """A bucket in which the tally counts offers; the URL status is empty for offers in a store."""

    channel: str
    status: str
    url_status: str

    @classmethod
    def parse(cls, text: str) -> Bucket:
        """Return the bucket of an entry of the tally."""
        return cls(*text.split(BUCKET_SEPARATOR))


def _expanded(url_statuses: Collection[str]) -> set[str]:
    given = set(url_statuses)
    return given - {ALL_FAILING} | set(FAILING) if ALL_FAILING in given else given


def _with_url_status(url_statuses: Collection[str], _: Any) -> Q:
    wanted = _expanded(url_statuses)
    condition = Q(url_status__in=sorted(wanted))
    if wanted <= set(FAILING):
        # Implied by the URL status, but lets PostgreSQL use the index of broken offers.
        condition &= Q(channel=Channel.ONLINE, url_status__in=FAILING)
    return condition


OFFER_FILTERS = (
    Filter(
        parameter=parameters.choice(
            "status",
            "Offers in this status; `active` is the list behind `active_offers`.",
            words=OfferStatus.values,
            example="active",
        ),
        condition=lambda status, _: Q(status=status),
        matches=lambda status, bucket, _: bucket.status == status,
        label="Status",
    ),
    Filter(
        parameter=parameters.choice(
            "channel", "Offers of this channel.", words=Channel.values, example="online"
        ),
        condition=lambda channel, _: Q(channel=channel),
        matches=lambda channel, bucket, _: bucket.channel == channel,
        label="Channel",
    ),
    Filter(
        parameter=parameters.choices(
            "url_status",
            f"Offers in one of these URL statuses. `{ALL_FAILING}` means "
            f"`{'`, `'.join(FAILING)}`: the list behind `broken_offers`. Offers in a store have "
            "none.",
            words=[*UrlStatus.values, ALL_FAILING],
            example=ALL_FAILING,
        ),
        condition=_with_url_status,
        matches=lambda url_statuses, bucket, _: bucket.url_status in _expanded(url_statuses),
        label="Address",
        labels={ALL_FAILING: "Broken, in any way"},
    ),
    Filter(
        parameter=parameters.text(
            "retailer",
            "Offers of the retailer with exactly this name; empty: of no named retailer.",
            min_length=0,
            max_length=255,
            example="Example Market",
        ),
        condition=lambda retailer, _: Q(retailer=retailer),
        label="Retailer",
        suggest="retailer",
        blank="No retailer named",
    ),
    gtin_filter("Offers"),
    Filter(
        parameter=parameters.text(
            "sku", "Offers with exactly this SKU.", max_length=100, example="EM-10042"
        ),
        # The partial index excludes offers without a SKU.
        condition=lambda sku, _: Q(sku=sku) & ~Q(sku=""),
        label="SKU",
    ),
    *product_filters("Offers", with_retailer=False),
    updated_since_filter("Offers"),
    product_search_filter("offers"),
)
