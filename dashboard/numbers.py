"""The numbers of an organization: one entry each, from which everything else is built.

The statements of the stats, the forecast and the snapshots, the recount over the rows, the API's
fields, the columns of the history and the cards of the home page take their numbers from
:class:`Stats`. The statements read an index of the tally and no other rows.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

from django.db.models import Count, Exists, OuterRef

from catalog import completeness
from catalog.completeness import DATED_FACT, FACT_BY_NAME, Rule, half_up
from catalog.models import Product, ProductImage, effective_rule
from certifications.models import EXPIRING_WITHIN, CertificationAssignment
from closient.accounts.models import Organization
from closient.db.prepared import prepared_cursor
from closient.tally.declarations import BUCKET_SEPARATOR
from offers.models import FAILING, Channel, Offer, OfferStatus


@dataclasses.dataclass(frozen=True)
class StatsQuery:
    """The arguments of the numbers: an organization, a rule and a day.

    ``expiring_within`` is in days. The day is a date in the organization's own time zone.
    """

    organization_id: UUID
    rule: Rule
    day: datetime.date
    expiring_within: int = EXPIRING_WITHIN

    @property
    def last_expiring_day(self) -> datetime.date:
        """The last day on which a certificate counts as expiring."""
        return self.day + datetime.timedelta(days=self.expiring_within)


class Rows:
    """The rows of an organization, for a recount."""

    def __init__(self, stats_query: StatsQuery) -> None:
        self._query = stats_query
        self.products = Product.objects.of(stats_query.organization_id)
        self.offers = Offer.objects.of(stats_query.organization_id)
        self.expiring_certificates = CertificationAssignment.objects.of(
            stats_query.organization_id
        ).expiring_within(stats_query.expiring_within, stats_query.day)

    def is_complete(self, mask: int) -> bool:
        """Return whether a fact mask reaches the rule's threshold."""
        return self._query.rule.is_complete(mask)

    def mean_percentage(self) -> int:
        """Return the mean percentage of all products, rounded half up; 0 without products."""
        percentages = sum(self._query.rule.percentage(mask) * n for mask, n in self.masks.items())
        total = sum(self.masks.values())
        return half_up(percentages, total) if total else 0

    @functools.cached_property
    def masks(self) -> dict[int, int]:
        """How many products have each fact mask, without reading derived columns."""
        children = {
            "images": ProductImage.objects.all(),
            "offers": Offer.objects.active(),
            DATED_FACT.name: CertificationAssignment.objects.valid_on(self._query.day),
        }
        mask = completeness.fact_bits(
            {
                # The organization is the first column of every index.
                name: Exists(
                    rows.filter(organization=OuterRef("organization"), product=OuterRef("pk"))
                )
                for name, rows in children.items()
            }
        )
        products = self.products.order_by().annotate(mask=mask)
        return dict(products.values_list("mask").annotate(count=Count("pk")))


@dataclasses.dataclass(frozen=True)
class Source:
    """An account of the tally that numbers are sums of.

    A number on a day is the sum of the entries up to that day. If ``is_ahead``, it is the sum of
    the entries after that day, up to and including the last day on which a certificate counts as
    expiring.
    """

    account: str
    is_ahead: bool = False


PRODUCTS = Source("products")
OFFERS = Source("offers")
EXPIRY = Source("certification_expiry", is_ahead=True)
SOURCES = (PRODUCTS, OFFERS, EXPIRY)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Number:
    """How a number is counted and shown.

    ``sum`` is the SQL aggregate over the entries (``bucket`` and ``amount``) of ``source``. It may
    contain ``{percentage}`` and ``{threshold}``, the percentage of a product's fact mask and the
    rule's threshold. With ``mean_over``, the number is this sum divided by another number, rounded
    half up, and 0 if that number is 0. ``recount`` counts it from the rows, without the tally.

    ``description``, ``example`` and ``maximum`` document the API's field; ``label`` and ``unit``
    are shown on the pages, with a link to the list behind the number: a route and its query.

    ``has_full_history=False`` is for a number added later: its column of the history is NULL on
    earlier days, which the API and the pages show as unknown.
    """

    name: str = ""
    description: str
    example: int
    maximum: int | None = None
    source: Source
    sum: str
    mean_over: str | None = None
    recount: Callable[[Rows], int]
    label: str
    unit: str = ""
    page: str
    query: str = ""
    has_full_history: bool = True

    @property
    def value(self) -> str:
        """The SQL expression of the number over its sum, which has its name."""
        if self.mean_over is None:
            return f"coalesce({self.name}, 0)"
        return (
            f"coalesce((2 * {self.name} + {self.mean_over}) / nullif(2 * {self.mean_over}, 0), 0)"
        )


def _number(number: Number) -> int:
    field: int = dataclasses.field(metadata={"number": number})
    return field


_FAILING = ", ".join(f"'{status.value}'" for status in FAILING)
# The bucket of an offer: its channel, status and URL status.
_CHANNEL, _STATUS, _URL_STATUS = (
    f"split_part(bucket, '{BUCKET_SEPARATOR}', {place})" for place in (1, 2, 3)
)


@dataclasses.dataclass(frozen=True)
class Stats:
    """The numbers of one organization on one day; each is an integer of 0 or more."""

    total_products: int = _number(
        Number(
            description="Products of the organization, in any status.",
            example=1250,
            source=PRODUCTS,
            sum="sum(amount)",
            recount=lambda rows: sum(rows.masks.values()),
            label="Products",
            page="page-products",
        )
    )
    complete_products: int = _number(
        Number(
            description="Products whose completeness reaches the threshold, 80 percent unless the "
            "organization's rule or `complete_at` says otherwise.",
            example=980,
            source=PRODUCTS,
            sum="sum(amount) FILTER (WHERE {percentage} >= {threshold})",
            recount=lambda rows: sum(n for mask, n in rows.masks.items() if rows.is_complete(mask)),
            label="Complete products",
            page="page-products",
            query="complete=true",
        )
    )
    avg_completeness: int = _number(
        Number(
            description="Mean completeness of all products in percent, rounded half up; 0 without "
            "products.",
            example=78,
            maximum=100,
            source=PRODUCTS,
            sum="sum(amount * {percentage})",
            mean_over="total_products",
            recount=lambda rows: rows.mean_percentage(),
            label="Average completeness",
            unit="%",
            page="page-products",
            query="ordering=completeness",
        )
    )
    active_offers: int = _number(
        Number(
            description="Offers with status `active`, in store and online.",
            example=45,
            source=OFFERS,
            sum=f"sum(amount) FILTER (WHERE {_STATUS} = '{OfferStatus.ACTIVE.value}')",
            recount=lambda rows: rows.offers.active().count(),
            label="Active offers",
            page="page-offers",
            query="status=active",
        )
    )
    broken_offers: int = _number(
        Number(
            description="Online offers whose URL fails: `url_status` is `broken`, `timeout` or "
            "`dns_failure`, regardless of the offer's status.",
            example=3,
            source=OFFERS,
            sum=f"sum(amount) FILTER (WHERE {_CHANNEL} = '{Channel.ONLINE.value}' "
            f"AND {_URL_STATUS} IN ({_FAILING}))",
            recount=lambda rows: rows.offers.broken().count(),
            label="Broken offers",
            page="page-offers",
            query="url_status=failing",
        )
    )
    expiring_certifications: int = _number(
        Number(
            description="Certification assignments that expire after today and within the next "
            "60 days (or `expiring_within`).",
            example=12,
            source=EXPIRY,
            sum="sum(amount)",
            recount=lambda rows: rows.expiring_certificates.count(),
            label="Expiring certifications",
            page="page-certifications",
            query=f"expiring_within={EXPIRING_WITHIN}",
        )
    )
    missing_images: int = _number(
        Number(
            description="Products without any image.",
            example=87,
            source=PRODUCTS,
            sum=f"sum(amount) FILTER (WHERE bucket::integer & {FACT_BY_NAME['images'].bit} = 0)",
            recount=lambda rows: rows.products.filter(images=None).count(),
            label="Products without images",
            page="page-products",
            query="missing=images",
        )
    )


NUMBERS: tuple[Number, ...] = tuple(
    dataclasses.replace(field.metadata["number"], name=field.name)
    for field in dataclasses.fields(Stats)
)


# The numbers as columns with their names, from sums with the same names.
SELECT_NUMBERS = ", ".join(f"{number.value} AS {number.name}" for number in NUMBERS)


def sums(*, percentages: str, threshold: str) -> dict[str, str]:
    """Return the SQL aggregate of each number by name.

    The arguments are SQL: the rule's percentages as a bytea, indexed by mask, and its threshold.
    """
    percentage = f"get_byte({percentages}, bucket::integer)"
    return {
        number.name: number.sum.format(percentage=percentage, threshold=threshold)
        for number in NUMBERS
    }


def sums_of_a_day(
    *, organization: str, day: str, last_expiring_day: str, percentages: str, threshold: str
) -> list[str]:
    """Return a subquery for each source: one row with the sums of its numbers on a day.

    The arguments are SQL, as in :func:`sums`.
    """
    by_name = sums(percentages=percentages, threshold=threshold)
    subqueries = []
    for source in SOURCES:
        columns = ", ".join(f"{by_name[n.name]} AS {n.name}" for n in NUMBERS if n.source == source)
        days = (
            f"effective_on > {day} AND effective_on <= {last_expiring_day}"
            if source.is_ahead
            else f"effective_on <= {day}"
        )
        subqueries.append(
            f"(SELECT {columns} FROM public.tally_tallyentry "  # noqa: S608 - constants of ours
            f"WHERE organization_id = {organization} AND account = '{source.account}' AND {days}"
            f") AS {source.account}"
        )
    return subqueries


_FROM = " CROSS JOIN ".join(
    sums_of_a_day(
        organization="%(organization_id)s",
        day="%(day)s",
        last_expiring_day="%(last_expiring_day)s",
        percentages="%(percentages)s",
        threshold="%(threshold)s",
    )
)
# SQL text, because composing the same query with the ORM takes several times as long as PostgreSQL
# takes to run it.
_STATS = f"SELECT {SELECT_NUMBERS} FROM {_FROM}"  # noqa: S608 - constants of ours
# The sum of which the average is made.
_MISSING_POINTS = (
    "SELECT 100 * coalesce(total_products, 0) - coalesce(avg_completeness, 0) "  # noqa: S608
    f"FROM {_FROM}"
)


def statement(stats_query: StatsQuery) -> tuple[str, dict[str, object]]:
    """Return the SQL statement of the numbers, and its parameters."""
    return _STATS, _parameters(stats_query)


def _parameters(stats_query: StatsQuery) -> dict[str, object]:
    return {
        "percentages": stats_query.rule.percentages,
        "threshold": stats_query.rule.threshold,
        "organization_id": stats_query.organization_id,
        "day": stats_query.day,
        "last_expiring_day": stats_query.last_expiring_day,
    }


def stats(stats_query: StatsQuery) -> Stats:
    """Return the numbers from the tally, in one query at any size."""
    with prepared_cursor() as cursor:
        cursor.execute(*statement(stats_query))
        (row,) = rows_by_name(cursor)
        return Stats(**row)


def missing_points(stats_query: StatsQuery) -> int:
    """Return the sum, over all products, of the percentage points up to 100, from the tally."""
    with prepared_cursor() as cursor:
        cursor.execute(_MISSING_POINTS, _parameters(stats_query))
        return int(cursor.fetchone()[0])


def rows_by_name(cursor: Any) -> Iterator[dict[str, Any]]:
    """Yield the rows of a statement as dictionaries by column name."""
    names = [column.name for column in cursor.description]
    return (dict(zip(names, row, strict=True)) for row in cursor.fetchall())


def current_numbers(organization: Organization) -> dict[str, int]:
    """Return an organization's current numbers by name."""
    stats_query = StatsQuery(organization.pk, effective_rule(organization), organization.today())
    return dataclasses.asdict(stats(stats_query))


def recount(stats_query: StatsQuery) -> Stats:
    """Return the numbers counted from the rows: slow, and independent of all triggers."""
    rows = Rows(stats_query)
    return Stats(**{number.name: number.recount(rows) for number in NUMBERS})
