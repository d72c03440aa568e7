"""The seven numbers: one composition, fed by the tally or by a recount of the rows themselves."""

from __future__ import annotations

import dataclasses
import datetime
from uuid import UUID

from django.db.models import Count, Exists, OuterRef

from catalog import completeness
from catalog.completeness import DATED_FACT, Rule, half_up
from catalog.models import Product, ProductImage
from certifications.models import CertificationAssignment
from closient.db.prepared import prepared_cursor
from dashboard import sums
from offers.models import Offer

EXPIRING_WITHIN = 60


def _number(description: str, *, example: int, maximum: int | None = None) -> int:
    """Declare a number with what its documentation says, the only place that says it."""
    metadata = {"description": description, "example": example, "maximum": maximum}
    number: int = dataclasses.field(metadata=metadata)
    return number


@dataclasses.dataclass(frozen=True)
class Stats:
    """The numbers of one organization on one day; every one is an integer of 0 or more."""

    total_products: int = _number("Products of the organization, in any status.", example=1250)
    complete_products: int = _number(
        "Products whose completeness reaches the threshold, 80 percent unless the organization's "
        "rule or `complete_at` says otherwise.",
        example=980,
    )
    avg_completeness: int = _number(
        "Mean completeness of all products in percent, rounded half up; 0 without products.",
        example=78,
        maximum=100,
    )
    active_offers: int = _number("Offers with status `active`, in store and online.", example=45)
    broken_offers: int = _number(
        "Online offers whose address fails: `url_status` is `broken`, `timeout` or `dns_failure`, "
        "whatever the offer's status.",
        example=3,
    )
    expiring_certifications: int = _number(
        "Certification assignments that expire after today and within the next 60 days "
        "(or `expiring_within`).",
        example=12,
    )
    missing_images: int = _number("Products without any image.", example=87)


@dataclasses.dataclass(frozen=True)
class StatsQuery:
    """What is asked: the numbers of an organization under a rule on a day.

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


# Each sum reads a range of the tally's one index and nothing else. Written out: the ORM takes
# several times as long to compose it as PostgreSQL to answer it.
_STATS = f"""
    SELECT {sums.NUMBERS}
    FROM (
        SELECT {sums.products(percentages="%(percentages)s", threshold="%(threshold)s")}
        FROM public.tally_tallyentry
        WHERE organization_id = %(organization_id)s AND account = 'products'
            AND effective_on <= %(day)s
    ) AS products CROSS JOIN (
        SELECT {sums.OFFERS}
        FROM public.tally_tallyentry
        WHERE organization_id = %(organization_id)s AND account = 'offers'
            AND effective_on <= %(day)s
    ) AS offers CROSS JOIN (
        SELECT {sums.CERTIFICATES}
        FROM public.tally_tallyentry
        WHERE organization_id = %(organization_id)s AND account = 'certification_expiry'
            AND effective_on > %(day)s AND effective_on <= %(last_expiring_day)s
    ) AS certificates
"""  # noqa: S608 - constants of ours


def statement(stats_query: StatsQuery) -> tuple[str, dict[str, object]]:
    """Return the one statement behind the numbers, and its parameters."""
    return _STATS, {
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
        return Stats(*cursor.fetchone())


def recount(stats_query: StatsQuery) -> Stats:
    """Return the numbers counted from the rows themselves: slow, and independent of any trigger."""
    rule, organization_id = stats_query.rule, stats_query.organization_id
    masks = _masks(stats_query)
    total = sum(masks.values())
    percentages = sum(rule.percentage(mask) * count for mask, count in masks.items())
    offers = Offer.objects.of(organization_id)
    certificates = CertificationAssignment.objects.of(organization_id)
    return Stats(
        total_products=total,
        complete_products=sum(n for mask, n in masks.items() if rule.is_complete(mask)),
        avg_completeness=half_up(percentages, total) if total else 0,
        active_offers=offers.active().count(),
        broken_offers=offers.broken().count(),
        expiring_certifications=certificates.expiring_within(
            stats_query.expiring_within, stats_query.day
        ).count(),
        missing_images=Product.objects.of(organization_id).filter(images=None).count(),
    )


def _masks(stats_query: StatsQuery) -> dict[int, int]:
    """Return how many products have each fact mask, without any derived column."""
    children = {
        "images": ProductImage.objects.all(),
        "offers": Offer.objects.active(),
        DATED_FACT.name: CertificationAssignment.objects.valid_on(stats_query.day),
    }
    mask = completeness.fact_bits(
        {
            # The organization is the first column of every index.
            name: Exists(rows.filter(organization=OuterRef("organization"), product=OuterRef("pk")))
            for name, rows in children.items()
        }
    )
    products = Product.objects.of(stats_query.organization_id).order_by().annotate(mask=mask)
    return dict(products.values_list("mask").annotate(count=Count("pk")))
