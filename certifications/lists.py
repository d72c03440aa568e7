"""Lists of an organization's certification assignments by expiry, a page at a time."""

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
from closient.db.transactions import snapshot
from closient.http import cursors
from closient.http.cursors import Position
from closient.tally.models import TallyEntry

_ACCOUNT = "certification_expiry"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which assignments are wanted; ``None`` where it makes no difference.

    ``expiring_within`` is in days, ``certification`` a code, ``gtin`` a GTIN-14, ``text`` what a
    person looks for a product by (:meth:`catalog.models.ProductQuerySet.search`). ``latest_first``
    turns the order round: assignments that never expire, else the last, come first.
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
        """The columns to order by; an empty expiry date is later than any other."""
        return ("-expiry_date", "-pk") if self.latest_first else ("expiry_date", "pk")

    @property
    def is_by_expiry(self) -> bool:
        """Whether the tally can count the wanted assignments: by a range of days, nothing else."""
        others = (
            self.expires_on,
            self.certification,
            self.verification_status,
            self.gtin,
            self.text,
        )
        return not any(given is not None for given in others)

    def among(
        self, assignments: CertificationAssignmentQuerySet, today: datetime.date
    ) -> CertificationAssignmentQuerySet:
        """Return the wanted ones of some assignments, but for their certification."""
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
    wanted: Wanted,
    today: datetime.date,
    *,
    start: int,
    end: int,
    after: Position | None = None,
) -> tuple[list[CertificationAssignment], int]:
    """Return the wanted assignments from ``start`` up to ``end``, and how many there are in all.

    After a position they are counted from there. They come with their certification and GTIN. Two
    to seven queries that read one state.
    """
    found = wanted.among(CertificationAssignment.objects.of(organization_id), today)
    with snapshot():
        if wanted.certification is not None:
            # Looked up first: as a part of the query it would cost the order that the index has.
            named = Certification.objects.filter(
                organization_id=organization_id, code=wanted.certification
            ).first()
            found = found.filter(certification=named) if named else found.none()
        total = _count(organization_id, wanted, today) if wanted.is_by_expiry else found.count()
        if start >= total:
            return [], total
        # The keys first, from an index alone: rows before the page are not read.
        keys = cursors.rows_between(
            found.values_list("pk", flat=True), wanted.order, start=start, end=end, after=after
        )
        rows = CertificationAssignment.objects.filter(pk__in=keys).with_names()
        return list(rows.order_by(*wanted.order)), total


def _count(organization_id: UUID, wanted: Wanted, today: datetime.date) -> int:
    """Return how many assignments have a wanted expiry; up to three queries."""
    assignments = CertificationAssignment.objects.of(organization_id)
    tally = TallyEntry.objects.of(organization_id)
    if wanted.expiring_within is not None:
        if wanted.expired:
            return 0
        last = today + datetime.timedelta(days=wanted.expiring_within)
        return tally.count_after(_ACCOUNT, today, until=last)
    # The tally folds past days together, today's where today is behind UTC: it cannot tell.
    if wanted.expired:
        return assignments.expired(today).count()
    dated = sum(tally.counts(_ACCOUNT, datetime.date.max).values())
    total = dated + assignments.filter(expiry_date=None).count()
    return total if wanted.expired is None else total - assignments.expired(today).count()
