"""The pages of certificates: the list, and the pages of one certificate."""

from __future__ import annotations

from typing import Any, TypeVar
from uuid import UUID

from django import forms
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_POST

from catalog.models import Product
from certifications.attachments import ACCEPTED_FILES, MAX_BYTES
from certifications.editing import (
    assign_certification,
    change_assignment,
    remove_assignment,
    with_references,
)
from certifications.lists import BY_EXPIRY, AssignmentList
from certifications.models import (
    CertificateAttachment,
    CertificationAssignment,
    VerificationStatus,
)
from certifications.serializers import CertificationAssignmentSerializer
from closient.accounts.models import ApiKeyRole
from closient.accounts.permissions import Access
from closient.http.pagination import MAX_PAGE_SIZE
from dashboard.exports import tables
from dashboard.pages.base import organization_page
from dashboard.pages.forms import VersionedForm, form_field, post_data, suggesting, text_input
from dashboard.pages.resources import Column, ListView, RowPages, redirect_with_message
from dashboard.templatetags.labels import status_label

T = TypeVar("T")


CERTIFICATIONS = ListView(
    name="certifications",
    title="Certifications",
    one="certificate",
    many="certificates",
    row_list=AssignmentList,
    columns=(
        Column("Product"),
        Column("Certification", name="certification"),
        Column("Certificate", name="certificate"),
        Column("Valid from", name="valid_from"),
        Column("Expires", up=BY_EXPIRY, down=f"-{BY_EXPIRY}", name="expires"),
        Column("Verification", name="verification"),
        Column(""),
    ),
    export_table=tables.CERTIFICATIONS,
    create_route="page-certificate-new",
    create_label="Add a certificate",
    rows="dashboard/certifications_rows.html",
    empty="dashboard/certifications_empty.html",
    product_of=lambda assignment: assignment.product_id,
)


show_certifications = organization_page()(CERTIFICATIONS.show)
export_certifications = organization_page()(CERTIFICATIONS.export)
display_certifications = require_POST(
    organization_page(write_role=ApiKeyRole.READONLY)(CERTIFICATIONS.change_display)
)
change_certificate_views = require_POST(organization_page()(CERTIFICATIONS.change_views))


_NAMED_ONCE = "Only for a new certification; existing names stay."


class CertificateForm(VersionedForm):
    """The form of a certificate."""

    noun = "certificate"
    messages = {"expiry_date": "The expiry date cannot be before the start date."}
    serializer_class = CertificationAssignmentSerializer

    gtin = form_field(
        "Product",
        widget=suggesting("product", placeholder="Name or GTIN"),
        help_text="Search by name and choose, or enter the GTIN: the number below the barcode.",
    )
    certification__code = form_field(
        "Certification",
        widget=suggesting("certification"),
        help_text="Its short code, for example eu-organic. A new code creates a new certification.",
    )
    certification__label = form_field("Name of the certification", help_text=_NAMED_ONCE)
    certification__body = form_field("Certification body", help_text=_NAMED_ONCE)
    certificate_number = form_field("Certificate number")
    issuing_body = form_field("Issued by")
    valid_from = form_field(
        "Valid from",
        widget=text_input(type="date"),
        help_text="Leave empty if there is no start date.",
    )
    expiry_date = form_field(
        "Expires", widget=text_input(type="date"), help_text="Leave empty if it never expires."
    )
    verification_status = form_field(
        "Verification",
        widget=forms.Select(choices=[(word, status_label(word)) for word in VerificationStatus]),
        initial=VerificationStatus.UNVERIFIED.value,
    )
    verification_url = form_field(
        "Verification address",
        widget=text_input(type="url", inputmode="url", placeholder="https://"),
    )

    def remove_fixed_fields(self, assignment: CertificationAssignment) -> None:
        """Remove the fields that cannot change once the certificate exists.

        These are the product, and the names of a certification that other certificates share.
        """
        del self.fields["gtin"]
        for name in ("label", "body"):
            if getattr(assignment.certification, name):
                del self.fields[f"certification__{name}"]


def attachments_context(assignment: CertificationAssignment) -> dict[str, Any]:
    """Return the context of ``dashboard/certificate_attachments.html``; one query."""
    return {
        "assignment": assignment,
        "attachments": list(CertificateAttachment.objects.of_assignment(assignment)),
        "accepted": ACCEPTED_FILES,
        "max_bytes": MAX_BYTES,
    }


CERTIFICATE: RowPages[CertificationAssignment] = RowPages(
    noun="certificate",
    context_name="assignment",
    list_view=CERTIFICATIONS,
    queryset=lambda organization: CertificationAssignment.objects.of(organization).with_names(),
    template="dashboard/certificate.html",
    delete_template="dashboard/certificate_delete.html",
    remove=remove_assignment,
    more=attachments_context,
)


def certificates_of(product: Product) -> list[CertificationAssignment]:
    """Return a product's certificates for ``dashboard/product_certifications.html``.

    Latest expiry first, at most ``MAX_PAGE_SIZE``; one query.
    """
    assignments = CertificationAssignment.objects.of(product.organization_id)
    found = assignments.filter(product=product).with_names()
    return list(found.order_by("-expiry_date", "-pk")[:MAX_PAGE_SIZE])


@organization_page(read_role=ApiKeyRole.EDITOR)
def new_certificate(request: HttpRequest, access: Access) -> HttpResponse:
    """Show the form of a new certificate, and create it."""

    def create(values: dict[str, Any]) -> CertificationAssignment:
        fields = with_references(access.organization, values)
        return assign_certification(fields.pop("product"), fields)

    form = CertificateForm(post_data(request), initial={"gtin": request.GET.get("gtin", "")})
    return CERTIFICATE.create(request, access, form, create)


@organization_page()
def show_certificate(
    request: HttpRequest, access: Access, assignment_id: UUID | None
) -> HttpResponse:
    """Show a certificate, and save changes to it."""

    def change(row: CertificationAssignment, values: dict[str, Any]) -> None:
        change_assignment(row, with_references(access.organization, values))

    assignment = CERTIFICATE.find(access, assignment_id)
    context = {"today": access.organization.today()}
    form = CertificateForm(post_data(request), changes=assignment, context=context)
    form.remove_fixed_fields(assignment)
    if CERTIFICATE.save(access, assignment_id, form, change) is None:
        return CERTIFICATE.render_form(request, access, form, assignment)
    url = CERTIFICATE.return_url(request, access)
    return redirect_with_message(request, url, form.saved_message())


@organization_page(read_role=ApiKeyRole.EDITOR)
def delete_certificate(
    request: HttpRequest, access: Access, assignment_id: UUID | None
) -> HttpResponse:
    """Ask for confirmation, and delete a certificate."""
    return CERTIFICATE.delete(request, access, assignment_id)
