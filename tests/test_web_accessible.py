"""Accessibility (axe) of every page and error page, in light and dark mode."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from django.template.loader import render_to_string
from django.test import Client, RequestFactory
from django.urls import reverse
from playwright.sync_api import Page, Route, expect

from catalog.models import ImportRun
from closient.accounts import urls as account_urls
from closient.accounts.models import ApiKey, Membership
from offers.models import Offer
from tests.browser import assert_accessible
from tests.factories import MembershipFactory, UserFactory
from tests.test_web_access import PAGES, address, ids_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

TEMPLATES = Path(__file__).resolve().parent.parent / "closient" / "templates"
ERRORS = sorted(path.name for path in TEMPLATES.glob("[0-9]*.html"))
# Fragments, files, and routes that only accept POST.
NO_PAGES = {
    *("page-numbers", "page-panels", "page-suggestions", "page-product-facts", "page-rule-preview"),
    *("page-archive", "page-products-export", "page-offers-export", "page-certifications-export"),
    *("page-products-bulk", "page-offers-bulk", "page-import-rejects"),
    *("page-products-views", "page-offers-views", "page-certifications-views", "page-undo"),
    *("page-products-display", "page-offers-display", "page-certifications-display"),
    *("page-product-delete", "page-product-images", "page-product-image"),
    *("page-product-frames", "page-product-image-order"),
    *("page-certificate-attachments", "page-certificate-attachment"),
    "page-certificate-attachment-delete",
    *("page-offer-check", "page-offer-checks", "page-offer-address", "page-rule-reset"),
    *("page-import-confirm", "page-import-check", "page-import-cancel"),
    *("page-source-run", "page-source-pause", "page-setup", "page-sample"),
    *("page-key-rotate", "page-key-revoke", "page-key-delete", "page-origins"),
}
ACCOUNT = [str(page.name) for page in account_urls.urlpatterns]


@pytest.fixture
def owner() -> Membership:
    return MembershipFactory(role="owner")


def assert_all_accessible(page: Page) -> None:
    """Check a page with all menus, confirmations and optional fields open."""
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    schemes: tuple[Literal["dark", "light"], ...] = ("dark", "light")
    for scheme in schemes:
        page.emulate_media(color_scheme=scheme)
        assert_accessible(page)


def test_every_page_of_an_organization_is_accessible(
    visit: Callable[..., Page], owner: Membership
) -> None:
    ids = ids_of(owner.organization)
    broken = {"url_status": "broken", "url_detail": "The server answered 404 Not Found."}
    Offer.objects.filter(pk=ids["offer_id"]).update(**broken)
    found = {"columns": [], "samples": [{"column": "gtin", "values": ["4006381333931"]}]}
    ImportRun.objects.filter(pk=ids["run_id"]).update(found=found, status="checked")
    client = Client()
    client.force_login(owner.user)
    page = visit(owner.user, "/dashboard/")
    seen = set()
    for name, pattern in PAGES.items():
        path = address(pattern, ids)
        response = client.get(path)
        is_page = response.status_code == 200 and not response.streaming
        if is_page and b"<!doctype html>" in response.content[:200].lower():
            page.goto(path)
            assert_all_accessible(page)
            seen.add(name)
    assert set(PAGES) - seen == NO_PAGES


def test_account_pages_are_accessible(visit: Callable[..., Page], owner: Membership) -> None:
    assert [
        *("login", "logout", "password", "password-changed"),
        *("personal-keys", "personal-keys-revoke"),
    ] == ACCOUNT
    page = visit(None, reverse("login"))
    assert_all_accessible(page)
    page.get_by_label("Email address").fill("nobody@example.com")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_be_visible()
    assert_all_accessible(page)
    page = visit(owner.user, reverse("password"))
    assert_all_accessible(page)
    page.get_by_role("button", name="Change password").click()
    page.goto(reverse("password-changed"))
    assert_all_accessible(page)
    page.goto(reverse("personal-keys"))
    assert_all_accessible(page)
    MembershipFactory(user=owner.user)
    page.goto(reverse("page-start"))
    assert_all_accessible(page)
    page = visit(UserFactory(), reverse("page-start"))
    assert_all_accessible(page)


def test_every_error_page_is_accessible(visit: Callable[..., Page]) -> None:
    assert ERRORS == [
        "400.html",
        "403.html",
        "403_csrf.html",
        "404.html",
        "413.html",
        "500.html",
        "503.html",
    ]
    page = visit(None, reverse("login"))

    def show(route: Route) -> None:
        name = route.request.url.rpartition("/")[2]
        html = render_to_string(name, request=RequestFactory().get("/"))
        route.fulfill(status=200, content_type="text/html; charset=utf-8", body=html)

    page.route("**/failed/*", show)
    for name in ERRORS:
        page.goto(f"/failed/{name}")
        expect(page.get_by_role("link", name="To your dashboard")).to_be_visible()
        assert_all_accessible(page)


def test_pages_of_rejected_requests_are_accessible(
    visit: Callable[..., Page], owner: Membership
) -> None:
    ids = ids_of(owner.organization)
    path = f"{address(PAGES['page-products-export'], ids)}?separator=dot"
    page = visit(owner.user, path)
    expect(page.get_by_role("heading", level=1)).to_have_text("This did not work")
    assert_all_accessible(page)
    # A viewer without access; a revoked key, which can be deleted.
    viewer = MembershipFactory(role="viewer", organization=owner.organization)
    ApiKey.objects.filter(pk=ids["key_id"]).update(is_active=False)
    page.goto(address(PAGES["page-key"], ids))
    expect(page.get_by_role("button", name="Delete this key")).to_be_visible()
    assert_all_accessible(page)
    page = visit(viewer.user, address(PAGES["page-keys"], ids))
    expect(page.get_by_role("heading", level=1)).to_have_text("You do not have access to this page")
    assert_all_accessible(page)
    for name in ("page-product", "page-offer", "page-certificate", "page-rule"):
        page.goto(address(PAGES[name], ids))
        assert_all_accessible(page)
