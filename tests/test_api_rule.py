"""The rule endpoint: who can change the rule, and when it applies."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from catalog.completeness import FACTS
from catalog.models import CompletenessRule
from closient.accounts.models import MemberRole, Organization
from tests.clients import client_of, completeness_path, errors_of, problem, queries_of, stats_path
from tests.counting import assert_exact
from tests.factories import (
    MembershipFactory,
    OrganizationFactory,
    ProductFactory,
    ProductImageFactory,
)

pytestmark = pytest.mark.django_db

DEFAULT_WEIGHTS = {
    "name": 15,
    "description": 15,
    "brand": 10,
    "category": 10,
    "images": 15,
    "nutrition": 10,
    "certifications": 5,
    "offers": 10,
    "country": 10,
}
# A rule with weight only for images.
IMAGES_ONLY = {**dict.fromkeys(DEFAULT_WEIGHTS, 0), "images": 3}


def rule_path(organization: Organization) -> str:
    return f"{stats_path(organization)}/rule"


def put(client: Client, organization: Organization, body: Any) -> Any:
    return client.put(rule_path(organization), body, content_type="application/json")


def test_rule_is_the_default_until_an_organization_has_one() -> None:
    organization = OrganizationFactory()
    client = client_of(organization, role="manager")
    published = {"weights": DEFAULT_WEIGHTS, "threshold": 80, "is_default": True}
    assert client.get(rule_path(organization)).json() == published

    response = put(client, organization, {"weights": IMAGES_ONLY, "threshold": 100})
    own = {"weights": IMAGES_ONLY, "threshold": 100, "is_default": False}
    assert (response.status_code, response.json()) == (200, own)
    assert client.get(rule_path(organization)).json() == own
    assert list(response.json()["weights"]) == [fact.name for fact in FACTS]

    # Equal to the default rule, but stored.
    response = put(client, organization, {"weights": DEFAULT_WEIGHTS, "threshold": 80})
    assert response.json() == {**published, "is_default": False}
    assert client.get(rule_path(organization)).json() == {**published, "is_default": False}

    for _ in range(2):
        response = client.delete(rule_path(organization))
        assert (response.status_code, response.content) == (204, b"")
    assert client.get(rule_path(organization)).json() == published
    assert_exact(organization)


def test_changed_rule_applies_immediately_to_its_organization_only() -> None:
    organization, neighbour = OrganizationFactory(), OrganizationFactory()
    for owner in (organization, neighbour):
        ProductImageFactory(product=ProductFactory(organization=owner))
        ProductFactory(organization=owner)
    product = organization.products.first()
    client = client_of(organization, role="manager")
    before = client.get(stats_path(organization)).json()
    assert (before["complete_products"], before["avg_completeness"]) == (0, 23)

    put(client, organization, {"weights": IMAGES_ONLY, "threshold": 100})
    after = client.get(stats_path(organization)).json()
    assert after == {**before, "complete_products": 1, "avg_completeness": 50}
    reported = client.get(completeness_path(organization, product.gtin)).json()
    assert reported["percentage"] in (0, 100)
    assert reported["fields"]["images"]["weight"] == 1.0
    assert client_of(neighbour).get(stats_path(neighbour)).json() == before
    assert_exact(organization)

    client.delete(rule_path(organization))
    assert client.get(stats_path(organization)).json() == before


def body_with(**weights: Any) -> dict[str, Any]:
    return {"weights": {**DEFAULT_WEIGHTS, **weights}, "threshold": 80}


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({}, [("#/weights", "required"), ("#/threshold", "required")]),
        ([], [("#", "invalid")]),
        ({"weights": DEFAULT_WEIGHTS}, [("#/threshold", "required")]),
        ({"weights": None, "threshold": 80}, [("#/weights", "null")]),
        ({"weights": [1] * 9, "threshold": 80}, [("#/weights", "invalid")]),
        (body_with(images=-1), [("#/weights/images", "min_value")]),
        (body_with(images=101), [("#/weights/images", "max_value")]),
        (body_with(images="15"), [("#/weights/images", "invalid")]),
        (body_with(images=True), [("#/weights/images", "invalid")]),
        (body_with(images=1.5), [("#/weights/images", "invalid")]),
        (body_with(images=None), [("#/weights/images", "null")]),
        (body_with(price=5), [("#/weights/price", "unknown_fact")]),
        (
            body_with(images=101, price=5),
            [("#/weights/images", "max_value"), ("#/weights/price", "unknown_fact")],
        ),
        (body_with(**dict.fromkeys(DEFAULT_WEIGHTS, 0)), [("#/weights", "all_zero")]),
        (
            {
                "weights": {k: v for k, v in DEFAULT_WEIGHTS.items() if k != "images"},
                "threshold": 80,
            },
            [("#/weights/images", "required")],
        ),
        ({"weights": DEFAULT_WEIGHTS, "threshold": 0}, [("#/threshold", "min_value")]),
        ({"weights": DEFAULT_WEIGHTS, "threshold": 101}, [("#/threshold", "max_value")]),
        ({"weights": DEFAULT_WEIGHTS, "threshold": "80"}, [("#/threshold", "invalid")]),
    ],
)
def test_invalid_rule_is_rejected(body: Any, errors: list[tuple[str, str]]) -> None:
    organization = OrganizationFactory()
    response = put(client_of(organization, role="manager"), organization, body)
    assert errors_of(response) == errors
    assert all(error["detail"].endswith(".") for error in problem(response)["errors"])
    assert not CompletenessRule.objects.exists()


def test_rule_errors_are_sentences() -> None:
    organization = OrganizationFactory()
    client = client_of(organization, role="manager")
    details = [
        error["detail"]
        for body in (body_with(images="15"), body_with(images=101), body_with(price=5))
        for error in problem(put(client, organization, body))["errors"]
    ]
    assert details == [
        "Must be an integer, without quotes.",
        "Must be from 0 to 100.",
        "Unknown fact; the facts are name, description, brand, category, images, "
        "nutrition, certifications, offers, country.",
    ]


def test_error_lists_only_the_first_unknown_facts() -> None:
    organization = OrganizationFactory()
    many = {f"fact {number}": 1 for number in range(20_000)}
    response = put(client_of(organization, role="manager"), organization, body_with(**many))
    assert [error["pointer"] for error in problem(response)["errors"]] == [
        f"#/weights/fact {number}" for number in range(10)
    ]


def test_rule_accepts_every_json_form_of_integers() -> None:
    organization = OrganizationFactory()
    response = put(client_of(organization, role="manager"), organization, body_with(images=15.0))
    assert response.content.count(b'"images":15,') == 1


def test_rule_ignores_read_only_fields() -> None:
    organization = OrganizationFactory()
    body = {**body_with(), "is_default": True}
    response = put(client_of(organization, role="manager"), organization, body)
    assert response.json() == {"weights": DEFAULT_WEIGHTS, "threshold": 80, "is_default": False}
    assert [rule.organization_id for rule in CompletenessRule.objects.all()] == [organization.id]


@pytest.mark.parametrize(
    ("role", "may_write"),
    [("readonly", False), ("editor", False), ("manager", True)],
)
def test_only_manager_keys_change_the_rule(role: str, may_write: bool) -> None:
    organization = OrganizationFactory()
    client = client_of(organization, role=role)
    assert client.get(rule_path(organization)).status_code == 200
    assert put(client, organization, body_with()).status_code == (200 if may_write else 403)
    assert CompletenessRule.objects.exists() == may_write
    assert client.delete(rule_path(organization)).status_code == (204 if may_write else 403)


@pytest.mark.parametrize("role", MemberRole.values)
def test_only_owners_and_managers_change_the_rule(role: str) -> None:
    may_write = role in ("owner", "manager")
    membership = MembershipFactory(role=role)
    organization = membership.organization
    if role != "owner":
        MembershipFactory(organization=organization, role="owner")
    browser = Client()
    browser.force_login(membership.user)
    for client in (client_of(membership.user, role="manager"), browser):
        assert client.get(rule_path(organization)).status_code == 200
        assert put(client, organization, body_with()).status_code == (200 if may_write else 403)
        assert client.delete(rule_path(organization)).status_code == (204 if may_write else 403)
    # A key with a lower role than its user is limited to that role.
    assert (
        put(client_of(membership.user, role="editor"), organization, body_with()).status_code == 403
    )


def test_rule_of_another_organization_is_not_found_before_validation() -> None:
    organization, other = OrganizationFactory(), OrganizationFactory()
    for role in ("readonly", "manager"):
        client = client_of(other, role=role)
        for response in (
            client.get(rule_path(organization)),
            put(client, organization, {"weights": "nonsense"}),
            client.delete(rule_path(organization)),
        ):
            assert problem(response)["error_code"] == "not_found"
    assert problem(Client().get(rule_path(organization)))["error_code"] == "unauthorized"


def test_rule_uses_a_constant_number_of_queries() -> None:
    organization = OrganizationFactory()
    client = client_of(organization, role="manager")
    # 1. the key with its organization and rule and the rate limit.
    assert len(queries_of(client, rule_path(organization))[1]) == 1
    # 1. as above; 2. a savepoint instead of BEGIN; 3. the lock timeout; 4. the lock;
    # 5. the write; 6. the end of the savepoint.
    for products in (1, 30):
        ProductFactory.create_batch(products, organization=organization)
        with CaptureQueriesContext(connection) as captured:
            assert put(client, organization, body_with(images=products)).status_code == 200
        assert len(captured) == 6
    with CaptureQueriesContext(connection) as captured:
        assert client.delete(rule_path(organization)).status_code == 204
    assert len(captured) == 6
