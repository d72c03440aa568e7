"""The pages of one certificate: create, edit and delete it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from catalog.models import Product
from certifications.editing import (
    DatesReversed,
    assign_certification,
    certification_of,
    change_assignment,
)
from certifications.models import CertificationAssignment, VerificationStatus
from closient.accounts.models import ApiKeyRole
from closient.accounts.permissions import Access
from closient.db.transactions import run_with_retry
from closient.http.pagination import MAX_PAGE_SIZE
from closient.http.problems import FieldError, Problem
from dashboard.api.certifications_fields import CertificationAssignmentSerializer
from dashboard.api.references import product_named
from dashboard.pages.base import organization_page, render_page, row_or_404
from dashboard.pages.forms import (
    BodyForm,
    VersionedForm,
    form_field,
    post_data,
    return_url,
    text_input,
)
from dashboard.pages.lists import redirect_with_message
from dashboard.templatetags.labels import status_label

T = TypeVar("T")

_NAMED_ONCE = "Only for a new certification; existing names stay."


class CertificateForm(VersionedForm):
    """The form of a certificate."""

    noun = "certificate"

    serializer_class = CertificationAssignmentSerializer

    gtin = form_field(
        "Product (GTIN)",
        widget=text_input(inputmode="numeric", **{"class": "mono"}),
        help_text="The number below the barcode: 8 to 14 digits.",
    )
    certification__code = form_field(
        "Certification",
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


def find_assignment(
    access: Access, assignment_id: UUID | None, *, is_locked: bool = False
) -> CertificationAssignment:
    """Return the organization's certificate with an id, or raise :class:`Http404`."""
    if assignment_id is None:
        raise Http404
    assignments = CertificationAssignment.objects.of(access.organization).filter(pk=assignment_id)
    return row_or_404(assignments.with_names(), is_locked=is_locked)


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
    form = CertificateForm(post_data(request), initial={"gtin": request.GET.get("gtin", "")})

    def create() -> CertificationAssignment:
        values = _fields(access, form.values)
        return _in_order(assign_certification, values.pop("product"), values)

    if form.is_valid() and form.save(create) is not None:
        return redirect_with_message(
            request, return_url(request, _list(access)), "Certificate added."
        )
    return _show_form(request, access, form, None)


@organization_page()
def show_certificate(
    request: HttpRequest, access: Access, assignment_id: UUID | None
) -> HttpResponse:
    """Show a certificate, and save changes to it."""
    assignment = find_assignment(access, assignment_id)
    context = {"today": access.organization.today()}
    form = CertificateForm(post_data(request), changes=assignment, context=context)
    form.remove_fixed_fields(assignment)

    def change() -> CertificationAssignment:
        locked = find_assignment(access, assignment_id, is_locked=True)
        form.check_version(locked)
        _in_order(change_assignment, locked, _fields(access, form.values))
        return locked

    if form.is_valid() and form.save(change) is not None:
        return redirect_with_message(
            request, return_url(request, _list(access)), form.saved_message()
        )
    return _show_form(request, access, form, assignment)


@organization_page(read_role=ApiKeyRole.EDITOR)
def delete_certificate(
    request: HttpRequest, access: Access, assignment_id: UUID | None
) -> HttpResponse:
    """Ask for confirmation, and delete a certificate."""
    assignment = find_assignment(access, assignment_id)
    if request.method == "POST":
        run_with_retry(lambda: find_assignment(access, assignment_id, is_locked=True).delete())
        messages.success(request, "Certificate deleted.")
        return redirect(return_url(request, _list(access)))
    context = {
        "active_route": "page-certifications",
        "assignment": assignment,
        "back": return_url(request, _list(access)),
    }
    return render_page(request, "dashboard/certificate_delete.html", context)


def _fields(access: Access, given: dict[str, Any]) -> dict[str, Any]:
    """Return form values as fields of an assignment; creates a new certification."""
    organization = access.organization
    values = dict(given)
    if "certification" in values:
        values["certification"] = certification_of(organization.id, **values["certification"])
    if "product" in values:
        values["product"] = product_named(organization, values["product"]["gtin"])
    return values


def _in_order(write: Callable[[Any, Mapping[str, Any]], T], row: Any, values: Any) -> T:
    """Write an assignment. Raises a problem of the expiry date if it is before the start date."""
    try:
        return write(row, values)
    except DatesReversed:
        sentence = "The expiry date cannot be before the start date."
        errors = [FieldError("#/expiry_date", "dates_reversed", sentence)]
        raise Problem("validation_error", errors=errors) from None


def _list(access: Access) -> str:
    return reverse("page-certifications", args=[access.organization.id])


def _show_form(
    request: HttpRequest,
    access: Access,
    form: BodyForm,
    assignment: CertificationAssignment | None,
) -> HttpResponse:
    context = {
        "active_route": "page-certifications",
        "form": form,
        "assignment": assignment,
        "today": access.organization.today(),
        "back": return_url(request, _list(access)),
    }
    return render_page(
        request, "dashboard/certificate.html", context, status=422 if form.is_rejected else 200
    )
