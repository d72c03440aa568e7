"""The list page of certificates."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from certifications.exporting import HEADER, exported_assignments
from certifications.lists import assignments_page
from certifications.models import VerificationStatus
from closient.accounts.permissions import Access
from dashboard.api.certifications import BY_EXPIRY, LIST_PARAMETERS, assignment_filter
from dashboard.pages.base import organization_page
from dashboard.pages.exports import csv_download
from dashboard.pages.filters import Filter
from dashboard.pages.lists import Column, ListPage
from dashboard.templatetags.labels import status_label

CERTIFICATIONS = ListPage(
    route="page-certifications",
    title="Certifications",
    one="certificate",
    many="certificates",
    parameters=LIST_PARAMETERS,
    filters=(
        Filter(
            name="q",
            label="Search",
            kind="search",
            chip="“{text}”",
            help="GTIN or product name",
        ),
        Filter(
            name="expiring_within",
            label="Expiring within days",
            kind="number",
            minimum=1,
            maximum=365,
            chip="Expiring within {text} days",
        ),
        Filter(name="expires_on", label="Expires on", kind="date"),
        Filter(
            name="expired",
            label="Expired",
            kind="select",
            options=[("true", "Expired"), ("false", "Not expired")],
            chip="{text}",
        ),
        Filter(name="certification", label="Certification", help="Certification code"),
        Filter(name="gtin", label="GTIN"),
        Filter(
            name="verification_status",
            label="Verification",
            kind="select",
            options=[(word, status_label(word)) for word in VerificationStatus],
        ),
    ),
    columns=(
        Column("Product"),
        Column("Certification"),
        Column("Certificate"),
        Column("Valid from"),
        Column("Expires", up=BY_EXPIRY, down=f"-{BY_EXPIRY}"),
        Column("Verification"),
        Column(""),
    ),
    rows="dashboard/certifications_rows.html",
    empty="dashboard/certifications_empty.html",
    actions="dashboard/certifications_actions.html",
)


@organization_page()
def show_certifications(request: HttpRequest, access: Access) -> HttpResponse:
    """Show the list of certificates."""
    list_query = CERTIFICATIONS.read(request)
    organization = access.organization
    today = organization.today()
    assignments, total = assignments_page(
        organization.id,
        assignment_filter(dict(list_query.values)),
        today,
        start=list_query.page.start,
        end=list_query.page.end,
    )
    return CERTIFICATIONS.render(
        request, access, list_query, rows=assignments, total=total, today=today
    )


@organization_page()
def export_certifications(request: HttpRequest, access: Access) -> HttpResponseBase:
    """Send the filtered certificates as CSV."""
    organization, values = access.organization, CERTIFICATIONS.read_export(request)
    filters = assignment_filter(values)
    rows = exported_assignments(organization.id, filters, organization.today())
    return csv_download(request, "certifications", HEADER, rows, separator=values["separator"])
