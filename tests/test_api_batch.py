"""Batches: rows are created or changed by their natural keys, with few queries."""

from __future__ import annotations

import datetime
import json
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any
from unittest.mock import ANY

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from catalog.models import Brand, Product
from certifications.models import Certification, CertificationAssignment
from closient.accounts.models import Organization
from closient.db.ids import format_id
from offers.models import Offer
from tests.clients import API, client_of, editor_of, problem
from tests.counting import assert_exact
from tests.factories import (
    CertificationAssignmentFactory,
    CertificationFactory,
    OfferFactory,
    ProductFactory,
    gtin,
)

RESOURCES = ("trade-items", "offers", "certifications")
TODAY = timezone.localdate()


def address(organization: Organization, resource: str) -> str:
    return f"{API}/{resource}/{format_id(organization.pk)}/batch"


def send(
    client: Client,
    organization: Organization,
    resource: str,
    items: Any,
    headers: dict[str, str] | None = None,
    **body: Any,
) -> Any:
    return client.post(
        address(organization, resource),
        json.dumps({"items": items, **body}),
        content_type="application/json",
        headers=headers or {},
    )


def written(index: int, result: str, row: Any) -> dict[str, Any]:
    return {"index": index, "result": result, "id": format_id(row.pk), "errors": []}


def rejected(index: int, *errors: tuple[str, str, str]) -> dict[str, Any]:
    found = [{"pointer": p, "code": code, "detail": detail} for p, code, detail in errors]
    return {"index": index, "result": "error", "errors": found}


def counts(**found: int) -> dict[str, int]:
    return {"created": 0, "updated": 0, "unchanged": 0, "error": 0, **found}


def times(*rows: Any) -> list[Any]:
    """Return what a write of rows would change."""
    return [type(row).objects.values("updated_at", "updated_by").get(pk=row.pk) for row in rows]


@pytest.mark.django_db
def test_batch_of_products_creates_changes_and_keeps(organization: Organization) -> None:
    client = client_of(organization, role="editor", name="Nightly")
    old = ProductFactory(
        organization=organization,
        described=True,
        name="Oat drink",
        metadata={"season": "summer", "shelf": "3"},
    )
    same = ProductFactory(organization=organization, name="Rye bread", net_content="500 g")
    before = times(old, same)
    response = send(
        client,
        organization,
        "trade-items",
        [
            {"gtin": gtin(900), "name": "Spelt flour", "brand": "Mühle", "metadata": {"a": "b"}},
            {"gtin": same.gtin, "name": "Rye bread", "net_content": "500 g"},
            {
                "gtin": old.gtin.lstrip("0"),
                "brand": "MÜHLE ",
                "metadata": {"shelf": None, "x": "y"},
            },
            {"gtin": gtin(901), "metadata": None, "created_at": "2001-01-01T00:00:00Z"},
        ],
    )
    new = Product.objects.get(gtin=gtin(900))
    bare = Product.objects.get(gtin=gtin(901))
    assert response.status_code == 200, response.content
    assert response.json() == {
        "counts": counts(created=2, updated=1, unchanged=1),
        "results": [
            written(0, "created", new),
            written(1, "unchanged", same),
            written(2, "updated", old),
            written(3, "created", bare),
        ],
    }
    brand = Brand.objects.get(name="Mühle")
    assert (new.name, new.brand, new.metadata) == ("Spelt flour", brand, {"a": "b"})
    assert (new.status, new.updated_by, new.created_at) == (
        "active",
        "API key Nightly",
        new.updated_at,
    )
    after = times(old, same)
    assert after[1] == before[1]
    assert after[0]["updated_at"] > before[0]["updated_at"]
    assert after[0]["updated_by"] == "API key Nightly"
    description = old.description
    old.refresh_from_db()
    # What the item does not name stays.
    assert (old.name, old.description, old.category) == ("Oat drink", description, "Groceries")
    assert (old.brand, old.metadata) == (brand, {"season": "summer", "x": "y"})
    assert assert_exact(organization).total_products == 4


@pytest.mark.django_db
def test_batch_of_offers_creates_changes_and_keeps(organization: Organization) -> None:
    client = editor_of(organization)
    product = ProductFactory(organization=organization)
    key = {"gtin": product.gtin, "retailer": "Example Market", "sku": "A1"}
    checked = {"url_status": "broken", "http_status": 404, "url_detail": "Gone.", "url_strikes": 3}
    moved = OfferFactory(
        product=product, retailer="Example Market", sku="A1", price="9.5", currency="EUR", **checked
    )
    cheaper = OfferFactory(
        product=product, retailer="Other", url="https://o.example.com", **checked
    )
    store = OfferFactory(product=product, retailer="Other", in_store=True)
    before = times(store)
    response = send(
        client,
        organization,
        "offers",
        [
            {**key, "url": "https://new.example.com/a"},
            {"gtin": product.gtin, "retailer": "Other", "price": "1.20", "currency": "EUR"},
            {
                "gtin": product.gtin,
                "channel": "in_store",
                "retailer": "Other",
                "store": store.store,
            },
            {"gtin": product.gtin, "channel": "in_store", "store": "New"},
            {"gtin": product.gtin, "url": "https://new.example.com/b", "status": "seasonal"},
        ],
    )
    in_store = Offer.objects.get(store="New")
    online = Offer.objects.get(status="seasonal")
    assert response.json() == {
        "counts": counts(created=2, updated=2, unchanged=1),
        "results": [
            written(0, "updated", moved),
            written(1, "updated", cheaper),
            written(2, "unchanged", store),
            written(3, "created", in_store),
            written(4, "created", online),
        ],
    }
    assert times(store) == before
    for offer in (moved, cheaper):
        offer.refresh_from_db()
    # A new URL is unchecked and due at once; another change keeps the check's result.
    assert (moved.url, moved.url_status, moved.http_status) == (
        "https://new.example.com/a",
        "unchecked",
        None,
    )
    assert (moved.url_detail, moved.url_strikes) == ("", 0)
    assert moved.url_check_at is not None
    assert moved.price == Decimal("9.5")
    assert (cheaper.url_status, cheaper.http_status, cheaper.price) == (
        "broken",
        404,
        Decimal("1.2"),
    )
    assert (in_store.url_status, in_store.url_check_at) == (None, None)
    assert (online.url_status, online.channel, online.retailer) == ("unchecked", "online", "")
    numbers = assert_exact(organization)
    assert (numbers.active_offers, numbers.broken_offers) == (4, 1)


@pytest.mark.django_db
def test_batch_of_certificates_creates_changes_and_keeps(organization: Organization) -> None:
    client = editor_of(organization)
    product = ProductFactory(organization=organization)
    organic = CertificationFactory(organization=organization, code="eu-organic", label="")
    soon = (TODAY + datetime.timedelta(days=30)).isoformat()
    renewed, same = (
        CertificationAssignmentFactory(
            product=product, certification=organic, certificate_number=number
        )
        for number in ("N1", "")
    )
    before = times(same)
    labeled = {"code": "eu-organic", "label": "EU Organic"}
    response = send(
        client,
        organization,
        "certifications",
        [
            {"gtin": product.gtin, "certification": "eu-organic", "certificate_number": "N1"}
            | {"expiry_date": soon},
            {"gtin": product.gtin, "certification": labeled},
            {"gtin": product.gtin, "certification": {"code": "fair", "body": "B"}},
            {"gtin": product.gtin, "certification": "fair", "certificate_number": "F2"},
        ],
    )
    fair, other = CertificationAssignment.objects.filter(certification__code="fair").order_by(
        "certificate_number"
    )
    assert response.json() == {
        "counts": counts(created=2, updated=1, unchanged=1),
        "results": [
            written(0, "updated", renewed),
            written(1, "unchanged", same),
            written(2, "created", fair),
            written(3, "created", other),
        ],
    }
    assert times(same) == before
    assert list(Certification.objects.order_by("code").values_list("code", "label", "body")) == [
        ("eu-organic", "EU Organic", ""),
        ("fair", "", "B"),
    ]
    assert assert_exact(organization).expiring_certifications == 1


UNKNOWN = gtin(99_999)
REQUIRED = "This field is required."


def wrong_items(product: Product) -> dict[str, tuple[Any, list[tuple[str, str, str]]]]:
    """Return for each resource an item that is not valid, and its errors without the item."""
    return {
        "trade-items": (
            {"gtin": "123", "names": "x", "status": "sold"},
            [
                ("gtin", "gtin_length", ANY),
                ("status", "invalid_choice", '"sold" is not a valid choice.'),
                ("names", "unknown_field", "Unknown field. Did you mean name?"),
            ],
        ),
        "offers": (
            {"gtin": UNKNOWN, "url": "https://shop.example.com/1"},
            [
                (
                    "gtin",
                    "unknown_gtin",
                    f"The organization has no product with the GTIN {UNKNOWN}: add it first.",
                )
            ],
        ),
        "certifications": (
            {
                "gtin": product.gtin,
                "certification": "never",
                "valid_from": "2026-02-01",
                "expiry_date": "2026-01-31",
            },
            [("expiry_date", "dates_reversed", "expiry_date cannot be before valid_from.")],
        ),
    }


def good_item(resource: str, product: Product) -> dict[str, Any]:
    return {
        "trade-items": {"gtin": gtin(800), "name": "New", "brand": "New brand"},
        "offers": {"gtin": product.gtin, "url": "https://shop.example.com/2"},
        "certifications": {"gtin": product.gtin, "certification": "new"},
    }[resource]


MODELS: dict[str, Any] = {
    "trade-items": Product,
    "offers": Offer,
    "certifications": CertificationAssignment,
}


@pytest.mark.django_db
@pytest.mark.parametrize("resource", RESOURCES)
def test_item_with_an_error_leaves_the_others(resource: str, organization: Organization) -> None:
    product = ProductFactory(organization=organization)
    wrong, errors = wrong_items(product)[resource]
    good = good_item(resource, product)
    client = editor_of(organization)
    response = send(client, organization, resource, [wrong, good, "no object", good, {}])
    assert response.status_code == 200
    body = response.json()
    assert body["counts"] == counts(created=1, error=4)
    assert body["results"][0] == rejected(
        0, *((f"#/items/0/{field}", code, detail) for field, code, detail in errors)
    )
    assert body["results"][1] == written(1, "created", MODELS[resource].objects.latest("id"))
    assert body["results"][2] == rejected(
        2, ("#/items/2", "invalid", "Invalid data. Expected a dictionary, but got str.")
    )
    (repeated,) = body["results"][3]["errors"]
    assert (repeated["pointer"], repeated["code"]) == ("#/items/3", "duplicate")
    assert repeated["detail"].startswith("Item 1 of the batch has the same GTIN")
    assert body["results"][4]["errors"][0] == {
        "pointer": "#/items/4/gtin",
        "code": "required",
        "detail": REQUIRED,
    }
    # An item with an error leaves nothing behind.
    assert not Certification.objects.filter(code="never").exists()
    assert_exact(organization)


@pytest.mark.django_db
@pytest.mark.parametrize("resource", RESOURCES)
def test_atomic_batch_with_an_error_writes_nothing(
    resource: str, organization: Organization
) -> None:
    product = ProductFactory(organization=organization)
    wrong, errors = wrong_items(product)[resource]
    good = good_item(resource, product)
    client = editor_of(organization)
    known = {Brand: 0, Certification: 0} | {m: m.objects.count() for m in MODELS.values()}
    key = {"Idempotency-Key": "night"}
    response = send(client, organization, resource, [good, wrong, 5], key, atomic=True)
    body = problem(response)
    assert (response.status_code, body["error_code"]) == (422, "validation_error")
    assert body["detail"] == "2 of 3 items are not valid: nothing was written."
    assert body["errors"] == [
        *(
            {"pointer": f"#/items/1/{field}", "code": code, "detail": detail}
            for field, code, detail in errors
        ),
        {
            "pointer": "#/items/2",
            "code": "invalid",
            "detail": "Invalid data. Expected a dictionary, but got int.",
        },
    ]
    assert {model: model.objects.count() for model in known} == known
    # A failed request does not use up its key.
    response = send(client, organization, resource, [good], key, atomic=True)
    assert response.json()["counts"] == counts(created=1)


@pytest.mark.django_db
def test_new_row_needs_what_a_changed_one_may_lack(organization: Organization) -> None:
    product = ProductFactory(organization=organization)
    OfferFactory(
        product=product, retailer="Known", url="https://shop.example.com/1", currency="EUR"
    )
    response = send(
        editor_of(organization),
        organization,
        "offers",
        [
            {"gtin": product.gtin, "retailer": "Known", "price": "1.00"},
            {"gtin": product.gtin, "retailer": "New", "price": "1.00"},
            {"gtin": product.gtin, "channel": "in_store", "price": "1.00"},
            {"gtin": product.gtin, "retailer": "Known", "store": "x", "url": ""},
        ],
    )
    body = response.json()
    assert body["counts"] == counts(updated=1, error=3)
    assert [[e["pointer"] for e in one["errors"]] for one in body["results"]] == [
        [],
        ["#/items/1/url"],
        ["#/items/2/currency"],
        ["#/items/3/url"],
    ]


@pytest.mark.django_db
def test_metadata_with_too_many_keys_is_an_error_of_the_item(organization: Organization) -> None:
    full = ProductFactory(
        organization=organization, metadata={f"key{number}": "x" for number in range(50)}
    )
    items = [
        {"gtin": full.gtin, "metadata": {"one_more": "x"}},
        {"gtin": gtin(700), "metadata": {f"key{number}": "x" for number in range(51)}},
    ]
    response = send(editor_of(organization), organization, "trade-items", items)
    assert response.json()["counts"] == counts(error=2)
    pointers = [one["errors"][0]["pointer"] for one in response.json()["results"]]
    assert pointers == ["#/items/0/metadata", "#/items/1/metadata"]


@pytest.mark.django_db
def test_keys_of_another_organization_are_not_found(organization: Organization) -> None:
    """The same GTINs, brands, codes and numbers exist in another organization."""
    foreign = ProductFactory(described=True)
    offer = OfferFactory(product=foreign)
    certificate = CertificationAssignmentFactory(product=foreign)
    before = times(foreign, offer, certificate)
    client = editor_of(organization)
    items: dict[str, Any] = {
        "offers": {"gtin": foreign.gtin, "retailer": offer.retailer, "url": offer.url},
        "certifications": {
            "gtin": foreign.gtin,
            "certification": certificate.certification.code,
            "certificate_number": certificate.certificate_number,
        },
    }
    for resource, item in items.items():
        (result,) = send(client, organization, resource, [item]).json()["results"]
        assert result["errors"][0]["code"] == "unknown_gtin"
    own = {"gtin": foreign.gtin, "name": "Own", "brand": foreign.brand_name}
    (result,) = send(client, organization, "trade-items", [own]).json()["results"]
    product = Product.objects.get(organization=organization)
    assert result == written(0, "created", product)
    assert (product.name, product.brand.organization) == ("Own", organization)
    for resource, item in items.items():
        (result,) = send(client, organization, resource, [item]).json()["results"]
        assert result["result"] == "created"
    assert times(foreign, offer, certificate) == before
    assert_exact(organization)
    assert_exact(foreign.organization)


@pytest.mark.django_db
@pytest.mark.parametrize("resource", RESOURCES)
@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({"items": [{}] * 1_001}, "#/items", "max_length"),
        ({"items": []}, "#/items", "empty"),
        ({"items": {"gtin": "1"}}, "#/items", "not_a_list"),
        ({"items": None}, "#/items", "null"),
        ({}, "#/items", "required"),
        ({"items": [{}], "atomic": "yes"}, "#/atomic", "invalid"),
        ({"items": [{}], "atomic": None}, "#/atomic", "null"),
        ({"items": [{}], "atomc": True}, "#/atomc", "unknown_field"),
        ([{}], "#", "invalid"),
        ("items", "#", "invalid"),
        (None, "#", "null"),
    ],
)
def test_body_that_is_no_batch_is_rejected(
    resource: str, body: Any, pointer: str, code: str, organization: Organization
) -> None:
    response = editor_of(organization).post(
        address(organization, resource), json.dumps(body), content_type="application/json"
    )
    assert response.status_code == 422
    assert [(e["pointer"], e["code"]) for e in problem(response)["errors"]] == [(pointer, code)]


@pytest.mark.django_db
def test_hostile_items_get_few_errors_each(organization: Organization) -> None:
    """A batch of wrong values gets an answer of limited size, and nothing is written."""
    names = {f"unknown{number}": 1 for number in range(500)}
    deep: Any = "x"
    for _ in range(20):
        deep = {"a": deep}
    items: list[Any] = [
        {"gtin": gtin(1), "metadata": {f"k{number}": number for number in range(500)}},
        {"gtin": gtin(2), **names},
        {"gtin": gtin(3), "nutrition": deep},
        {"gtin": {"$ne": 1}, "name": ["x"], "metadata": "x"},
        [[]],
        True,
    ]
    response = send(editor_of(organization), organization, "trade-items", items)
    assert response.json()["counts"] == counts(error=6)
    errors = [len(result["errors"]) for result in response.json()["results"]]
    assert errors == [10, 10, 1, 3, 1, 1]
    assert not Product.objects.exists()


@pytest.mark.django_db
def test_body_may_be_larger_than_others_and_has_a_limit(organization: Organization) -> None:
    client = editor_of(organization)
    item = {"gtin": gtin(1), "description": "x" * 90_000}
    items = [{**item, "gtin": gtin(number)} for number in range(50)]
    response = send(client, organization, "trade-items", items)
    assert response.json()["counts"] == counts(created=50)
    response = send(client, organization, "trade-items", items * 2)
    assert response.status_code == 413
    assert problem(response)["detail"] == (
        "The body of the request has more than 5,242,880 bytes: send less."
    )
    single = f"{API}/trade-items/{format_id(organization.pk)}"
    body = json.dumps({**item, "description": "x" * 2_000_000})
    response = client.post(single, body, content_type="application/json")
    assert problem(response)["detail"] == (
        "The body of the request has more than 1,048,576 bytes: send less."
    )
    # Nested too deep.
    text = '{"items": ' + "[" * 40 + "]" * 40 + "}"
    response = client.post(address(organization, "offers"), text, content_type="application/json")
    assert (response.status_code, problem(response)["error_code"]) == (400, "bad_request")


@pytest.mark.django_db
def test_repeated_batch_gets_the_first_answer(organization: Organization) -> None:
    client = editor_of(organization)
    items = [{"gtin": gtin(1), "name": "One"}, {"gtin": "1"}]
    key = {"Idempotency-Key": "2026-11-29 1"}
    first = send(client, organization, "trade-items", items, key)
    again = send(client, organization, "trade-items", items, key)
    assert first.json()["counts"] == counts(created=1, error=1)
    assert (again.status_code, again.json()) == (200, first.json())
    assert again.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers
    other = send(client, organization, "trade-items", items[:1], key)
    assert problem(other)["error_code"] == "conflict"
    # Without the key it is another batch, which changes nothing.
    third = send(client, organization, "trade-items", items)
    assert third.json()["counts"] == counts(unchanged=1, error=1)


def many_items(resource: str, products: list[Product], text: str) -> list[dict[str, Any]]:
    """Return an item for each product; texts differ between calls with another ``text``."""
    made: dict[str, Callable[[Product], dict[str, Any]]] = {
        "trade-items": lambda product: {
            "gtin": product.gtin,
            "name": text,
            "brand": f"Brand {product.gtin[-3:]} {text}",
        },
        "offers": lambda product: {
            "gtin": product.gtin,
            "sku": product.gtin,
            "url": f"https://shop.example.com/{text}",
        },
        "certifications": lambda product: {
            "gtin": product.gtin,
            "certification": {"code": f"c{product.gtin[-3:]}", "label": text},
            "issuing_body": text,
        },
    }
    return [made[resource](product) for product in products]


@pytest.mark.django_db
@pytest.mark.parametrize("resource", RESOURCES)
@pytest.mark.slow
def test_number_of_queries_does_not_depend_on_that_of_items(
    resource: str, organization: Organization
) -> None:
    products = ProductFactory.create_batch(300, organization=organization)
    client = editor_of(organization)

    def queries(items: list[dict[str, Any]], **expected: int) -> int:
        with CaptureQueriesContext(
            connection,
        ) as captured:
            response = send(client, organization, resource, items)
        assert response.json()["counts"] == counts(**expected)
        return len(captured)

    is_new = resource != "trade-items"
    written_as = "created" if is_new else "updated"
    few = queries(many_items(resource, products[:2], "a"), **{written_as: 2})
    most = queries(many_items(resource, products[2:], "a"), **{written_as: 298})
    changed = queries(many_items(resource, products, "b"), updated=300)
    again = queries(many_items(resource, products, "b"), unchanged=300)
    # The key with its rate limit, the transaction (savepoint, lock timeout, release), references,
    # rows, locks, new references (insert, count), inserts and updates: not all in each batch.
    assert most == few
    assert changed <= 12
    assert again < few
    assert_exact(organization)


@pytest.mark.django_db
@pytest.mark.parametrize("resource", RESOURCES)
def test_unchanged_rows_are_not_locked(resource: str, organization: Organization) -> None:
    products = ProductFactory.create_batch(3, organization=organization)
    client = editor_of(organization)
    items = many_items(resource, products, "a")
    send(client, organization, resource, items)
    table = MODELS[resource]._meta.db_table
    with CaptureQueriesContext(connection) as captured:
        send(client, organization, resource, items)
    statements = [query["sql"] for query in captured if table in query["sql"]]
    assert statements
    assert not [sql for sql in statements if not sql.startswith("SELECT") or " FOR " in sql]


def in_threads(*calls: Callable[[], Any]) -> list[Any]:
    """Run functions at the same time, each with its own connection."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        try:
            barrier.wait()
            return call()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(run, calls))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("resource", RESOURCES)
@pytest.mark.slow
def test_concurrent_batches_in_opposite_order_create_each_row_once(
    resource: str, organization: Organization
) -> None:
    products = ProductFactory.create_batch(80, organization=organization)
    client = editor_of(organization)
    items = [
        item if resource != "trade-items" else {**item, "gtin": gtin(500_000 + number)}
        for number, item in enumerate(many_items(resource, products, "a"))
    ]
    # Four batches of all items in two orders, and another round that changes them.
    for text in ("a", "b"):
        changed = [
            {
                name: f"{value}{text}" if name in ("name", "url", "issuing_body") else value
                for name, value in item.items()
            }
            for item in items
        ]
        responses = in_threads(
            *(
                lambda order=order: send(client, organization, resource, order)
                for order in (changed, changed[::-1]) * 2
            )
        )
        assert [response.status_code for response in responses] == [200] * 4
        found = Counter(
            (result["id"], result["result"]) for r in responses for result in r.json()["results"]
        )
        ids = {row_id for row_id, _ in found}
        assert len(ids) == 80
        # One of the batches has written a row; the others have found it as they want it.
        expected = "created" if text == "a" else "updated"
        assert found == Counter(
            {(i, expected): 1 for i in ids} | {(i, "unchanged"): 3 for i in ids}
        )
    assert_exact(organization)


@pytest.mark.django_db(transaction=True)
def test_concurrent_batches_of_different_values_end_as_one_of_them(
    organization: Organization,
) -> None:
    """Batches with inserts and updates of the same products' offers, in opposite order."""
    products = ProductFactory.create_batch(40, organization=organization)
    for product in products[::2]:
        OfferFactory(product=product, retailer="", sku=product.gtin)
    client = editor_of(organization)
    batches = {text: many_items("offers", products, text) for text in ("x", "y")}
    responses = in_threads(
        lambda: send(client, organization, "offers", batches["x"]),
        lambda: send(client, organization, "offers", batches["y"][::-1]),
    )
    assert [response.status_code for response in responses] == [200, 200]
    assert Offer.objects.count() == 40
    assert Offer.objects.values("url").distinct().count() == 1
    assert_exact(organization)


@pytest.mark.django_db(transaction=True)
def test_row_that_is_deleted_meanwhile_is_created_again(organization: Organization) -> None:
    """A row is locked by another transaction, which then deletes it."""
    product = ProductFactory(organization=organization)
    offer = OfferFactory(product=product, retailer="", sku="1", url="https://shop.example.com/old")
    client = editor_of(organization)
    item = {"gtin": product.gtin, "sku": "1", "url": "https://shop.example.com/new"}
    deleting = connection.copy()
    try:
        with deleting.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("DELETE FROM offers_offer WHERE id = %s", [offer.pk])
            with ThreadPoolExecutor(1) as threads:
                waiting = threads.submit(
                    in_threads, lambda: send(client, organization, "offers", [item])
                )
                wait_for_a_blocked_session(cursor)
                cursor.execute("COMMIT")
                (response,) = waiting.result()
    finally:
        deleting.close()
    assert response.json()["counts"] == counts(created=1)
    assert Offer.objects.get().url == "https://shop.example.com/new"
    assert_exact(organization)


def wait_for_a_blocked_session(cursor: Any) -> None:
    """Wait until another session waits for a lock."""
    for _ in range(2_000):
        cursor.execute("SELECT count(*), pg_sleep(0.005) FROM pg_locks WHERE NOT granted")
        if cursor.fetchone()[0]:
            return
    raise AssertionError("No session waits for a lock.")


@pytest.mark.django_db
def test_client_that_dies_halfway_repeats_everything(organization: Organization) -> None:
    """The second run of a script writes only what the first one has not."""
    client = editor_of(organization)
    products = ProductFactory.build_batch(50)
    items = many_items("trade-items", products, "a")
    batches = [items[start : start + 10] for start in range(0, 50, 10)]
    for batch in batches[:3]:
        send(client, organization, "trade-items", batch)
    before = dict(Product.objects.values_list("gtin", "updated_at"))
    found = Counter[str]()
    for batch in batches:
        found.update(send(client, organization, "trade-items", batch).json()["counts"])
    assert found == Counter(counts(created=20, unchanged=30))
    after = dict(Product.objects.values_list("gtin", "updated_at"))
    assert len(after) == 50
    assert {name: after[name] for name in before} == before
    assert_exact(organization)


@pytest.mark.django_db
def test_batch_counts_as_one_request(organization: Organization) -> None:
    client = editor_of(organization)
    items = [{"gtin": gtin(number)} for number in range(100)]
    first = send(client, organization, "trade-items", items)
    second = send(client, organization, "trade-items", items)
    left = [int(response.headers["RateLimit-Remaining"]) for response in (first, second)]
    assert left[0] - left[1] == 1


@pytest.mark.django_db
def test_viewer_gets_403_before_the_body_is_read(organization: Organization) -> None:
    response = send(client_of(organization), organization, "offers", "no list")
    assert (response.status_code, problem(response)["error_code"]) == (403, "forbidden")
