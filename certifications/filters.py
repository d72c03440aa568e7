"""The filters of lists of certification assignments."""

from __future__ import annotations

from typing import Any

from django.db.models import Q, Subquery

from catalog.filters import (
    gtin_filter,
    product_filters,
    product_search_filter,
    updated_since_filter,
)
from certifications.models import (
    CODE_LENGTH,
    EXPIRING_WITHIN,
    Certification,
    VerificationStatus,
    expires_within,
    has_expired,
)
from closient.http import parameters
from closient.http.lists import Filter


def _of_certification(code: str, assignments: Any) -> Q:
    # Not a join, with which the index could not provide the order.
    named = Certification.objects.filter(organization=assignments.organization_id, code=code)
    return Q(certification=Subquery(named.order_by().values("pk")))


def _expired(is_expired: bool, assignments: Any) -> Q:
    if is_expired:
        return has_expired(assignments.today)
    return Q(expiry_date=None) | Q(expiry_date__gte=assignments.today)


ASSIGNMENT_FILTERS = (
    Filter(
        parameter=parameters.integer(
            "expiring_within",
            "Assignments that expire after today and within this many days; with "
            f"{EXPIRING_WITHIN} the list behind `expiring_certifications`.",
            minimum=1,
            maximum=365,
            example=EXPIRING_WITHIN,
        ),
        condition=lambda days, assignments: expires_within(days, assignments.today),
        label="Expiring within days",
        chip="Expiring within {text} days",
    ),
    Filter(
        parameter=parameters.date(
            "expires_on", "Assignments that expire on this day.", example="2026-12-31"
        ),
        condition=lambda day, _: Q(expiry_date=day),
        label="Expires on",
    ),
    Filter(
        parameter=parameters.boolean(
            "expired",
            "Assignments that expired before today (true), or the others (false). An assignment "
            "that expires today has not expired yet.",
            example=True,
        ),
        condition=_expired,
        label="Expired",
        labels={"true": "Expired", "false": "Not expired"},
        chip="{text}",
    ),
    Filter(
        parameter=parameters.text(
            "certification",
            "Assignments of the certification with this code.",
            max_length=CODE_LENGTH,
            example="eu-organic",
        ),
        condition=_of_certification,
        label="Certification",
        suggest="certification",
        help="Certification code",
    ),
    Filter(
        parameter=parameters.choice(
            "verification_status",
            "Assignments in this status.",
            words=VerificationStatus.values,
            example="verified",
        ),
        condition=lambda status, _: Q(verification_status=status),
        label="Verification",
    ),
    gtin_filter("Assignments"),
    *product_filters("Assignments", with_retailer=True),
    updated_since_filter("Assignments"),
    product_search_filter("assignments"),
)
