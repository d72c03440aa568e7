"""The dashboard numbers counted in three ways, which must agree."""

from __future__ import annotations

import datetime
from collections.abc import Iterable

from django.db import transaction
from django.utils import timezone

from catalog.completeness import Rule
from catalog.models import Product, effective_rule
from closient.accounts.models import Organization
from closient.tally import recount as tally_recount
from closient.text.normal import WHITE_SPACE
from dashboard.numbers import NUMBERS, Stats, StatsQuery, recount, stats

# The numbers of an organization without any rows.
ZEROS = Stats(**dict.fromkeys((number.name for number in NUMBERS), 0))


def count_in_python(organization: Organization, rule: Rule, day: datetime.date) -> Stats:
    """Count every row in Python, without SQL aggregates and derived columns."""
    percentages = []
    active = broken = expiring = without_image = 0
    products = Product.objects.filter(organization=organization).prefetch_related(
        "images", "offers", "certification_assignments"
    )
    for product in products:
        offers = list(product.offers.all())
        certificates = list(product.certification_assignments.all())
        facts = {
            "name": bool(product.name.strip(WHITE_SPACE)),
            "description": bool(product.description.strip(WHITE_SPACE)),
            "brand": product.brand_id is not None,
            "category": bool(product.category.strip(WHITE_SPACE)),
            "images": len(product.images.all()) > 0,
            "nutrition": len(product.nutrition.get("nutrients", [])) > 0,
            "certifications": any(
                (c.valid_from or datetime.date.min) <= day <= (c.expiry_date or datetime.date.max)
                for c in certificates
            ),
            "offers": any(offer.status == "active" for offer in offers),
            "country": bool(product.country_of_origin),
        }
        earned = sum(w for name, w in zip(facts, rule.weights, strict=True) if facts[name])
        # Half up: round() rounds half to even.
        percentages.append(int(100 * earned / sum(rule.weights) + 0.5))
        without_image += not facts["images"]
        active += sum(offer.status == "active" for offer in offers)
        broken += sum(
            offer.channel == "online" and offer.url_status in ("broken", "timeout", "dns_failure")
            for offer in offers
        )
        expiring += sum(
            c.expiry_date is not None and 0 < (c.expiry_date - day).days <= 60 for c in certificates
        )
    return Stats(
        total_products=len(percentages),
        complete_products=sum(p >= rule.threshold for p in percentages),
        avg_completeness=int(sum(percentages) / len(percentages) + 0.5) if percentages else 0,
        active_offers=active,
        broken_offers=broken,
        expiring_certifications=expiring,
        missing_images=without_image,
    )


def assert_exact(organization: Organization, days: Iterable[datetime.date] = ()) -> Stats:
    """Compare tally, recount and a count in Python, today and on other days; return today's."""
    organization = Organization.objects.get(pk=organization.pk)
    rule = effective_rule(organization)
    today = organization.today()
    for day in (today, *days):
        stats_query = StatsQuery(organization.pk, rule, day)
        numbers = stats(stats_query)
        assert numbers == recount(stats_query), day
        assert numbers == count_in_python(organization, rule, day), day
    assert differences() == []
    return stats(StatsQuery(organization.pk, rule, today))


@transaction.atomic
def differences() -> list[object]:
    """Return everything an audit finds, within the current transaction if there is one."""
    until = tally_recount.horizon(timezone.now())
    return [
        wrong
        for organization in tally_recount.organizations()
        for wrong in (
            *tally_recount.wrong_summaries(organization),
            *tally_recount.wrong_counts(organization, until),
        )
    ]
