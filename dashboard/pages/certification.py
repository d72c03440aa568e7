"""One certificate of a product: new, changed, deleted."""

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
from closient.db.transactions import commit
from closient.http.pagination import LARGEST_SIZE
from closient.http.problems import FieldError, Problem
from dashboard.api.certifications_fields import CertificationAssignmentSerializer
from dashboard.api.references import product_named
from dashboard.pages.base import organization_page, row_or_404, show
from dashboard.pages.forms import BodyForm, VersionedForm, sent, shown_as, text_input, way_back
from dashboard.pages.lists import shown_again
from dashboard.templatetags.labels import status_label

T = TypeVar("T")

_NAMED_ONCE = "Only for a new certification; existing names stay."


class CertificateForm(VersionedForm):
    """What a person decides about a certificate."""

    noun = "certificate"

    serializer_class = CertificationAssignmentSerializer

    gtin = shown_as(
        "Product (GTIN)",
        widget=text_input(inputmode="numeric", **{"class": "mono"}),
        help_text="The number below the barcode: 8 to 14 digits.",
    )
    certification__code = shown_as(
        "Certification",
        help_text="Its short code, for example eu-organic. A new code creates a new certification.",
    )
    certification__label = shown_as("Name of the certification", help_text=_NAMED_ONCE)
    certification__body = shown_as("Certification body", help_text=_NAMED_ONCE)
    certificate_number = shown_as("Certificate number")
    issuing_body = shown_as("Issued by")
    valid_from = shown_as(
        "Valid from",
        widget=text_input(type="date"),
        help_text="Leave empty if there is no start date.",
    )
    expiry_date = shown_as(
        "Expires", widget=text_input(type="date"), help_text="Leave empty if it never expires."
    )
    verification_status = shown_as(
        "Verification",
        widget=forms.Select(choices=[(word, status_label(word)) for word in VerificationStatus]),
        initial=VerificationStatus.UNVERIFIED.value,
    )
    verification_url = shown_as(
        "Verification address",
        widget=text_input(type="url", inputmode="url", placeholder="https://"),
    )

    def settle(self, assignment: CertificationAssignment) -> None:
        """Leave out what the form of an assignment cannot change.

        Its product; and the names of its certification, which others share and rely on.
        """
        del self.fields["gtin"]
        for name in ("label", "body"):
            if getattr(assignment.certification, name):
                del self.fields[f"certification__{name}"]


def find_assignment(
    access: Access, assignment_id: UUID | None, *, is_locked: bool = False
) -> CertificationAssignment:
    """Return the organization's certificate of an id; else there is no such page."""
    if assignment_id is None:
        raise Http404
    assignments = CertificationAssignment.objects.of(access.organization).filter(pk=assignment_id)
    return row_or_404(assignments.with_names(), is_locked=is_locked)


def certificates_of(product: Product) -> list[CertificationAssignment]:
    """Return a product's certificates as ``dashboard/product_certifications.html`` shows them.

    Those that hold longest come first, a page of them at most; one query.
    """
    assignments = CertificationAssignment.objects.of(product.organization_id)
    found = assignments.filter(product=product).with_names()
    return list(found.order_by("-expiry_date", "-pk")[:LARGEST_SIZE])


@organization_page(read_role=ApiKeyRole.EDITOR)
def new_certificate(request: HttpRequest, access: Access) -> HttpResponse:
    """Ask for a new certificate, and assign it."""
    form = CertificateForm(sent(request), initial={"gtin": request.GET.get("gtin", "")})

    def create() -> CertificationAssignment:
        values = _fields(access, form.values)
        return _in_order(assign_certification, values.pop("product"), values)

    if form.is_valid() and form.save(create) is not None:
        return shown_again(request, way_back(request, _list(access)), "The certificate is added.")
    return _show_form(request, access, form, None)


@organization_page()
def show_certificate(
    request: HttpRequest, access: Access, assignment_id: UUID | None
) -> HttpResponse:
    """Show a certificate, and take changes to it."""
    assignment = find_assignment(access, assignment_id)
    context = {"today": access.organization.today()}
    form = CertificateForm(sent(request), changes=assignment, context=context)
    form.settle(assignment)

    def change() -> CertificationAssignment:
        locked = find_assignment(access, assignment_id, is_locked=True)
        form.check_version(locked)
        _in_order(change_assignment, locked, _fields(access, form.values))
        return locked

    if form.is_valid() and form.save(change) is not None:
        return shown_again(request, way_back(request, _list(access)), form.saved_sentence())
    return _show_form(request, access, form, assignment)


@organization_page(read_role=ApiKeyRole.EDITOR)
def delete_certificate(
    request: HttpRequest, access: Access, assignment_id: UUID | None
) -> HttpResponse:
    """Ask whether a certificate is to be deleted, and delete it."""
    assignment = find_assignment(access, assignment_id)
    if request.method == "POST":
        commit(lambda: find_assignment(access, assignment_id, is_locked=True).delete())
        messages.success(request, "The certificate is deleted.")
        return redirect(way_back(request, _list(access)))
    context = {
        "place": "page-certifications",
        "assignment": assignment,
        "back": way_back(request, _list(access)),
    }
    return show(request, "dashboard/certificate_delete.html", context)


def _fields(access: Access, given: dict[str, Any]) -> dict[str, Any]:
    """Return what a form says as fields of an assignment, its certification made if need be."""
    organization = access.organization
    values = dict(given)
    if "certification" in values:
        values["certification"] = certification_of(organization.id, **values["certification"])
    if "product" in values:
        values["product"] = product_named(organization, values["product"]["gtin"])
    return values


def _in_order(write: Callable[[Any, Mapping[str, Any]], T], row: Any, values: Any) -> T:
    """Write an assignment; days in the wrong order are an error of their field."""
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
        "place": "page-certifications",
        "form": form,
        "assignment": assignment,
        "today": access.organization.today(),
        "back": way_back(request, _list(access)),
    }
    return show(
        request, "dashboard/certificate.html", context, status=422 if form.is_refused else 200
    )
