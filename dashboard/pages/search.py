"""One search over everything: the options below the field in the header, and a page."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from closient.accounts.models import ApiKeyRole, Organization
from closient.accounts.permissions import Access
from dashboard.pages.base import NAVIGATION, is_fragment, organization_page, render_page
from dashboard.pages.suggestions import MAX_TEXT_LENGTH
from dashboard.search import Group, Hit, search
from dashboard.suggestions import MAX_COUNT

# Pages besides those of the navigation, with the role that opens them.
_PAGES = (
    *NAVIGATION,
    ("page-breakdown", "Breakdown by brand, category, retailer, country, status", None),
    ("page-history", "Numbers by day", None),
    ("page-product-new", "Add a product", ApiKeyRole.EDITOR),
    ("page-offer-new", "Add an offer", ApiKeyRole.EDITOR),
    ("page-certificate-new", "Add a certificate", ApiKeyRole.EDITOR),
    ("page-sources", "Sources of feeds", ApiKeyRole.EDITOR),
)


@organization_page()
def show_search(request: HttpRequest, access: Access) -> HttpResponse:
    """Show what the text ``q`` finds; for htmx and the field in the header only the options."""
    text = request.GET.get("q", "")[:MAX_TEXT_LENGTH]
    found = search(access.organization, text)
    if pages := _pages(access, text):
        found.append(Group("Pages", pages))
    groups = [
        (group.title, [(hit, _url(access.organization, hit)) for hit in group.hits])
        for group in found
    ]
    context = {"groups": groups, "find_text": text.replace("\x00", " "), "max_count": MAX_COUNT}
    template = "search_options" if is_fragment(request) else "search"
    return render_page(request, f"dashboard/{template}.html", context)


def _pages(access: Access, text: str) -> list[Hit]:
    """Return the pages whose name has a word that begins with each word of the text."""
    words = text.casefold().split()
    return [
        Hit(label, "", route)
        for route, label, role in _PAGES
        if words
        and (role is None or access.may(role))
        and all(
            any(own.startswith(word) for own in label.casefold().replace(",", " ").split())
            for word in words
        )
    ]


def _url(organization: Organization, hit: Hit) -> str:
    path = reverse(hit.route, args=[organization.id, *hit.arguments])
    return f"{path}?{hit.query}" if hit.query else path
