"""The list of products: filters, order, pages and bulk actions."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from playwright.sync_api import Page, expect

from catalog.models import Product
from closient.accounts.models import Membership, Organization
from closient.db.ids import format_id
from tests.browser import assert_accessible, assert_fits, assert_looks_right
from tests.clients import browser_of
from tests.counting import assert_exact
from tests.factories import (
    BrandFactory,
    MembershipFactory,
    OfferFactory,
    ProductFactory,
    ProductImageFactory,
)
from tests.html_forms import form_on

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def alice() -> Membership:
    return MembershipFactory(role="owner", organization__time_zone="Pacific/Auckland")


@pytest.fixture
def acme(alice: Membership) -> Organization:
    """Thirty products: one complete, two with an image, one discontinued."""
    organization = alice.organization
    ProductFactory.create_batch(26, organization=organization)
    oat = ProductFactory(
        organization=organization,
        name="Oat drink",
        described=True,
        brand=BrandFactory(organization=organization, name="Haferhof"),
    )
    ProductImageFactory(product=oat)
    OfferFactory(product=oat, status="active")
    ProductImageFactory(product=ProductFactory(organization=organization, name="Pictured"))
    ProductFactory(organization=organization, name="Old oats", status="discontinued")
    ProductFactory(organization=organization, name="<b onclick=x>&amp;", brand=oat.brand)
    return organization


def path_of(organization: Organization, query: str = "") -> str:
    return f"/dashboard/{format_id(organization.id)}/products{query}"


def names(page: Page) -> list[str]:
    return page.locator("tbody .cell-main").all_inner_texts()


def query_of(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


@pytest.mark.parametrize(
    ("query", "total"),
    [
        ("", 30),
        ("?complete=true", 1),
        ("?complete=false", 29),
        ("?missing=images", 28),
        ("?missing=images,brand", 27),
        ("?min_completeness=15&max_completeness=15", 27),
        ("?status=discontinued", 1),
        ("?brand=Haferhof", 2),
        ("?q=oat", 2),
        ("?q=OAT+dri&status=active", 1),
        ("?complete=true&missing=images", 0),
    ],
)
def test_the_total_equals_that_of_the_api(
    alice: Membership, acme: Organization, query: str, total: int
) -> None:
    client = browser_of(alice.user)
    shown = client.get(path_of(acme, query)).content.decode()
    assert f'data-total="{total}"' in shown
    api = client.get(f"/dashboard/api/v1/trade-items/{format_id(acme.id)}{query}")
    assert api.json()["pagination"]["total_count"] == total


def test_filters_are_in_the_url_and_the_back_button_works(
    visit: Callable[..., Page], alice: Membership, acme: Organization
) -> None:
    page = visit(alice.user, path_of(acme))
    expect(page.get_by_role("status").filter(has_text="products")).to_have_text("30 products")
    page.get_by_label("Search").fill("oat")
    expect(page.locator(".list-total")).to_have_text("2 products match")
    page.get_by_role("combobox", name="Status").select_option(label="Active")
    expect(page.locator(".list-total")).to_have_text("1 product matches")
    assert names(page) == ["Oat drink"]
    assert query_of(page) == {"q": ["oat"], "status": ["active"]}
    assert page.locator(".chip").count() == 2

    page.get_by_role("link", name="Remove the filter Status: Active").click()
    expect(page.locator(".list-total")).to_have_text("2 products match")
    expect(page.get_by_role("combobox", name="Status")).to_have_value("")
    # The list changes shortly before the URL does.
    expect(page).not_to_have_url(re.compile("status="))
    assert query_of(page) == {"q": ["oat"]}

    page.go_back()
    expect(page.locator(".list-total")).to_have_text("1 product matches")
    expect(page.get_by_role("combobox", name="Status")).to_have_value("active")
    # The whole page is restored, not a fragment.
    expect(page.get_by_role("navigation", name="Main")).to_be_visible()
    page.reload()
    expect(page.locator(".list-total")).to_have_text("1 product matches")


@pytest.mark.slow
def test_several_missing_facts_are_selected_with_checkboxes(
    visit: Callable[..., Page], alice: Membership, acme: Organization
) -> None:
    page = visit(alice.user, path_of(acme))
    page.locator(".menu-checks summary").click()
    page.get_by_role("checkbox", name="Images").check()
    expect(page.locator(".list-total")).to_have_text("28 products match")
    page.get_by_role("checkbox", name="Brand", exact=True).check()
    expect(page.locator(".list-total")).to_have_text("27 products match")
    assert query_of(page) == {"missing": ["brand,images"]}
    # The open menu covers the list.
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Clear all").click()
    expect(page.locator(".list-total")).to_have_text("30 products")
    assert query_of(page) == {}


@pytest.mark.slow
def test_columns_sort_and_set_aria_sort(
    visit: Callable[..., Page], alice: Membership, acme: Organization
) -> None:
    page = visit(alice.user, path_of(acme))
    heading = page.get_by_role("columnheader", name="Completeness")
    heading.get_by_role("link").click()
    expect(heading).to_have_attribute("aria-sort", "ascending")
    heading.get_by_role("link").click()
    expect(heading).to_have_attribute("aria-sort", "descending")
    assert names(page)[0] == "Oat drink"
    # A filter keeps the order.
    page.get_by_label("Complete", exact=True).select_option(label="Not complete")
    expect(page.locator(".list-total")).to_have_text("29 products match")
    assert query_of(page) == {"complete": ["false"], "ordering": ["-completeness"]}
    heading.get_by_role("link").click()
    expect(heading).not_to_have_attribute("aria-sort", "descending")
    assert query_of(page) == {"complete": ["false"]}


@pytest.mark.slow
def test_sorting_and_select_all_work_on_a_phone(
    visit: Callable[..., Page], alice: Membership, acme: Organization
) -> None:
    page = visit(alice.user, path_of(acme, "?missing=images"), width=390)
    link = page.locator("thead a", has_text="Completeness")
    # It can be tapped: Playwright fails to click clipped elements.
    link.click()
    expect(page.locator("th[aria-sort=ascending]")).to_have_text("Completeness")
    assert query_of(page) == {"missing": ["images"], "ordering": ["completeness"]}
    page.get_by_label("Select all on this page").check()
    expect(page.locator("[data-selected]")).to_have_text("25")
    assert_accessible(page)
    assert_fits(page)


def test_pagination_leads_forward_and_back(
    visit: Callable[..., Page], alice: Membership, acme: Organization
) -> None:
    page = visit(alice.user, path_of(acme))
    expect(page.locator("tbody tr")).to_have_count(25)
    page.get_by_role("link", name="Next").click()
    expect(page.locator("tbody tr")).to_have_count(5)
    expect(page.get_by_text("26 to 30 of 30")).to_be_visible()
    assert query_of(page) == {"page": ["2"]}
    expect(page.get_by_role("link", name="Next")).to_have_count(0)
    page.get_by_role("link", name="Previous").click()
    expect(page.locator("tbody tr")).to_have_count(25)
    assert query_of(page) == {}


def test_without_javascript_the_form_redirects_to_a_clean_url(
    alice: Membership, acme: Organization
) -> None:
    client = browser_of(alice.user)
    sent = "?form=1&q=+oat+&complete=&missing=images&missing=brand&status=&min_completeness="
    response = client.get(path_of(acme, sent))
    assert response.status_code == 302
    assert response.headers["Location"] == path_of(acme, "?missing=images,brand&q=oat")


def test_filters_without_a_control_survive_the_form(alice: Membership, acme: Organization) -> None:
    client = browser_of(alice.user)
    for query in ("brand=&retailer=", "category=&retailer=Corner", "country_of_origin=&retailer="):
        sent = form_on(client.get(path_of(acme, f"?{query}"))) | {"q": "oat"}
        again = client.get(path_of(acme), sent)
        assert again.status_code == 302
        kept = parse_qs(urlsplit(again.headers["Location"]).query, keep_blank_values=True)
        assert kept == parse_qs(f"{query}&q=oat", keep_blank_values=True)
    assert "\x00" not in client.get(path_of(acme, "?retailer=%00")).content.decode()


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("?complete=perhaps", "Complete: Must be true or false."),
        ("?min_completeness=101", "From %: Must be from 0 to 100."),
        ("?page=0", "page: Must be from 1 to 1000000000."),
        ("?q=a&q=b", "Search: This may be given once only."),
        ("?ordering=random", "ordering: Must be one of"),
    ],
)
def test_an_invalid_filter_shows_an_error_and_no_rows(
    alice: Membership, acme: Organization, query: str, error: str
) -> None:
    response = browser_of(alice.user).get(path_of(acme, query))
    assert response.status_code == 422
    assert error in response.content.decode()
    assert 'data-total="0"' in response.content.decode()
    assert "Correct the filters" in response.content.decode()


@pytest.mark.slow
def test_empty_lists_say_why(
    visit: Callable[..., Page], alice: Membership, acme: Organization
) -> None:
    empty = MembershipFactory(user=alice.user, role="owner").organization
    page = visit(alice.user, path_of(empty))
    expect(page.get_by_role("heading", name="No products yet")).to_be_visible()
    expect(page.get_by_role("search", name="Filter products")).to_have_count(0)
    expect(page.get_by_role("link", name="Import a file")).to_be_visible()
    assert_accessible(page)
    page.goto(path_of(acme, "?q=nothing"))
    page.get_by_role("link", name="Clear the filters").click()
    expect(page.locator(".list-total")).to_have_text("30 products")
    page.goto(path_of(acme, "?page=9"))
    expect(page.get_by_text("This page does not exist")).to_be_visible()
    page.get_by_role("link", name="First page").click()
    expect(page.locator("tbody tr")).to_have_count(25)


def test_several_products_are_marked_discontinued(
    visit: Callable[..., Page], alice: Membership, acme: Organization
) -> None:
    page = visit(alice.user, path_of(acme, "?q=oat"))
    expect(page.locator("[data-selection]")).to_be_hidden()
    page.get_by_label("Select all on this page").check()
    expect(page.locator("[data-selection]")).to_contain_text("2 selected")
    page.get_by_role("button", name="Mark discontinued").click()
    expect(page.locator("#toast")).to_have_text("1 product marked as discontinued.")
    expect(page.locator("tbody .badge")).to_have_text(["Discontinued", "Discontinued"])
    assert query_of(page) == {"q": ["oat"]}
    assert_exact(acme)


def test_bulk_actions_change_only_rows_of_the_organization(
    alice: Membership, acme: Organization
) -> None:
    foreign = ProductFactory()
    own = Product.objects.filter(organization=acme, status="active").first()
    assert own is not None
    before = own.updated_at
    chosen = {"row": [str(foreign.id), str(own.id), "x"], "action": "discontinued", "back": "?q=a"}
    response = browser_of(alice.user).post(path_of(acme) + "/bulk", chosen)
    assert response.status_code == 302
    assert response.headers["Location"] == path_of(acme, "?q=a")
    foreign.refresh_from_db()
    own.refresh_from_db()
    assert (foreign.status, own.status) == ("active", "discontinued")
    assert own.updated_at > before
    wrong = browser_of(alice.user).post(
        path_of(acme) + "/bulk", {"row": str(own.id), "action": "x"}
    )
    assert wrong.status_code == 422
    assert "Must be one of edit, draft, active, discontinued." in wrong.content.decode()


def test_bulk_actions_redirect_only_to_the_list(alice: Membership, acme: Organization) -> None:
    sent = {"row": [], "action": "active", "back": "//evil.example/?q=x"}
    response = browser_of(alice.user).post(path_of(acme) + "/bulk", sent)
    assert response.headers["Location"] == path_of(acme)


def test_a_viewer_can_only_read(visit: Callable[..., Page], acme: Organization) -> None:
    viewer = MembershipFactory(organization=acme, role="viewer")
    page = visit(viewer.user, path_of(acme))
    expect(page.locator("tbody tr")).to_have_count(25)
    assert page.get_by_role("checkbox").locator("visible=true").count() == 0
    assert page.get_by_role("link", name="Add a product").count() == 0
    product = Product.objects.filter(organization=acme, status="active").first()
    assert product is not None
    response = browser_of(viewer.user).post(
        path_of(acme) + "/bulk", {"row": str(product.id), "action": "discontinued"}
    )
    assert response.status_code == 403
    product.refresh_from_db()
    assert product.status == "active"


@pytest.mark.slow
def test_the_list_is_accessible_and_fits(
    visit: Callable[..., Page], alice: Membership, acme: Organization
) -> None:
    page = visit(alice.user, path_of(acme, "?missing=images"))
    assert_looks_right(page)


def test_names_are_escaped(
    visit: Callable[..., Page], alice: Membership, acme: Organization
) -> None:
    page = visit(alice.user, path_of(acme, "?brand=Haferhof&ordering=name"))
    assert names(page) == ["<b onclick=x>&amp;", "Oat drink"]


def test_dates_are_in_the_time_zone_of_the_organization(
    alice: Membership, acme: Organization
) -> None:
    late = datetime.datetime(2096, 1, 31, 22, tzinfo=datetime.UTC)
    Product.objects.filter(organization=acme).update(updated_at=late)
    # In Auckland it is already the next morning.
    assert "1 Feb 2096" in browser_of(alice.user).get(path_of(acme)).content.decode()


@pytest.mark.parametrize("count", [3, 30])
@pytest.mark.parametrize("query", ["", "?missing=images", "?q=Product&ordering=-completeness"])
def test_list_uses_a_constant_number_of_queries(alice: Membership, query: str, count: int) -> None:
    ProductFactory.create_batch(
        count, organization=alice.organization, brand=BrandFactory(organization=alice.organization)
    )
    client = browser_of(alice.user)
    client.get(path_of(alice.organization))
    with CaptureQueriesContext(connection) as captured:
        assert client.get(path_of(alice.organization, query)).status_code == 200
    # Session, user, membership with organization and rule, the display; the snapshot's own
    # statement, counts, keys, rows with brands; the organizations of the switcher.
    statements = [query["sql"] for query in captured.captured_queries]
    assert len([s for s in statements if s.startswith(("SELECT", "WITH"))]) == 10, statements
