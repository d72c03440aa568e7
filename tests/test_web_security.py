"""Security of the pages: headers, sessions and script injection."""

from __future__ import annotations

import datetime
import functools
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urljoin

import pytest
from django.test import Client
from django.urls import get_resolver, reverse
from django.urls.resolvers import URLPattern
from django.utils import timezone
from playwright.sync_api import Page, expect
from pytest_django import Settings

from catalog.models import ImportRun, ImportStatus, Product
from certifications.models import CertificationAssignment
from closient.accounts.api_keys import create_api_key
from closient.accounts.models import User
from closient.changes.models import Change
from closient.urls import urlpatterns as all_patterns
from dashboard.models import BulkEdit
from offers.models import Offer, UrlStatus
from tests.browser import PASSWORD
from tests.factories import (
    CertificateAttachmentFactory,
    CertificationAssignmentFactory,
    ImportSourceFactory,
    MembershipFactory,
    OfferFactory,
    ProductFactory,
    ProductImageFactory,
    UserFactory,
)

pytestmark = pytest.mark.django_db(transaction=True)

PAGES = next(p for p in all_patterns if str(p.pattern) == "dashboard/").url_patterns
ROOT = Path(__file__).resolve().parent.parent
# Texts that would set `window.xss` or create an element with `data-xss` if not escaped. Each
# tries to break out of an element, an attribute, a script or JSON.
CORPUS = [
    "<script>window.xss=1</script>",
    '"><img data-xss src=/x onerror="window.xss=1">',
    "'><svg data-xss onload='window.xss=1'>",
    "</title></textarea></option></script><b data-xss onmouseover=window.xss=1>b</b>",
    '<a data-xss href="javascript:window.xss=1">a</a>',
    '" autofocus onfocus="window.xss=1" data-xss="',
    '" hx-get="/" hx-trigger="load" hx-on::load="window.xss=1" data-xss="',
    "<style data-xss>*{display:none}</style>",
    "<iframe data-xss srcdoc='<script>parent.xss=1</script>'></iframe>",
    "\\\"}</script><script>window.xss=1//",
    "{{ 7|add:7 }}{% debug %}${window.xss=1}",
    "&lt;b data-xss&gt; &#60;script&#62;window.xss=1",
    "<math data-xss><mtext><img src=//evil.example/x onerror=window.xss=1>",
    "javascript:window.xss=1",
]  # fmt: skip


class Hostile:
    """An organization with all texts from the corpus, and its owner."""

    def __init__(self) -> None:
        self.user: User = UserFactory.create(is_staff=True, is_superuser=True)
        self.organization = MembershipFactory.create(
            role="owner", user=self.user, organization__name=CORPUS[0]
        ).organization
        today = self.organization.today()
        for n, text in enumerate(CORPUS):
            product = ProductFactory.create(
                organization=self.organization,
                described=True,
                name=text,
                description=text,
                brand__name=text,
                manufacturer=text,
                category=text,
                net_content=text[:100],
                metadata={text[:40]: text},
                nutrition={
                    "serving_size": text[:100],
                    "nutrients": [{"name": text[:50], "amount": "1", "unit": "g"}],
                },
            )
            ProductImageFactory(
                product=product, title=text, external_url=f"https://images.example.com/?{text}"
            )
            self.offer = OfferFactory.create(
                product=product,
                retailer=text,
                store=text,
                sku=text[:100],
                url=f"https://shop.example.com/?q={text}",
                metadata={"key": text},
            )
            self.assignment = CertificationAssignmentFactory.create(
                product=product,
                certification__code=text[:64],
                certification__label=text,
                certification__body=text,
                certificate_number=text[:100],
                expiry_date=today + datetime.timedelta(days=n + 1),
            )
            self.attachment = CertificateAttachmentFactory.create(
                assignment=self.assignment, name=text[:255]
            )
            self.key = create_api_key(organization=self.organization, name=text)[0]
            self.source = ImportSourceFactory(
                organization=self.organization, name=text[:100], detail=text
            )
            self.run = ImportRun.objects.create(
                organization=self.organization,
                asked_by=UserFactory(email=f"{text}{n}@example.com"),
                name=text,
                size=1,
                file="x",
                status=ImportStatus.FAILED if n % 2 else ImportStatus.CHECKED,
                detail=text,
                found={
                    "format": "csv",
                    "encoding": text,
                    "delimiter": text,
                    "is_compressed": False,
                    "columns": [{"column": text, "field": f"metadata:{text}"}],
                    "ignored": [text],
                },
                problems=[{"line": 2, "reason": f"name: found {text!r} and {text}"}],
                total=2, created=1, updated=0, unchanged=0, rejected=1,
            )  # fmt: skip
            # The response text of the shop, as the checker stores it.
            Offer.objects.filter(pk=self.offer.pk).update(
                url_status=UrlStatus.BROKEN,
                url_detail=text,
                url_checked_at=timezone.now(),
                url_failing_since=timezone.now(),
            )
        self.product = Product.objects.latest("id")
        # The account menu shows the email address.
        User.objects.filter(pk=self.user.pk).update(email=f"{CORPUS[1]}@example.com")
        self.user.refresh_from_db()

    @functools.cached_property
    def edit(self) -> BulkEdit:
        """A bulk edit that has failed."""
        return BulkEdit.objects.create(
            organization=self.organization,
            kind="offers",
            actor=CORPUS[0][:255],
            values={"retailer": CORPUS[0]},
            status="failed",
            detail=CORPUS[0],
        )

    def paths(self) -> Iterator[str]:
        """Yield the URL of every page; add new kinds of ids here."""
        known = {
            "organization_id": self.organization.id,
            "gtin": self.product.gtin,
            "image_id": self.product.images.get().id,
            "offer_id": self.offer.id,
            "assignment_id": self.assignment.id,
            "attachment_id": self.attachment.id,
            "run_id": self.run.id,
            "edit_id": self.edit.id,
            "change_id": Change.objects.of(self.organization).latest("made_at").id,
            "source_id": self.source.id,
            "key_id": self.key.id,
        }
        for pattern in PAGES:
            assert isinstance(pattern, URLPattern)
            names = pattern.pattern.converters
            yield reverse(str(pattern.name), kwargs={name: known[name] for name in names})


@pytest.fixture
def hostile() -> Hostile:
    return Hostile()


def readable(hostile: Hostile) -> list[str]:
    """Return the URLs of the owner's pages, without files."""
    client = Client()
    client.force_login(hostile.user)
    found = []
    for path in hostile.paths():
        response = client.get(path)
        assert response.status_code in (200, 204, 302, 404, 405, 422), path
        if response.status_code == 200 and "attachment" not in response.headers.get(
            "Content-Disposition", ""
        ):
            found.append(path)
    return found


def enter(page: Page, user: User) -> None:
    """Log in as a user with an invalid email address."""
    client = Client()
    client.force_login(user)
    cookie = client.cookies["sessionid"]
    own = urljoin(page.url, "/")
    page.context.add_cookies(
        [{"name": "sessionid", "value": cookie.value, "url": own, "httpOnly": True}]
    )


def assert_only_text(page: Page) -> None:
    """Assert that no text of the corpus runs or becomes an element."""
    assert page.evaluate("window.xss") is None, page.url
    assert page.locator("[data-xss]").count() == 0, page.url
    # No text became an event handler.
    assert (
        page.evaluate(
            "[...document.querySelectorAll('*')].filter((e) => [...e.attributes].some("
            "(a) => /^on/i.test(a.name) || /^\\s*javascript:/i.test(a.value) && "
            "['href', 'src', 'action', 'formaction'].includes(a.name))).length"
        )
        == 0
    ), page.url


@pytest.mark.slow
def test_texts_are_escaped_on_every_page(visit: Callable[..., Page], hostile: Hostile) -> None:
    paths = readable(hostile)
    page = visit(None, "/account/login")
    enter(page, hostile.user)
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    for path in paths:
        page.goto(path)
        # Also fragments that load later.
        page.wait_for_load_state("networkidle")
        assert_only_text(page)
    assert dialogs == []
    assert len(paths) >= 14


@pytest.mark.slow
def test_texts_are_displayed_unchanged(visit: Callable[..., Page], hostile: Hostile) -> None:
    page = visit(None, "/account/login")
    enter(page, hostile.user)
    for route in ("page-products", "page-offers", "page-imports", "page-keys"):
        page.goto(reverse(route, args=[hostile.organization.id]))
        shown = " ".join(page.locator("main").inner_text().split())
        assert [text for text in CORPUS if " ".join(text.split()) not in shown] == [], route


@pytest.mark.slow
def test_texts_are_escaped_in_messages_and_errors(
    visit: Callable[..., Page], hostile: Hostile
) -> None:
    page = visit(None, "/account/login")
    enter(page, hostile.user)
    for text in CORPUS[:3]:
        page.goto(reverse("page-keys", args=[hostile.organization.id]))
        page.get_by_label("Name").fill(text)
        page.get_by_role("button", name="Create the key").click()
        expect(page.get_by_role("heading", name="Copy the key")).to_contain_text(text)
        assert_only_text(page)
    page.goto(reverse("page-key", args=[hostile.organization.id, hostile.key.id]))
    page.get_by_role("button", name="Revoke this key").click()
    expect(page.get_by_text("revoked. Requests with it")).to_contain_text(CORPUS[-1])
    assert_only_text(page)
    # Query values appear in messages and fields: four at a time.
    for route in ("page-products", "page-offers", "page-certifications"):
        for at in range(0, len(CORPUS), 4):
            names = ("q", "status", "ordering", "page")
            query = urlencode(dict(zip(names, CORPUS[at : at + 4], strict=False)))
            page.goto(f"{reverse(route, args=[hostile.organization.id])}?{query}")
            assert_only_text(page)


# --- Headers -------------------------------------------------------------------------------------

POLICY = {
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data: blob:",
    "connect-src 'self'",
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
}


def assert_guarded(response: Any, path: str) -> None:
    assert set(response.headers["Content-Security-Policy"].split("; ")) == POLICY, path
    assert response.headers["X-Frame-Options"] == "DENY", path
    assert response.headers["X-Content-Type-Options"] == "nosniff", path
    assert response.headers["Referrer-Policy"] == "same-origin", path
    assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin", path


def test_every_response_has_security_headers_and_is_not_cached(
    client: Client, hostile: Hostile
) -> None:
    client.force_login(hostile.user)
    paths = [
        *hostile.paths(),
        "/account/password",
        "/account/password/changed",
        "/admin/",
        "/admin/catalog/product/",
        "/dashboard/2222222222222222222222/",
    ]
    for path in paths:
        response = client.get(path)
        assert_guarded(response, path)
        if response.status_code == 405:  # rejected before the login check
            continue
        assert "no-store" in response.headers.get("Cache-Control", ""), path
        assert "private" in response.headers.get("Cache-Control", ""), path
    for path in ("/account/login", "/nowhere", "/dashboard/"):
        assert_guarded(Client().get(path), path)


def test_api_responses_have_security_headers(client: Client, hostile: Hostile) -> None:
    client.force_login(hostile.user)
    path = reverse("stats", args=[hostile.organization.id])
    response = client.get(path)
    assert_guarded(response, path)
    # The browser may cache it, but must revalidate.
    assert response.headers["Cache-Control"] == "private, no-cache"


@pytest.mark.slow
def test_the_back_button_after_logout_shows_nothing(
    visit: Callable[..., Page],
) -> None:
    owner = MembershipFactory.create(role="owner", organization__name="Secret Foods")
    page = visit(owner.user, f"/dashboard/{reverse('page-keys', args=[owner.organization.id])}")
    page.goto(reverse("page-keys", args=[owner.organization.id]))
    expect(page.get_by_role("heading", name="Keys of Secret Foods")).to_be_visible()
    page.get_by_label("Account").click()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    assert "Secret Foods" not in page.content()


# --- Sessions ------------------------------------------------------------------------------------


def test_cookies_are_http_only_and_same_site(client: Client) -> None:
    user = UserFactory()
    client.get("/account/login")
    client.post("/account/login", {"username": user.email, "password": PASSWORD})
    session, csrf = client.cookies["sessionid"], client.cookies["csrftoken"]
    assert session["httponly"]
    assert (session["samesite"], csrf["samesite"]) == ("Lax", "Lax")


def test_cookies_are_secure_in_production() -> None:
    code = (
        "from django.conf import settings as s; "
        "print(s.SESSION_COOKIE_SECURE, s.CSRF_COOKIE_SECURE, s.SECURE_SSL_REDIRECT, "
        "s.SECURE_HSTS_SECONDS > 0)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "ENV_FILE": "",
            "DJANGO_SETTINGS_MODULE": "closient.settings",
            "SECRET_KEY": "only for tests, nothing else is signed with it",
            "DATABASE_URL": "postgres://nobody@127.0.0.1:1/none",
            "DEBUG": "0",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == "True True True True\n"


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "\\\\evil.example",
        "///evil.example",
        "javascript:alert(1)",
        "data:text/html,x",
        "http:evil.example",
        "https:evil.example",
        " https://evil.example",
        "\t//evil.example",
        "//evil.example@testserver/",
        "https://testserver@evil.example/",
        "https://testserver.evil.example/",
    ],
)
@pytest.mark.parametrize("path", ["/account/login", "/admin/login/"])
def test_login_does_not_redirect_to_other_hosts(client: Client, path: str, address: str) -> None:
    user = UserFactory(is_staff=True, is_superuser=True)
    form = {"username": user.email, "password": PASSWORD, "next": address}
    for at in (path, f"{path}?next={address}"):
        response = client.post(at, form)
        assert response.status_code == 302
        assert_stays(response.headers["Location"])
        client.logout()
    # A user who is already logged in is redirected at once, also to no other host.
    client.force_login(user)
    response = client.get("/account/login", {"next": address})
    assert_stays(response.headers["Location"])


def assert_stays(location: str) -> None:
    """Assert that every browser resolves a URL to the same host."""
    assert location.startswith("/"), location
    assert not location.startswith(("//", "/\\")), location


def test_login_redirects_to_the_requested_page(client: Client) -> None:
    owner = MembershipFactory.create(role="owner")
    path = reverse("page-keys", args=[owner.organization.id])
    form = {"username": owner.user.email, "password": PASSWORD, "next": path}
    assert client.post("/account/login", form).headers["Location"] == path


def test_login_starts_a_new_session(client: Client) -> None:
    """A session planted by an attacker is not reused (session fixation)."""
    user = UserFactory()
    client.get("/account/login")
    client.session.save()
    client.cookies["sessionid"] = before = client.session.session_key or "0" * 32
    client.post("/account/login", {"username": user.email, "password": PASSWORD})
    assert client.cookies["sessionid"].value != before


# --- Admin and API docs --------------------------------------------------------------------------


@pytest.mark.slow
def test_the_admin_works_under_the_content_security_policy(
    visit: Callable[..., Page], settings: Settings
) -> None:
    """Every list, form, filter and confirmation; console errors fail the test."""
    user = UserFactory.create(is_staff=True, is_superuser=True, email="admin@example.com")
    offer = OfferFactory.create(product__organization__name="Example Foods")
    ProductImageFactory(product=offer.product)
    CertificationAssignmentFactory(product=offer.product)
    create_api_key(organization=offer.organization, name="Till")
    page = visit(None, "/admin/")
    page.get_by_label("Email address").fill(user.email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Data administration")).to_be_visible()
    lists = page.locator("#content-main th a").evaluate_all("all => all.map(a => a.pathname)")
    assert "/admin/catalog/product/" in lists
    for path in lists:
        page.goto(path)
        row = page.locator("#result_list tbody th a").first
        if row.count():
            row.click()
            page.wait_for_url("**/change/**")
            page.goto(page.url.replace("/change/", "/history/").split("?")[0])
            page.goto(page.url.replace("/history/", "/delete/"))
        if page.goto(f"{path}add/").status == 200:  # type: ignore[union-attr]
            page.wait_for_load_state("networkidle")

    # The organization filter searches, and a choice applies it.
    page.goto("/admin/offers/offer/")
    page.locator(".organization-filter .select2-selection").click()
    page.get_by_role("option", name="Example Foods").click()
    page.wait_for_url(f"**?organization={offer.organization.id}")
    # Date widgets and autocomplete fields.
    page.goto("/admin/certifications/certificationassignment/add/")
    page.locator(".field-expiry_date .date-icon").click()
    page.locator("#calendarin1 td a").first.click()
    assert page.locator("#id_expiry_date").input_value()
    page.goto("/admin/accounts/apikey/add/")
    page.locator(".field-organization .select2-selection").click()
    page.get_by_role("option", name="Example Foods").click()
    page.get_by_label("Name:").fill("Made here")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_label("API key")).to_have_value(re.compile("^csb_"))
    # Deleting selected rows asks for confirmation.
    page.goto("/admin/certifications/certificationassignment/")
    page.locator("#action-toggle").click()
    page.get_by_label("Action:").select_option("delete_selected")
    page.get_by_role("button", name="Run").or_(page.get_by_role("button", name="Go")).click()
    page.get_by_role("button", name="Yes, delete").click()
    expect(page.get_by_text("Deleted 1 certification assignment.")).to_be_visible()
    assert not CertificationAssignment.objects.exists()


@pytest.mark.slow
def test_the_api_docs_work_under_their_content_security_policy(visit: Callable[..., Page]) -> None:
    page = visit(None, "/dashboard/api/v1/docs")
    expect(page.get_by_text("Dashboard API").first).to_be_visible()


def test_every_page_has_its_own_url() -> None:
    """Pages and API share a URL prefix and must not shadow each other."""
    names = [pattern.name for pattern in PAGES]
    assert len(names) == len(set(names))
    assert get_resolver().resolve("/dashboard/api/v1/docs").url_name == "docs"
