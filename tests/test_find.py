"""One search over products, brands, categories, retailers, certificates and pages."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape

import pytest
from django.urls import reverse
from playwright.sync_api import Page, expect

from closient.accounts.models import Membership
from tests.browser import assert_accessible
from tests.clients import browser_of
from tests.factories import (
    BrandFactory,
    CertificationAssignmentFactory,
    CertificationFactory,
    MembershipFactory,
    OfferFactory,
    OrganizationFactory,
    ProductFactory,
)

pytestmark = pytest.mark.django_db

# With three leading zeros as GTIN-14, so one as UPC.
UPC = "00012345678905"


def fill(organization: object) -> None:
    brand = BrandFactory(organization=organization, name="Orchard & Sons")
    product = ProductFactory(
        organization=organization, gtin=UPC, name="Orchard juice", brand=brand, category="Juices"
    )
    ProductFactory(organization=organization, name="Rice drink", category="Orchard goods")
    OfferFactory(product=product, retailer="The Orchard", sku="OJ-1")
    certification = CertificationFactory(
        organization=organization, code="orchard-care", label="Careful orchards"
    )
    CertificationAssignmentFactory(
        product=product, certification=certification, certificate_number="ORCH-2026"
    )


@pytest.fixture
def viewer() -> Membership:
    member = MembershipFactory(role="viewer")
    fill(member.organization)
    fill(OrganizationFactory())
    return member


def hits(member: Membership, text: str) -> list[tuple[str, str, str]]:
    """Return the group, label and address of each hit of the field in the header."""
    address = reverse("page-search", args=[member.organization_id])
    response = browser_of(member.user).get(address, {"q": text}, headers={"HX-Request": "true"})
    assert response.status_code == 200
    found = []
    for group in response.content.decode().split('<div role="group"')[1:]:
        (title,) = re.findall(r'^ aria-label="([^"]+)"', group)
        for url, label in re.findall(
            r'data-href="([^"]+)">\s*<span class="suggestion-label">([^<]+?) ?<', group
        ):
            found.append((title, unescape(label), unescape(url)))
    return found


def test_a_text_finds_everything_that_is_called_so_and_nothing_of_others(
    viewer: Membership,
) -> None:
    found = hits(viewer, "orchard")
    home = reverse("page-home", args=[viewer.organization_id])
    assert [(title, label) for title, label, _ in found] == [
        ("Products", "Orchard juice"),
        ("Brands", "Orchard & Sons"),
        ("Categories", "Orchard goods"),
        ("Retailers", "The Orchard"),
        ("Certifications", "Careful orchards"),
    ]
    client = browser_of(viewer.user)
    for title, label, url in found:
        assert url.startswith(home), url
        page = client.get(url)
        assert page.status_code == 200
        if title != "Products":
            assert 'data-total="1"' in page.content.decode(), label
    assert hits(viewer, " \x00") == []
    assert hits(viewer, "%_'\\") == []


def test_numbers_find_products_and_certificates(viewer: Membership) -> None:
    product = reverse("page-product", args=[viewer.organization_id, UPC])
    # In any length, by its beginning, without the zeros that a spreadsheet drops, and by SKU.
    for text in (UPC, UPC[1:], UPC[2:], "0123456", "12345678905", "OJ-1"):
        found = hits(viewer, text)
        assert [(title, url) for title, _, url in found] == [("Products", product)], text
    ((_, label, url),) = [hit for hit in hits(viewer, "orch-20") if hit[0] == "Certificates"]
    assert label == "ORCH-2026"
    page = browser_of(viewer.user).get(url).content.decode()
    assert 'id="content"' in page
    assert "ORCH-2026" in page


def test_pages_are_found_by_those_who_may_open_them(viewer: Membership) -> None:
    assert [label for _, label, _ in hits(viewer, "add a")] == []
    owner = MembershipFactory(organization=viewer.organization, role="owner")
    for text, expected in {
        "add off": ["Add an offer"],
        "break": ["Breakdown by brand, category, retailer, country, status"],
        "API": ["API keys"],
    }.items():
        found = [(label, url) for title, label, url in hits(owner, text) if title == "Pages"]
        assert [label for label, _ in found] == expected, text
        assert browser_of(owner.user).get(found[0][1]).status_code == 200
    client = browser_of(viewer.user)
    address = reverse("page-search", args=[viewer.organization_id])
    assert "Orchard juice" in client.get(address, {"q": "juice"}).content.decode()
    assert "Nothing found" in client.get(address, {"q": "xyzzy"}).content.decode()
    assert "Nothing found" not in client.get(address).content.decode()


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_product_is_opened_from_anywhere_with_the_keyboard(visit: Callable[..., Page]) -> None:
    member = MembershipFactory(role="viewer")
    fill(member.organization)
    page = visit(member.user, reverse("page-rule", args=[member.organization_id]))
    page.keyboard.press("Control+k")
    page.keyboard.type("juice")
    options = page.get_by_role("listbox").get_by_role("option")
    expect(options.first).to_be_visible()
    assert_accessible(page)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Orchard juice")).to_be_visible()
    # Without a choice, Enter leads to the page of all hits; a phone has only that page.
    page.keyboard.press("Control+k")
    page.keyboard.type("orchard")
    page.keyboard.press("Enter")
    expect(page.get_by_role("region", name="Brands")).to_be_visible()
    assert_accessible(page)
    page.set_viewport_size({"width": 360, "height": 800})
    page.get_by_role("link", name="Find anything").click()
    expect(page.get_by_label("Name, GTIN, SKU")).to_be_focused()
