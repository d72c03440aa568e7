"""Fields that clients cannot set: read-only ones are ignored, all others are rejected."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.clients import API, client_of, problem
from tests.operations import OPERATIONS, SampleData, call, documented, sample_data, schemas
from tests.test_api_isolation import forget_use, rows

pytestmark = pytest.mark.usefixtures("media")

# Columns that no response contains, and names under which a serializer could set them.
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
    "secret": "x",
}
# What only the service says about an import.
OF_IMPORTS = {
    *("id", "source_id", "name", "size", "status", "detail", "found"),
    *("total", "created", "updated", "unchanged", "rejected", "gone", "problems"),
    *("saves_mapping", "suggested_mapping", "tables", "repairs", "preview", "problem_groups"),
    *("has_rejects", "rows_done", "bytes_done", "created_at", "started_at", "ended_at"),
}
# What only the request that creates an import says.
OF_NEW_IMPORTS = {
    *("layout", "retailer", "shop", "currency", "dry_run", "overwrite_blank", "url"),
}
# What only the service says about a bulk edit.
OF_BULK_EDITS = {
    *("id", "kind", "undoes", "status", "detail", "matched", "done", "changed", "completes"),
    *("average_gain", "created_at", "ended_at"),
}
BULK = tuple(
    f"POST /{resource}/{{organization_id}}/bulk"
    for resource in ("trade-items", "offers", "certifications")
)
# In a response of the operation, but not in the resource that its body describes.
NOT_IGNORED = {
    "POST /organizations/{organization_id}/api-keys": {"key"},
    "PUT /trade-items/{organization_id}/{gtin}/images/order": {"data"},
    **{
        f"POST /{resource}/{{organization_id}}/batch": {"counts", "results"}
        for resource in ("trade-items", "offers", "certifications")
    },
    # Their bodies say what to change, and are no bulk edits.
    **dict.fromkeys(BULK, OF_BULK_EDITS),
    # Their bodies say how to import, and are no imports.
    "POST /imports/{organization_id}": OF_IMPORTS,
    "POST /imports/{organization_id}/{import_id}/apply": OF_IMPORTS | OF_NEW_IMPORTS | {"mapping"},
    "POST /imports/{organization_id}/{import_id}/map": OF_IMPORTS
    | OF_NEW_IMPORTS
    | {"skip_bad_rows"},
}
# Fields that differ in each new row.
VARIABLE_FIELDS = {
    *("id", "key", "prefix", "created", "created_at", "updated_at", "image_url"),
    *("next_run_at", "ended_at"),
}
BODIES = ("application/json", "multipart/form-data")
WRITING = {
    name: operation
    for name, operation in documented()
    if any(kind in operation.get("requestBody", {}).get("content", {}) for kind in BODIES)
}


def properties(content: dict[str, Any]) -> dict[str, Any]:
    """Return the properties of a body or a response by name."""
    described = content.get("application/json") or next(iter(content.values()))
    name = described["schema"]["$ref"].rsplit("/", 1)[1]
    named: dict[str, Any] = schemas()[name]["properties"]
    return named


def other_value(schema: dict[str, Any]) -> Any:
    """Return a value of a schema's type that no test row has."""
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


def short_name(name: str) -> str:
    """Return the name of an operation without the common path prefix."""
    return re.sub("/[a-z]+/api/v1", "", name)


def ignored_fields(name: str) -> dict[str, Any]:
    """Return the read-only fields that a client may send back, which are ignored."""
    if name.endswith("/rotate"):
        # Its body describes the expiries of two keys, not a key.
        return {}
    rejected = NOT_IGNORED.get(short_name(name), set())
    return {f: value for f, value in read_only_fields(name).items() if f not in rejected}


def read_only_fields(name: str) -> dict[str, Any]:
    """Return a value for each field of an operation's response that is not in its body."""
    operation = WRITING[name]
    response = operation["responses"][min(operation["responses"])]
    sent = properties(operation["requestBody"]["content"])
    reported = properties(response["content"])
    return {field: other_value(schema) for field, schema in reported.items() if field not in sent}


OF_SOURCES = {
    *("id", "has_password", "state", "detail", "failures", "last_run_at", "next_run_at"),
    *("last_outcome", "last_import_id", "created_at", "updated_at"),
}
# Otherwise a field that becomes writable would silently drop out of the tests below.
READ_ONLY_FIELDS = {
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
    "POST /certifications/{organization_id}": {
        "created_at",
        "id",
        "is_active",
        "updated_at",
    },
    "PATCH /certifications/{organization_id}/{assignment_id}": {
        "created_at",
        "id",
        "is_active",
        "updated_at",
    },
    "POST /certifications/{organization_id}/{assignment_id}/attachments": {
        "created_at",
        "id",
        "media_type",
        "name",
        "size",
    },
    "POST /offers/{organization_id}": {
        "created_at",
        "updated_at",
        "http_status",
        "id",
        "url_checked_at",
        "url_detail",
        "url_failing_since",
        "url_status",
    },
    "PATCH /offers/{organization_id}/{offer_id}": {
        "created_at",
        "updated_at",
        "http_status",
        "id",
        "url_checked_at",
        "url_detail",
        "url_failing_since",
        "url_status",
    },
    "POST /imports/{organization_id}": OF_IMPORTS,
    "POST /imports/{organization_id}/{import_id}/apply": OF_IMPORTS | OF_NEW_IMPORTS | {"mapping"},
    "POST /imports/{organization_id}/{import_id}/map": OF_IMPORTS
    | OF_NEW_IMPORTS
    | {"skip_bad_rows"},
    "POST /sources/{organization_id}": OF_SOURCES,
    "PATCH /sources/{organization_id}/{source_id}": OF_SOURCES,
    "PUT /organizations/{organization_id}/allowed-origins": set(),
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
        "file_size",
        "height",
        "id",
        "image_url",
        "priority",
        "thumbnail_problem",
        "thumbnail_url",
        "width",
    },
    "PATCH /trade-items/{organization_id}/{gtin}/images/{image_id}": {
        "created",
        "file_size",
        "height",
        "id",
        "image_url",
        "priority",
        "thumbnail_problem",
        "thumbnail_url",
        "width",
    },
    "PUT /trade-items/{organization_id}/{gtin}/images/order": {"data"},
    "POST /trade-items/{organization_id}/batch": {"counts", "results"},
    "POST /offers/{organization_id}/batch": {"counts", "results"},
    "POST /certifications/{organization_id}/batch": {"counts", "results"},
    **dict.fromkeys(BULK, OF_BULK_EDITS),
}


def test_read_only_fields_are_listed() -> None:
    known = {short_name(name): set(read_only_fields(name)) for name in WRITING}
    assert known == READ_ONLY_FIELDS


@pytest.mark.django_db
@pytest.mark.parametrize("name", [name for name in WRITING if name.startswith("PATCH")])
def test_patch_of_read_only_fields_changes_nothing(name: str, own: SampleData) -> None:
    client = client_of(own.organization, role="manager")
    call(client, name, own.ids, {})
    before = rows()
    response = call(client, name, own.ids, ignored_fields(name))
    assert response.status_code == 200, response.content
    assert rows() == before
    assert response.json() == call(client, name, own.ids, {}).json()


@pytest.mark.django_db
@pytest.mark.parametrize("name", [name for name in WRITING if not name.startswith("PATCH")])
def test_post_ignores_read_only_fields(name: str, own: SampleData) -> None:
    twin = sample_data(gtin=own.product.gtin)
    plain = call(client_of(twin.organization, role="manager"), name, twin.ids)
    body = OPERATIONS[name].body(own.ids)
    posted = {
        field: str(value) if OPERATIONS[name].is_form else value
        for field, value in ignored_fields(name).items()
    }
    client = client_of(own.organization, role="manager")
    stuffed = call(client, name, own.ids, {**body, **posted})
    assert stuffed.status_code == plain.status_code == OPERATIONS[name].status, stuffed.content
    assert common_fields(stuffed.json()) == common_fields(plain.json())
    for field, value in posted.items():
        assert stuffed.json().get(field) != value or plain.json().get(field) == value, field


@pytest.mark.django_db
@pytest.mark.parametrize("name", WRITING)
def test_unknown_field_is_rejected(name: str, own: SampleData) -> None:
    client = client_of(own.organization, role="manager")
    writable = properties(WRITING[name]["requestBody"]["content"])
    shown = {**read_only_fields(name), **writable}
    hidden = {f: value for f, value in HIDDEN.items() if f not in shown}
    unknown = [*hidden, *(f for f in read_only_fields(name) if f not in ignored_fields(name))]
    body = OPERATIONS[name].body(own.ids)
    before = rows()
    for field in unknown:
        value = HIDDEN.get(field, "x")
        form = OPERATIONS[name].is_form
        if form:
            body = OPERATIONS[name].body(own.ids)
        sent = {**body, field: str(value) if form else value}
        details = problem(call(client, name, own.ids, sent))
        assert (details["status"], details["error_code"]) == (422, "validation_error")
        assert [(e["pointer"], e["code"]) for e in details["errors"]] == [
            (f"#/{field}", "unknown_field")
        ]
    after = rows()
    forget_use(before, after)
    assert after == before


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("name", "body", "pointer"),
    [
        ("POST {offers}", {"gtin": "{gtin}", "urll": "https://x.example.com"}, "#/urll"),
        ("PATCH {item}", {"nutrition": {"serving": "30 g"}}, "#/nutrition/serving"),
        (
            "PATCH {item}",
            {"nutrition": {"nutrients": [{"name": "fat", "amount": 1, "unit": "g", "per": "x"}]}},
            "#/nutrition/nutrients/0/per",
        ),
        (
            "POST {certifications}",
            {"gtin": "{gtin}", "certification": {"code": "x", "Label": "X"}},
            "#/certification/Label",
        ),
    ],
)
def test_unknown_field_is_rejected_with_a_pointer(
    name: str, body: dict[str, Any], pointer: str, own: SampleData
) -> None:
    method, resource = name.split()
    organization = own.ids["organization_id"]
    path = resource.format(
        offers=f"{API}/offers/{organization}",
        item=f"{API}/trade-items/{organization}/{own.product.gtin}",
        certifications=f"{API}/certifications/{organization}",
    )
    sent = json.dumps(body).replace("{gtin}", own.product.gtin)
    client = client_of(own.organization, role="manager")
    response = client.generic(method, path, sent, content_type="application/json")
    (error,) = (e for e in problem(response)["errors"] if e["code"] == "unknown_field")
    assert error["pointer"] == pointer
    assert error["detail"].startswith("Unknown field.")


@pytest.mark.django_db
def test_unknown_field_is_rejected_with_a_suggestion(own: SampleData) -> None:
    client = client_of(own.organization, role="manager")
    body = {"gtin": own.product.gtin, "urll": "https://x.example.com", "in_stock": True}
    path = f"{API}/offers/{own.ids['organization_id']}"
    errors = problem(client.post(path, body, "application/json"))["errors"]
    reported = {e["pointer"]: e["detail"] for e in errors if e["code"] == "unknown_field"}
    assert reported == {
        "#/urll": "Unknown field. Did you mean url?",
        "#/in_stock": "Unknown field. Use one of gtin, channel, retailer, store, "
        "sku, url, price, currency, status, metadata.",
    }


@pytest.mark.django_db
def test_error_lists_only_the_first_unknown_fields(own: SampleData) -> None:
    client = client_of(own.organization, role="manager")
    body = {f"unknown_{number}": 1 for number in range(20_000)}
    response = call(
        client, "PATCH /dashboard/api/v1/offers/{organization_id}/{offer_id}", own.ids, body
    )
    assert len(problem(response)["errors"]) == 10


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("read", "write"),
    [
        ("GET /dashboard/api/v1/trade-items/{organization_id}/{gtin}", "PATCH"),
        ("GET /dashboard/api/v1/offers/{organization_id}/{offer_id}", "PATCH"),
        ("GET /dashboard/api/v1/certifications/{organization_id}/{assignment_id}", "PATCH"),
        ("GET /dashboard/api/v1/trade-items/{organization_id}/{gtin}/images/{image_id}", "PATCH"),
        ("GET /dashboard/api/v1/stats/{organization_id}/rule", "PUT"),
    ],
)
def test_response_can_be_sent_back_unchanged(read: str, write: str, own: SampleData) -> None:
    client = client_of(own.organization, role="manager")
    shown = call(client, read, own.ids).json()
    name = read.replace("GET", write)
    assert name in WRITING
    response = call(client, name, own.ids, shown)
    assert response.status_code == 200, response.content
    differing = {"is_default"} if write == "PUT" else set()
    assert {k: v for k, v in response.json().items() if k not in differing} == {
        k: v for k, v in shown.items() if k not in differing
    }


def common_fields(value: Any) -> Any:
    """Return a response without the fields that differ in each new row."""
    if isinstance(value, dict):
        return {
            name: common_fields(inner)
            for name, inner in value.items()
            if name not in VARIABLE_FIELDS
        }
    return [common_fields(inner) for inner in value] if isinstance(value, list) else value
