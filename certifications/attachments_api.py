"""The API of the files that are attached to certificates."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from django.urls import reverse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from catalog.images.storage import stored_file
from certifications.api import ASSIGNMENTS
from certifications.attachments import (
    ACCEPTED_FILES,
    MAX_ATTACHMENTS,
    MAX_BYTES,
    add_attachment,
    download,
    problem_of_attachment,
    read_document,
    remove_attachment,
)
from certifications.models import CertificateAttachment, CertificationAssignment
from closient.accounts.api_views import OrganizationView
from closient.db.transactions import run_with_retry
from closient.http import idempotency, openapi, pagination
from closient.http.downloads import Download
from closient.http.problems import Problem
from closient.http.resources import ListEndpoint, Resource, ResourceSchema
from closient.http.serializers import RowSerializer, StrictFields, about, values_of


class AttachmentSerializer(RowSerializer[CertificateAttachment]):
    """A file that is attached to a certificate."""

    class Meta:
        model = CertificateAttachment
        fields = ("id", "name", "media_type", "size", "created_at")
        extra_kwargs = {
            "id": about("Id of the attachment."),
            "name": about("Name of the file, with the ending of its content.", "organic-2026.pdf"),
            "media_type": about("Media type of the content.", "application/pdf"),
            "size": about("Bytes of the file.", 182044),
            "created_at": about("When it was attached, in UTC."),
        }


class NewAttachmentSerializer(StrictFields, serializers.Serializer[Any]):
    """A form with a file."""

    ignored_fields = tuple(AttachmentSerializer().fields)

    file = serializers.FileField(
        help_text=f"The file: {ACCEPTED_FILES}, at most {MAX_BYTES:,} bytes. The content "
        "determines the type, not the name.",
        style={"example": "(the bytes of organic-2026.pdf)"},
    )


ATTACHMENTS = ResourceSchema(
    noun="certificate_attachment",
    nouns="certificate_attachments",
    a_noun="an attachment",
    serializer=AttachmentSerializer,
    tags=ASSIGNMENTS.tags,
    path=(openapi.ORGANIZATION_ID, ASSIGNMENTS.row),
    row=openapi.id_parameter("attachment_id", "the attachment"),
    has_conflicts=False,
)


class AttachmentResource(OrganizationView, Resource):
    """The attachments of the certificate of the path."""

    serializer_class = AttachmentSerializer
    lookup_argument = "attachment_id"

    @cached_property
    def assignment(self) -> CertificationAssignment:
        """The certificate; raises ``not_found``."""
        key = self.kwargs["assignment_id"]
        rows = CertificationAssignment.objects.of(self.organization)
        found = rows.filter(pk=key).order_by().first() if key else None
        if found is None:
            raise Problem("not_found")
        return found

    def rows(self) -> Any:
        """Return the attachments of the certificate."""
        return CertificateAttachment.objects.of_assignment(self.assignment)

    def address_of(self, row: CertificateAttachment) -> str:
        """Return the URL of an attachment."""
        path = {name: self.kwargs[name] for name in ("organization_id", "assignment_id")}
        return reverse(
            "certification-assignment-attachment", kwargs={**path, "attachment_id": row.pk}
        )

    def handle_exception(self, exc: Exception) -> Response:
        """Return errors of uploads as problems."""
        return super().handle_exception(problem_of_attachment(exc) or exc)


@extend_schema_view(
    get=ATTACHMENTS.list(
        "The files that are attached to a certificate, the oldest first.",
        summary="List a certificate's attachments",
        parameters=pagination.PARAMETERS,
        answer="A page of attachments.",
    ),
    post=ATTACHMENTS.create(
        f"Attaches a file to a certificate, which has at most {MAX_ATTACHMENTS}. A PDF is stored "
        "as it is; a picture is encoded again, as images of trade items are. The files are not "
        "public.",
        summary="Attach a file to a certificate",
        answer="The attachment.",
        request={"multipart/form-data": NewAttachmentSerializer},
    ),
)
class AttachmentsView(AttachmentResource, ListEndpoint):
    """All attachments of a certificate."""

    query_parameters = pagination.PARAMETERS
    parser_classes = [MultiPartParser]

    def check_path(self) -> None:
        """Raise ``not_found`` without the certificate."""
        _ = self.assignment

    def post(self, request: Request, **kwargs: Any) -> Response:
        """Store a file, then its row."""
        assignment = self.assignment
        upload = values_of(NewAttachmentSerializer(data=request.data))["file"]
        document = read_document(self.organization.id, upload)
        with stored_file(CertificateAttachment, "file", document.file) as kept:

            def write() -> Response:
                attachment = add_attachment(assignment, kept, document, name=upload.name)
                headers = {"Location": self.address_of(attachment)}
                return Response(self.shown(attachment), status=201, headers=headers)

            return idempotency.idempotent(request, self.organization.id, write)


@extend_schema_view(
    get=ATTACHMENTS.get("What is known of an attachment; `.../content` is the file."),
    delete=ATTACHMENTS.delete("Deletes an attachment and its file."),
)
class AttachmentView(AttachmentResource):
    """One attachment of a certificate; it does not change."""

    def get(self, request: Request, **kwargs: Any) -> Response:
        """Return what is known of it."""
        return Response(self.shown(self.find()))

    def delete(self, request: Request, **kwargs: Any) -> Response:
        """Delete the row, then its file."""
        run_with_retry(lambda: remove_attachment(self.find_to_write()))
        return Response(status=204)


class AttachmentContentView(Download, AttachmentResource):
    """The file of an attachment."""

    @extend_schema(
        operation_id="get_certificate_attachment_content",
        summary="Download an attachment",
        description="The file of an attachment, to be saved: `Content-Disposition` has its name.",
        tags=ATTACHMENTS.tags,
        parameters=[*ATTACHMENTS.path, ATTACHMENTS.row],
        responses={
            (200, "application/octet-stream"): OpenApiResponse(OpenApiTypes.BINARY, "The file."),
            304: OpenApiResponse(description="Not modified (If-None-Match)."),
            **openapi.errors(),
        },
    )
    def get(self, request: Request, **kwargs: Any) -> Any:
        """Send the file."""
        attachment = self.find()
        known = self.not_modified(attachment.file.name)
        if known is not None:
            return known
        try:
            response = download(attachment)
        except FileNotFoundError:
            raise Problem("not_found", "The file is missing in the storage.") from None
        for name, value in self.cache_headers(attachment.file.name).items():
            response.headers[name] = value
        return response
