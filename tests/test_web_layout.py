"""The layout of pages outside an organization, and error pages in debug mode."""

from __future__ import annotations

import logging
import re

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from closient.accounts.models import Membership
from tests.factories import MembershipFactory, UserFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def viewer() -> Membership:
    return MembershipFactory(role="viewer", organization__name="Haferhof")


def navigation(html: str) -> list[str]:
    """Return the entries of the main navigation; empty if the page has none."""
    found = re.search(r'<nav class="nav".*?</nav>', html, re.S)
    return re.findall(r">([^<]+)</a>", found[0]) if found else []


@pytest.mark.parametrize(
    ("name", "status"),
    [("page-keys", 403), ("", 404), ("password", 200), ("password-changed", 200)],
)
def test_error_and_account_pages_show_the_navigation(
    client: Client, viewer: Membership, name: str, status: int
) -> None:
    other = MembershipFactory(user=viewer.user, organization__name="A first one")
    client.force_login(viewer.user)
    client.get(reverse("page-home", args=[viewer.organization_id]))
    takes_id = name.startswith("page-")
    path = reverse(name, args=[viewer.organization_id] if takes_id else []) if name else "/nothing"
    response = client.get(path)
    html = response.content.decode()
    assert response.status_code == status
    entries = ["Overview", "Products", "Offers", "Certifications", "Activity", "Rule"]
    assert navigation(html) == entries
    assert 'aria-label="Organization: Haferhof. Change"' in html
    assert str(other.organization) in html
    assert viewer.user.email in html


def test_navigation_needs_a_login_and_an_organization(client: Client) -> None:
    assert navigation(client.get("/nothing").content.decode()) == []
    user = UserFactory()
    client.force_login(user)
    html = client.get("/nothing").content.decode()
    assert navigation(html) == []
    assert user.email in html


def test_debug_mode_shows_our_error_pages(
    client: Client,
    viewer: Membership,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings.DEBUG = True
    client.force_login(viewer.user)
    home = reverse("page-home", args=[viewer.organization_id])
    keys = reverse("page-keys", args=[viewer.organization_id])
    unknown = reverse("page-product", args=[viewer.organization_id, "04012345678901"])
    for path, status, heading in (
        ("/nothing", 404, "Page not found"),
        (unknown, 404, "Page not found"),
        (keys, 403, "You do not have access to this page"),
    ):
        response = client.get(path)
        assert response.status_code == status
        assert f"<h1>{heading}</h1>" in response.content.decode()
    # Django still redirects to add a missing slash.
    assert client.get(home.rstrip("/")).headers["Location"] == home

    monkeypatch.setattr("dashboard.pages.home.stats", None)
    client.raise_request_exception = False
    with caplog.at_level(logging.ERROR):
        response = client.get(home)
    assert response.status_code == 500
    assert "<h1>Something went wrong</h1>" in response.content.decode()
    assert "TypeError: 'NoneType' object is not callable" in caplog.text
