"""Lists of an organization's certification assignments by expiry, one page at a time."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from typing import Any, Self
from uuid import UUID

from certifications.filters import ASSIGNMENT_FILTERS
from certifications.models import (
    CertificationAssignment,
    CertificationAssignmentQuerySet,
    has_expired,
)
from closient.accounts.models import Organization
from closient.db.replicas import reads_on_replica
from closient.http import cursors, parameters
from closient.http.cursors import Position
from closient.http.lists import RowList
from closient.tally.models import TallyEntry

BY_EXPIRY = "expiry_date"
_ACCOUNT = "certification_expiry"


@dataclasses.dataclass(frozen=True)
class AssignmentList(RowList):
    """A list of an organization's certification assignments on a day."""

    filters = ASSIGNMENT_FILTERS
    ordering = parameters.choice(
        "ordering",
        "By expiry, the earliest first (the default) or last. Assignments without an expiry date "
        "sort as the latest.",
        words=[BY_EXPIRY, f"-{BY_EXPIRY}"],
        example=BY_EXPIRY,
    )

    organization_id: UUID
    today: datetime.date
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, organization: Organization, values: Mapping[str, Any]) -> Self:
        """Return the list for query parameters, today."""
        return cls(organization.pk, organization.today(), values)

    @property
    def order(self) -> tuple[str, str]:
        """The columns to order by; an empty expiry date sorts after all others."""
        is_reversed = self.values.get("ordering") == f"-{BY_EXPIRY}"
        return ("-expiry_date", "-pk") if is_reversed else ("expiry_date", "pk")

    @reads_on_replica
    def page(
        self, *, start: int, end: int, after: Position | None = None
    ) -> tuple[list[CertificationAssignment], int]:
        """Return the assignments from ``start`` to ``end``, and the total.

        Each has its certification and GTIN. With a position, ``start`` and ``end`` count from
        there. Two to six queries in one snapshot.
        """
        total = self._count()
        if start >= total:
            return [], total
        # Ids first, from an index only: rows before the page are not read.
        keys = cursors.rows_between(
            self.matching.values_list("pk", flat=True),
            self.order,
            start=start,
            end=end,
            after=after,
        )
        rows = CertificationAssignment.objects.filter(pk__in=keys).with_names()
        return list(rows.order_by(*self.order)), total

    def position(self, assignment: CertificationAssignment) -> Position:
        """Return the position of an assignment in the order."""
        return cursors.position_of(assignment, self.order)

    def everything(self) -> CertificationAssignmentQuerySet:
        """Return all assignments of the list in its order, with certification and GTIN."""
        return self.matching.with_names().order_by(*self.order)

    @property
    def _all(self) -> CertificationAssignmentQuerySet:
        return CertificationAssignment.objects.of(self.organization_id)

    @property
    def matching(self) -> CertificationAssignmentQuerySet:
        """The matching assignments."""
        return self._all.filter(*self.conditions())

    def _count(self) -> int:
        """Return the number of matching assignments, from the tally if it knows."""
        given = {one.name: value for one, value in self.given}
        if given.keys() - {"expiring_within", "expired"}:
            return self.matching.count()
        tally = TallyEntry.objects.of(self.organization_id)
        is_expired = given.get("expired")
        if "expiring_within" in given:
            if is_expired:
                return 0
            last = self.today + datetime.timedelta(days=given["expiring_within"])
            return tally.count_after(_ACCOUNT, self.today, until=last)
        # The tally merges past days, including today west of UTC, so it cannot count expired ones.
        if is_expired:
            return self.matching.count()
        dated = sum(tally.counts(_ACCOUNT, datetime.date.max).values())
        total = dated + self._all.filter(expiry_date=None).count()
        return (
            total
            if is_expired is None
            else total - self._all.filter(has_expired(self.today)).count()
        )
