"""The seven numbers of an organization: their SQL over the tally, and a recount over the rows.

The statements of the numbers, the forecast and the snapshots share the SQL below. They read an
index of the tally and no other rows.
"""

from __future__ import annotations

import dataclasses
import datetime
from uuid import UUID

from django.db.models import Count, Exists, OuterRef

from catalog import completeness
from catalog.completeness import DATED_FACT, FACT_BY_NAME, Rule, half_up
from catalog.models import Product, ProductImage
from certifications.models import CertificationAssignment
from closient.db.prepared import prepared_cursor
from closient.tally.declarations import BUCKET_SEPARATOR
from offers.models import FAILING, Channel, Offer, OfferStatus

EXPIRING_WITHIN = 60


def _number(description: str, *, example: int, maximum: int | None = None) -> int:
    """Declare a number and the texts of its documentation."""
    metadata = {"description": description, "example": example, "maximum": maximum}
    number: int = dataclasses.field(metadata=metadata)
    return number


@dataclasses.dataclass(frozen=True)
class Stats:
    """The numbers of one organization on one day; each is an integer of 0 or more."""

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
        "Online offers whose URL fails: `url_status` is `broken`, `timeout` or `dns_failure`, "
        "regardless of the offer's status.",
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


_FAILING = ", ".join(f"'{status.value}'" for status in FAILING)

# How entries of the tally add up to the numbers. The statements differ in their grouping: none for
# one day, days for a forecast, organizations for snapshots.

# The columns of the account "offers": active, broken.
OFFER_SUMS = f"""
    sum(amount) FILTER (
        WHERE split_part(bucket, '{BUCKET_SEPARATOR}', 2) = '{OfferStatus.ACTIVE.value}'
    ) AS active,
    sum(amount) FILTER (
        WHERE split_part(bucket, '{BUCKET_SEPARATOR}', 1) = '{Channel.ONLINE.value}'
            AND split_part(bucket, '{BUCKET_SEPARATOR}', 3) IN ({_FAILING})
    ) AS broken
"""

# The column of the account "certification_expiry", for the requested days: expiring.
CERTIFICATE_SUMS = "sum(amount) AS expiring"

# The numbers computed from these columns, in the order of :class:`Stats`. The average is rounded
# half up; without entries each number is 0.
NUMBERS = """
    coalesce(total, 0),
    coalesce(complete, 0),
    coalesce((2 * percentages + total) / nullif(2 * total, 0), 0),
    coalesce(active, 0),
    coalesce(broken, 0),
    coalesce(expiring, 0),
    coalesce(missing_images, 0)
"""


def product_sums(*, percentages: str, threshold: str) -> str:
    """Return the columns of the account "products": total, complete, percentages, missing_images.

    The arguments are SQL: the rule's 512 percentages as a bytea, indexed by mask, and the rule's
    threshold.
    """
    percentage = f"get_byte({percentages}, bucket::integer)"
    return f"""
        sum(amount) AS total,
        sum(amount) FILTER (WHERE {percentage} >= {threshold}) AS complete,
        sum(amount * {percentage}) AS percentages,
        sum(amount) FILTER (
            WHERE bucket::integer & {FACT_BY_NAME["images"].bit} = 0
        ) AS missing_images
    """


# SQL text, because composing the same query with the ORM takes several times as long as PostgreSQL
# takes to run it.
_STATS = f"""
    SELECT {NUMBERS}
    FROM (
        SELECT {product_sums(percentages="%(percentages)s", threshold="%(threshold)s")}
        FROM public.tally_tallyentry
        WHERE organization_id = %(organization_id)s AND account = 'products'
            AND effective_on <= %(day)s
    ) AS products CROSS JOIN (
        SELECT {OFFER_SUMS}
        FROM public.tally_tallyentry
        WHERE organization_id = %(organization_id)s AND account = 'offers'
            AND effective_on <= %(day)s
    ) AS offers CROSS JOIN (
        SELECT {CERTIFICATE_SUMS}
        FROM public.tally_tallyentry
        WHERE organization_id = %(organization_id)s AND account = 'certification_expiry'
            AND effective_on > %(day)s AND effective_on <= %(last_expiring_day)s
    ) AS certificates
"""  # noqa: S608 - constants of ours


def statement(stats_query: StatsQuery) -> tuple[str, dict[str, object]]:
    """Return the SQL statement of the numbers, and its parameters."""
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
    """Return the numbers counted from the rows: slow, and independent of all triggers."""
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
    """Return how many products have each fact mask, without reading derived columns."""
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
