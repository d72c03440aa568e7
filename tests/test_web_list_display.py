"""How lists are shown: page numbers, rows on a page, density and columns, for each person."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from playwright.sync_api import Page, expect

from catalog.models import Product
from closient.accounts.models import ListDisplay, Membership, Organization
from dashboard.pages.list_display import page_numbers
from tests.browser import assert_looks_right
from tests.clients import browser_of
from tests.factories import (
    BrandFactory,
    CertificationAssignmentFactory,
    MembershipFactory,
    OfferFactory,
    ProductFactory,
    ProductImageFactory,
)

pytestmark = pytest.mark.django_db(transaction=True)

DEFAULT = {
    "products": ["Product", "Completeness", "Missing", "Status", "Changed"],
    "offers": ["Product", "Retailer", "Price", "Status", "Address"],
    "certifications": [
        *("Product", "Certification", "Certificate", "Valid from", "Expires", "Verification")
    ],
}


@pytest.fixture
def viewer() -> Membership:
    member: Membership = MembershipFactory.create(role="viewer")
    return member


def path_of(organization: Organization, name: str = "products", action: str = "") -> str:
    return reverse(f"page-{name}{action}", args=[organization.id])


def choose(client: Client, organization: Organization, name: str = "products", **sent: Any) -> str:
    """Send the form of a list's display, and return where it leads."""
    response = client.post(path_of(organization, name, "-display"), sent)
    assert response.status_code == 302, response.content
    return str(response.headers["Location"])


def html_of(client: Client, path: str) -> str:
    return client.get(path).content.decode()


def columns(html: str) -> list[str]:
    """Return the headings of a list, which are the labels of the cells as well."""
    found = re.findall(r'<th scope="col"[^>]*>\s*(?:<a[^>]*>)?([^<]+?)\s*<', html)
    headings = [heading for heading in found if heading.strip()]
    [row] = re.findall(r"<tbody>\s*<tr.*?</tr>", html, re.S)[:1]
    labels = re.findall(r'data-label="([^"]+)"', row)
    assert [label for label in labels if label != "Actions"] == headings[1:]
    return headings


@pytest.mark.parametrize("name", DEFAULT)
def test_chosen_columns_are_remembered_for_the_person(viewer: Membership, name: str) -> None:
    organization = viewer.organization
    product = ProductFactory(organization=organization)
    OfferFactory(product=product)
    CertificationAssignmentFactory(product=product)
    other = browser_of(MembershipFactory(organization=organization, role="owner").user)
    client, path = browser_of(viewer.user), path_of(organization, name)
    for one in (client, other):
        assert columns(html_of(one, path)) == DEFAULT[name]
    column = "expires" if name == "certifications" else "status"
    assert choose(client, organization, name, choose="columns", column=[column]) == path
    shown = ["Product", column.capitalize()]
    assert columns(html_of(browser_of(viewer.user), path)) == shown
    assert columns(html_of(other, path)) == DEFAULT[name]
    # In every organization of the person.
    elsewhere = MembershipFactory(user=viewer.user).organization
    product = ProductFactory(organization=elsewhere)
    OfferFactory(product=product)
    CertificationAssignmentFactory(product=product)
    assert columns(html_of(client, path_of(elsewhere, name))) == shown
    choose(client, organization, name, reset="1")
    assert columns(html_of(client, path)) == DEFAULT[name]


def test_products_have_more_columns(viewer: Membership) -> None:
    organization = viewer.organization
    brand = BrandFactory(organization=organization, name="Haferhof & Co")
    product = ProductFactory(organization=organization, described=True, brand=brand)
    for _ in range(2):
        ProductImageFactory(product=product)
        OfferFactory(product=product)
    OfferFactory(product=product, status="discontinued")
    Product.objects.filter(pk=product.pk).update(updated_by="Anna")
    ProductFactory(organization=organization, name="")
    client = browser_of(viewer.user)
    names = ["gtin", "brand", "category", "country", "images", "offers", "changed_by"]
    choose(client, organization, choose="columns", column=names)
    html = html_of(client, path_of(organization, "products") + "?ordering=-completeness")
    rows = re.findall(r"<tr>.*?</tr>", html.partition("<tbody>")[2], re.S)
    cells = [re.findall(r'data-label="([^"]+)"[^>]*>(.*?)</td>', row, re.S) for row in rows]
    texts = [{name: re.sub(r"<[^>]+>", "", text).strip() for name, text in row} for row in cells]
    assert texts[0] == {
        "GTIN": product.gtin,
        "Brand": "Haferhof &amp; Co",
        "Category": "Groceries",
        "Country": "Germany",
        "Images": "2",
        "Active offers": "2",
        "Changed by": "Anna",
    }
    assert (texts[1]["Brand"], texts[1]["Country"], texts[1]["Images"]) == ("–", "–", "0")
    # Not twice.
    assert rows[0].count(product.gtin) == 2
    assert "?brand=Haferhof%20%26%20Co" in rows[0]


def test_a_changed_offer_keeps_the_columns_of_its_row(viewer: Membership) -> None:
    organization = viewer.organization
    editor = browser_of(MembershipFactory(organization=organization, role="editor").user)
    offer = OfferFactory(product__organization=organization)
    choose(editor, organization, "offers", choose="columns", column=["retailer", "address"])
    version = re.search(
        r'name="version" value="([^"]*)"', html_of(editor, path_of(organization, "offers"))
    )
    assert version is not None
    path = reverse("page-offer-address", args=[organization.id, offer.pk])
    sent = {"url": "https://shop.example.com/new", "version": version[1].replace("&quot;", '"')}
    for extra, labels in (
        ({}, ["Retailer", "Address", "Actions"]),
        ({"of_product": "1"}, ["Retailer", "Price", "Status", "Address", "Actions"]),
    ):
        row = editor.post(path, {**sent, **extra}, headers={"HX-Request": "true"})
        assert re.findall(r'data-label="([^"]+)"', row.content.decode()) == labels


def test_rows_on_a_page_and_density_are_remembered(viewer: Membership) -> None:
    organization = viewer.organization
    ProductFactory.create_batch(60, organization=organization)
    client, path = browser_of(viewer.user), path_of(organization)

    def rows(query: str = "") -> int:
        return len(client.get(path + query).context["rows"])

    assert rows() == 25
    back = "?q=product&page=2&page_size=10"
    assert choose(client, organization, page_size="50", back=back) == f"{path}?q=product"
    assert (rows(), rows("?page=2"), rows("?page_size=10")) == (50, 10, 10)
    html = html_of(client, path)
    assert "1 to 50 of 60" in html
    assert "table-compact" not in html
    choose(client, organization, density="compact")
    html = html_of(client, path)
    assert "table-compact" in html
    assert "1 to 50 of 60" in html
    saved = ListDisplay.objects.get()
    for wrong in ({"page_size": "1000"}, {"density": "x"}, {"choose": "1", "column": ["x"]}):
        response = client.post(path_of(organization, "products", "-display"), wrong)
        assert response.status_code == 422
        assert "Must be one of" in response.content.decode()
    assert ListDisplay.objects.get() == saved
    # Only to the list.
    assert choose(client, organization, density="compact", back="//evil.example/?q=x") == path
    viewer.user.delete()
    assert not ListDisplay.objects.exists()


def test_pages_are_numbered() -> None:
    assert page_numbers(1, 1) == [1]
    assert page_numbers(1, 5) == [1, 2, 3, 4, 5]
    assert page_numbers(1, 50) == [1, 2, 3, None, 50]
    assert page_numbers(5, 50) == [1, 2, 3, 4, 5, 6, 7, None, 50]
    assert page_numbers(25, 50) == [1, None, 23, 24, 25, 26, 27, None, 50]
    assert page_numbers(46, 50) == [1, None, 44, 45, 46, 47, 48, 49, 50]


def test_columns_cost_no_query(viewer: Membership) -> None:
    organization = viewer.organization
    for _ in range(3):
        ProductFactory(organization=organization, brand=BrandFactory(organization=organization))
    client = browser_of(viewer.user)

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            client.get(path_of(organization))
        return len(captured)

    # The first one also writes to the session.
    queries()
    before = queries()
    choose(client, organization, choose="columns", column=["brand", "images", "offers"])
    assert queries() == before


@pytest.mark.slow
def test_the_display_in_the_browser(visit: Callable[..., Page], viewer: Membership) -> None:
    organization = viewer.organization
    ProductFactory.create_batch(230, organization=organization)
    page = visit(viewer.user, path_of(organization))
    pager = page.get_by_role("navigation", name="Pages")
    pager.get_by_role("link", name="Page 3", exact=True).click()
    expect(page.get_by_text("51 to 75 of 230")).to_be_visible()
    expect(pager.locator("[aria-current]")).to_have_text("Page 3")
    page.get_by_text("Display", exact=True).click()
    menu = page.locator(".menu-display")
    menu.get_by_label("Brand", exact=True).check()
    menu.get_by_label("Missing", exact=True).uncheck()
    menu.get_by_label("Compact").check()
    assert_looks_right(page)
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_role("columnheader", name="Brand")).to_be_visible()
    expect(page.get_by_role("columnheader", name="Missing")).to_have_count(0)
    # Still on the third page.
    expect(page.get_by_text("51 to 75 of 230")).to_be_visible()
    page.get_by_role("button", name="50 rows per page").click()
    expect(page.get_by_text("1 to 50 of 230")).to_be_visible()
    expect(page.get_by_role("button", name="50 rows per page")).to_have_attribute(
        "aria-pressed", "true"
    )
    assert_looks_right(page)
