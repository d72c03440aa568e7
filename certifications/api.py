"""Certification assignments: the list behind a number, and each assignment's life."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_view

from catalog.lists import gtin_parameter
from certifications.editing import assign_certification, change_assignment, with_references
from certifications.lists import AssignmentFilter, assignments_page
from certifications.models import EXPIRING_WITHIN, CertificationAssignment, VerificationStatus
from certifications.serializers import CODE_LENGTH, CertificationAssignmentSerializer
from closient.accounts.views import OrganizationResource
from closient.http import cursors, openapi, pagination, parameters
from closient.http.pagination import ListPage
from closient.http.resources import (
    CreateEndpoint,
    Listed,
    ListEndpoint,
    ResourceSchema,
    RowEndpoint,
)

BY_EXPIRY = "expiry_date"

FILTERS = (
    parameters.integer(
        "expiring_within",
        "Assignments that expire after today and within this many days; with "
        f"{EXPIRING_WITHIN} the list behind `expiring_certifications`.",
        minimum=1,
        maximum=365,
        example=EXPIRING_WITHIN,
    ),
    parameters.date("expires_on", "Assignments that expire on this day.", example="2026-12-31"),
    parameters.boolean(
        "expired",
        "Assignments that expired before today (true), or the others (false). An assignment that "
        "expires today has not expired yet.",
        example=True,
    ),
    parameters.text(
        "certification",
        "Assignments of the certification with this code.",
        max_length=CODE_LENGTH,
        example="eu-organic",
    ),
    parameters.choice(
        "verification_status",
        "Assignments in this status.",
        words=VerificationStatus.values,
        example="verified",
    ),
    gtin_parameter("Assignments"),
    parameters.text(
        "q",
        "Digits: assignments of trade items whose GTIN begins so, in any of its lengths. Else "
        "assignments of trade items with these words, or beginnings of words, in their name.",
        max_length=255,
        example="oat",
    ),
)
LIST_PARAMETERS = (
    *FILTERS,
    parameters.choice(
        "ordering",
        "By expiry, the earliest first (the default) or last. Assignments without an expiry date "
        "sort as the latest.",
        words=[BY_EXPIRY, f"-{BY_EXPIRY}"],
        example=BY_EXPIRY,
    ),
    *pagination.PARAMETERS,
)


def assignment_filter(values: dict[str, Any]) -> AssignmentFilter:
    """Return which assignments the parameters ask for, and in which order."""
    return AssignmentFilter(
        expiring_within=values["expiring_within"],
        expires_on=values["expires_on"],
        expired=values["expired"],
        certification=values["certification"],
        verification_status=values["verification_status"],
        gtin=values["gtin"],
        text=values["q"],
        latest_first=values["ordering"] == f"-{BY_EXPIRY}",
    )


ASSIGNMENTS = ResourceSchema(
    noun="certification_assignment",
    nouns="certification_assignments",
    a_noun="a certification assignment",
    serializer=CertificationAssignmentSerializer,
    tags=["Certifications"],
    row=openapi.id_parameter("assignment_id", "the certification assignment"),
)


class AssignmentResource(OrganizationResource):
    """The certification assignments of an organization."""

    model = CertificationAssignment
    serializer_class = CertificationAssignmentSerializer
    route = "certification-assignment"
    lookup_argument = "assignment_id"

    def with_related(self, rows: Any) -> Any:
        """Add the certification and the GTIN."""
        return rows.with_names()

    def context(self) -> dict[str, Any]:
        """The day on which assignments are active."""
        return {"today": self.organization.today()}


@extend_schema_view(
    get=ASSIGNMENTS.list(
        "Which trade item holds which certification, by expiry. All filters that are given hold. "
        f"`total_count` of `expiring_within={EXPIRING_WITHIN}` is `expiring_certifications`.",
        parameters=LIST_PARAMETERS,
    ),
    post=ASSIGNMENTS.create(
        "Gives a trade item a certificate. The certification is named by its code; a new code "
        "makes a new certification of the organization. Label and body fill what is blank there "
        "and change nothing else, since other certificates refer to it too.",
        summary="Assign a certification",
        answer="The new assignment.",
    ),
)
class CertificationAssignmentsView(AssignmentResource, ListEndpoint, CreateEndpoint):
    """The list, and new assignments."""

    query_parameters = LIST_PARAMETERS

    def listed(self, values: dict[str, Any], page: ListPage) -> Listed:
        """Return the assignments of a page."""
        filters = assignment_filter(values)
        assignments, total_count = assignments_page(
            self.organization.id,
            filters,
            self.organization.today(),
            start=page.start,
            end=page.end,
            after=page.after,
        )
        return Listed(assignments, total_count, lambda row: cursors.position_of(row, filters.order))

    def create(self, values: dict[str, Any]) -> CertificationAssignment:
        """Create an assignment, and its certification if needed."""
        fields = with_references(self.organization, values)
        return assign_certification(fields.pop("product"), fields)


@extend_schema_view(
    get=ASSIGNMENTS.get(),
    patch=ASSIGNMENTS.update(
        "Changes the given fields and keeps the rest; metadata is merged, and null removes a key. "
        "Another `certification` is found or made as for a new assignment; with another `gtin` "
        "the certificate moves to that trade item."
    ),
    delete=ASSIGNMENTS.delete(
        "Takes the certificate away from the trade item; the certification stays."
    ),
)
class CertificationAssignmentView(AssignmentResource, RowEndpoint):
    """One assignment."""

    def change(
        self, row: CertificationAssignment, values: dict[str, Any]
    ) -> CertificationAssignment:
        """Change an assignment."""
        change_assignment(row, with_references(self.organization, values))
        return row
