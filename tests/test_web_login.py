"""Getting in: logging in and out, another password, guessing."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.test import Client
from playwright.sync_api import Page, expect

from closient.accounts.models import Membership
from tests.browser import assert_accessible, assert_looks_right, log_in
from tests.factories import MembershipFactory, OrganizationFactory, UserFactory

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def alice() -> Membership:
    return MembershipFactory(role="owner", user__email="alice@example.com")


def test_logging_in_leads_to_the_only_organization(
    visit: Callable[..., Page], alice: Membership
) -> None:
    page = visit(None, "/")
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    log_in(page, alice.user)
    expect(page.get_by_role("heading", level=1)).to_have_text(alice.organization.name)
    page.get_by_label("Account").click()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()


def test_the_login_is_accessible_and_fits(visit: Callable[..., Page]) -> None:
    page = visit(None, "/account/login")
    assert_looks_right(page)


def test_a_member_of_several_chooses_once(visit: Callable[..., Page], alice: Membership) -> None:
    other = MembershipFactory(user=alice.user, organization__name="Another one", role="owner")
    page = visit(alice.user, "/dashboard/")
    page.get_by_role("link", name="Another one").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(other.organization.name)
    page.goto("/dashboard/")
    expect(page.get_by_role("heading", level=1)).to_have_text(other.organization.name)


def test_who_is_in_no_organization_is_told_what_to_do(visit: Callable[..., Page]) -> None:
    page = visit(UserFactory(email="new@example.com"), "/dashboard/")
    expect(page.get_by_role("heading", level=1)).to_have_text("You are in no organization yet")
    assert_accessible(page)


def test_a_wrong_password_says_nothing_about_the_account(client: Client, alice: Membership) -> None:
    answers = [
        client.post("/account/login", {"username": email, "password": "wrong"})
        for email in ("alice@example.com", "nobody@example.com")
    ]
    shown = [
        answer.content.decode().split("<form")[1].replace(email, "")
        for answer, email in zip(answers, ("alice@example.com", "nobody@example.com"), strict=True)
    ]
    assert shown[0].split("csrf")[0] == shown[1].split("csrf")[0]
    for answer in answers:
        assert answer.status_code == 200
        assert "do not belong together" in answer.content.decode()


@pytest.mark.parametrize("path", ["/account/login", "/admin/login/"])
def test_guessing_is_throttled_even_with_the_right_password_at_last(
    client: Client, path: str
) -> None:
    UserFactory(email="bob@example.com", is_staff=True, is_superuser=True)
    for _ in range(10):
        answer = client.post(path, {"username": "bob@example.com", "password": "wrong"})
        assert "Too many attempts" not in answer.content.decode()
    right = {"username": "BOB@example.com", "password": "correct horse"}
    answer = client.post(path, right)
    assert "Too many attempts: wait" in answer.content.decode()
    # Another address is not kept out.
    assert client.post(path, right, REMOTE_ADDR="192.0.2.7").status_code == 302


def test_another_password_ends_other_sessions(
    visit: Callable[..., Page], client: Client, alice: Membership
) -> None:
    client.force_login(alice.user)
    page = visit(alice.user, "/account/password")
    page.get_by_label("Old password").fill("correct horse")
    page.get_by_label("New password", exact=True).fill("battery staple 42")
    page.get_by_label("New password confirmation").fill("battery staple 42")
    assert_accessible(page)
    page.get_by_role("button", name="Change password").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Your password is changed")
    assert client.get("/dashboard/").status_code == 302
    assert client.login(username="alice@example.com", password="battery staple 42")


def test_an_old_password_cannot_be_guessed_in_a_session(client: Client, alice: Membership) -> None:
    client.force_login(alice.user)
    new = {"new_password1": "battery staple 42", "new_password2": "battery staple 42"}
    for _ in range(10):
        answer = client.post("/account/password", {"old_password": "wrong", **new})
        assert "Too many attempts" not in answer.content.decode()
    answer = client.post("/account/password", {"old_password": "correct horse", **new})
    [sentence] = answer.context["form"].errors["old_password"]
    assert re.fullmatch("Too many attempts: wait [0-9]+ seconds, then try again.", sentence)
    # It is the same limit as that of the login.
    credentials = {"username": alice.user.email, "password": "correct horse"}
    answer = Client().post("/account/login", credentials)
    assert "Too many attempts: wait" in answer.content.decode()


def test_staff_changes_its_password_on_the_same_page(client: Client) -> None:
    client.force_login(UserFactory(is_staff=True))
    assert client.get("/admin/password_change/").headers["Location"] == "/account/password"


def test_an_outsider_learns_nothing(client: Client, alice: Membership) -> None:
    other = OrganizationFactory()
    for path in (f"/dashboard/{other.id}/", "/dashboard/2222222222222222222222/", "/dashboard/x/"):
        assert client.get(path).headers["Location"].startswith("/account/login?next=")
    client.force_login(alice.user)
    answers = {
        client.get(path).content
        for path in (f"/dashboard/{other.id}/", "/dashboard/2222222222222222222222/")
    }
    assert len(answers) == 1
    assert client.get(f"/dashboard/{other.id}/").status_code == 404
