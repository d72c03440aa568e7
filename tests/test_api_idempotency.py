"""The Idempotency-Key of POST: repeated requests create one row and return one response."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest
import time_machine
from django.test import Client
from django.utils import timezone

from catalog.editing import create_product
from catalog.models import Product
from closient.accounts.models import MemberRole, Organization
from closient.http.models import IdempotencyKey
from tests.clients import API, editor_of, problem, products_path
from tests.counting import assert_exact
from tests.factories import MembershipFactory, OrganizationFactory, ProductFactory, gtin
from tests.sessions import sessions

pytestmark = pytest.mark.django_db

KEY = "5f0c1f3e-2f7b-4f0e-9b39-7a4f3c1d2e10"


def post(client: Client, path: str, body: Any, key: str | None = KEY) -> Any:
    headers = {"Idempotency-Key": key} if key is not None else {}
    return client.post(path, json.dumps(body), content_type="application/json", headers=headers)


def replayed(response: Any) -> str | None:
    return response.headers.get("Idempotency-Replayed")


def test_repeated_request_returns_the_first_response() -> None:
    organization = OrganizationFactory()
    client, path = editor_of(organization), products_path(organization)
    first = post(client, path, {"gtin": gtin(1), "name": "Oat", "metadata": {"ä": "ö"}})
    assert (first.status_code, replayed(first)) == (201, None)
    # Later changes of the product do not matter, nor does the order of members.
    Product.objects.update(name="Rye")
    again = post(client, path, {"metadata": {"ä": "ö"}, "name": "Oat", "gtin": gtin(1)})
    assert (again.status_code, again.content, replayed(again)) == (201, first.content, "true")
    assert again.headers["Location"] == first.headers["Location"]
    assert again.headers["Content-Type"] == first.headers["Content-Type"]
    # The organization's id as a UUID is the same path.
    spelled = post(
        client,
        f"{API}/trade-items/{organization.id}",
        {"gtin": gtin(1), "name": "Oat", "metadata": {"ä": "ö"}},
    )
    assert (spelled.content, replayed(spelled)) == (first.content, "true")
    Product.objects.all().delete()
    assert replayed(post(client, path, {"gtin": gtin(1), "name": "Oat", "metadata": {"ä": "ö"}}))
    assert assert_exact(organization).total_products == 0


def test_reused_key_with_another_body_is_a_conflict() -> None:
    organization = OrganizationFactory()
    client, path = editor_of(organization), products_path(organization)
    assert post(client, path, {"gtin": gtin(1)}).status_code == 201
    response = post(client, path, {"gtin": gtin(2)})
    assert response.status_code == 409
    assert problem(response) == {
        "type": "/docs/errors/conflict",
        "title": "Conflict",
        "status": 409,
        "detail": "This Idempotency-Key came with another body before: take a new one for a new "
        "request.",
        "error_code": "conflict",
        "retryable": False,
    }
    assert assert_exact(organization).total_products == 1


def test_requests_without_a_key_are_independent() -> None:
    organization = OrganizationFactory()
    client, path = editor_of(organization), products_path(organization)
    assert post(client, path, {"gtin": gtin(1)}, None).status_code == 201
    assert post(client, path, {"gtin": gtin(1)}, None).status_code == 409
    assert not IdempotencyKey.objects.exists()


def test_failed_request_stores_no_key() -> None:
    organization = OrganizationFactory()
    client, path = editor_of(organization), products_path(organization)
    ProductFactory(organization=organization, gtin=gtin(1))
    assert post(client, path, {"gtin": gtin(1)}).status_code == 409
    assert post(client, path, {"gtin": "1"}).status_code == 422
    assert not IdempotencyKey.objects.exists()
    assert post(client, path, {"gtin": gtin(2)}).status_code == 201


def test_key_is_scoped_to_caller_path_and_organization() -> None:
    organization, other = OrganizationFactory(), OrganizationFactory()
    path = products_path(organization)
    member = MembershipFactory(organization=organization, role=MemberRole.EDITOR).user
    session = Client()
    session.force_login(member)
    clients = [editor_of(organization), editor_of(organization), editor_of(member), session]
    for number, client in enumerate(clients):
        response = post(client, path, {"gtin": gtin(number)})
        assert (response.status_code, replayed(response)) == (201, None)
    assert post(editor_of(other), products_path(other), {"gtin": gtin(9)}).status_code == 201
    assert IdempotencyKey.objects.count() == 5
    assert post(clients[0], products_path(other), {"gtin": gtin(0)}).status_code == 404


@pytest.mark.parametrize("key", ["", "x" * 256, "caf\u00e9", "tab\tkey"])
def test_invalid_key_is_rejected(key: str) -> None:
    organization = OrganizationFactory()
    response = post(editor_of(organization), products_path(organization), {"gtin": gtin(1)}, key)
    assert response.status_code == 422
    assert problem(response)["errors"] == [
        {
            "pointer": "#/header/Idempotency-Key",
            "code": "idempotency_key",
            "detail": "A key has 1 to 255 printable ASCII characters.",
        }
    ]
    assert not Product.objects.exists()


def test_key_is_replaced_after_a_day() -> None:
    organization = OrganizationFactory()
    client, path = editor_of(organization), products_path(organization)
    start = timezone.now()
    day = datetime.timedelta(hours=24)
    assert post(client, path, {"gtin": gtin(1)}).status_code == 201
    with time_machine.travel(start + day - datetime.timedelta(minutes=1), tick=False):
        assert replayed(post(client, path, {"gtin": gtin(1)})) == "true"
        assert post(client, path, {"gtin": gtin(2)}).status_code == 409
    with time_machine.travel(start + day + datetime.timedelta(minutes=1), tick=False):
        response = post(client, path, {"gtin": gtin(2)})
        assert (response.status_code, replayed(response)) == (201, None)
        assert replayed(post(client, path, {"gtin": gtin(2)})) == "true"
    assert IdempotencyKey.objects.count() == 1


def test_expired_keys_are_deleted_by_later_writes() -> None:
    organization = OrganizationFactory()
    client, path = editor_of(organization), products_path(organization)
    for number in range(5):
        post(client, path, {"gtin": gtin(number)}, f"old {number}")
    with time_machine.travel(timezone.now() + datetime.timedelta(hours=25), tick=False):
        post(client, path, {"gtin": gtin(9)}, "new")
    assert list(IdempotencyKey.objects.values_list("key", flat=True)) == ["new"]


def test_keys_are_deleted_with_their_organization() -> None:
    organization = OrganizationFactory()
    post(editor_of(organization), products_path(organization), {"gtin": gtin(1)})
    Organization.objects.filter(pk=organization.pk).delete()
    assert not IdempotencyKey.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_concurrent_requests_write_once_and_return_the_same_response() -> None:
    organization = OrganizationFactory()
    client, path = editor_of(organization), products_path(organization)
    with sessions(8) as opened:
        sent = [
            session.start(lambda: post(client, path, {"gtin": gtin(1), "brand": "New"}))
            for session in opened
        ]
        responses = [future.result(timeout=30) for future in sent]
    assert [response.status_code for response in responses] == [201] * 8
    assert len({response.content for response in responses}) == 1
    assert sorted(str(replayed(response)) for response in responses) == ["None"] + ["true"] * 7
    assert assert_exact(organization).total_products == 1


@pytest.mark.django_db(transaction=True)
def test_second_request_waits_for_the_first_and_runs_if_it_fails() -> None:
    organization = OrganizationFactory()
    client, path = editor_of(organization), products_path(organization)
    post(client, path, {"gtin": gtin(0)}, "for its shape")
    shape = IdempotencyKey.objects.get()
    for outcome, is_replayed in (("commit", True), ("rollback", False)):
        body = {"gtin": gtin(len(outcome))}
        post(client, path, body, f"like {outcome}")
        like = IdempotencyKey.objects.get(key=f"like {outcome}")
        Product.objects.filter(gtin=body["gtin"]).delete()
        with sessions(2) as (first, second):
            first.begin()

            def write(like: Any = like, body: Any = body, outcome: str = outcome) -> None:
                like.pk, like.key = None, outcome
                like.save(force_insert=True)
                create_product(organization.id, body)

            first.run(write)
            waiting = second.start(lambda b=body, o=outcome: post(client, path, b, o))
            second.wait_until_blocked()
            assert not waiting.done()
            first.end(outcome)
            response = waiting.result(timeout=30)
        assert response.status_code == 201
        assert (replayed(response) == "true") is is_replayed
        assert Product.objects.filter(gtin=body["gtin"]).count() == 1
    assert shape.organization_id == organization.id
    assert_exact(organization)
