"""HTTP clients of the API, and helpers to read their responses."""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext

from closient.accounts.api_keys import create_api_key
from closient.accounts.models import ApiKey, ApiKeyKind, ApiKeyRole, Organization, User
from closient.db.ids import format_id
from closient.text import key_format

API = "/dashboard/api/v1"
NO_LIMIT = 1_000_000
# `pagination` of a list with one row.
ONE_ROW = {
    "page": 1,
    "page_size": 25,
    "total_count": 1,
    "total_pages": 1,
    "has_next": False,
    "has_previous": False,
    "next_after": None,
}


def stats_path(organization: Organization) -> str:
    return f"{API}/stats/{format_id(organization.id)}"


def products_path(organization: Organization) -> str:
    return f"{API}/trade-items/{format_id(organization.id)}"


def completeness_path(organization: Organization, gtin: str) -> str:
    return f"{API}/trade-items/{format_id(organization.id)}/{gtin}/completeness"


def key_of(holder: Organization | User, **fields: Any) -> str:
    """Return the text of a new key of an organization or a user."""
    fields.setdefault("name", "Test")
    if isinstance(holder, User):
        return create_api_key(user=holder, kind=ApiKeyKind.USER, **fields)[1]
    return create_api_key(organization=holder, **fields)[1]


def client_of(holder: Organization | User, **fields: Any) -> Client:
    """Return a client that sends a new key of an organization or a user.

    The key was just used, so the next request does not update `last_used_at`.
    """
    text = key_of(holder, **fields)
    ApiKey.objects.filter(digest=key_format.digest(text)).update(last_used_at=Now())
    return Client(headers={"X-API-Key": text})


def editor_of(holder: Organization | User) -> Client:
    """Return a client that sends a new key with write access."""
    return client_of(holder, role=ApiKeyRole.EDITOR)


def browser_of(user: User) -> Client:
    """Return a client with a session of a user."""
    client = Client()
    client.force_login(user)
    return client


def times_of(row: Any) -> dict[str, str]:
    """Return a row's `created_at` and `updated_at` as in responses."""
    stored = type(row).objects.get(pk=row.pk)
    return {
        name: getattr(stored, name).isoformat().replace("+00:00", "Z")
        for name in ("created_at", "updated_at")
    }


def problem(response: Any) -> dict[str, Any]:
    """Check the variable members of a problem, and return the others."""
    assert response.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["status"] == response.status_code
    assert body["request_id"] == response.headers["X-Request-ID"]
    assert body["timestamp"].endswith("Z")
    return {k: v for k, v in body.items() if k not in {"request_id", "timestamp", "instance"}}


def errors_of(response: Any) -> list[tuple[str, str]]:
    """Return pointer and code of each error of a validation error (422)."""
    assert response.status_code == 422, response.content
    return [(error["pointer"], error["code"]) for error in problem(response)["errors"]]


def queries_of(client: Client, path: str, **kwargs: Any) -> tuple[Any, list[str]]:
    """Return the response to GET, and the SQL of its queries."""
    with CaptureQueriesContext(connection) as captured:
        response = client.get(path, **kwargs)
    return response, [query["sql"] for query in captured.captured_queries]
