"""The admin pages of organizations, members, users and API keys."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from catalog.completeness import FACTS
from catalog.models import CompletenessRule
from closient.accounts.api_keys import create_api_key
from closient.accounts.models import ApiKey, Membership, Organization, User
from closient.db.ids import format_id
from closient.text import key_format
from tests.factories import (
    MembershipFactory,
    OfferFactory,
    OrganizationFactory,
    ProductFactory,
    UserFactory,
)

pytestmark = pytest.mark.django_db


def page_url(organization: Organization) -> str:
    return reverse("admin:accounts_organization_change", args=[organization.pk])


def organization_form(organization: Organization, members: list[dict], **changed) -> dict:
    """Return the form data of the organization's page."""
    existing = [member for member in members if "id" in member]
    form = {
        "name": organization.name,
        "time_zone": organization.time_zone,
        "memberships-TOTAL_FORMS": len(members),
        "memberships-INITIAL_FORMS": len(existing),
        "completeness_rule-TOTAL_FORMS": 0,
        "completeness_rule-INITIAL_FORMS": 0,
    }
    for number, member in enumerate([*existing, *(m for m in members if "id" not in m)]):
        form |= {
            f"memberships-{number}-organization": organization.pk,
            **{f"memberships-{number}-{name}": value for name, value in member.items()},
        }
    return form | changed


def messages_of(response) -> list[str]:
    return [str(message) for message in response.context["messages"]]


def test_organization_page_adds_a_member_with_a_role(staff: Client, organization) -> None:
    anna = UserFactory(password=None)

    staff.post(
        page_url(organization),
        organization_form(organization, [{"user": anna.pk, "role": "owner"}]),
    )

    assert list(Membership.objects.values_list("organization", "user", "role")) == [
        (organization.pk, anna.pk, "owner")
    ]


def test_organization_page_does_not_delete_the_last_owner(staff: Client, organization) -> None:
    owner = MembershipFactory(organization=organization, role="owner", user__password=None)
    viewer = MembershipFactory(organization=organization, role="viewer", user__password=None)
    rows = [{"id": owner.pk, "role": "owner", "DELETE": "on"}, {"id": viewer.pk, "role": "viewer"}]

    response = staff.post(page_url(organization), organization_form(organization, rows))

    assert "An organization with members keeps at least one owner" in response.content.decode()
    assert Membership.objects.count() == 2


def test_organization_page_transfers_ownership(staff: Client, organization) -> None:
    owner = MembershipFactory(organization=organization, role="owner", user__password=None)
    viewer = MembershipFactory(organization=organization, role="viewer", user__password=None)
    rows = [{"id": owner.pk, "role": "viewer"}, {"id": viewer.pk, "role": "owner"}]

    staff.post(page_url(organization), organization_form(organization, rows))

    assert dict(Membership.objects.values_list("pk", "role")) == {
        owner.pk: "viewer",
        viewer.pk: "owner",
    }


def test_organization_page_cannot_change_the_user_of_a_membership(
    staff: Client, organization
) -> None:
    owner = MembershipFactory(organization=organization, role="owner", user__password=None)
    other = UserFactory(password=None)
    rows = [{"id": owner.pk, "role": "owner", "user": other.pk}]

    staff.post(page_url(organization), organization_form(organization, rows, name="Renamed"))

    organization.refresh_from_db()
    owner.refresh_from_db()
    assert (organization.name, owner.user_id != other.pk) == ("Renamed", True)


@pytest.mark.django_db(transaction=True)
def test_user_who_is_the_last_owner_is_not_deleted(staff: Client, organization) -> None:
    owner = MembershipFactory(organization=organization, role="owner", user__password=None).user
    MembershipFactory(organization=organization, role="viewer", user__password=None)
    address = reverse("admin:accounts_user_delete", args=[owner.pk])

    response = staff.post(address, {"post": "yes"}, follow=True)

    assert messages_of(response) == [
        "Nothing was saved. An organization with members keeps at least one owner."
    ]
    assert User.objects.filter(pk=owner.pk).exists()


@pytest.mark.django_db(transaction=True)
def test_delete_action_does_not_delete_the_last_owner(staff: Client, organization) -> None:
    owner = MembershipFactory(organization=organization, role="owner", user__password=None).user
    MembershipFactory(organization=organization, role="viewer", user__password=None)
    form = {"action": "delete_selected", "_selected_action": [owner.pk], "post": "yes"}

    response = staff.post(reverse("admin:accounts_user_changelist"), form, follow=True)

    assert messages_of(response) == [
        "Nothing was saved. An organization with members keeps at least one owner."
    ]
    assert User.objects.filter(pk=owner.pk).exists()


def test_organization_rejects_an_unknown_time_zone(staff: Client, organization) -> None:
    form = organization_form(organization, [], time_zone="Mars/Olympus")

    response = staff.post(page_url(organization), form)

    assert (
        "Mars/Olympus is not an IANA time zone; use one like Europe/Berlin."
        in response.content.decode()
    )


def test_organization_page_shows_the_seven_numbers_and_links_to_lists(
    staff: Client, organization
) -> None:
    product = ProductFactory(organization=organization)
    OfferFactory(product=product, url_status="broken")

    page = staff.get(page_url(organization)).content.decode()

    assert re.findall(r"<dd>(\S+)</dd><dt>([a-z ]+)</dt>", page) == [
        ("1", "total products"),
        ("0", "complete products"),
        ("25", "avg completeness"),
        ("1", "active offers"),
        ("1", "broken offers"),
        ("0", "expiring certifications"),
        ("1", "missing images"),
    ]
    key = format_id(organization.pk)
    assert re.findall(rf'href="([^"]+)\?organization={key}">([^<]+)<', page) == [
        ("/admin/accounts/apikey/", "API keys"),
        ("/admin/catalog/brand/", "brands"),
        ("/admin/catalog/product/", "products"),
        ("/admin/offers/offer/", "offers"),
        ("/admin/certifications/certification/", "certifications"),
        ("/admin/certifications/certificationassignment/", "certification assignments"),
    ]


def test_organization_page_creates_a_rule(staff: Client, organization) -> None:
    weights = dict.fromkeys(
        [fact.name for fact in FACTS],
        0,
    )
    rule = {**weights, "name": 10, "images": 30, "threshold": 70, "organization": organization.pk}
    form = organization_form(organization, []) | {
        "completeness_rule-TOTAL_FORMS": 1,
        **{f"completeness_rule-0-{name}": value for name, value in rule.items()},
    }

    staff.post(page_url(organization), form)

    saved = CompletenessRule.objects.get()
    assert (saved.organization_id, saved.as_rule().weights, saved.threshold) == (
        organization.pk,
        (10, 0, 0, 0, 30, 0, 0, 0, 0),
        70,
    )


def test_organization_page_rejects_a_rule_without_weights(staff: Client, organization) -> None:
    names = [fact.name for fact in FACTS]
    form = organization_form(organization, []) | {
        "completeness_rule-TOTAL_FORMS": 1,
        "completeness_rule-0-threshold": 70,
        **{f"completeness_rule-0-{name}": 0 for name in names},
    }

    response = staff.post(page_url(organization), form)

    assert "At least one fact needs a weight above 0." in response.content.decode()
    assert not CompletenessRule.objects.exists()


def test_organization_is_found_by_name_and_by_id(staff: Client, organization) -> None:
    OrganizationFactory(name="Other")
    address = reverse("admin:accounts_organization_changelist")

    found = [
        [row.name for row in staff.get(address, {"q": text}).context["cl"].result_list]
        for text in ("alpine", format_id(organization.pk), str(organization.pk), "missing")
    ]

    assert found == [["Alpine Foods"], ["Alpine Foods"], ["Alpine Foods"], []]


# --- API keys ----------------------------------------------------------------------------------

ADD_KEY = "/admin/accounts/apikey/add/"
NEW_KEY = {
    "kind": "csb",
    "name": "ERP",
    "role": "editor",
    "limit_per_minute": 0,
    "limit_per_day": 0,
}


def test_new_api_key_is_shown_once(staff: Client, organization) -> None:
    response = staff.post(ADD_KEY, NEW_KEY | {"organization": organization.pk})

    [text] = re.findall(r'value="(csb_\w+)"', response.content.decode())
    key = ApiKey.objects.get()
    assert response.status_code == 200
    assert "no-store" in response["Cache-Control"]
    assert (key.digest, key.prefix, key.organization, key.role) == (
        key_format.digest(text),
        text[4:12],
        organization,
        "editor",
    )
    # Not in a cookie, the session or any later page.
    assert text not in str(response.cookies) + str(dict(staff.session))
    pages = [
        staff.get(address).content.decode()
        for address in (
            reverse("admin:accounts_apikey_changelist"),
            reverse("admin:accounts_apikey_change", args=[key.pk]),
            reverse("admin:accounts_apikey_history", args=[key.pk]),
            reverse("admin:index"),
        )
    ]
    assert [text[4:36] in page for page in pages] == [False] * 4
    assert f"csb_{key.prefix}…" in pages[0]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"kind": "csu"},
            "A user key (csu) needs a user and no organization; "
            "every other key needs an organization and no user.",
        ),
        (
            {"expires_at_0": "2001-01-01", "expires_at_1": "00:00"},
            "The expiry of a new key must be in the future",
        ),
    ],
)
def test_invalid_api_key_is_rejected_with_a_reason(staff, organization, changed, message) -> None:
    response = staff.post(ADD_KEY, NEW_KEY | {"organization": organization.pk} | changed)

    assert message in response.content.decode()
    assert not ApiKey.objects.exists()


def test_api_key_keeps_its_read_only_fields(staff: Client, organization) -> None:
    key, _ = create_api_key(organization=organization, name="ERP")
    before = ApiKey.objects.filter(pk=key.pk).values(
        "kind", "organization", "user", "prefix", "digest", "last_used_at", "created_at"
    )
    expected = list(before)
    form = {
        "name": "Renamed",
        "role": "manager",
        "limit_per_minute": 5,
        "limit_per_day": 7,
        "kind": "cpk",
        "organization": OrganizationFactory().pk,
        "user": UserFactory(password=None).pk,
        "prefix": "aaaaaaaa",
        "digest": "0" * 64,
        "last_used_at_0": "2020-01-01",
        "last_used_at_1": "00:00:00",
    }

    staff.post(reverse("admin:accounts_apikey_change", args=[key.pk]), form)

    assert list(before.all()) == expected
    # An unchecked box revokes the key.
    assert ApiKey.objects.values_list("name", "role", "limit_per_day", "is_active").get() == (
        "Renamed",
        "manager",
        7,
        False,
    )


@pytest.mark.parametrize(
    ("key", "form", "field"),
    [
        ({"is_active": False}, {"is_active": "on"}, "is_active"),
        ({"role": "readonly"}, {"is_active": "on", "role": "manager"}, "role"),
        ({}, {"is_active": "on", "limit_per_day": 9}, "limit_per_day"),
        ({}, {"is_active": "on", "limit_per_minute": 9}, "limit_per_minute"),
        (
            {"expires_at": "2098-01-01T00:00Z"},
            {"is_active": "on", "expires_at_0": "2099-01-01", "expires_at_1": "00:00"},
            "expires_at",
        ),
    ],
)
def test_extending_an_api_key_requires_permission_to_create_one(
    staff: Client, organization, key, form, field
) -> None:
    made, _ = create_api_key(organization=organization, name="ERP")
    stored = {"limit_per_minute": 5, "limit_per_day": 7, "role": "editor", **key}
    ApiKey.objects.filter(pk=made.pk).update(**stored)
    before = ApiKey.objects.values().get()
    same = {"name": "ERP", "role": stored["role"], "limit_per_minute": 5, "limit_per_day": 7}
    if "expires_at" in key:
        same |= {"expires_at_0": "2098-01-01", "expires_at_1": "00:00:00"}
    address = reverse("admin:accounts_apikey_change", args=[made.pk])
    clerk = UserFactory(is_staff=True, password=None)
    rights = Permission.objects.filter(codename__in=["change_apikey", "view_apikey"])
    clerk.user_permissions.set(rights)
    as_clerk = Client()
    as_clerk.force_login(clerk)

    response = as_clerk.post(address, same | form)

    assert list(response.context["adminform"].errors) == [field]
    assert "you may not create API keys" in response.content.decode()
    assert ApiKey.objects.values().get() == before
    # The same user can still revoke it, and a superuser can extend it.
    assert as_clerk.post(address, same).status_code == 302
    assert not ApiKey.objects.get().is_active
    assert staff.post(address, same | form).status_code == 302
    assert ApiKey.objects.get().is_active


def test_api_keys_are_revoked_from_the_list(staff: Client, organization) -> None:
    chosen, _ = create_api_key(organization=organization, name="old")
    create_api_key(organization=organization, name="new")
    form = {"action": "revoke", "_selected_action": [chosen.pk]}

    staff.post(reverse("admin:accounts_apikey_changelist"), form)

    assert dict(ApiKey.objects.values_list("name", "is_active")) == {"old": False, "new": True}


def test_user_is_created_with_an_email_address(staff: Client) -> None:
    form = {"email": "bea@example.com", "usable_password": "false"}

    staff.post(reverse("admin:accounts_user_add"), form)

    user = User.objects.get(email="bea@example.com")
    assert (user.has_usable_password(), user.is_staff) == (False, False)


def test_admin_requires_staff(client: Client) -> None:
    client.force_login(UserFactory(password=None))

    response = client.get(reverse("admin:accounts_organization_changelist"))

    assert (response.status_code, response["Location"].split("?")[0]) == (302, "/admin/login/")
