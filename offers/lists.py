"""Lists of an organization's offers, one page at a time.

The tally counts offers by channel, status and URL status. A list with no other filters takes its
length from the tally and its pages from an index with the same buckets as ranges: a page costs at
most the rows up to its end, however few offers match.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self
from uuid import UUID

from django.db import connection
from django.db.models import Count, Min, Q

from closient.accounts.models import Organization
from closient.db.replicas import reads_on_replica
from closient.http import cursors, parameters
from closient.http.cursors import Position
from closient.http.lists import RowList
from closient.tally.declarations import BUCKET_SEPARATOR
from closient.tally.models import ALWAYS, TallyEntry
from offers.filters import OFFER_FILTERS, Bucket
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


@dataclasses.dataclass(frozen=True)
class OfferList(RowList):
    """A list of an organization's offers."""

    filters = OFFER_FILTERS
    ordering = parameters.choice(
        "ordering",
        "By the retailer's name, ascending or descending; newest first by default.",
        words=[order.value for order in Order if order is not Order.NEWEST],
        example=Order.RETAILER.value,
    )

    organization_id: UUID
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, organization: Organization, values: Mapping[str, Any]) -> Self:
        """Return the list for query parameters."""
        return cls(organization.pk, values)

    @property
    def order(self) -> Order:
        """The order."""
        return Order(self.values.get("ordering") or "")

    @reads_on_replica
    def page(
        self, *, start: int, end: int, after: Position | None = None
    ) -> tuple[list[Offer], int]:
        """Return the offers from ``start`` to ``end`` with their GTIN, and the total.

        With a position, ``start`` and ``end`` count from there. Three queries in one snapshot,
        four with a position in an order by retailer.
        """
        buckets: Sequence[str] | None = None
        rows = self.matching
        if self.is_counted:
            counts = TallyEntry.objects.of(self.organization_id).counts("offers", ALWAYS)
            matching = [b for b in sorted(counts) if self.matches(Bucket.parse(b))]
            total = sum(counts[bucket] for bucket in matching)
            if self.order is Order.NEWEST and len(matching) < len(counts):
                buckets = matching
            elif self.order is Order.NEWEST:
                # All offers match: without conditions the index alone has the page.
                rows = self._all
        else:
            total = rows.count()
        if start >= total:
            return [], total
        # Ids first, from an index only: rows before the page are not read.
        keys = (
            cursors.rows_between(
                rows.values_list("pk", flat=True),
                self.order.columns,
                start=start,
                end=end,
                after=after,
            )
            if buckets is None
            else _newest_in(buckets, self.organization_id, start, end, after)
        )
        page = Offer.objects.filter(pk__in=keys).with_gtin()
        return list(page.order_by(*self.order.columns)), total

    def position(self, offer: Offer) -> Position:
        """Return the position of an offer in the order."""
        return cursors.position_of(offer, self.order.columns)

    def everything(self) -> OfferQuerySet:
        """Return all offers of the list in its order, with their GTIN."""
        return self.matching.with_gtin().order_by(*self.order.columns)

    @property
    def _all(self) -> OfferQuerySet:
        return Offer.objects.of(self.organization_id)

    @property
    def matching(self) -> OfferQuerySet:
        """The matching offers."""
        return self._all.filter(*self.conditions())


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


@reads_on_replica
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
