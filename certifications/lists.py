"""Lists of an organization's certification assignments by expiry, one page at a time."""

from __future__ import annotations

import dataclasses
import datetime
from uuid import UUID

from django.db.models import F

from catalog.models import of_products_found_by
from certifications.models import (
    Certification,
    CertificationAssignment,
    CertificationAssignmentQuerySet,
)
from closient.db.transactions import consistent_read
from closient.http import cursors
from closient.http.cursors import Position
from closient.tally.models import TallyEntry

_ACCOUNT = "certification_expiry"


@dataclasses.dataclass(frozen=True, kw_only=True)
class AssignmentFilter:
    """The filters and the order of a list of assignments; ``None`` where a filter is not set.

    ``expiring_within`` is in days, ``certification`` a code, ``gtin`` a GTIN-14, ``text`` a search
    text for the product (:meth:`catalog.models.ProductQuerySet.search`). ``latest_first`` reverses
    the order, so assignments that never expire come first.
    """

    expiring_within: int | None = None
    expires_on: datetime.date | None = None
    expired: bool | None = None
    certification: str | None = None
    verification_status: str | None = None
    gtin: str | None = None
    text: str | None = None
    latest_first: bool = False

    @property
    def order(self) -> tuple[str, str]:
        """The columns to order by; an empty expiry date sorts after all others."""
        return ("-expiry_date", "-pk") if self.latest_first else ("expiry_date", "pk")

    @property
    def is_by_expiry(self) -> bool:
        """Whether the tally can count the matches: no filter but a range of expiry days is set."""
        others = (
            self.expires_on,
            self.certification,
            self.verification_status,
            self.gtin,
            self.text,
        )
        return not any(given is not None for given in others)

    def filter(
        self, assignments: CertificationAssignmentQuerySet, today: datetime.date
    ) -> CertificationAssignmentQuerySet:
        """Filter a queryset by everything but the certification."""
        if self.expiring_within is not None:
            assignments = assignments.expiring_within(self.expiring_within, today)
        if self.expires_on is not None:
            assignments = assignments.filter(expiry_date=self.expires_on)
        if self.expired is not None:
            assignments = assignments.expired(today, self.expired)
        if self.verification_status is not None:
            assignments = assignments.filter(verification_status=self.verification_status)
        if self.gtin is not None:
            assignments = assignments.filter(
                product__gtin=self.gtin, product__organization=F("organization")
            )
        if self.text is not None:
            assignments = assignments.filter(of_products_found_by(self.text))
        return assignments


def assignments_page(  # noqa: PLR0913 - a list, and which part of it
    organization_id: UUID,
    filters: AssignmentFilter,
    today: datetime.date,
    *,
    start: int,
    end: int,
    after: Position | None = None,
) -> tuple[list[CertificationAssignment], int]:
    """Return the matching assignments from ``start`` to ``end``, and the total.

    Each has its certification and GTIN. With a position, ``start`` and ``end`` count from there.
    Two to seven queries in one snapshot.
    """
    found = filters.filter(CertificationAssignment.objects.of(organization_id), today)
    with consistent_read():
        if filters.certification is not None:
            # Looked up first: with a join the index could not provide the order.
            named = Certification.objects.filter(
                organization_id=organization_id, code=filters.certification
            ).first()
            found = found.filter(certification=named) if named else found.none()
        total = _count(organization_id, filters, today) if filters.is_by_expiry else found.count()
        if start >= total:
            return [], total
        # Ids first, from an index only: rows before the page are not read.
        keys = cursors.rows_between(
            found.values_list("pk", flat=True), filters.order, start=start, end=end, after=after
        )
        rows = CertificationAssignment.objects.filter(pk__in=keys).with_names()
        return list(rows.order_by(*filters.order)), total


def _count(organization_id: UUID, filters: AssignmentFilter, today: datetime.date) -> int:
    """Return the number of assignments that match a filter by expiry; up to three queries."""
    assignments = CertificationAssignment.objects.of(organization_id)
    tally = TallyEntry.objects.of(organization_id)
    if filters.expiring_within is not None:
        if filters.expired:
            return 0
        last = today + datetime.timedelta(days=filters.expiring_within)
        return tally.count_after(_ACCOUNT, today, until=last)
    # The tally merges past days, including today west of UTC, so it cannot count expired ones.
    if filters.expired:
        return assignments.expired(today).count()
    dated = sum(tally.counts(_ACCOUNT, datetime.date.max).values())
    total = dated + assignments.filter(expiry_date=None).count()
    return total if filters.expired is None else total - assignments.expired(today).count()
