"""Certification assignments: the list behind a number, and each assignment's life."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from certifications.editing import (
    DatesReversed,
    assign_certification,
    certification_of,
    change_assignment,
)
from certifications.lists import AssignmentFilter, assignments_page
from certifications.models import CertificationAssignment, VerificationStatus
from closient.accounts.views import OrganizationView
from closient.db.transactions import run_with_retry
from closient.http import cursors, idempotency, merge_patch, openapi, pagination, parameters
from closient.http.fields import values_of
from closient.http.pagination import ListPage, page_of
from closient.http.problems import FieldError, Problem
from certifications.serializers import CODE_LENGTH, CertificationAssignmentSerializer
from dashboard.api.fields import merged_metadata
from dashboard.api.references import gtin_parameter, product_named
from dashboard.numbers import EXPIRING_WITHIN

TAGS = ["Certifications"]
BY_EXPIRY = "expiry_date"
ASSIGNMENT_ID = openapi.id_parameter("assignment_id", "the certification assignment")

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


class _AssignmentsView(OrganizationView):
    """A view of certification assignments."""

    def address_of(self, row: CertificationAssignment) -> str:
        """Return the address of an assignment."""
        return reverse("certification-assignment", args=(row.organization_id, row.pk))

    def shown(self, assignments: Any, *, many: bool = False) -> Any:
        """Return one or several assignments, serialized."""
        context = {"today": self.organization.today()}
        return CertificationAssignmentSerializer(assignments, many=many, context=context).data

    def values_of(self, given: dict[str, Any]) -> dict[str, Any]:
        """Return what a body says as fields of an assignment, its certification made if need be.

        To be called in the transaction of the write.
        """
        values = dict(given)
        if "certification" in values:
            values["certification"] = certification_of(
                self.organization.id, **values["certification"]
            )
        if "product" in values:
            values["product"] = product_named(self.organization, values["product"]["gtin"])
        return values


class CertificationAssignmentsView(_AssignmentsView):
    """The list, and a new assignment."""

    query_parameters = LIST_PARAMETERS

    @extend_schema(
        operation_id="list_certification_assignments",
        summary="List certification assignments",
        description="Which trade item holds which certification, by expiry. All filters that are "
        f"given hold. `total_count` of `expiring_within={EXPIRING_WITHIN}` is "
        "`expiring_certifications`.",
        tags=TAGS,
        parameters=[openapi.ORGANIZATION_ID, *(p.documented() for p in LIST_PARAMETERS)],
        responses=openapi.responses(
            page_of(CertificationAssignmentSerializer), "A page.", "validation_error"
        ),
    )
    def get(self, request: Request, organization_id: UUID) -> Response:
        """Return a page of assignments."""
        page, values = ListPage.read(request, self.query_parameters)
        filters = assignment_filter(values)
        organization = self.organization
        assignments, total_count = assignments_page(
            organization.id,
            filters,
            organization.today(),
            start=page.start,
            end=page.end,
            after=page.after,
        )
        return page.answer(
            assignments,
            total_count=total_count,
            show=lambda rows: self.shown(rows, many=True),
            position=lambda assignment: cursors.position_of(assignment, filters.order),
        )

    @extend_schema(
        operation_id="create_certification_assignment",
        summary="Assign a certification",
        description="Gives a trade item a certificate. The certification is named by its code; "
        "a new code makes a new certification of the organization. Label and body fill what is "
        "blank there and change nothing else, since other certificates refer to it too.",
        tags=TAGS,
        parameters=[openapi.ORGANIZATION_ID, idempotency.PARAMETER, idempotency.REPLAYED_HEADER],
        request=CertificationAssignmentSerializer,
        responses=openapi.written(
            201,
            CertificationAssignmentSerializer,
            "The new assignment.",
            "conflict",
            "unsupported_media_type",
            "validation_error",
        ),
    )
    def post(self, request: Request, organization_id: UUID) -> Response:
        """Make an assignment."""
        given = values_of(CertificationAssignmentSerializer(data=request.data))

        def write() -> Response:
            values = self.values_of(given)
            product = values.pop("product")
            try:
                assignment = assign_certification(product, values)
            except DatesReversed as error:
                raise _dates_reversed(error) from None
            headers = {"Location": self.address_of(assignment)}
            return Response(self.shown(assignment), status=201, headers=headers)

        return idempotency.idempotent(request, self.organization.id, write)


class CertificationAssignmentView(_AssignmentsView):
    """One assignment."""

    @extend_schema(
        operation_id="get_certification_assignment",
        summary="Get a certification assignment",
        description="The assignment.",
        tags=TAGS,
        parameters=[openapi.ORGANIZATION_ID, ASSIGNMENT_ID],
        responses=openapi.responses(CertificationAssignmentSerializer, "The assignment."),
    )
    def get(self, request: Request, organization_id: UUID, assignment_id: UUID | None) -> Response:
        """Return the assignment."""
        return Response(self.shown(self.find(assignment_id)))

    @extend_schema(
        operation_id="update_certification_assignment",
        summary="Change a certification assignment",
        description="Changes the given fields and keeps the rest; metadata is merged, and null "
        "removes a key. Another `certification` is found or made as for a new assignment; "
        "with another `gtin` the certificate moves to that trade item.",
        tags=TAGS,
        parameters=[openapi.ORGANIZATION_ID, ASSIGNMENT_ID],
        request=CertificationAssignmentSerializer(partial=True),
        responses=openapi.written(
            200,
            CertificationAssignmentSerializer,
            "The assignment.",
            "conflict",
            "unsupported_media_type",
            "validation_error",
        ),
    )
    def patch(
        self, request: Request, organization_id: UUID, assignment_id: UUID | None
    ) -> Response:
        """Change the assignment."""

        def given_for(assignment: CertificationAssignment) -> dict[str, Any]:
            body = merge_patch.body_of(request, self.shown(assignment))
            return values_of(CertificationAssignmentSerializer(data=body, partial=True))

        # What is not there is 404 whatever the body says; and a body may come slowly, so that it
        # is read before the row is locked.
        given_for(self.find(assignment_id))

        def write() -> CertificationAssignment:
            assignment = self.find_to_write(assignment_id)
            # Merged again, into what the row holds now that it is locked.
            values = self.values_of(given_for(assignment))
            if "metadata" in values:
                values["metadata"] = merged_metadata(assignment.metadata, values["metadata"])
            try:
                change_assignment(assignment, values)
            except DatesReversed as error:
                raise _dates_reversed(error) from None
            return assignment

        return Response(self.shown(run_with_retry(write)))

    @extend_schema(
        operation_id="delete_certification_assignment",
        summary="Delete a certification assignment",
        description="Takes the certificate away from the trade item; the certification stays.",
        tags=TAGS,
        parameters=[openapi.ORGANIZATION_ID, ASSIGNMENT_ID],
        responses=openapi.written(204, None, "Deleted."),
    )
    def delete(
        self, request: Request, organization_id: UUID, assignment_id: UUID | None
    ) -> Response:
        """Delete the assignment."""
        run_with_retry(lambda: self.find_to_write(assignment_id).delete())
        return Response(status=204)

    def find(
        self, assignment_id: UUID | None, *, is_locked: bool = False
    ) -> CertificationAssignment:
        """Return the organization's assignment of an id, or raise ``not_found``."""
        if assignment_id is None:
            raise Problem("not_found")
        assignments = CertificationAssignment.objects.of(self.organization).order_by()
        assignments = assignments.filter(pk=assignment_id)
        if is_locked:
            # A statement before the one that reads: a lock that waited returns the row as it is
            # now only if it is still joined to the rows that it was joined to.
            assignments.select_for_update(no_key=True).values_list("pk").first()
        assignment = assignments.with_names().first()
        if assignment is None:
            raise Problem("not_found")
        return assignment

    def find_to_write(self, assignment_id: UUID | None) -> CertificationAssignment:
        """Return the assignment with its row locked and its version checked."""
        assignment = self.find(assignment_id, is_locked=True)
        self.check_version(lambda: self.shown(assignment))
        return assignment


def _dates_reversed(error: DatesReversed) -> Problem:
    errors = [FieldError("#/expiry_date", "dates_reversed", str(error))]
    return Problem("validation_error", errors=errors)
