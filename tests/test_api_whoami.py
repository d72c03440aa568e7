"""``GET /account/api/v1/whoami``: the caller, and the organizations it can access."""

from __future__ import annotations

import datetime

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from closient.accounts.api_keys import create_api_key
from closient.accounts.models import ApiKeyKind, ApiKeyRole, MemberRole
from closient.db.ids import format_id
from tests.clients import client_of, problem
from tests.factories import MembershipFactory, OrganizationFactory, UserFactory

WHOAMI = "/account/api/v1/whoami"


@pytest.mark.django_db
def test_organization_key_returns_itself_and_its_organization() -> None:
    organization = OrganizationFactory(name="Example Foods", time_zone="Europe/Berlin")
    OrganizationFactory()
    key, text = create_api_key(
        name="Nightly export",
        organization=organization,
        role=ApiKeyRole.EDITOR,
        expires_at=datetime.datetime(2096, 1, 2, 3, 4, 5, tzinfo=datetime.UTC),
        limit_per_minute=50,
    )
    response = Client().get(WHOAMI, headers={"X-API-Key": text})
    assert response.status_code == 200
    assert response.json() == {
        "key": {
            "id": format_id(key.id),
            "kind": "csb",
            "name": "Nightly export",
            "prefix": text[4:12],
            "role": "editor",
            "expires_at": "2096-01-02T03:04:05Z",
        },
        "user": None,
        "limits": {"per_minute": 50, "per_day": 10_000},
        "organizations": [
            {
                "id": format_id(organization.id),
                "name": "Example Foods",
                "time_zone": "Europe/Berlin",
                "role": "editor",
                "member_role": None,
            }
        ],
    }
    assert text.encode() not in response.content


@pytest.mark.django_db
def test_user_key_returns_the_lower_role_in_each_organization() -> None:
    user = UserFactory(email="alice@example.com")
    zebra = MembershipFactory(user=user, role=MemberRole.VIEWER, organization__name="Zebra")
    apple = MembershipFactory(user=user, role=MemberRole.OWNER, organization__name="Apple")
    MembershipFactory(organization=apple.organization)
    body = client_of(user, role=ApiKeyRole.EDITOR, name="Mine").get(WHOAMI).json()
    assert body["user"] == {"id": format_id(user.id), "email": "alice@example.com"}
    assert (body["key"]["kind"], body["key"]["name"], body["key"]["role"]) == (
        "csu",
        "Mine",
        "editor",
    )
    assert [
        (row["id"], row["name"], row["role"], row["member_role"]) for row in body["organizations"]
    ] == [
        (format_id(apple.organization.id), "Apple", "editor", "owner"),
        (format_id(zebra.organization.id), "Zebra", "readonly", "viewer"),
    ]


@pytest.mark.django_db
def test_session_returns_the_user_and_no_key() -> None:
    membership = MembershipFactory(role=MemberRole.MANAGER, organization__name="Apple")
    client = Client()
    client.force_login(membership.user)
    assert client.get(WHOAMI).json() == {
        "key": None,
        "user": {"id": format_id(membership.user.id), "email": membership.user.email},
        "limits": {"per_minute": 300, "per_day": 10_000},
        "organizations": [
            {
                "id": format_id(membership.organization.id),
                "name": "Apple",
                "time_zone": "UTC",
                "role": "manager",
                "member_role": "manager",
            }
        ],
    }


@pytest.mark.django_db
def test_user_without_an_organization_gets_an_empty_list() -> None:
    client = Client()
    client.force_login(UserFactory())
    assert client.get(WHOAMI).json()["organizations"] == []


@pytest.mark.django_db
def test_publishable_keys_and_anonymous_requests_are_rejected() -> None:
    publishable = client_of(OrganizationFactory(), kind=ApiKeyKind.PUBLISHABLE)
    response = publishable.get(WHOAMI)
    assert (response.status_code, problem(response)["error_code"]) == (403, "forbidden")
    response = Client().get(WHOAMI)
    assert (response.status_code, problem(response)["error_code"]) == (401, "unauthorized")
    response = client_of(OrganizationFactory()).post(WHOAMI)
    assert (response.status_code, response.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")


@pytest.mark.django_db
def test_response_has_an_etag_and_rate_limit_headers() -> None:
    client = client_of(OrganizationFactory())
    first = client.get(WHOAMI)
    again = client.get(WHOAMI, headers={"If-None-Match": first.headers["ETag"]})
    # Not modified responses do not count.
    assert (again.status_code, again.headers["RateLimit-Remaining"]) == (304, "299")


@pytest.mark.django_db
@pytest.mark.parametrize("organizations", [1, 40])
def test_response_uses_a_constant_number_of_queries(
    organizations: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    user = UserFactory()
    first, *_ = MembershipFactory.create_batch(organizations, user=user, role=MemberRole.OWNER)
    of_organization, of_user, in_session = (
        client_of(first.organization),
        client_of(user),
        Client(),
    )
    in_session.force_login(user)
    # The key with its organization and the rate limit.
    with django_assert_num_queries(1):
        of_organization.get(WHOAMI)
    # The key and the rate limit; the user; the memberships with their organizations.
    with django_assert_num_queries(3):
        of_user.get(WHOAMI)
    # The session; the user; the rate limit; the memberships with their organizations.
    with django_assert_num_queries(4):
        in_session.get(WHOAMI)
