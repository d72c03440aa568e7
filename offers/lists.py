"""Lists of an organization's offers, one page at a time.

The tally counts offers by channel, status and URL status. A list with no other filters takes its
length from the tally and its pages from an index with the same buckets as ranges: a page costs at
most the rows up to its end, however few offers match.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection
from django.db.models import Count, F, Min, Q

from catalog.models import of_products_found_by
from closient.db.transactions import consistent_read
from closient.http import cursors
from closient.http.cursors import Position
from closient.tally.declarations import BUCKET_SEPARATOR
from closient.tally.models import ALWAYS, TallyEntry
from offers.models import FAILING, Offer, OfferQuerySet


class Order(enum.StrEnum):
    """Orders of a list. Offers of one retailer come newest first, in reverse order oldest first."""

    NEWEST = ""
    RETAILER = "retailer"
    RETAILER_REVERSED = "-retailer"

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns to order by, as an index has them."""
        by: dict[Order, tuple[str, ...]] = {
            Order.NEWEST: ("-pk",),
            Order.RETAILER: ("retailer", "-pk"),
            Order.RETAILER_REVERSED: ("-retailer", "pk"),
        }
        return by[self]


@dataclasses.dataclass(frozen=True, kw_only=True)
class OfferFilter:
    """The filters and the order of a list of offers; ``None`` where a filter is not set.

    ``retailer`` is the full name, ``gtin`` a GTIN-14 and ``sku`` the full SKU; ``text`` is a search
    text for the product (:meth:`catalog.models.ProductQuerySet.search`).
    """

    channel: str | None = None
    status: str | None = None
    url_statuses: Collection[str] | None = None
    retailer: str | None = None
    gtin: str | None = None
    sku: str | None = None
    text: str | None = None
    order: Order = Order.NEWEST

    def has_bucket(self, bucket: str) -> bool:
        """Return whether the offers in a bucket of the tally match."""
        channel, status, url_status = bucket.split(BUCKET_SEPARATOR)
        return (
            self.channel in (None, channel)
            and self.status in (None, status)
            and (self.url_statuses is None or url_status in self.url_statuses)
        )

    @property
    def is_counted(self) -> bool:
        """Whether the tally has the number of matching offers."""
        return not any(
            given is not None for given in (self.retailer, self.gtin, self.sku, self.text)
        )

    def filter(self, offers: OfferQuerySet) -> OfferQuerySet:
        """Filter a queryset."""
        named = {"channel": self.channel, "status": self.status, "retailer": self.retailer}
        offers = offers.filter(
            **{name: value for name, value in named.items() if value is not None}
        )
        if self.url_statuses is not None:
            if set(self.url_statuses) <= set(FAILING):
                # Implied by the URL status, but lets PostgreSQL use the index of broken offers.
                offers = offers.broken()
            offers = offers.filter(url_status__in=sorted(self.url_statuses))
        if self.gtin is not None:
            offers = offers.filter(product__gtin=self.gtin, product__organization=F("organization"))
        if self.sku is not None:
            # The partial index excludes offers without a SKU.
            offers = offers.filter(sku=self.sku).exclude(sku="")
        return offers if self.text is None else offers.filter(of_products_found_by(self.text))


# SQL text: the ORM takes several times as long to compose a union of two dozen ranges as PostgreSQL
# takes to run it. Each range has its own order and limit, or it would be read completely.
_RANGE = """(
    SELECT id FROM public.offers_offer
    WHERE organization_id = %s AND channel = %s AND status = %s AND coalesce(url_status, '') = %s
        AND id < %s
    ORDER BY id DESC LIMIT %s
)"""
_MERGED = "SELECT id FROM ({ranges}) AS merged ORDER BY id DESC OFFSET %s LIMIT %s"


# Greater than every id.
_LAST_ID = UUID(int=2**128 - 1)


def offers_page(
    organization_id: UUID,
    filters: OfferFilter,
    *,
    start: int,
    end: int,
    after: Position | None = None,
) -> tuple[list[Offer], int]:
    """Return the matching offers from ``start`` to ``end`` with their GTIN, and the total.

    With a position, ``start`` and ``end`` count from there. Three queries in one snapshot, four
    with a position in an order by retailer.
    """
    offers = Offer.objects.of(organization_id)
    with consistent_read():
        if filters.is_counted:
            counts = TallyEntry.objects.of(organization_id).counts("offers", ALWAYS)
            buckets = [bucket for bucket in sorted(counts) if filters.has_bucket(bucket)]
            total = sum(counts[bucket] for bucket in buckets)
            is_everything = len(buckets) == len(counts)
            if filters.order is not Order.NEWEST:
                offers, is_everything = filters.filter(offers), True
        else:
            buckets, is_everything = [], True
            offers = filters.filter(offers)
            total = offers.count()
        if start >= total:
            return [], total
        # Ids first, from an index only: rows before the page are not read.
        keys = (
            cursors.rows_between(
                offers.values_list("pk", flat=True),
                filters.order.columns,
                start=start,
                end=end,
                after=after,
            )
            if is_everything
            else _newest_in(buckets, organization_id, start, end, after)
        )
        rows = Offer.objects.filter(pk__in=keys).with_gtin()
        return list(rows.order_by(*filters.order.columns)), total


def _newest_in(
    buckets: Sequence[str],
    organization_id: UUID,
    start: int,
    end: int,
    after: Position | None,
) -> list[UUID]:
    """Return the ids of offers in buckets, merged from one index range per bucket."""
    query = _MERGED.format(ranges=" UNION ALL ".join([_RANGE] * len(buckets)))
    values: list[Any] = []
    before = UUID(str(after[0])) if after is not None else _LAST_ID
    for bucket in buckets:
        values += [organization_id, *bucket.split(BUCKET_SEPARATOR), before, end]
    with connection.cursor() as cursor:
        cursor.execute(query, [*values, start, end - start])
        return [key for (key,) in cursor]


# The order of retailers by broken offers.
MOST_BROKEN_FIRST = ("-broken", "retailer")


@dataclasses.dataclass(frozen=True)
class BrokenAtRetailer:
    """The broken offers of a retailer: their number, in total and by URL status.

    ``since`` is when the oldest one started to fail; ``None`` if no check recorded it.
    """

    retailer: str
    broken: int
    since: datetime.datetime | None
    url_statuses: dict[str, int]


def broken_by_retailer(
    organization_id: UUID, *, start: int, end: int, after: Position | None = None
) -> tuple[list[BrokenAtRetailer], int]:
    """Return the retailers with broken offers from ``start`` to ``end``, and their total.

    Most broken offers first, then by name; offers without a retailer are one group. With a position
    in ``MOST_BROKEN_FIRST``, ``start`` and ``end`` count from there. Two queries in one snapshot,
    three with a position; they read only the index of broken offers.
    """
    broken = Offer.objects.of(organization_id).broken().order_by().values("retailer")
    by_status = {f"n_{status}": Count("pk", filter=Q(url_status=status)) for status in FAILING}
    groups = broken.annotate(broken=Count("pk"), since=Min("url_failing_since"), **by_status)
    with consistent_read():
        total = broken.distinct().count()
        page = cursors.rows_between(groups, MOST_BROKEN_FIRST, start=start, end=end, after=after)
    return [
        BrokenAtRetailer(
            retailer=group["retailer"],
            broken=group["broken"],
            since=group["since"],
            url_statuses={status.value: group[f"n_{status}"] for status in FAILING},
        )
        for group in page
    ], total


class WorstRetailer(NamedTuple):
    """The number of a retailer's broken offers, and since when, if recorded."""

    retailer: str
    broken: int
    since: datetime.datetime | None


def worst_retailers(organization_id: UUID, *, at_most: int) -> list[WorstRetailer]:
    """Return the first groups of :func:`broken_by_retailer`, without total and URL statuses.

    One query: a single scan of the index of broken offers.
    """
    broken = Offer.objects.of(organization_id).broken().order_by()
    groups = broken.values_list("retailer").annotate(n=Count("pk"), since=Min("url_failing_since"))
    return [WorstRetailer(*group) for group in groups.order_by("-n", "retailer")[:at_most]]
