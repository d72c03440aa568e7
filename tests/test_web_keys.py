"""The API key pages: create, show once, use, replace and revoke a key."""

from __future__ import annotations

import datetime
import json
import re
import shlex
import subprocess
import zoneinfo
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.core import serializers
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page, expect

from closient.accounts.api_keys import create_api_key
from closient.accounts.models import ApiKey, ApiKeyRole, Membership, Organization
from closient.db.ids import format_id
from tests.browser import assert_looks_right
from tests.clients import queries_of, stats_path
from tests.factories import MembershipFactory, OrganizationFactory, ProductFactory

pytestmark = pytest.mark.django_db(transaction=True)

KEY = re.compile(r"csb_[0-9A-Za-z]{32}_[0-9a-f]{8}")


@pytest.fixture
def owner() -> Membership:
    member: Membership = MembershipFactory.create(role="owner", user__email="olga@example.com")
    return member


@pytest.fixture
def organization(owner: Membership) -> Organization:
    return owner.organization


@pytest.fixture
def as_owner(client: Client, owner: Membership) -> Client:
    client.force_login(owner.user)
    return client


def address(organization: Organization, key: ApiKey | None = None, step: str = "") -> str:
    if key is None:
        return reverse("page-keys", args=[organization.id])
    return reverse(f"page-key{step}", args=[organization.id, key.id])


def made(organization: Organization, **fields: Any) -> ApiKey:
    return create_api_key(organization=organization, **{"name": "Till", **fields})[0]


def run(command: str) -> dict[str, Any]:
    """Run the command line shown on the page, and return its JSON."""
    done = subprocess.run(
        [*shlex.split(command), "--silent", "--max-time", "20"],
        capture_output=True,
        text=True,
        check=True,
    )
    response: dict[str, Any] = json.loads(done.stdout)
    return response


@pytest.mark.slow
def test_a_key_is_created_shown_once_and_used_with_curl(
    visit: Callable[..., Page], owner: Membership, organization: Organization
) -> None:
    ProductFactory.create_batch(3, organization=organization)
    page = visit(owner.user, address(organization))
    expect(page.get_by_text("No API keys yet")).to_be_visible()
    page.get_by_label("Name").fill("Nightly export")
    page.get_by_role("button", name="Create the key").click()
    expect(page.get_by_role("heading", name="Copy the key “Nightly export” now")).to_be_visible()
    text = page.get_by_label("The key", exact=True).inner_text()
    assert KEY.fullmatch(text)
    page.get_by_role("button", name="Copy the key", exact=True).click()
    expect(page.get_by_text("Copied.")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == text

    command = page.get_by_label("A command that uses the key").inner_text()
    assert run(command)["total_products"] == 3
    row = page.get_by_role("row").filter(has_text="Nightly export")
    expect(row).to_contain_text(f"{text[:12]}…")
    expect(row).to_contain_text("Never")

    page.reload()
    assert text not in page.content()
    row = page.get_by_role("row").filter(has_text="Nightly export")
    expect(row.locator("[data-label='Last used']")).not_to_have_text("Never")
    row.get_by_role("link").click()
    page.get_by_role("button", name="Revoke this key").click()
    expect(page.get_by_text("revoked. Requests with it are rejected from now on")).to_be_visible()
    assert run(command)["error_code"] == "unauthorized"
    page.get_by_role("button", name="Reactivate").click()
    expect(page.get_by_text("reactivated")).to_be_visible()
    assert run(command)["total_products"] == 3


def test_the_text_of_a_key_is_only_in_one_response(
    as_owner: Client, organization: Organization, caplog: pytest.LogCaptureFixture
) -> None:
    form = {"name": "Nightly export", "role": "editor"}
    with caplog.at_level(0):
        response = as_owner.post(address(organization), form)
    assert response.status_code == 201
    assert response.headers["Cache-Control"] == "private, no-store"
    (text,) = set(KEY.findall(response.content.decode()))
    body = text.split("_")[1]
    assert body not in as_owner.get(address(organization)).content.decode()
    stored = [json.dumps(session.get_decoded()) for session in Session.objects.all()]
    stored += [serializers.serialize("json", ApiKey.objects.all()), caplog.text]
    stored += [cookie.value for cookie in as_owner.cookies.values()]
    stored += list(response.headers.values())
    assert [place for place in stored if body in place] == []
    key = ApiKey.objects.get()
    assert (key.name, key.role, key.prefix, key.expires_at) == (
        "Nightly export",
        "editor",
        body[:8],
        None,
    )


def test_the_expiry_is_in_the_time_zone_of_the_organization(
    as_owner: Client, organization: Organization
) -> None:
    Organization.objects.filter(pk=organization.pk).update(time_zone="Pacific/Auckland")
    zone = zoneinfo.ZoneInfo("Pacific/Auckland")
    today = timezone.localdate(timezone=zone)
    form = {"name": "Today", "role": "readonly", "expires_at": today.isoformat()}
    assert as_owner.post(address(organization), form).status_code == 201
    ends_at = ApiKey.objects.get().expires_at
    assert ends_at is not None
    tomorrow = today + datetime.timedelta(days=1)
    assert ends_at.astimezone(zone) == datetime.datetime.combine(
        tomorrow, datetime.time(), tzinfo=zone
    )
    # The last supported date has no midnight after it.
    form["expires_at"] = "9999-12-31"
    assert as_owner.post(address(organization), form).status_code == 201
    assert as_owner.get(address(organization)).status_code == 200


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"name": ""}, "This field may not be blank."),
        ({"name": "two\nlines"}, "A name is one line, without control characters."),
        ({"name": "x" * 101}, "Ensure this field has no more than 100 characters."),
        ({"role": "owner"}, "is not a valid choice."),
        ({"expires_at": "2020-01-01"}, "This date is in the past."),
        ({"expires_at": "soon"}, "Enter a date, for example 2027-12-31."),
    ],
)
def test_form_shows_errors_at_their_fields(
    as_owner: Client, organization: Organization, values: dict[str, str], sentence: str
) -> None:
    form = {"name": "Till", "role": "readonly", "expires_at": "", **values}
    response = as_owner.post(address(organization), form)
    assert response.status_code == 422
    assert sentence in response.content.decode()
    # Valid values are kept.
    assert f'value="{form["role"]}" selected' in response.content.decode() or "role" in values
    assert not ApiKey.objects.exists()


@pytest.mark.slow
def test_a_refused_form_says_so_beside_its_button(
    visit: Callable[..., Page], owner: Membership, organization: Organization
) -> None:
    page = visit(owner.user, address(organization), height=600)
    new, origins = page.locator("form[data-edit]").all()
    new.get_by_label("Expires (optional)").fill("2020-01-01")
    expect(new.locator("[data-form-status]")).to_have_text("Unsaved changes")
    page.evaluate("say('Allowed origins saved.')")
    new.get_by_role("button", name="Create the key").click()
    expect(new.locator("[data-form-status]")).to_have_text("Not saved: 2 fields to correct")
    expect(new.get_by_label("Name", exact=True)).to_be_focused()
    assert page.locator("#toast").get_attribute("class") == "toast"
    page.reload()
    origins.get_by_label("Allowed origins").fill("shop")
    origins.get_by_role("button", name="Save the origins").click()
    expect(origins.locator("[data-form-status]")).to_have_text("Not saved: 1 field to correct")
    expect(origins.get_by_label("Allowed origins")).to_be_focused()
    page.goto(reverse("password"))
    for label, text in (("Old", "wrong"), ("New", "battery staple 42"), ("New", "other")):
        suffix = " confirmation" if text == "other" else ""
        page.get_by_label(f"{label} password{suffix}", exact=True).fill(text)
    page.get_by_role("button", name="Change password").click()
    expect(page.locator("[data-form-status]")).to_have_text("Not saved: 2 fields to correct")
    expect(page.get_by_label("Old password")).to_be_focused()


@pytest.mark.slow
def test_a_replaced_key_works_until_its_grace_period_ends(
    visit: Callable[..., Page], owner: Membership, organization: Organization
) -> None:
    old = made(organization, role=ApiKeyRole.EDITOR, limit_per_minute=7)
    page = visit(owner.user, address(organization, old))
    expect(page.get_by_text("Up to 7")).to_be_visible()
    page.get_by_label("The old key works").select_option("for one more day")
    page.get_by_role("button", name="Create the new key").click()
    text = page.get_by_label("The key", exact=True).inner_text()
    new = ApiKey.objects.exclude(pk=old.pk).get()
    assert text.startswith(f"csb_{new.prefix}")
    assert (new.name, new.role, new.limit_per_minute, new.expires_at) == ("Till", "editor", 7, None)
    old.refresh_from_db()
    assert old.expires_at is not None
    left = old.expires_at - timezone.now()
    assert datetime.timedelta(hours=23) < left < datetime.timedelta(hours=24)
    # The URL is that of the list, so a reload creates nothing.
    expect(page).to_have_url(re.compile(rf"{re.escape(address(organization))}$"))
    page.reload()
    assert text not in page.content()
    assert ApiKey.objects.count() == 2


def test_a_key_that_expires_sooner_keeps_its_expiry_when_replaced(
    as_owner: Client, organization: Organization
) -> None:
    soon = timezone.now() + datetime.timedelta(hours=3)
    old = made(organization, expires_at=soon)
    response = as_owner.post(address(organization, old, "-rotate"), {"grace": "month"})
    assert response.status_code == 201
    assert {key.expires_at for key in ApiKey.objects.all()} == {soon}


def test_a_revoked_key_can_be_deleted_but_not_replaced(
    as_owner: Client, organization: Organization
) -> None:
    key = made(organization)
    as_owner.post(address(organization, key, "-revoke"))
    response = as_owner.post(address(organization, key, "-rotate"), follow=True)
    assert "No key was created. This key is revoked" in response.content.decode()
    response = as_owner.post(address(organization, key, "-delete"), follow=True)
    assert "Key “Till” deleted." in response.content.decode()
    assert not ApiKey.objects.exists()


def test_a_key_with_larger_limits_cannot_be_reactivated(
    as_owner: Client, organization: Organization
) -> None:
    key = made(organization, limit_per_minute=301)
    as_owner.post(address(organization, key, "-revoke"))
    again = {"is_active": "yes"}
    response = as_owner.post(address(organization, key, "-revoke"), again, follow=True)
    assert (
        "The key is still revoked. This key&#x27;s limit_per_minute is 301,"
        in response.content.decode()
    )
    assert not ApiKey.objects.get().is_active
    ApiKey.objects.update(limit_per_minute=300)
    response = as_owner.post(address(organization, key, "-revoke"), again, follow=True)
    assert "Key “Till” reactivated." in response.content.decode()
    assert ApiKey.objects.get().is_active


def test_the_page_of_a_key_shows_why_it_is_not_replaced(
    visit: Callable[..., Page], owner: Membership, organization: Organization
) -> None:
    key = made(organization)
    page = visit(owner.user, address(organization, key))
    # Another user did it first.
    ApiKey.objects.update(is_active=False)
    page.get_by_role("button", name="Create the new key").click()
    expect(page.get_by_text("No key was created. This key is revoked")).to_be_visible()
    expect(page.get_by_role("heading", name="Reactivate this key")).to_be_visible()
    # The page is not nested in itself.
    expect(page.locator("main")).to_have_count(1)
    assert ApiKey.objects.count() == 1


@pytest.mark.parametrize("role", ["manager", "editor", "viewer", "billing"])
def test_only_managers_see_keys(client: Client, organization: Organization, role: str) -> None:
    key = made(organization)
    client.force_login(MembershipFactory(organization=organization, role=role).user)
    expected = 200 if role == "manager" else 403
    assert client.get(address(organization)).status_code == expected
    assert client.get(address(organization, key)).status_code == expected
    if role != "manager":
        assert client.post(address(organization), {"name": "x"}).status_code == 403
        for step in ("-revoke", "-rotate", "-delete"):
            assert client.post(address(organization, key, step)).status_code == 403
        assert list(ApiKey.objects.values_list("is_active", flat=True)) == [True]


def test_keys_of_other_organizations_are_not_found(
    as_owner: Client, organization: Organization
) -> None:
    foreign = made(OrganizationFactory.create())
    for key_id in (format_id(foreign.id), "2222222222222222222222", "x"):
        path = address(organization, foreign).replace(format_id(foreign.id), key_id)
        assert as_owner.get(path).status_code == 404
        for step in ("revoke", "rotate", "delete"):
            assert as_owner.post(f"{path}/{step}").status_code == 404
    assert ApiKey.objects.get().is_active
    assert "Till" not in as_owner.get(address(organization)).content.decode()


def test_the_command_uses_the_url_of_the_organization(
    as_owner: Client, organization: Organization
) -> None:
    response = as_owner.post(address(organization), {"name": "Till", "role": "readonly"})
    assert f" http://testserver{stats_path(organization)}</pre>" in response.content.decode()


@pytest.mark.parametrize("number", [3, 30])
def test_the_list_uses_a_constant_number_of_queries(
    as_owner: Client, organization: Organization, number: int
) -> None:
    for n in range(number):
        made(organization, name=f"Till {n}.")
    as_owner.get(address(organization))
    response, queries = queries_of(as_owner, address(organization))
    assert response.content.decode().count("Till ") == number
    # The session, its user, the membership with the organization and its rule, the keys, and the
    # organizations of the switcher.
    assert len(queries) == 5


def test_the_list_says_when_it_is_truncated(
    as_owner: Client, organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.pages.keys.MAX_SHOWN", 2)
    for name in ("First.", "Second.", "Third."):
        made(organization, name=name)
        page = as_owner.get(address(organization)).content.decode()
        assert ("Only the newest 2 keys are shown" in page) == (name == "Third.")
    assert ("First." in page, "Second." in page, "Third." in page) == (False, True, True)


@pytest.mark.slow
def test_the_pages_are_accessible_and_fit(
    visit: Callable[..., Page],
    owner: Membership,
    organization: Organization,
) -> None:
    past = timezone.now() - datetime.timedelta(days=1)
    expired, revoked = made(organization, name="x" * 100), made(organization)
    ApiKey.objects.filter(pk=expired.pk).update(expires_at=past, last_used_at=past)
    ApiKey.objects.filter(pk=revoked.pk).update(is_active=False)
    page = visit(owner.user, address(organization), width=360)
    # The last navigation entry, outside a phone's screen unless scrolled into view.
    expect(page.locator(".nav [aria-current]")).to_be_in_viewport(ratio=1)
    page.get_by_label("Name").fill("Shown once")
    page.get_by_role("button", name="Create the key").click()
    expect(page.get_by_label("The key", exact=True)).to_be_visible()
    assert_looks_right(page)
    for key in (expired, revoked):
        page.goto(address(organization, key))
        assert_looks_right(page)


def test_origins_are_saved_on_the_page(as_owner: Client, organization: Organization) -> None:
    path = reverse("page-origins", args=[organization.id])
    lines = "https://Shop.Example.com/\r\nhttp://localhost:3000\r\n"
    response = as_owner.post(path, {"origins": lines}, follow=True)
    assert "Allowed origins saved." in response.content.decode()
    organization.refresh_from_db()
    assert organization.allowed_origins == ["https://shop.example.com", "http://localhost:3000"]
    assert "https://shop.example.com\nhttp://localhost:3000</textarea>" in response.content.decode()
    rejected = as_owner.post(path, {"origins": "http://shop.example.com"})
    assert rejected.status_code == 422
    shown = rejected.content.decode()
    assert "http://shop.example.com must begin with https" in shown
    assert ">http://shop.example.com</textarea>" in shown.replace(">\n", ">")
    organization.refresh_from_db()
    assert len(organization.allowed_origins) == 2
    assert as_owner.post(path, {"origins": ""}).status_code == 302
    organization.refresh_from_db()
    assert organization.allowed_origins == []


@pytest.mark.parametrize("role", ["editor", "viewer", "billing"])
def test_origins_are_for_managers(client: Client, organization: Organization, role: str) -> None:
    client.force_login(MembershipFactory(organization=organization, role=role).user)
    path = reverse("page-origins", args=[organization.id])
    assert client.post(path, {"origins": "https://shop.example.com"}).status_code == 403
    organization.refresh_from_db()
    assert organization.allowed_origins == []


@pytest.mark.slow
def test_a_publishable_key_is_created_on_the_page(
    visit: Callable[..., Page], owner: Membership, organization: Organization
) -> None:
    page = visit(owner.user, address(organization))
    page.get_by_label("Name").fill("Shop page")
    page.get_by_label("Used by").select_option("A web page (publishable key)")
    page.get_by_role("button", name="Create the key").click()
    expect(page.get_by_label("The key", exact=True)).to_contain_text("cpk_")
    expect(page.get_by_role("cell", name="Numbers only")).to_be_visible()
    page.get_by_label("Allowed origins").fill("https://shop.example.com")
    page.get_by_role("button", name="Save the origins").click()
    expect(page.get_by_text("Allowed origins saved.")).to_be_visible()
    assert_looks_right(page)
