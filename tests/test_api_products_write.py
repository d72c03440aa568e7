"""Writing products: stored values, rejected values, and the numbers afterwards."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from catalog.models import Brand, Product
from closient.db.ids import format_id
from tests.clients import editor_of, errors_of, problem, products_path, stats_path
from tests.counting import assert_exact
from tests.dates import NOON
from tests.factories import (
    CertificationAssignmentFactory,
    OfferFactory,
    OrganizationFactory,
    ProductFactory,
    ProductImageFactory,
    gtin,
)
from tests.sessions import sessions

pytestmark = pytest.mark.django_db

COMPLETE_PRODUCT: dict[str, Any] = {
    "gtin": gtin(1),
    "name": "Oat drink",
    "description": "Without added sugar.\nShake well.",
    "brand": "Haferhof",
    "manufacturer": "Haferhof GmbH",
    "category": "Dairy alternatives",
    "gpc_brick_code": "10000025",
    "country_of_origin": "DE",
    "net_content": "1 l",
    "nutrition": {
        "serving_size": "100 ml",
        "nutrients": [{"name": "fat", "amount": "1.5", "unit": "g"}],
    },
    "status": "draft",
    "metadata": {"season": "summer"},
}
READ_ONLY = {
    "id": "KwSysDpxcBU9FNhGkn2dCf",
    "percentage": 100,
    "facts": {"images": True},
    "created_at": "2000-01-01T00:00:00Z",
    "updated_at": "2000-01-01T00:00:00Z",
}


def send(client: Client, method: str, path: str, body: Any = None, **headers: str) -> Any:
    return client.generic(
        method.upper(), path, json.dumps(body), content_type="application/json", headers=headers
    )


@time_machine.travel(NOON, tick=False)
def test_new_product_is_returned_stored_and_counted() -> None:
    organization = OrganizationFactory()
    client = editor_of(organization)
    response = send(client, "post", products_path(organization), COMPLETE_PRODUCT)
    assert response.status_code == 201
    body = response.json()
    product = Product.objects.get()
    assert body == {
        "id": format_id(product.id),
        **COMPLETE_PRODUCT,
        "percentage": 70,
        "facts": {
            "name": True,
            "description": True,
            "brand": True,
            "category": True,
            "images": False,
            "nutrition": True,
            "certifications": False,
            "offers": False,
            "country": True,
        },
        "created_at": body["created_at"],
        "updated_at": body["created_at"],
    }
    assert response.headers["Location"] == f"{products_path(organization)}/{gtin(1)}"
    assert client.get(response.headers["Location"]).json() == body
    assert client.get(stats_path(organization)).json()["total_products"] == 1
    assert assert_exact(organization).avg_completeness == 70


def test_new_product_requires_only_a_gtin() -> None:
    organization = OrganizationFactory()
    response = send(
        editor_of(organization), "post", products_path(organization), {"gtin": "4006381333931"}
    )
    assert response.status_code == 201
    body = response.json()
    assert (body["gtin"], body["name"], body["brand"]) == ("04006381333931", "", "")
    assert (body["status"], body["metadata"], body["percentage"]) == ("active", {}, 0)
    assert body["nutrition"] == {"serving_size": "", "nutrients": []}
    assert Product.objects.get().nutrition == {}
    assert_exact(organization)


def test_values_are_normalized() -> None:
    organization = OrganizationFactory()
    given = {
        "gtin": gtin(1),
        "name": "  Oat drink ",
        "country_of_origin": "Germany",
        "nutrition": {
            "nutrients": [
                {"name": "fat", "amount": 1.50, "unit": "g"},
                {"name": "salt", "amount": "1e-3", "unit": ""},
            ]
        },
    }
    body = send(editor_of(organization), "post", products_path(organization), given).json()
    assert (body["name"], body["country_of_origin"]) == ("Oat drink", "DE")
    assert body["nutrition"] == {
        "serving_size": "",
        "nutrients": [
            {"name": "fat", "amount": "1.5", "unit": "g"},
            {"name": "salt", "amount": "0.001", "unit": ""},
        ],
    }


def test_duplicate_gtin_is_a_conflict() -> None:
    organization, other = OrganizationFactory(), OrganizationFactory()
    ProductFactory(organization=other, gtin=gtin(1))
    client = editor_of(organization)
    body = {"gtin": gtin(1), "brand": "New"}
    assert send(client, "post", products_path(organization), body).status_code == 201
    again = send(client, "post", products_path(organization), {**body, "brand": "Newer"})
    assert again.status_code == 409
    product = Product.objects.get(organization=organization)
    assert problem(again) == {
        "type": "/docs/errors/conflict",
        "title": "Conflict",
        "status": 409,
        "detail": "The organization has a product with this GTIN already.",
        "error_code": "conflict",
        "retryable": False,
        "conflicting_id": format_id(product.id),
    }
    assert client.get(again.headers["Location"]).json()["id"] == format_id(product.id)
    # A rejected request stores nothing.
    assert list(Brand.objects.values_list("name", flat=True)) == ["New"]
    assert assert_exact(organization).total_products == 1


INVALID_BODIES: list[tuple[Any, list[tuple[str, str]]]] = [
    ({}, [("#/gtin", "required")]),
    ([], [("#", "invalid")]),
    ("text", [("#", "invalid")]),
    ({"gtin": None}, [("#/gtin", "null")]),
    ({"gtin": 4006381333931}, [("#/gtin", "invalid")]),
    ({"gtin": ""}, [("#/gtin", "blank")]),
    ({"gtin": " 4006381333931"}, [("#/gtin", "gtin_digits")]),
    ({"gtin": "4006381333931\n"}, [("#/gtin", "gtin_digits")]),
    ({"gtin": "\uff14006381333931"}, [("#/gtin", "gtin_digits")]),
    ({"gtin": "40063813339"}, [("#/gtin", "gtin_length")]),
    ({"gtin": "4006381333932"}, [("#/gtin", "gtin_check_digit")]),
    ({"gtin": "00000000"}, [("#/gtin", "gtin_zeros")]),
    ({"name": "x" * 256}, [("#/name", "text")]),
    ({"name": "a\x07b"}, [("#/name", "text")]),
    ({"name": "a\nb"}, [("#/name", "text")]),
    ({"name": 5}, [("#/name", "invalid")]),
    ({"name": None}, [("#/name", "null")]),
    ({"description": "x" * 100_001}, [("#/description", "text")]),
    ({"brand": "x" * 256}, [("#/brand", "text")]),
    ({"gpc_brick_code": "1234567"}, [("#/gpc_brick_code", "invalid")]),
    ({"gpc_brick_code": "\uff11\uff12345678"}, [("#/gpc_brick_code", "invalid")]),
    ({"country_of_origin": "ZZ"}, [("#/country_of_origin", "country")]),
    ({"status": "gone"}, [("#/status", "invalid_choice")]),
    ({"metadata": []}, [("#/metadata", "invalid")]),
    (
        {"metadata": {"a/b": 1, "": "x"}},
        [("#/metadata/a~1b", "metadata"), ("#/metadata/", "metadata")],
    ),
    ({"metadata": {"a": None}}, [("#/metadata/a", "metadata")]),
    ({"metadata": {"a": "x" * 501}}, [("#/metadata/a", "metadata")]),
    ({"metadata": {"a" * 41: "x"}}, [("#/metadata/" + "a" * 41, "metadata")]),
    ({"metadata": {str(n): "x" for n in range(51)}}, [("#/metadata", "metadata")]),
    ({"nutrition": None}, [("#/nutrition", "null")]),
    ({"nutrition": []}, [("#/nutrition", "invalid")]),
    ({"nutrition": {"nutrients": {}}}, [("#/nutrition/nutrients", "not_a_list")]),
    (
        {"nutrition": {"nutrients": [{"name": "fat", "amount": "1", "unit": "g"}, {"name": ""}]}},
        [
            ("#/nutrition/nutrients/1/name", "blank"),
            ("#/nutrition/nutrients/1/amount", "required"),
            ("#/nutrition/nutrients/1/unit", "required"),
        ],
    ),
    *(
        (
            {"nutrition": {"nutrients": [{"name": "fat", "amount": amount, "unit": "g"}]}},
            [("#/nutrition/nutrients/0/amount", "amount")],
        )
        for amount in ("-1", "a lot", "1,5", -1, True, [], "1" * 41, 1e300)
    ),
    (
        {"nutrition": {"nutrients": [{"name": "a", "amount": 1, "unit": ""}] * 101}},
        [("#/nutrition/nutrients", "max_length")],
    ),
]


@pytest.mark.parametrize("number", range(len(INVALID_BODIES)))
def test_invalid_values_are_rejected_with_a_pointer(number: int) -> None:
    body, errors = INVALID_BODIES[number]
    organization = OrganizationFactory()
    if isinstance(body, dict) and body and "gtin" not in body:
        body = {"gtin": gtin(1), **body}
    response = send(editor_of(organization), "post", products_path(organization), body)
    assert errors_of(response) == errors
    assert all(error["detail"].endswith(".") for error in problem(response)["errors"])
    assert not Product.objects.exists()


@time_machine.travel(NOON, tick=False)
def test_patch_changes_only_given_fields() -> None:
    organization = OrganizationFactory()
    client, path = editor_of(organization), f"{products_path(organization)}/{gtin(1)}"
    before = send(client, "post", products_path(organization), COMPLETE_PRODUCT).json()
    with time_machine.travel(NOON + datetime.timedelta(hours=1), tick=False):
        given = {"name": "Oat", "brand": "", "nutrition": {"serving_size": "1 cup"}}
        response = send(client, "patch", path, given)
    after = {
        **before,
        "name": "Oat",
        "brand": "",
        "nutrition": {"serving_size": "1 cup", "nutrients": []},
        "percentage": 50,
        "facts": {**before["facts"], "brand": False, "nutrition": False},
        "updated_at": response.json()["updated_at"],
    }
    assert (response.status_code, response.json()) == (200, after)
    assert after["updated_at"] > before["updated_at"]
    assert client.get(path).json() == after
    assert assert_exact(organization).avg_completeness == 50


def test_metadata_is_merged_and_null_removes_a_key() -> None:
    organization = OrganizationFactory()
    product = ProductFactory(
        organization=organization, metadata={"a": "1", "b": "2", **{f"k{n}": "" for n in range(47)}}
    )
    client, path = editor_of(organization), f"{products_path(organization)}/{product.gtin}"
    change = {"metadata": {"a": None, "b": "3", "c": "4", "unknown": None}}
    merged = send(client, "patch", path, change).json()["metadata"]
    assert {k: v for k, v in merged.items() if len(k) == 1} == {"b": "3", "c": "4"}
    assert send(client, "patch", path, {"metadata": {"d": "5"}}).status_code == 200
    rejected = send(client, "patch", path, {"metadata": {"e": "6"}})
    assert errors_of(rejected) == [("#/metadata", "metadata")]
    assert send(client, "patch", path, {"metadata": {"e": "6", "d": None}}).status_code == 200


@time_machine.travel(NOON, tick=False)
@pytest.mark.parametrize(
    "body",
    [{}, {"name": "Oat drink"}, {"metadata": {"nothing": None}}, COMPLETE_PRODUCT, READ_ONLY],
)
def test_patch_without_changes_does_not_write_the_row(body: dict[str, Any]) -> None:
    organization = OrganizationFactory()
    client, path = editor_of(organization), f"{products_path(organization)}/{gtin(1)}"
    before = send(client, "post", products_path(organization), COMPLETE_PRODUCT).json()
    with time_machine.travel(NOON + datetime.timedelta(hours=1), tick=False):
        response = send(client, "patch", path, body)
    assert (response.status_code, response.json()) == (200, before)
    assert client.get(path).json() == before
    assert_exact(organization)


@time_machine.travel(NOON, tick=False)
def test_post_ignores_read_only_fields() -> None:
    one, other = OrganizationFactory(), OrganizationFactory()
    plain = send(editor_of(one), "post", products_path(one), COMPLETE_PRODUCT).json()
    posted = send(
        editor_of(other), "post", products_path(other), {**READ_ONLY, **COMPLETE_PRODUCT}
    ).json()
    different = {"id", "created_at", "updated_at"}
    assert {k: v for k, v in posted.items() if k not in different} == {
        k: v for k, v in plain.items() if k not in different
    }
    assert posted["id"] != READ_ONLY["id"]
    assert posted["created_at"] != READ_ONLY["created_at"]
    assert_exact(other)


def test_patch_rejects_another_gtin_and_accepts_the_same() -> None:
    organization = OrganizationFactory()
    ProductFactory(organization=organization, gtin=gtin(1))
    client, path = editor_of(organization), f"{products_path(organization)}/{gtin(1)}"
    assert send(client, "patch", path, {"gtin": gtin(1)[1:]}).status_code == 200
    assert errors_of(send(client, "patch", path, {"gtin": gtin(2)})) == [("#/gtin", "immutable")]
    assert Product.objects.get().gtin == gtin(1)


def test_deleting_a_product_deletes_everything_in_it() -> None:
    organization = OrganizationFactory()
    product = ProductFactory(organization=organization, described=True)
    ProductImageFactory(product=product)
    OfferFactory(product=product, url_status="broken")
    CertificationAssignmentFactory(product=product)
    kept = ProductFactory(organization=organization)
    client, path = editor_of(organization), f"{products_path(organization)}/{product.gtin}"
    response = client.delete(path)
    assert (response.status_code, response.content) == (204, b"")
    for method in ("get", "patch", "delete"):
        assert send(client, method, path, {}).status_code == 404
    assert list(Product.objects.all()) == [kept]
    numbers = assert_exact(organization)
    assert (numbers.total_products, numbers.active_offers, numbers.broken_offers) == (1, 0, 0)


@pytest.mark.parametrize("method", ["get", "patch", "delete"])
@pytest.mark.parametrize("name", [gtin(2), "4006381333932", "x", "%00", "0" * 14])
def test_unknown_product_is_not_found_with_any_body(method: str, name: str) -> None:
    organization = OrganizationFactory()
    ProductFactory(organization=organization, gtin=gtin(1))
    ProductFactory(gtin=gtin(2))
    path = f"{products_path(organization)}/{name}"
    response = send(editor_of(organization), method, path, {"name": 5})
    assert (response.status_code, problem(response)["error_code"]) == (404, "not_found")


def test_body_other_than_json_is_rejected() -> None:
    organization = OrganizationFactory()
    ProductFactory(organization=organization, gtin=gtin(1))
    client = editor_of(organization)
    for method, path in (
        ("post", products_path(organization)),
        ("patch", f"{products_path(organization)}/{gtin(1)}"),
    ):
        form = getattr(client, method)(path, "gtin=1", content_type="text/plain")
        assert (form.status_code, problem(form)["status"]) == (415, 415)
        broken = getattr(client, method)(path, '{"gtin":', content_type="application/json")
        assert (broken.status_code, problem(broken)["status"]) == (400, 400)


def statements(write: Callable[[], Any], status: int) -> list[str]:
    with CaptureQueriesContext(connection) as captured:
        assert write().status_code == status
    return [query["sql"].split()[0] for query in captured.captured_queries]


def test_writes_use_a_constant_number_of_queries() -> None:
    organization = OrganizationFactory()
    client, path = editor_of(organization), products_path(organization)
    # Key with organization, rule and rate limit.
    key_query = ["WITH"]
    # The test's savepoint instead of the transaction, then the lock timeout.
    begun = ["SAVEPOINT", "SET"]
    for size in (0, 40):
        for product in ProductFactory.create_batch(size, organization=organization):
            ProductImageFactory(product=product)
        body = {**COMPLETE_PRODUCT, "gtin": gtin(size + 20_002), "brand": f"Brand {size}"}
        # Find and create the brand (in a savepoint), create the product and read it back.
        made = ["SELECT", "SAVEPOINT", "INSERT", "RELEASE", "INSERT", "SELECT"]
        found = statements(lambda b=body: send(client, "post", path, b), 201)
        assert found == [*key_query, *begun, *made, "RELEASE"]
        one = f"{path}/{body['gtin']}"
        assert statements(lambda p=one: client.get(p), 200) == [*key_query, "SELECT"]
        # Find the product, then lock, read, update and read it back.
        found = statements(lambda p=one: send(client, "patch", p, {"name": "New"}), 200)
        assert found == [
            *key_query,
            "SELECT",
            *begun,
            *["SELECT"] * 2,
            "UPDATE",
            "SELECT",
            "RELEASE",
        ]
        found = statements(lambda p=one: send(client, "patch", p, {"name": "New"}), 200)
        assert found == [*key_query, "SELECT", *begun, *["SELECT"] * 2, "RELEASE"]
        for image in range(size):
            ProductImageFactory(product=Product.objects.get(gtin=body["gtin"]), title=str(image))
        found = statements(lambda p=one: client.delete(p), 204)
        assert found == [*key_query, *begun, *["SELECT"] * 2, "DELETE", "RELEASE"]
    # With an idempotency key: claim it, store the response, delete old ones.
    found = statements(
        lambda: send(client, "post", path, {"gtin": gtin(20_001)}, **{"Idempotency-Key": "k"}), 201
    )
    kept = ["INSERT", "INSERT", "SELECT", "UPDATE", "DELETE"]
    assert found == [*key_query, *begun, *kept, "RELEASE"]
    assert_exact(organization)


@pytest.mark.django_db(transaction=True)
def test_concurrent_patches_are_both_kept() -> None:
    organization = OrganizationFactory()
    ProductFactory(organization=organization, gtin=gtin(1), name="")
    path = f"{products_path(organization)}/{gtin(1)}"
    client = editor_of(organization)
    with sessions(4) as opened:
        waiting = [
            session.start(
                lambda n=n: send(client, "patch", path, {"metadata": {f"k{n}": "x"}}).status_code
            )
            for n, session in enumerate(opened)
        ]
        assert [future.result(timeout=30) for future in waiting] == [200] * 4
    assert Product.objects.get().metadata == {f"k{n}": "x" for n in range(4)}
    assert_exact(organization)


@pytest.mark.django_db(transaction=True)
def test_concurrent_duplicate_products_are_one_and_a_conflict() -> None:
    organization = OrganizationFactory()
    client, path = editor_of(organization), products_path(organization)
    with sessions(4) as opened:
        made = [
            session.start(
                lambda: send(client, "post", path, {"gtin": gtin(1), "brand": "New"}).status_code
            )
            for session in opened
        ]
        assert sorted(future.result(timeout=30) for future in made) == [201, 409, 409, 409]
    assert Brand.objects.count() == 1
    assert assert_exact(organization).total_products == 1
