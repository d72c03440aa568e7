"""Access by keys, members, users of other organizations, and anonymous requests."""

from __future__ import annotations

import datetime
import random
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from closient.accounts.api_keys import create_api_key
from closient.accounts.models import ApiKey, ApiKeyKind, ApiKeyRole, MemberRole
from closient.accounts.permissions import access_to
from closient.db.ids import format_id
from closient.text import key_format
from tests.clients import API, NO_LIMIT, client_of, completeness_path, key_of, problem, stats_path
from tests.factories import (
    MembershipFactory,
    OrganizationFactory,
    ProductFactory,
    UserFactory,
)

UNAUTHORIZED = {
    "type": "/docs/errors/unauthorized",
    "title": "Unauthorized",
    "status": 401,
    "detail": "Send a valid API key in the X-API-Key header: this one is missing, malformed, "
    "unknown, revoked or expired.",
    "error_code": "unauthorized",
    "retryable": False,
}
NOT_FOUND = {
    "type": "/docs/errors/not_found",
    "title": "Not Found",
    "status": 404,
    "detail": "Not found, or not visible to you.",
    "error_code": "not_found",
    "retryable": False,
}
FORBIDDEN = {
    "type": "/docs/errors/forbidden",
    "title": "Forbidden",
    "status": 403,
    "detail": "Your role does not allow this request.",
    "error_code": "forbidden",
    "retryable": False,
}


def assert_unauthorized(response: Any) -> None:
    assert response.status_code == 401
    assert problem(response) == UNAUTHORIZED
    assert response.headers["WWW-Authenticate"] == 'ApiKey realm="api", header="X-API-Key"'
    assert not [name for name in response.headers if name.startswith("RateLimit")]


@pytest.mark.django_db
def test_request_without_a_key_is_unauthorized_without_a_query(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    path = stats_path(OrganizationFactory())
    with django_assert_num_queries(0):
        assert_unauthorized(Client().get(path))


@pytest.mark.django_db
@pytest.mark.parametrize("text", ["", "x", "csb_", "csb_" + "A" * 32 + "_00000000", "\xe9" * 45])
def test_malformed_key_is_unauthorized_without_a_query(
    text: str, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    path = stats_path(OrganizationFactory())
    with django_assert_num_queries(0):
        assert_unauthorized(Client().get(path, headers={"X-API-Key": text}))


@pytest.mark.django_db
@pytest.mark.parametrize("kind", key_format.KINDS)
def test_unknown_key_is_unauthorized(kind: str) -> None:
    path = stats_path(OrganizationFactory())
    text = key_format.new_text(kind)
    assert_unauthorized(Client().get(path, headers={"X-API-Key": text}))


@pytest.mark.django_db
@pytest.mark.parametrize(
    "change",
    [
        {"is_active": False},
        {"expires_at": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)},
    ],
)
def test_revoked_and_expired_keys_are_unauthorized_immediately(
    change: dict[str, Any],
) -> None:
    organization = OrganizationFactory()
    client = client_of(organization)
    assert client.get(stats_path(organization)).status_code == 200
    ApiKey.objects.update(**change)
    assert_unauthorized(client.get(stats_path(organization)))


@pytest.mark.django_db
def test_key_works_until_the_moment_it_expires() -> None:
    organization = OrganizationFactory()
    soon = timezone.now() + datetime.timedelta(minutes=5)
    assert client_of(organization, expires_at=soon).get(stats_path(organization)).status_code == 200


@pytest.mark.django_db
def test_key_of_an_inactive_user_is_unauthorized() -> None:
    membership = MembershipFactory(role=MemberRole.OWNER)
    client = client_of(membership.user)
    assert client.get(stats_path(membership.organization)).status_code == 200
    membership.user.is_active = False
    membership.user.save()
    assert_unauthorized(client.get(stats_path(membership.organization)))


@pytest.mark.django_db
def test_invalid_key_is_unauthorized_despite_a_valid_session() -> None:
    membership = MembershipFactory(role=MemberRole.OWNER)
    client = Client()
    client.force_login(membership.user)
    path = stats_path(membership.organization)
    assert client.get(path).status_code == 200
    assert_unauthorized(client.get(path, headers={"X-API-Key": "nonsense"}))


@pytest.mark.django_db
@pytest.mark.parametrize("role", ApiKeyRole.values)
def test_key_of_any_role_reads_its_organization(role: str) -> None:
    organization = OrganizationFactory()
    response = client_of(organization, role=role).get(stats_path(organization))
    assert response.status_code == 200


@pytest.mark.django_db
def test_path_accepts_canonical_uuids() -> None:
    organization = OrganizationFactory()
    client = client_of(organization)
    short = client.get(stats_path(organization))
    for text in (str(organization.id), str(organization.id).upper()):
        response = client.get(f"{API}/stats/{text}")
        assert (response.status_code, response.content) == (200, short.content)


@pytest.mark.django_db
def test_missing_and_foreign_resources_return_the_same_404() -> None:
    organization, stranger = OrganizationFactory(), OrganizationFactory()
    product = ProductFactory(organization=organization)
    foreign = ProductFactory(organization=stranger)
    never = format_id(UserFactory().id)
    client = client_of(organization)
    wrong_digit = product.gtin[:-1] + str((int(product.gtin[-1]) + 1) % 10)
    paths = [
        stats_path(stranger),
        f"{API}/stats/{never}",
        f"{API}/stats/{'z' * 22}",
        f"{API}/stats/nonsense",
        f"{API}/stats/{'2' * 5000}",
        f"{API}/stats/%00",
        f"{API}/stats/%0a",
        f"{API}/stats/%FF%FE",
        f"{API}/stats/{organization.id.hex}",
        completeness_path(stranger, foreign.gtin),
        completeness_path(organization, foreign.gtin),
        completeness_path(organization, "04012345678901"),
        completeness_path(organization, wrong_digit),
        completeness_path(organization, "0" * 14),
        completeness_path(organization, "123"),
        completeness_path(organization, "nonsense"),
        completeness_path(organization, "%EF%BC%91" * 14),
        completeness_path(organization, product.gtin + "%0A"),
        completeness_path(organization, "9" * 5000),
    ]
    for path in paths:
        response = client.get(path)
        assert response.status_code == 404, path
        assert problem(response) == NOT_FOUND
        assert response.headers["RateLimit-Limit"] == "300"
    bodies = {body_without_ids(client.get(path)) for path in paths}
    assert len(bodies) == 1


def body_without_ids(response: Any) -> str:
    """Return a body byte for byte, without the values that differ in each response."""
    body = response.json()
    text: str = response.content.decode()
    for name in ("instance", "timestamp", "request_id"):
        text = text.replace(body[name], "")
    return text


@pytest.mark.django_db
def test_foreign_and_unknown_organizations_use_the_same_queries(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    organization, stranger = OrganizationFactory(), OrganizationFactory()
    client = client_of(organization)
    for path in (stats_path(stranger), f"{API}/stats/{'2' * 22}"):
        # The key with its organization and the rate limit.
        with django_assert_num_queries(1):
            client.get(path)


@pytest.mark.django_db
def test_user_key_reads_only_organizations_of_its_user() -> None:
    user = UserFactory()
    first = MembershipFactory(user=user, role=MemberRole.VIEWER).organization
    second = MembershipFactory(user=user, role=MemberRole.OWNER).organization
    client = client_of(user)
    assert client.get(stats_path(first)).status_code == 200
    assert client.get(stats_path(second)).status_code == 200
    response = client.get(stats_path(OrganizationFactory()))
    assert (response.status_code, problem(response)) == (404, NOT_FOUND)


@pytest.mark.django_db
def test_publishable_key_is_forbidden_without_an_origin() -> None:
    organization = OrganizationFactory()
    client = client_of(organization, kind=ApiKeyKind.PUBLISHABLE, role=ApiKeyRole.MANAGER)
    response = client.get(stats_path(organization))
    assert (response.status_code, problem(response)) == (
        403,
        {
            **FORBIDDEN,
            "detail": "A publishable key (cpk) only reads the stats, the forecast and the history "
            "of its organization, from a page on an allowed origin. This request has no Origin "
            "header.",
        },
    )
    response = client.get(stats_path(OrganizationFactory()))
    assert (response.status_code, problem(response)) == (404, NOT_FOUND)


@pytest.mark.django_db
def test_session_reads_only_organizations_of_its_user() -> None:
    membership = MembershipFactory(role=MemberRole.BILLING)
    client = Client()
    assert_unauthorized(client.get(stats_path(membership.organization)))
    client.force_login(membership.user)
    assert client.get(stats_path(membership.organization)).status_code == 200
    response = client.get(stats_path(OrganizationFactory()))
    assert (response.status_code, problem(response)) == (404, NOT_FOUND)


@pytest.mark.django_db
def test_session_write_requires_a_csrf_token() -> None:
    membership = MembershipFactory(role=MemberRole.OWNER)
    client = Client(enforce_csrf_checks=True)
    client.force_login(membership.user)
    path = stats_path(membership.organization)
    assert client.get(path).status_code == 200
    response = client.post(path)
    assert (response.status_code, problem(response)) == (403, FORBIDDEN)
    assert response.headers["RateLimit-Remaining"] == "298"
    token = "a" * 32
    client.cookies["csrftoken"] = token
    # With the token the request reaches the method check.
    assert client.post(path, headers={"X-CSRFToken": token}).status_code == 405


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("member", "key", "expected"),
    [
        (MemberRole.OWNER, ApiKeyRole.MANAGER, ApiKeyRole.MANAGER),
        (MemberRole.MANAGER, ApiKeyRole.MANAGER, ApiKeyRole.MANAGER),
        (MemberRole.OWNER, ApiKeyRole.READONLY, ApiKeyRole.READONLY),
        (MemberRole.EDITOR, ApiKeyRole.MANAGER, ApiKeyRole.EDITOR),
        (MemberRole.MANAGER, ApiKeyRole.EDITOR, ApiKeyRole.EDITOR),
        (MemberRole.BILLING, ApiKeyRole.MANAGER, ApiKeyRole.READONLY),
        (MemberRole.VIEWER, ApiKeyRole.EDITOR, ApiKeyRole.READONLY),
    ],
)
def test_user_key_has_the_lower_of_key_and_member_role(
    member: MemberRole, key: ApiKeyRole, expected: ApiKeyRole
) -> None:
    membership = MembershipFactory(role=member)
    made, _ = create_api_key(name="x", user=membership.user, kind=ApiKeyKind.USER, role=key)
    access = access_to(membership.organization.id, user=None, key=made)
    assert access is not None
    assert access.role == expected


@pytest.mark.django_db
def test_requests_use_a_fixed_number_of_queries(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    membership = MembershipFactory(role=MemberRole.OWNER)
    organization = membership.organization
    gtin = ProductFactory(organization=organization).gtin
    of_organization, of_user, in_session = (
        client_of(organization),
        client_of(membership.user),
        Client(),
    )
    in_session.force_login(membership.user)
    for size in (1, 60):
        ProductFactory.create_batch(size, organization=organization)
        for path in (stats_path(organization), completeness_path(organization, gtin)):
            # The key with organization, rule and the rate limit; the tally, or the product.
            with django_assert_num_queries(2):
                assert of_organization.get(path).status_code == 200
            # The key and the rate limit; the membership with organization and rule; the tally.
            with django_assert_num_queries(3):
                assert of_user.get(path).status_code == 200
            # The session; the user; the rate limit; the membership; the tally.
            with django_assert_num_queries(5):
                assert in_session.get(path).status_code == 200


def mutations(text: str, count: int) -> list[str]:
    """Return mutated keys: flipped bits, other lengths, other characters, wrong checksums."""
    rng = random.Random(20261124)
    strange = [
        "\x00",
        "\n",
        "\r",
        "\t",
        " ",
        "\x7f",
        "\xff",
        "é",
        "\uff11",
        "\u202e",
        "😀",
        "_",
        "-",
        "%",
    ]

    def flip_bit() -> str:
        position = rng.randrange(len(text))
        return (
            text[:position]
            + chr(ord(text[position]) ^ 1 << rng.randrange(7))
            + text[position + 1 :]
        )

    def truncate() -> str:
        return text[: rng.randrange(len(text))]

    def lengthen() -> str:
        return text + text[0] * rng.choice([1, 2, 9, 100, 1000, 10_000 - len(text)])

    def insert_character() -> str:
        position = rng.randrange(len(text) + 1)
        return text[:position] + rng.choice(strange) + text[position:]

    def replace_character() -> str:
        position = rng.randrange(len(text))
        return text[:position] + rng.choice(strange) + text[position + 1 :]

    def replace_checksum() -> str:
        return text[:-8] + f"{rng.getrandbits(32):08x}"

    def shuffle() -> str:
        return "".join(rng.sample(text, len(text)))

    makers = [
        flip_bit,
        truncate,
        lengthen,
        insert_character,
        replace_character,
        replace_checksum,
        shuffle,
    ]
    return [mutated_key for n in range(count) if (mutated_key := makers[n % len(makers)]()) != text]


@pytest.mark.django_db
def test_mutated_keys_are_unauthorized_without_a_query(
    settings: Settings, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    settings.API_LIMIT_ADDRESS_PER_MINUTE = NO_LIMIT
    organization = OrganizationFactory()
    text = key_of(organization)
    mutated_keys = mutations(text, 100_000)
    assert len(mutated_keys) > 99_000
    assert [
        mutated_key for mutated_key in mutated_keys if key_format.is_well_formed(mutated_key)
    ] == []
    client, path = Client(), stats_path(organization)
    with django_assert_num_queries(0):
        statuses = {
            client.get(path, headers={"X-API-Key": mutated_key}).status_code
            for mutated_key in mutated_keys[:2000]
        }
    assert statuses == {401}
    assert client.get(path, headers={"X-API-Key": text}).status_code == 200
