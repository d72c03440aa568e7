"""Saved views of the lists."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from closient.accounts.models import Membership
from closient.db.ids import format_id
from dashboard.models import SavedView
from tests.browser import assert_accessible, assert_looks_right
from tests.clients import browser_of
from tests.factories import MembershipFactory, ProductFactory

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def anna() -> Membership:
    member: Membership = MembershipFactory(role="owner")
    ProductFactory(organization=member.organization, name="Tea", status="draft")
    ProductFactory(organization=member.organization, name="Coffee")
    return member


def path_of(member: Membership, query: str = "") -> str:
    return f"/dashboard/{format_id(member.organization.pk)}/products{query}"


@pytest.mark.slow
def test_view_is_saved_shared_and_deleted(visit: Callable[..., Page], anna: Membership) -> None:
    page = visit(anna.user, path_of(anna, "?status=draft"))
    page.get_by_text("Save view").click()
    page.get_by_label("Name of the view").fill("My  drafts")
    page.get_by_role("button", name="Save the filters and the order").click()
    link = page.get_by_role("link", name="My drafts")
    expect(link).to_have_attribute("aria-current", "true")
    assert_accessible(page)
    assert_looks_right(page)
    berta = MembershipFactory(organization=anna.organization, role="viewer")
    other = visit(berta.user, path_of(anna))
    other.get_by_role("link", name="My drafts").click()
    expect(other.locator("[data-total]")).to_have_attribute("data-total", "1")
    expect(other.get_by_text("Save view")).to_have_count(0)
    page.get_by_text("Save view").click()
    page.get_by_role("button", name="Delete My drafts").click()
    expect(page.get_by_text("The view My drafts is deleted.")).to_be_visible()
    assert not SavedView.objects.exists()


def test_view_keeps_filters_and_order_without_the_page(anna: Membership) -> None:
    browser = browser_of(anna.user)
    for query in ("?q=tea&page=3", "?ordering=name&status=draft"):
        answer = browser.post(path_of(anna, "/views"), {"name": "A", "back": query})
        assert answer.status_code == 302
    assert list(SavedView.objects.values_list("name", "query")) == [
        ("A", "?status=draft&ordering=name")
    ]


@pytest.mark.parametrize(
    ("name", "query", "sentence"),
    [
        ("", "?status=draft", "Enter a name of 1 to 60 characters"),
        ("x" * 61, "?status=draft", "Enter a name of 1 to 60 characters"),
        ("A", "", "Set a filter or an order first"),
    ],
)
def test_view_is_rejected(anna: Membership, name: str, query: str, sentence: str) -> None:
    answer = browser_of(anna.user).post(path_of(anna, "/views"), {"name": name, "back": query})
    assert answer.status_code == 422
    assert sentence in answer.content.decode()
    assert not SavedView.objects.exists()


def test_view_of_another_organization_is_not_deleted(anna: Membership) -> None:
    foreign = SavedView.objects.create(
        organization=MembershipFactory().organization,
        list_name="products",
        name="Theirs",
        query="?status=draft",
    )
    answer = browser_of(anna.user).post(
        path_of(anna, "/views"), {"delete": format_id(foreign.pk), "back": ""}
    )
    assert answer.status_code == 302
    assert SavedView.objects.get() == foreign
    viewer = MembershipFactory(organization=anna.organization, role="viewer")
    answer = browser_of(viewer.user).post(
        path_of(anna, "/views"), {"name": "A", "back": "?status=draft"}
    )
    assert answer.status_code == 403
