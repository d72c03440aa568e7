"""The seven numbers: one composition, fed by the tally or by a recount of the rows themselves."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterable
from uuid import UUID

from django.db.models import Count, Exists, OuterRef, Q

from catalog import completeness
from catalog.completeness import DATED_FACT, FACT_BY_NAME, Rule, half_up
from catalog.models import Product, ProductImage
from certifications.models import CertificationAssignment
from closient.tally.models import TallyEntry
from offers.models import FAILING, Channel, Offer, OfferStatus

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
class Question:
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


# What the numbers are made of: (account, bucket, count), as the tally keeps them.
Counts = Iterable[tuple[str, str, int]]


def stats(question: Question) -> Stats:
    """Return the numbers from the tally, in one query at any size."""
    entries = TallyEntry.objects.of(question.organization_id)
    return _compose(
        question.rule,
        entries.filter(
            Q(account__in=["products", "offers"], effective_on__lte=question.day)
            | Q(
                account="certification_expiry",
                effective_on__gt=question.day,
                effective_on__lte=question.last_expiring_day,
            )
        ).counts(),
    )


def recount(question: Question) -> Stats:
    """Return the numbers counted from the rows themselves: slow, and independent of any trigger."""
    return _compose(question.rule, _recounts(question))


def _compose(rule: Rule, counts: Counts) -> Stats:
    total = complete = percentages = active = broken = expiring = missing_images = 0
    for account, bucket, count in counts:
        if account == "products":
            mask = int(bucket)
            total += count
            percentages += rule.percentage(mask) * count
            if rule.is_complete(mask):
                complete += count
            if not mask & FACT_BY_NAME["images"].bit:
                missing_images += count
        elif account == "offers":
            channel, status, url_status = bucket.split("/")
            if status == OfferStatus.ACTIVE:
                active += count
            if channel == Channel.ONLINE and url_status in FAILING:
                broken += count
        else:
            expiring += count
    return Stats(
        total_products=total,
        complete_products=complete,
        avg_completeness=half_up(percentages, total) if total else 0,
        active_offers=active,
        broken_offers=broken,
        expiring_certifications=expiring,
        missing_images=missing_images,
    )


def _recounts(question: Question) -> Counts:
    children = {
        "images": ProductImage.objects.all(),
        "offers": Offer.objects.active(),
        DATED_FACT.name: CertificationAssignment.objects.valid_on(question.day),
    }
    mask = completeness.fact_bits(
        {name: Exists(rows.filter(product=OuterRef("pk"))) for name, rows in children.items()}
    )
    masks = (
        Product.objects.of(question.organization_id)
        .order_by()
        .annotate(mask=mask)
        .values_list("mask")
        .annotate(count=Count("pk"))
    )
    offers = (
        Offer.objects.of(question.organization_id)
        .order_by()
        .values_list("channel", "status", "url_status")
        .annotate(count=Count("pk"))
    )
    yield from (("products", str(mask), count) for mask, count in masks)
    yield from (("offers", f"{c}/{s}/{u or ''}", count) for c, s, u, count in offers)
    expiring = CertificationAssignment.objects.of(question.organization_id).expiring_within(
        question.expiring_within, question.day
    )
    yield "certification_expiry", "", expiring.count()
