"""Access to every page, by role: all URLs of the dashboard."""

from __future__ import annotations

import re
import uuid
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import time_machine
from django.apps import apps
from django.test import Client
from django.urls import URLPattern, get_resolver, reverse
from django.utils import timezone
from django.utils.html import strip_tags

from catalog.models import ImportRun, Product
from closient.accounts.actors import acting_as
from closient.accounts.api_keys import create_api_key
from closient.accounts.models import Membership, Organization
from closient.changes.models import Cause, Change
from dashboard.models import BulkEdit
from tests.clients import browser_of
from tests.factories import (
    CertificateAttachmentFactory,
    ImportSourceFactory,
    MembershipFactory,
    OfferFactory,
    OrganizationFactory,
    ProductFactory,
    ProductImageFactory,
    UserFactory,
)

pytestmark = pytest.mark.django_db

[_BELOW] = [found for found in get_resolver().url_patterns if str(found.pattern) == "dashboard/"]
PAGES = {page.name: page for page in _BELOW.url_patterns if page.name != "page-start"}
WITH_A_ROW = [name for name, page in PAGES.items() if len(page.pattern.converters) > 1]
# The pages that a viewer can open.
FOR_VIEWERS = {
    "page-home",
    "page-breakdown",
    "page-search",
    "page-suggestions",
    "page-numbers",
    "page-panels",
    "page-history",
    "page-activity",
    "page-explain",
    "page-product-history",
    "page-bulk-edit",
    "page-products",
    "page-products-export",
    "page-product",
    "page-product-facts",
    "page-product-frames",
    "page-offers",
    "page-offers-export",
    "page-offer",
    "page-offer-checks",
    "page-certifications",
    "page-certifications-export",
    "page-certificate",
    # Not found: its file does not exist.
    "page-certificate-attachment",
    "page-rule",
    "page-rule-preview",
    # Redirects to the rule.
    "page-rule-reset",
}

# What each member may change, because it is one's own.
OWN_DISPLAY = {f"page-{name}-display" for name in ("products", "offers", "certifications")}


def changed(product: Product) -> Change:
    """Return a change of a product."""
    with acting_as("Anna", Cause.PAGE):
        Product.objects.filter(pk=product.pk).update(description="Changed")
    return Change.objects.of(product.organization_id).order_by("id").last()


def ids_of(organization: Organization) -> dict[str, Any]:
    """Return the URL arguments of rows of one organization, by name."""
    product = ProductFactory(organization=organization)
    attachment = CertificateAttachmentFactory(assignment__product=product)
    run = ImportRun.objects.create(organization=organization, name="a.csv", size=1, file="a")
    return {
        "organization_id": organization.id,
        "gtin": product.gtin,
        "image_id": ProductImageFactory(product=product).id,
        "offer_id": OfferFactory(product=product).id,
        "assignment_id": attachment.assignment_id,
        "attachment_id": attachment.id,
        "run_id": run.id,
        "edit_id": BulkEdit.objects.create(organization=organization, kind="offers").id,
        "change_id": changed(product).id,
        "source_id": ImportSourceFactory(organization=organization).id,
        "key_id": create_api_key(organization=organization, name="Till")[0].id,
    }


def address(page: URLPattern, ids: dict[str, Any]) -> str:
    parts = {name: ids[name] for name in page.pattern.converters}
    return reverse(str(page.name), kwargs=parts)


def ask(client: Client, path: str, method: str) -> Any:
    return getattr(client, method)(path, {"action": "active"} if method == "post" else None)


def everything() -> dict[str, list[dict[str, Any]]]:
    """Return all rows, to check that none changes."""
    return {
        model._meta.label: list(model._default_manager.order_by("pk").values())
        for app in ("catalog", "offers", "certifications", "accounts")
        for model in apps.get_app_config(app).get_models()
        if model._meta.label not in ("accounts.User",)
    }


@pytest.fixture
def owner() -> Membership:
    return MembershipFactory(role="owner")


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("name", PAGES)
def test_anonymous_users_are_redirected_to_the_login(name: str, method: str) -> None:
    path = address(PAGES[name], ids_of(OrganizationFactory()))
    before = everything()
    response = ask(Client(), path, method)
    if response.status_code != 405:
        assert response.status_code == 302
        assert response.headers["Location"].startswith("/account/login?next=/dashboard/")
    assert everything() == before


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("name", PAGES)
def test_a_user_of_another_organization_gets_the_same_404_as_for_an_unknown_id(
    owner: Membership, name: str, method: str
) -> None:
    client = browser_of(owner.user)
    foreign = ids_of(OrganizationFactory())
    unknown = dict.fromkeys(foreign, uuid.uuid4()) | {"gtin": "04012345678901"}
    before = everything()
    # The pages contain the time.
    with time_machine.travel(timezone.now(), tick=False):
        responses = [ask(client, address(PAGES[name], ids), method) for ids in (foreign, unknown)]
    assert {response.status_code for response in responses} <= {404, 405}
    # The logout form has a new CSRF token in each response.
    token = re.compile(rb'name="csrfmiddlewaretoken" value="[^"]*"')
    pages = [token.sub(b"", response.content) for response in responses]
    assert pages[0] == pages[1]
    assert everything() == before


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("name", WITH_A_ROW)
def test_a_row_of_another_organization_is_not_found(
    owner: Membership, name: str, method: str
) -> None:
    client = browser_of(owner.user)
    own, foreign = ids_of(owner.organization), ids_of(OrganizationFactory())
    rows = [part for part in PAGES[name].pattern.converters if part != "organization_id"]
    before = everything()
    # One argument at a time: also an image of another organization with one's own product.
    for row in rows:
        unknown = "04012345678901" if row == "gtin" else uuid.uuid4()
        with time_machine.travel(timezone.now(), tick=False):
            responses = [
                ask(client, address(PAGES[name], {**own, row: key}), method)
                for key in (foreign[row], unknown)
            ]
        assert {response.status_code for response in responses} <= {404, 405}
        # The logout form has a new CSRF token in each response.
    token = re.compile(rb'name="csrfmiddlewaretoken" value="[^"]*"')
    pages = [token.sub(b"", response.content) for response in responses]
    assert pages[0] == pages[1]
    assert everything() == before


@pytest.mark.parametrize("name", PAGES)
def test_a_viewer_can_read_but_not_change(name: str) -> None:
    viewer = MembershipFactory(role="viewer")
    path = address(PAGES[name], ids_of(viewer.organization))
    client = browser_of(viewer.user)
    before = everything()
    assert ask(client, path, "post").status_code in ([302] if name in OWN_DISPLAY else [403, 405])
    is_closed = ask(client, path, "get").status_code in (403, 405)
    assert is_closed == (name not in FOR_VIEWERS)
    # Exports are limited per minute.
    limits = {"accounts.RateLimit": []}
    assert everything() | limits == before | limits


@pytest.mark.parametrize("name", PAGES)
def test_a_form_without_a_csrf_token_is_rejected(owner: Membership, name: str) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(owner.user)
    path = address(PAGES[name], ids_of(owner.organization))
    before = everything()
    assert ask(client, path, "post").status_code == 403
    assert everything() == before


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("name", PAGES)
def test_a_fragment_gets_401_without_a_login(name: str, method: str) -> None:
    path = address(PAGES[name], ids_of(OrganizationFactory()))
    response = getattr(Client(), method)(path, headers={"HX-Request": "true"})
    if response.status_code != 405:
        assert (response.status_code, response.content) == (401, b"")


def test_a_form_after_logout_leads_to_the_login_and_back_to_the_form(owner: Membership) -> None:
    ids = ids_of(owner.organization)
    form, target = (address(PAGES[name], ids) for name in ("page-key", "page-key-revoke"))
    client = Client()
    response = client.post(target, headers={"Referer": f"http://testserver{form}"})
    login = response.headers["Location"]
    assert "You were logged out, so nothing was saved." in client.get(login).content.decode()
    credentials = {"username": owner.user.email, "password": "correct horse"}
    next_page = {"next": parse_qs(urlsplit(login).query)["next"][0]}
    response = client.post("/account/login", credentials | next_page)
    assert client.get(response.headers["Location"]).request["PATH_INFO"] == form


def test_the_login_does_not_redirect_to_a_form_on_another_host(owner: Membership) -> None:
    target = address(PAGES["page-key-revoke"], ids_of(owner.organization))
    client = Client()
    login = client.post(target, headers={"Referer": "https://evil.example/x"}).headers["Location"]
    next_page = parse_qs(urlsplit(login).query)["next"][0]
    credentials = {"username": owner.user.email, "password": "correct horse"}
    response = client.post("/account/login", credentials | {"next": next_page})
    assert response.headers["Location"] == "/dashboard/"


def test_an_invalid_id_in_the_url_is_not_found(owner: Membership) -> None:
    client = browser_of(owner.user)
    for path in ("/dashboard/x/", "/dashboard/x/products", "/dashboard/x/products/1/images/x"):
        assert client.get(path).status_code in (404, 405)


# The service sends no email, and only the administrator manages members.
PROMISES = re.compile(
    r"\b(told|hears?|notif\w+|remind\w*|invit\w+|by e-?mail|e-?mails? you|ask an owner)\b", re.I
)


@pytest.mark.slow
@pytest.mark.parametrize("is_empty", [True, False])
@pytest.mark.parametrize("role", ["owner", "viewer"])
def test_pages_do_not_promise_emails_or_member_management(role: str, is_empty: bool) -> None:
    member = MembershipFactory(role=role)
    ids = ids_of(member.organization)
    if is_empty:
        member.organization.products.all().delete()
    paths = {name: address(page, ids) for name, page in PAGES.items()}
    for name in ("login", "password", "password-changed", "personal-keys", "page-start"):
        paths[name] = reverse(name)
    paths["not found"] = "/nothing"
    client, stranger = browser_of(member.user), browser_of(UserFactory())
    seen = set()
    for name, path in paths.items():
        for response in (client.get(path), stranger.get(path)):
            if response.headers.get("Content-Type", "").startswith("text/html"):
                text = strip_tags(response.content.decode())
                assert not PROMISES.search(text), (name, response.status_code)
                seen.add((name, response.status_code))
    assert {("page-home", 200), ("page-start", 200), ("not found", 404)} <= seen
    assert (("page-keys", 403) in seen) == (role == "viewer")
