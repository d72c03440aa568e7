"""Login, logout, password changes and throttling."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection
from django.test import Client
from playwright.sync_api import Page, expect
from pytest_django import Settings

from closient.accounts.api_keys import create_api_key
from closient.accounts.models import ApiKey, ApiKeyKind, Membership, User
from closient.db.ids import format_id
from tests.browser import PASSWORD, assert_accessible, assert_looks_right, log_in
from tests.factories import MembershipFactory, OrganizationFactory, UserFactory
from tests.migrating import migrate_to, migrate_to_latest

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def alice() -> Membership:
    return MembershipFactory(role="owner", user__email="alice@example.com")


def test_login_redirects_to_the_only_organization(
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


def test_a_member_of_several_organizations_chooses_once(
    visit: Callable[..., Page], alice: Membership
) -> None:
    other = MembershipFactory(user=alice.user, organization__name="Another one", role="owner")
    page = visit(alice.user, "/dashboard/")
    page.get_by_role("link", name="Another one").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(other.organization.name)
    page.goto("/dashboard/")
    expect(page.get_by_role("heading", level=1)).to_have_text(other.organization.name)


def test_a_user_without_an_organization_gets_instructions(visit: Callable[..., Page]) -> None:
    page = visit(UserFactory(email="new@example.com"), "/dashboard/")
    expect(page.get_by_role("heading", level=1)).to_have_text(
        "You are not a member of an organization yet"
    )
    assert_accessible(page)


def test_a_wrong_password_reveals_nothing_about_the_account(
    client: Client, alice: Membership
) -> None:
    responses = [
        client.post("/account/login", {"username": email, "password": "wrong"})
        for email in ("alice@example.com", "nobody@example.com")
    ]
    shown = [
        response.content.decode().split("<form")[1].replace(email, "")
        for response, email in zip(
            responses, ("alice@example.com", "nobody@example.com"), strict=True
        )
    ]
    assert shown[0].split("csrf")[0] == shown[1].split("csrf")[0]
    for response in responses:
        assert response.status_code == 200
        assert "Wrong email or password." in response.content.decode()


@pytest.mark.parametrize("path", ["/account/login", "/admin/login/"])
def test_password_guesses_are_throttled_even_if_the_last_is_right(
    client: Client, path: str
) -> None:
    UserFactory(email="bob@example.com", is_staff=True, is_superuser=True)
    for _ in range(10):
        response = client.post(path, {"username": "bob@example.com", "password": "wrong"})
        assert "Too many attempts" not in response.content.decode()
    right = {"username": "BOB@example.com", "password": "correct horse"}
    response = client.post(path, right)
    assert "Too many attempts: wait" in response.content.decode()
    # Other addresses are not throttled.
    assert client.post(path, right, REMOTE_ADDR="192.0.2.7").status_code == 302


@pytest.mark.slow
def test_a_new_password_ends_other_sessions(
    visit: Callable[..., Page], client: Client, alice: Membership
) -> None:
    client.force_login(alice.user)
    page = visit(alice.user, "/account/password")
    page.get_by_label("Old password").fill("correct horse")
    page.get_by_label("New password", exact=True).fill("battery staple 42")
    page.get_by_label("New password confirmation").fill("battery staple 42")
    assert_accessible(page)
    page.get_by_role("button", name="Change password").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Password changed")
    assert client.get("/dashboard/").status_code == 302
    assert client.login(username="alice@example.com", password="battery staple 42")


def test_guesses_of_the_old_password_are_throttled(client: Client, alice: Membership) -> None:
    client.force_login(alice.user)
    new = {"new_password1": "battery staple 42", "new_password2": "battery staple 42"}
    for _ in range(10):
        response = client.post("/account/password", {"old_password": "wrong", **new})
        assert "Too many attempts" not in response.content.decode()
    response = client.post("/account/password", {"old_password": "correct horse", **new})
    [sentence] = response.context["form"].errors["old_password"]
    assert re.fullmatch("Too many attempts: wait [0-9]+ seconds, then try again.", sentence)
    # The login shares the limit.
    credentials = {"username": alice.user.email, "password": "correct horse"}
    response = Client().post("/account/login", credentials)
    assert "Too many attempts: wait" in response.content.decode()


def test_staff_use_the_same_password_page(client: Client) -> None:
    client.force_login(UserFactory(is_staff=True))
    assert client.get("/admin/password_change/").headers["Location"] == "/account/password"


def test_a_user_of_another_organization_learns_nothing(client: Client, alice: Membership) -> None:
    other = OrganizationFactory()
    for path in (f"/dashboard/{other.id}/", "/dashboard/2222222222222222222222/", "/dashboard/x/"):
        assert client.get(path).headers["Location"].startswith("/account/login?next=")
    client.force_login(alice.user)
    responses = {
        # The logout form has a new CSRF token in each response.
        re.sub(rb'name="csrfmiddlewaretoken" value="[^"]*"', b"", client.get(path).content)
        for path in (f"/dashboard/{other.id}/", "/dashboard/2222222222222222222222/")
    }
    assert len(responses) == 1
    assert client.get(f"/dashboard/{other.id}/").status_code == 404


LOGIN_PAGES = ["/account/login", "/admin/login/"]


def logs_in(client: Client, path: str, user: User, *, address: str) -> bool:
    """Return whether a login with the right password works."""
    form = {"username": user.email, "password": PASSWORD}
    response = client.post(path, form, REMOTE_ADDR=address)
    if response.status_code == 302:
        return True
    assert "Too many attempts: wait" in response.content.decode()
    return False


def guess(path: str, email: str, addresses: Iterable[str], *, each: int = 10) -> int:
    """Guess a password from several addresses; return how many guesses were not throttled."""
    responses = [
        Client().post(path, {"username": email, "password": "wrong"}, REMOTE_ADDR=address)
        for address in addresses
        for _ in range(each)
    ]
    return sum("Too many attempts" not in response.content.decode() for response in responses)


@pytest.mark.slow
@pytest.mark.parametrize("path", LOGIN_PAGES)
def test_guesses_from_many_addresses_do_not_lock_out_the_user(path: str) -> None:
    user = UserFactory(email="bob@example.com", is_staff=True, is_superuser=True)
    known = Client()
    assert logs_in(known, path, user, address="192.0.2.1")
    known.post("/account/logout")
    guessing = [f"198.51.100.{number}" for number in range(1, 8)]
    assert guess(path, user.email, guessing) == 59 + 2

    # The user can log in at once from an address without guesses ...
    assert logs_in(Client(), path, user, address="192.0.2.1")
    # ... and, in a browser with an earlier login, even from an address with guesses.
    assert not logs_in(Client(), path, user, address=guessing[0])
    assert logs_in(known, path, user, address=guessing[0])
    # Guesses from more addresses are slow: each has one attempt per minute.
    assert guess(path, user.email, ["203.0.113.1", "203.0.113.2"]) == 2


@pytest.mark.parametrize("path", LOGIN_PAGES)
def test_guesses_from_one_address_at_many_accounts_are_throttled(path: str) -> None:
    emails = [f"user{number}@example.com" for number in range(7)]
    assert sum(guess(path, email, ["192.0.2.1"], each=5) for email in emails) == 30
    # Other addresses are not throttled.
    assert guess(path, emails[0], ["192.0.2.2"], each=1) == 1


@pytest.mark.parametrize("path", LOGIN_PAGES)
def test_a_known_browser_is_throttled_too(path: str) -> None:
    alice, bob = (
        UserFactory(email=f"{name}@example.com", is_staff=True, is_superuser=True)
        for name in ("alice", "bob")
    )
    client = Client()
    assert logs_in(client, path, alice, address="192.0.2.1")
    [cookie] = [client.cookies[name] for name in client.cookies if name.startswith("known_login_")]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", "/")
    client.post("/account/logout")
    wrong = {"username": alice.email, "password": "wrong"}
    for number in range(10):
        response = client.post(path, wrong, REMOTE_ADDR=f"192.0.2.{number}")
        assert "Too many attempts" not in response.content.decode()
    assert not logs_in(client, path, alice, address="192.0.2.99")
    # Its cookie works only for that account, also if renamed to that of another one.
    name, value = cookie.key, cookie.value
    thief = Client()
    assert logs_in(thief, path, bob, address="192.0.2.1")
    [other] = [key for key in thief.cookies if key.startswith("known_login_")]
    thief.post("/account/logout")
    assert other != name
    thief.cookies[other] = value
    assert guess(path, bob.email, ["203.0.113.9"]) == 10
    assert not logs_in(thief, path, bob, address="203.0.113.9")


@pytest.mark.parametrize("path", LOGIN_PAGES)
def test_email_addresses_are_compared_in_normal_form(path: str) -> None:
    user = UserFactory(email="Sam.Kelvin@Bücher.example", is_staff=True, is_superuser=True)
    stored = "sam.kelvin@xn--bcher-kva.example"
    assert User.objects.get().email == user.email == stored
    for spelling in (
        "sam.kelvin@bücher.example",
        "SAM.KELVIN@XN--BCHER-KVA.EXAMPLE",
        # LATIN SMALL LETTER LONG S, KELVIN SIGN, full-width letters: compatibility characters.
        "\u017fam.\u212aelvin@bücher.example",
        "\uff53\uff41\uff4d.kelvin@bu\u0308cher.example",
    ):
        form = {"username": spelling, "password": PASSWORD}
        assert Client().post(path, form).status_code == 302
    # LATIN SMALL LETTER DOTLESS I is another letter than i, whose capital it shares.
    other = UserFactory(email="viewer@example.com", is_staff=True, is_superuser=True)
    form = {"username": "v\u0131ewer@example.com", "password": PASSWORD}
    assert Client().post(path, form).status_code == 200
    assert logs_in(Client(), path, other, address="192.0.2.1")


@pytest.mark.parametrize("path", LOGIN_PAGES)
def test_spellings_of_an_address_share_one_limit(path: str) -> None:
    user = UserFactory(email="sam@example.com", is_staff=True, is_superuser=True)
    spellings = ["sam@example.com", "SAM@example.com", "\u017fam@example.com"]
    judged = sum(guess(path, one, ["192.0.2.1"], each=5) for one in spellings)
    assert judged == 10
    assert not logs_in(Client(), path, user, address="192.0.2.1")


def test_two_users_cannot_share_an_address(client: Client) -> None:
    UserFactory(email="sam@example.com")
    for spelling in ("SAM@example.com", "\u017fam@example.com"):
        with pytest.raises(IntegrityError, match="accounts_user_email_unique"):
            UserFactory(email=spelling)
    # A database constraint rejects addresses that bypass the application.
    for spelling in ("SAM@example.com", "\uff53am@example.com"):
        with connection.cursor() as cursor, pytest.raises(IntegrityError, match="email_normal"):
            cursor.execute("UPDATE accounts_user SET email = %s", [spelling])
    client.force_login(UserFactory(is_staff=True, is_superuser=True))
    form = {"email": "\u017fAM@example.com", "usable_password": "false"}
    response = client.post("/admin/accounts/user/add/", form)
    assert response.context["adminform"].errors == {
        "email": ["A user with this email address already exists."]
    }


@pytest.fixture
def older_database() -> Iterator[Any]:
    """Return the models before the migration that normalizes addresses."""
    yield migrate_to(("accounts", "0003_allowed_origins"))
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE accounts_user CASCADE")
    migrate_to_latest()


@pytest.mark.slow
@pytest.mark.campaign
def test_migration_normalizes_stored_addresses(older_database: Any) -> None:
    users = older_database.get_model("accounts", "User").objects
    for email in ("Alice@Example.com", "\u017fam@bücher.example", "bob@example.com"):
        users.create(email=email, password="x")
    migrate_to(("accounts", "0004_normal_emails"))
    assert sorted(User.objects.values_list("email", flat=True)) == [
        "alice@example.com",
        "bob@example.com",
        "sam@xn--bcher-kva.example",
    ]


@pytest.mark.slow
@pytest.mark.campaign
def test_migration_reports_users_who_would_share_an_address(older_database: Any) -> None:
    users = older_database.get_model("accounts", "User").objects
    for email in ("a@bücher.example", "a@xn--bcher-kva.example"):
        users.create(email=email, password="x")
    with pytest.raises(RuntimeError, match=r"a@bücher\.example and a@xn--bcher-kva\.example\. "):
        migrate_to(("accounts", "0004_normal_emails"))
    assert users.count() == 2


# --- Personal API keys ---------------------------------------------------------------------------

NEW_PASSWORD = "battery staple 42"


def personal_key(user: User, name: str) -> tuple[ApiKey, Client]:
    key, text = create_api_key(name=name, user=user, kind=ApiKeyKind.USER)
    return key, Client(headers={"X-API-Key": text})


def works(client: Client) -> bool:
    status = client.get("/account/api/v1/whoami").status_code
    assert status in {200, 401}
    return status == 200


@pytest.mark.slow
def test_a_new_password_lists_personal_keys_to_revoke(
    visit: Callable[..., Page], alice: Membership
) -> None:
    (first, by_first), (_, by_second) = (
        personal_key(alice.user, name) for name in ("Nightly export", "Till")
    )
    page = visit(alice.user, "/account/password")
    expect(page.get_by_text("2 personal API keys act for you.")).to_be_visible()
    expect(page.get_by_text(f"csu_{first.prefix}…")).to_be_visible()
    assert_accessible(page)
    page.get_by_label("Old password").fill(PASSWORD)
    page.get_by_label("New password", exact=True).fill(NEW_PASSWORD)
    page.get_by_label("New password confirmation").fill(NEW_PASSWORD)
    page.get_by_role("button", name="Change password").click()
    expect(page.get_by_role("heading", name="These API keys still work")).to_be_visible()
    assert_accessible(page)
    assert (works(by_first), works(by_second)) == (True, True)
    page.get_by_role("button", name="Revoke Till").click()
    expect(page.get_by_text("Revoked 1 API key.")).to_be_visible()
    expect(page.get_by_role("button", name="Revoke Nightly export")).to_be_visible()
    assert_accessible(page)
    assert (works(by_first), works(by_second)) == (True, False)


def test_a_new_password_revokes_personal_keys_on_request(client: Client, alice: Membership) -> None:
    (_, by_first), (_, by_second) = (personal_key(alice.user, name) for name in ("one", "two"))
    _, by_other = personal_key(UserFactory(), "other")
    client.force_login(alice.user)
    form = {"old_password": PASSWORD, "new_password1": NEW_PASSWORD, "new_password2": NEW_PASSWORD}
    response = client.post("/account/password", form | {"revoke_api_keys": "on"}, follow=True)
    assert "You have no active API keys." in response.content.decode()
    assert (works(by_first), works(by_second), works(by_other)) == (False, False, True)


def test_only_the_owner_can_revoke_all_personal_keys(client: Client, alice: Membership) -> None:
    keys = [personal_key(alice.user, name) for name in ("one", "two")]
    other, by_other = personal_key(UserFactory(), "other")
    client.force_login(alice.user)
    for wrong in (format_id(other.pk), "nonsense", ""):
        response = client.post("/account/keys/revoke", {"key": wrong}, follow=True)
        assert "No API key was revoked" in response.content.decode()
    response = client.post("/account/keys/revoke", {"all": "yes"}, follow=True)
    assert "Revoked 2 API keys." in response.content.decode()
    assert [works(by_key) for _, by_key in keys] == [False, False]
    assert works(by_other)


@pytest.mark.parametrize("usable", ["true", "false"])
def test_a_password_reset_in_the_admin_ends_keys_and_sessions(
    staff: Client, client: Client, alice: Membership, usable: str
) -> None:
    _, by_key = personal_key(alice.user, "one")
    in_session = Client()
    in_session.force_login(alice.user)
    path = f"/admin/accounts/user/{alice.user.pk}/password/"
    warning = "Saving a new password revokes the personal API keys of alice@example.com: 1."
    assert warning in staff.get(path).content.decode()
    form = {"usable_password": usable, "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    if usable == "false":
        form |= {"unset-password": "yes"}
    response = staff.post(path, form, follow=True)
    output = "Revoked the personal API keys of alice@example.com: 1."
    assert output in response.content.decode()
    assert not works(by_key)
    assert in_session.get("/dashboard/").status_code == 302


def test_a_password_reset_by_command_ends_keys_and_sessions(
    monkeypatch: pytest.MonkeyPatch, alice: Membership
) -> None:
    _, by_key = personal_key(alice.user, "one")
    in_session = Client()
    in_session.force_login(alice.user)
    monkeypatch.setattr("getpass.getpass", lambda prompt: NEW_PASSWORD)
    out = io.StringIO()
    call_command("changepassword", "Alice@Example.com", stdout=out)
    assert out.getvalue().splitlines()[-1] == "Personal API keys revoked: 1."
    assert not works(by_key)
    assert in_session.get("/dashboard/").status_code == 302


def test_upgrading_a_password_hash_keeps_personal_keys(
    settings: Settings, client: Client, alice: Membership
) -> None:
    _, by_key = personal_key(alice.user, "one")
    settings.PASSWORD_HASHERS = [
        "django.contrib.auth.hashers.ScryptPasswordHasher",
        *settings.PASSWORD_HASHERS,
    ]
    assert logs_in(client, "/account/login", alice.user, address="192.0.2.1")
    assert User.objects.get(pk=alice.user.pk).password.startswith("scrypt")
    assert works(by_key)
