"""What is the service's to say, said by a client: nothing of it happens, in any operation."""

from __future__ import annotations

import re
from typing import Any

import pytest

from catalog.models import Product
from tests.clients import client_of
from tests.operations import OPERATIONS, World, call, documented, schemas, world
from tests.test_api_matrix import rows

# Columns that no answer shows, and names under which a serializer could let them in.
HIDDEN = {
    "pk": 1,
    "organization": "KwSysDpxcBU9FNhGkn2dCf",
    "organization_id": "KwSysDpxcBU9FNhGkn2dCf",
    "product": "KwSysDpxcBU9FNhGkn2dCf",
    "product_id": "KwSysDpxcBU9FNhGkn2dCf",
    "brand_id": "KwSysDpxcBU9FNhGkn2dCf",
    "certification_id": "KwSysDpxcBU9FNhGkn2dCf",
    "user": "KwSysDpxcBU9FNhGkn2dCf",
    "user_id": "KwSysDpxcBU9FNhGkn2dCf",
    "digest": "0" * 64,
    "static_facts": 511,
    "facts": 511,
    "image_count": 99,
    "active_offer_count": 99,
    "certified_during": "(,)",
    "file": "other.png",
    "external_url": "https://images.example.com/other.png",
    "last_used_at": "2001-01-01T00:00:00Z",
}
# What differs from one new row to the next.
ITS_OWN = {"id", "key", "prefix", "created", "created_at", "updated_at", "image_url"}
BODIES = ("application/json", "multipart/form-data")
WRITING = {
    name: operation
    for name, operation in documented()
    if any(kind in operation.get("requestBody", {}).get("content", {}) for kind in BODIES)
}


def properties(content: dict[str, Any]) -> dict[str, Any]:
    """Return the properties of a body or an answer by name."""
    (described,) = content.values()
    name = described["schema"]["$ref"].rsplit("/", 1)[1]
    named: dict[str, Any] = schemas()[name]["properties"]
    return named


def another(schema: dict[str, Any]) -> Any:
    """Return a value of a schema's type that no row of the tests has."""
    if schema.get("format") == "date-time":
        return "2001-01-01T00:00:00Z"
    kinds = schema.get("type", "object")
    kind = kinds if isinstance(kinds, str) else kinds[0]
    chosen: dict[str, Any] = {
        "string": "KwSysDpxcBU9FNhGkn2dCf",
        "integer": 97,
        "number": 0.97,
        "boolean": True,
        "array": ["name"],
        "object": {"name": 1},
    }
    return chosen[kind]


def not_the_clients(name: str) -> dict[str, Any]:
    """Return a value for each field that the answer of an operation has and its body has not."""
    operation = WRITING[name]
    (answer,) = (a for status, a in operation["responses"].items() if status < "300")
    sent = properties(operation["requestBody"]["content"])
    told = properties(answer["content"])
    return {field: another(schema) for field, schema in told.items() if field not in sent}


@pytest.fixture(autouse=True)
def _media(settings: Any, tmp_path: Any) -> None:
    settings.MEDIA_ROOT = tmp_path


@pytest.fixture
def mine() -> World:
    return world()


# A field that a change lets the client set would silently leave the tests below.
THE_SERVICES = {
    "POST /organizations/{organization_id}/api-keys": {
        "created_at",
        "id",
        "is_active",
        "key",
        "last_used_at",
        "prefix",
    },
    "PATCH /organizations/{organization_id}/api-keys/{key_id}": {
        "created_at",
        "id",
        "kind",
        "last_used_at",
        "prefix",
    },
    "POST /organizations/{organization_id}/api-keys/{key_id}/rotate": {
        "created_at",
        "id",
        "is_active",
        "key",
        "kind",
        "last_used_at",
        "limit_per_day",
        "limit_per_minute",
        "name",
        "prefix",
        "role",
    },
    "POST /certifications/{organization_id}": {"id", "is_active"},
    "PATCH /certifications/{organization_id}/{assignment_id}": {"id", "is_active"},
    "POST /offers/{organization_id}": {
        "http_status",
        "id",
        "url_checked_at",
        "url_detail",
        "url_failing_since",
        "url_status",
    },
    "PATCH /offers/{organization_id}/{offer_id}": {
        "http_status",
        "id",
        "url_checked_at",
        "url_detail",
        "url_failing_since",
        "url_status",
    },
    "PUT /stats/{organization_id}/rule": {"is_default"},
    "POST /trade-items/{organization_id}": {
        "created_at",
        "facts",
        "id",
        "percentage",
        "updated_at",
    },
    "PATCH /trade-items/{organization_id}/{gtin}": {
        "created_at",
        "facts",
        "id",
        "percentage",
        "updated_at",
    },
    "POST /trade-items/{organization_id}/{gtin}/images": {
        "created",
        "height",
        "id",
        "image_url",
        "priority",
        "width",
    },
    "PATCH /trade-items/{organization_id}/{gtin}/images/{image_id}": {
        "created",
        "height",
        "id",
        "image_url",
        "priority",
        "width",
    },
    "PUT /trade-items/{organization_id}/{gtin}/images/order": {"data"},
}


def test_fields_that_are_not_the_clients_are_known() -> None:
    known = {re.sub("/[a-z]+/api/v1", "", name): set(not_the_clients(name)) for name in WRITING}
    assert known == THE_SERVICES


@pytest.mark.django_db
@pytest.mark.parametrize("name", [name for name in WRITING if name.startswith("PATCH")])
def test_change_of_what_is_not_the_clients_changes_nothing(name: str, mine: World) -> None:
    client = client_of(mine.organization, role="manager")
    call(client, name, mine.ids, {})
    before = rows()
    response = call(client, name, mine.ids, {**HIDDEN, **not_the_clients(name)})
    assert response.status_code == 200, response.content
    assert rows() == before
    assert response.json() == call(client, name, mine.ids, {}).json()


@pytest.mark.django_db
@pytest.mark.parametrize("name", [name for name in WRITING if not name.startswith("PATCH")])
def test_new_row_takes_only_what_is_the_clients(name: str, mine: World) -> None:
    twin = world(gtin=mine.product.gtin)
    plain = call(client_of(twin.organization, role="manager"), name, twin.ids)
    body = OPERATIONS[name].body(mine.ids)
    posted = {
        field: str(value) if OPERATIONS[name].is_form else value
        for field, value in {**HIDDEN, **not_the_clients(name)}.items()
        if field not in body
    }
    client = client_of(mine.organization, role="manager")
    stuffed = call(client, name, mine.ids, {**body, **posted})
    assert stuffed.status_code == plain.status_code == OPERATIONS[name].status, stuffed.content
    assert shared(stuffed.json()) == shared(plain.json())
    for field, value in posted.items():
        assert stuffed.json().get(field) != value or plain.json().get(field) == value, field
    # Of the other organization, nothing has changed hands.
    assert Product.objects.filter(organization=twin.organization).count() == (
        Product.objects.filter(organization=mine.organization).count()
    )


def shared(value: Any) -> Any:
    """Return an answer without what differs from one new row to the next."""
    if isinstance(value, dict):
        return {name: shared(inner) for name, inner in value.items() if name not in ITS_OWN}
    return [shared(inner) for inner in value] if isinstance(value, list) else value
