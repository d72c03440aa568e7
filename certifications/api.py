"""Certification assignments: the list behind a number, and each assignment's life."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import extend_schema_view

from certifications.batches import AssignmentUpsert
from certifications.editing import (
    assign_certification,
    change_assignment,
    remove_assignment,
    with_references,
)
from certifications.lists import AssignmentList
from certifications.models import EXPIRING_WITHIN, CertificationAssignment
from certifications.serializers import CertificationAssignmentSerializer
from closient.accounts.api_views import OrganizationResource
from closient.http import openapi
from closient.http.batches import BatchEndpoint, document_batch
from closient.http.resources import (
    CreateEndpoint,
    ListEndpoint,
    ResourceSchema,
    RowEndpoint,
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
        "Certificates of trade items, by expiry, that match all given filters. "
        f"`total_count` of `expiring_within={EXPIRING_WITHIN}` is `expiring_certifications`.",
        parameters=AssignmentList.parameters(),
    ),
    post=ASSIGNMENTS.create(
        "Adds a certificate to a trade item. The certification is identified by its code; a new "
        "code creates a certification of the organization. Label and body are set only if they "
        "are blank, because other certificates refer to the certification, too.",
        summary="Assign a certification",
        answer="The new assignment.",
    ),
)
class CertificationAssignmentsView(AssignmentResource, ListEndpoint, CreateEndpoint):
    """The list, and new assignments."""

    query_parameters = AssignmentList.parameters()

    def row_list(self, values: Mapping[str, Any]) -> AssignmentList:
        """Return the list for the values of the query parameters."""
        return AssignmentList.of(self.organization, values)

    def create(self, values: dict[str, Any]) -> CertificationAssignment:
        """Create an assignment, and its certification if needed."""
        fields = with_references(self.organization, values)
        return assign_certification(fields.pop("product"), fields)


@extend_schema_view(
    post=document_batch(
        ASSIGNMENTS,
        "Creates or changes up to 1,000 certificates of trade items, found by GTIN, certification "
        "and certificate number (empty if not named).",
        example={
            "gtin": "04012345678901",
            "certification": "eu-organic",
            "certificate_number": "DE-ÖKO-007-12345",
            "expiry_date": "2027-02-28",
        },
    )
)
class CertificationAssignmentsBatchView(AssignmentResource, BatchEndpoint):
    """Many assignments at once."""

    upsert = AssignmentUpsert


@extend_schema_view(
    get=ASSIGNMENTS.get(),
    patch=ASSIGNMENTS.update(
        "Changes the given fields and keeps the rest; metadata is merged, and null removes a key. "
        "Another `certification` is found or created as for a new assignment; another `gtin` "
        "moves the certificate to that trade item."
    ),
    delete=ASSIGNMENTS.delete(
        "Deletes the certificate of the trade item with its attachments; the certification stays."
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

    def remove(self, row: CertificationAssignment) -> None:
        """Delete an assignment and its files."""
        remove_assignment(row)
