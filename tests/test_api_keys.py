"""API keys in the API: access, create, change, rotate, revoke and delete."""

from __future__ import annotations

import datetime
import re
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from closient.accounts.api_keys import create_api_key
from closient.accounts.key_policy import key_policy
from closient.accounts.models import (
    ApiKey,
    ApiKeyKind,
    ApiKeyRole,
    MemberRole,
    Organization,
)
from closient.accounts.permissions import Access
from closient.db.ids import format_id, parse_id
from closient.text import key_format
from tests.clients import client_of, errors_of, problem, stats_path
from tests.factories import MembershipFactory, OrganizationFactory, UserFactory

JSON = "application/json"
SOON = "2096-01-01T00:00:00Z"
LATER = "2097-01-01T00:00:00Z"


def keys_path(organization: Organization, key: ApiKey | None = None, action: str = "") -> str:
    path = f"/account/api/v1/organizations/{format_id(organization.id)}/api-keys"
    return f"{path}/{format_id(key.id)}{action}" if key else path


def create_key(organization: Organization, **fields: Any) -> tuple[ApiKey, Client]:
    """Return a new manager key and a client that sends it."""
    fields = {"name": "Manager", "role": ApiKeyRole.MANAGER, **fields}
    key, text = create_api_key(organization=organization, **fields)
    return key, Client(headers={"X-API-Key": text})


@pytest.fixture
def manager(organization: Organization) -> Client:
    """A client with a manager key."""
    return create_key(organization)[1]


@pytest.mark.django_db
def test_new_key_is_shown_once_and_works_immediately(
    organization: Organization, manager: Client
) -> None:
    body = {
        "name": "Nightly export",
        "role": "editor",
        "expires_at": SOON,
        "limit_per_minute": 100,
        "limit_per_day": 2000,
    }
    response = manager.post(keys_path(organization), body, content_type=JSON)
    assert response.status_code == 201
    assert response.headers["Cache-Control"] == "no-store"
    result = response.json()
    text = result.pop("key")
    key = ApiKey.objects.get(name="Nightly export")
    assert response.headers["Location"] == keys_path(organization, key)
    assert result == {
        "id": format_id(key.id),
        "kind": "csb",
        "name": "Nightly export",
        "prefix": text[4:12],
        "role": "editor",
        "is_active": True,
        "expires_at": SOON,
        "limit_per_minute": 100,
        "limit_per_day": 2000,
        "last_used_at": None,
        "created_at": key.created_at.isoformat().replace("+00:00", "Z"),
    }
    assert key_format.is_well_formed(text)
    assert key.digest == key_format.digest(text)
    response = Client(headers={"X-API-Key": text}).get(stats_path(organization))
    assert (response.status_code, response.headers["RateLimit-Limit"]) == (200, "100")

    listed = manager.get(keys_path(organization))
    assert text.encode() not in listed.content
    first = listed.json()["data"][0]
    assert re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z\Z", first.pop("last_used_at"))
    del result["last_used_at"]
    assert first == result


@pytest.mark.django_db
def test_minimal_body_creates_a_readonly_key(organization: Organization, manager: Client) -> None:
    response = manager.post(keys_path(organization), {"name": "x"}, content_type=JSON)
    result = response.json()
    assert (result["kind"], result["role"], result["expires_at"]) == ("csb", "readonly", None)
    assert (result["limit_per_minute"], result["limit_per_day"]) == (0, 0)


@pytest.mark.django_db
def test_publishable_key_is_created_and_forbidden_without_an_origin(
    organization: Organization, manager: Client
) -> None:
    body = {"name": "Shop page", "kind": "cpk"}
    text = manager.post(keys_path(organization), body, content_type=JSON).json()["key"]
    assert text.startswith("cpk_")
    client = Client(headers={"X-API-Key": text})
    assert client.get(stats_path(organization)).status_code == 403


@pytest.mark.django_db
def test_list_contains_keys_newest_first_in_pages(
    organization: Organization, manager: Client
) -> None:
    for number in range(3):
        create_api_key(name=f"Key {number}", organization=organization)
    create_api_key(name="Foreign", organization=OrganizationFactory())
    create_api_key(name="Of a user", user=UserFactory(), kind=ApiKeyKind.USER)
    ApiKey.objects.filter(name="Key 1").update(is_active=False)
    body = manager.get(f"{keys_path(organization)}?page_size=3").json()
    assert [(row["name"], row["is_active"]) for row in body["data"]] == [
        ("Key 2", True),
        ("Key 1", False),
        ("Key 0", True),
    ]
    assert body["pagination"].pop("next_after")
    assert body["pagination"] == {
        "page": 1,
        "page_size": 3,
        "total_count": 4,
        "total_pages": 2,
        "has_next": True,
        "has_previous": False,
    }
    body = manager.get(f"{keys_path(organization)}?page_size=3&page=2").json()
    assert [row["name"] for row in body["data"]] == ["Manager"]
    response = manager.get(f"{keys_path(organization)}?page=0&page_size=101")
    assert errors_of(response) == [("#/query/page", "range"), ("#/query/page_size", "range")]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("role", "status"),
    [
        (MemberRole.OWNER, 200),
        (MemberRole.MANAGER, 200),
        (MemberRole.EDITOR, 403),
        (MemberRole.BILLING, 403),
        (MemberRole.VIEWER, 403),
    ],
)
def test_only_owners_and_managers_manage_keys(role: MemberRole, status: int) -> None:
    membership = MembershipFactory(role=role)
    organization = membership.organization
    in_session = Client()
    in_session.force_login(membership.user)
    for client in (in_session, client_of(membership.user, role=ApiKeyRole.MANAGER)):
        assert_key_access(client, organization, is_allowed=status == 200)
    assert_key_access(
        client_of(membership.user, role=ApiKeyRole.EDITOR), organization, is_allowed=False
    )


@pytest.mark.django_db
@pytest.mark.parametrize("role", ApiKeyRole.values)
def test_only_manager_keys_manage_keys(role: str) -> None:
    organization = OrganizationFactory()
    client = client_of(organization, role=role)
    assert_key_access(client, organization, is_allowed=role == "manager")


def assert_key_access(client: Client, organization: Organization, *, is_allowed: bool) -> None:
    """Check that a client can use every endpoint of keys, or none."""
    key, _ = create_api_key(name="Other", organization=organization)
    path = keys_path(organization, key)
    responses = [
        client.get(keys_path(organization)),
        client.post(keys_path(organization), {"name": "New"}, content_type=JSON),
        client.patch(path, {"name": "Renamed"}, content_type=JSON),
        client.post(keys_path(organization, key, "/rotate"), {}, content_type=JSON),
        client.delete(path),
    ]
    statuses = [200, 201, 200, 201, 204] if is_allowed else [403] * 5
    assert [response.status_code for response in responses] == statuses
    assert ApiKey.objects.filter(pk=key.pk).exists() != is_allowed


@pytest.mark.django_db
def test_keys_of_other_organizations_are_not_found(
    organization: Organization, manager: Client
) -> None:
    stranger = OrganizationFactory()
    foreign, _ = create_api_key(name="Foreign", organization=stranger)
    of_user, _ = create_api_key(name="Mine", user=UserFactory(), kind=ApiKeyKind.USER)
    assert manager.get(keys_path(stranger)).status_code == 404
    for key in (foreign, of_user):
        for response in (
            manager.patch(keys_path(organization, key), {"name": "x"}, content_type=JSON),
            manager.delete(keys_path(organization, key)),
            manager.post(keys_path(organization, key, "/rotate"), {}, content_type=JSON),
        ):
            assert response.status_code == 404
    assert set(ApiKey.objects.values_list("name", flat=True)) == {"Manager", "Foreign", "Mine"}


@pytest.mark.django_db
def test_patch_changes_only_given_fields(organization: Organization, manager: Client) -> None:
    key, _ = create_api_key(name="Old", organization=organization, role=ApiKeyRole.EDITOR)
    path = keys_path(organization, key)
    before = manager.patch(path, {}, content_type=JSON)
    assert before.status_code == 200
    change = {"name": "New", "expires_at": SOON, "limit_per_minute": 7}
    after = manager.patch(path, change, content_type=JSON)
    assert after.json() == {**before.json(), **change}
    assert manager.patch(path, {"expires_at": None}, content_type=JSON).json()["expires_at"] is None
    assert manager.patch(path, {"role": "manager"}, content_type=JSON).json()["role"] == "manager"
    assert "key" not in after.json()


@pytest.mark.django_db
def test_read_only_fields_are_ignored(organization: Organization, manager: Client) -> None:
    other = OrganizationFactory()
    key, text = create_api_key(name="Old", organization=organization)
    posted = {
        "id": format_id(other.id),
        "kind": "cpk",
        "prefix": "AAAAAAAA",
        "last_used_at": SOON,
        "created_at": SOON,
    }
    before = ApiKey.objects.values().get(pk=key.pk)
    response = manager.patch(keys_path(organization, key), posted, content_type=JSON)
    assert response.status_code == 200
    assert ApiKey.objects.values().get(pk=key.pk) == before
    new = {**posted, "kind": "csb", "name": "New", "is_active": False}
    response = manager.post(keys_path(organization), new, content_type=JSON)
    row = ApiKey.objects.get(pk=parse_id(response.json()["id"]))
    assert (row.organization_id, row.user_id, row.kind) == (organization.id, None, "csb")
    assert (row.is_active, row.last_used_at) == (True, None)
    assert row.digest == key_format.digest(response.json()["key"])
    assert response.json()["key"] != text


@pytest.mark.django_db
def test_revoked_and_deleted_keys_are_rejected_immediately(
    organization: Organization, manager: Client
) -> None:
    key, text = create_api_key(name="Old", organization=organization)
    client, path = Client(headers={"X-API-Key": text}), keys_path(organization, key)

    def status() -> int:
        return client.get(stats_path(organization)).status_code

    assert status() == 200
    manager.patch(path, {"is_active": False}, content_type=JSON)
    assert status() == 401
    manager.patch(path, {"is_active": True}, content_type=JSON)
    assert status() == 200
    response = manager.delete(path)
    assert (response.status_code, response.content) == (204, b"")
    assert status() == 401
    assert manager.delete(path).status_code == 404


@pytest.mark.django_db
def test_key_may_revoke_and_delete_itself(organization: Organization) -> None:
    own, client = create_key(organization)
    response = client.patch(keys_path(organization, own), {"is_active": False}, content_type=JSON)
    assert (response.status_code, response.json()["is_active"]) == (200, False)
    assert client.get(stats_path(organization)).status_code == 401
    own, client = create_key(organization)
    assert client.delete(keys_path(organization, own)).status_code == 204
    assert client.get(stats_path(organization)).status_code == 401


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, [("#/name", "required")]),
        ({"name": ""}, [("#/name", "blank")]),
        ({"name": None}, [("#/name", "null")]),
        ({"name": 5 * [1]}, [("#/name", "invalid")]),
        ({"name": "x" * 101}, [("#/name", "max_length")]),
        ({"name": "a\nb"}, [("#/name", "control_character")]),
        ({"name": "x", "kind": "csu"}, [("#/kind", "invalid_choice")]),
        ({"name": "x", "role": "owner"}, [("#/role", "invalid_choice")]),
        ({"name": "x", "expires_at": "tomorrow"}, [("#/expires_at", "invalid")]),
        ({"name": "x", "expires_at": "2020-01-01T00:00:00Z"}, [("#/expires_at", "past")]),
        ({"name": "x", "expires_at": "0001-01-01T00:00:00+14:00"}, [("#/expires_at", "overflow")]),
        ({"name": "x", "limit_per_minute": -1}, [("#/limit_per_minute", "min_value")]),
        ({"name": "x", "limit_per_minute": 301}, [("#/limit_per_minute", "above_own")]),
        ({"name": "x", "limit_per_day": 10_001}, [("#/limit_per_day", "above_own")]),
        ({"name": "x", "limit_per_day": 2**31}, [("#/limit_per_day", "max_value")]),
        ([], [("#", "invalid")]),
    ],
)
def test_invalid_values_are_rejected_with_a_pointer(
    organization: Organization, manager: Client, body: Any, expected: list[tuple[str, str]]
) -> None:
    response = manager.post(keys_path(organization), body, content_type=JSON)
    assert errors_of(response) == expected
    assert ApiKey.objects.count() == 1


@pytest.mark.django_db
def test_key_cannot_extend_itself_or_another_key(organization: Organization) -> None:
    end = datetime.datetime(2096, 1, 1, tzinfo=datetime.UTC)
    own, client = create_key(organization, limit_per_minute=20, limit_per_day=500, expires_at=end)
    other, _ = create_api_key(name="Other", organization=organization, expires_at=end)
    changes: list[tuple[dict[str, Any], str]] = [
        ({"limit_per_minute": 21}, "#/limit_per_minute"),
        ({"limit_per_minute": 0}, "#/limit_per_minute"),
        ({"limit_per_day": 501}, "#/limit_per_day"),
        ({"expires_at": LATER}, "#/expires_at"),
        ({"expires_at": None}, "#/expires_at"),
    ]
    for change, pointer in changes:
        new = client.post(keys_path(organization), {"name": "x", **change}, content_type=JSON)
        assert errors_of(new) == [(pointer, "above_own")]
        changed = client.patch(keys_path(organization, own), change, content_type=JSON)
        assert errors_of(changed) == [(pointer, "above_own")]
    # Existing higher values may stay or become lower.
    path = keys_path(organization, other)
    same = {"limit_per_minute": 0, "limit_per_day": 0, "expires_at": SOON, "name": "Other"}
    assert client.patch(path, same, content_type=JSON).status_code == 200
    assert client.patch(path, {"limit_per_day": 500}, content_type=JSON).status_code == 200
    # By default a new key has the limits and expiry of its creator.
    response = client.post(keys_path(organization), {"name": "x"}, content_type=JSON).json()
    assert (response["limit_per_minute"], response["limit_per_day"]) == (20, 500)
    assert response["expires_at"] == SOON


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("strong", "change", "expected"),
    [
        # Revoked, and each exceeds the caller's key in one field.
        ({"is_active": False, "expires_at": None}, {"is_active": True}, "#/is_active"),
        ({"is_active": False, "limit_per_minute": 21}, {"is_active": True}, "#/is_active"),
        ({"is_active": False, "limit_per_day": 501}, {"is_active": True}, "#/is_active"),
        # Expired: a later expiry makes it valid again.
        (
            {"expires_at": "2020-01-01T00:00:00Z", "limit_per_day": 501},
            {"expires_at": SOON},
            "#/expires_at",
        ),
        # A higher role and larger limits for a key that expires after the caller's.
        ({"expires_at": None, "role": "readonly"}, {"role": "manager"}, "#/role"),
        ({"expires_at": None}, {"limit_per_minute": 20}, "#/limit_per_minute"),
        ({"expires_at": None}, {"limit_per_day": 500}, "#/limit_per_day"),
    ],
)
def test_extending_a_key_requires_all_of_its_permissions(
    organization: Organization, strong: dict[str, Any], change: dict[str, Any], expected: str
) -> None:
    end = datetime.datetime(2096, 1, 1, tzinfo=datetime.UTC)
    _, client = create_key(organization, limit_per_minute=20, limit_per_day=500, expires_at=end)
    bounds = {"limit_per_minute": 10, "limit_per_day": 100, "expires_at": end}
    key, _ = create_api_key(
        name="Strong", organization=organization, role=ApiKeyRole.MANAGER, **bounds
    )
    ApiKey.objects.filter(pk=key.pk).update(**strong)
    before = ApiKey.objects.filter(pk=key.pk).values().get()
    response = client.patch(keys_path(organization, key), change, content_type=JSON)
    assert errors_of(response) == [(expected, "above_own")]
    assert ApiKey.objects.filter(pk=key.pk).values().get() == before
    # The same change is accepted if it also restricts the key to the caller's limits.
    bounded = {"limit_per_minute": 10, "limit_per_day": 100, "expires_at": SOON} | change
    response = client.patch(keys_path(organization, key), bounded, content_type=JSON)
    assert response.status_code == 200


@pytest.mark.django_db
def test_restricting_a_stronger_key_is_allowed(organization: Organization) -> None:
    end = datetime.datetime(2096, 1, 1, tzinfo=datetime.UTC)
    _, client = create_key(organization, limit_per_minute=20, limit_per_day=500, expires_at=end)
    strong, _ = create_api_key(name="x", organization=organization, role=ApiKeyRole.MANAGER)
    for change in (
        {"name": "Renamed"},
        {"role": "editor"},
        {"limit_per_minute": 20},
        {"expires_at": SOON},
        {"is_active": False},
    ):
        response = client.patch(keys_path(organization, strong), change, content_type=JSON)
        assert (response.status_code, {**change, **response.json()}) == (
            200,
            {**response.json(), **change},
        )


def test_key_cannot_get_a_role_above_the_callers() -> None:
    access = Access(Organization(name="x"), ApiKeyRole.EDITOR)
    giver = key_policy(access, None)
    for role, expected in (("readonly", []), ("editor", []), ("manager", ["#/role"])):
        errors = giver.errors(ApiKey(role=role), frozenset({"role"}))
        assert [error.pointer for error in errors] == expected


@pytest.mark.django_db
def test_rotation_creates_a_second_key(organization: Organization, manager: Client) -> None:
    end = datetime.datetime(2096, 1, 1, tzinfo=datetime.UTC)
    old, old_text = create_api_key(
        name="Export",
        organization=organization,
        role=ApiKeyRole.EDITOR,
        limit_per_minute=9,
        limit_per_day=90,
        expires_at=end,
    )
    response = manager.post(keys_path(organization, old, "/rotate"), {}, content_type=JSON)
    assert (response.status_code, response.headers["Cache-Control"]) == (201, "no-store")
    result = response.json()
    assert result["id"] != format_id(old.id)
    listed = manager.get(keys_path(organization)).json()["data"]
    new_row, old_row = ({**row} for row in listed if row["name"] == "Export")
    for name in ("id", "prefix", "created_at"):
        assert new_row.pop(name) != old_row.pop(name)
    assert new_row == old_row
    for text in (old_text, result["key"]):
        client = Client(headers={"X-API-Key": text})
        assert client.get(stats_path(organization)).status_code == 200
    # Also without a body.
    assert manager.generic("POST", keys_path(organization, old, "/rotate")).status_code == 201


@pytest.mark.django_db
def test_rotation_sets_both_expiries(organization: Organization, manager: Client) -> None:
    old, _ = create_api_key(name="Export", organization=organization)
    path = keys_path(organization, old, "/rotate")
    body = {"expires_at": LATER, "old_expires_at": SOON}
    assert manager.post(path, body, content_type=JSON).json()["expires_at"] == LATER
    old.refresh_from_db()
    assert old.expires_at == datetime.datetime(2096, 1, 1, tzinfo=datetime.UTC)
    assert errors_of(manager.post(path, {"old_expires_at": LATER}, content_type=JSON)) == [
        ("#/old_expires_at", "later")
    ]
    past = {"old_expires_at": "2020-01-01T00:00:00Z", "expires_at": "2020-01-01T00:00:00Z"}
    assert errors_of(manager.post(path, past, content_type=JSON)) == [
        ("#/expires_at", "past"),
        ("#/old_expires_at", "past"),
    ]
    assert ApiKey.objects.filter(name="Export").count() == 2


@pytest.mark.django_db
def test_expired_key_can_be_rotated_and_a_revoked_one_cannot(
    organization: Organization, manager: Client
) -> None:
    old, _ = create_api_key(name="Export", organization=organization)
    path = keys_path(organization, old, "/rotate")
    ApiKey.objects.filter(pk=old.pk).update(expires_at=timezone.now())
    assert errors_of(manager.post(path, {}, content_type=JSON)) == [("#/expires_at", "past")]
    assert manager.post(path, {"expires_at": None}, content_type=JSON).status_code == 201
    ApiKey.objects.filter(pk=old.pk).update(is_active=False)
    response = manager.post(path, {"expires_at": None}, content_type=JSON)
    assert (response.status_code, problem(response)["detail"]) == (
        409,
        "This key is revoked. Create a new key instead.",
    )


@pytest.mark.django_db
def test_key_can_rotate_itself_but_no_stronger_key(organization: Organization) -> None:
    own, client = create_key(organization, limit_per_minute=20)
    strong, _ = create_api_key(name="Strong", organization=organization)
    rotated = client.post(keys_path(organization, strong, "/rotate"), {}, content_type=JSON)
    assert (rotated.status_code, problem(rotated)["error_code"]) == (403, "forbidden")
    rotated = client.post(keys_path(organization, own, "/rotate"), {}, content_type=JSON)
    assert (rotated.status_code, rotated.json()["limit_per_minute"]) == (201, 20)


@pytest.mark.django_db
@pytest.mark.parametrize("action", ["", "/rotate"])
def test_repeated_request_creates_no_second_key_and_stores_no_text(
    organization: Organization, action: str
) -> None:
    own, client = create_key(organization)
    path = keys_path(organization, own, action) if action else keys_path(organization)
    headers = {"Idempotency-Key": "once"}
    body = {"expires_at": None} if action else {"name": "Manager"}
    first = client.post(path, body, content_type=JSON, headers=headers)
    assert first.status_code == 201
    again = client.post(path, body, content_type=JSON, headers=headers)
    assert (again.status_code, problem(again)["error_code"]) == (409, "conflict")
    assert first.json()["key"].encode() not in again.content
    assert ApiKey.objects.count() == 2
    assert client.post(path, body, content_type=JSON).status_code == 201


@pytest.mark.django_db
@pytest.mark.parametrize("keys", [1, 60])
def test_list_uses_a_constant_number_of_queries(
    organization: Organization,
    manager: Client,
    keys: int,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    for _ in range(keys):
        key, _ = create_api_key(name="x", organization=organization)
    # The key with its organization and the rate limit; when it was used; the page; the count.
    with django_assert_num_queries(4):
        body = manager.get(f"{keys_path(organization)}?page_size=100").json()
    assert len(body["data"]) == keys + 1
    # The key and the rate limit; the row; begin; lock timeout; the row, locked; its update; commit.
    with django_assert_num_queries(7):
        manager.patch(keys_path(organization, key), {"name": "y"}, content_type=JSON)
    # The key and the rate limit; begin; lock timeout; the row; its insertion; commit.
    with django_assert_num_queries(6):
        manager.post(keys_path(organization), {"name": "z"}, content_type=JSON)
    # The key and the rate limit; begin; lock timeout; the row, locked; its deletion; commit.
    with django_assert_num_queries(6):
        manager.delete(keys_path(organization, key))
