"""The OpenAPI document: valid, complete, open to everyone; and the page that shows it."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.contrib.staticfiles import finders
from django.core.management import call_command
from django.test import Client
from openapi_spec_validator import OpenAPIV31SpecValidator

from catalog.completeness import FACTS
from closient.api.documents import document
from closient.api.problems import ERRORS
from dashboard.stats import Stats
from tests.clients import API


@pytest.fixture
def published() -> dict[str, Any]:
    """The document as a client gets it."""
    response = Client().get(f"{API}/openapi.json")
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/json"
    body: dict[str, Any] = response.json()
    return body


def operations(openapi: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in openapi["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_document_is_valid_openapi_3_1(published: dict[str, Any]) -> None:
    assert published["openapi"].startswith("3.1")
    OpenAPIV31SpecValidator(published).validate()
    assert json.loads(document()) == published


def test_document_is_made_without_a_warning() -> None:
    call_command("spectacular", "--validate", "--fail-on-warn", stdout=StringIO())


def test_every_operation_has_a_name_a_description_and_a_key(published: dict[str, Any]) -> None:
    seen = dict(operations(published))
    assert {
        "GET /dashboard/api/v1/stats/{organization_id}",
        "GET /dashboard/api/v1/trade-items/{organization_id}/{gtin}/completeness",
    } <= set(seen)
    ids = [operation["operationId"] for operation in seen.values()]
    assert len(set(ids)) == len(ids)
    for operation in seen.values():
        assert operation["summary"]
        assert operation["description"]
        assert operation["security"] == [{"ApiKey": []}, {"Session": []}]
    schemes = published["components"]["securitySchemes"]
    assert (schemes["ApiKey"]["in"], schemes["ApiKey"]["name"]) == ("header", "X-API-Key")
    assert (schemes["Session"]["in"], schemes["Session"]["name"]) == ("cookie", "sessionid")


def test_every_operation_documents_every_status_with_a_problem(published: dict[str, Any]) -> None:
    always = {"400", "401", "403", "404", "406", "413", "414", "429", "500", "503"}
    for name, operation in operations(published):
        answers = operation["responses"]
        assert always <= set(answers), name
        for status in (s for s in answers if int(s) >= 400):
            kind = answers[status]["$ref"].removeprefix("#/components/responses/")
            assert str(ERRORS[kind].status) == status
            answer = published["components"]["responses"][kind]
            content = answer["content"]["application/problem+json"]
            assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
            (example,) = content["examples"].values()
            assert example["value"]["error_code"] == kind
            assert "X-Request-ID" in answer["headers"]
    headers = published["components"]["responses"]["rate_limited"]["headers"]
    assert set(headers) == {
        "X-Request-ID",
        "RateLimit-Policy",
        "RateLimit-Limit",
        "RateLimit-Remaining",
        "RateLimit-Reset",
        "Retry-After",
    }


def test_every_field_and_parameter_is_described_with_an_example(published: dict[str, Any]) -> None:
    for name, schema in published["components"]["schemas"].items():
        for field, described in schema.get("properties", {}).items():
            assert described.get("description"), (name, field)
            is_container = described.get("type") == "array" or "allOf" in described
            is_reference = "$ref" in described or "oneOf" in described
            assert is_container or is_reference or described.get("examples"), (name, field)
    for name, operation in operations(published):
        for parameter in operation.get("parameters", []):
            assert parameter["description"], (name, parameter["name"])
            assert parameter["schema"]["examples"], (name, parameter["name"])


def test_stats_schema_is_the_published_reference(published: dict[str, Any]) -> None:
    schema = published["components"]["schemas"]["Stats"]
    names = [field.name for field in dataclasses.fields(Stats)]
    assert names == [
        "total_products",
        "complete_products",
        "avg_completeness",
        "active_offers",
        "broken_offers",
        "expiring_certifications",
        "missing_images",
    ]
    assert list(schema["properties"]) == names
    assert set(schema["required"]) == set(names)
    described = schema["properties"].values()
    assert {(field["type"], field["minimum"]) for field in described} == {("integer", 0)}
    assert [field["examples"] for field in described] == [
        [1250],
        [980],
        [78],
        [45],
        [3],
        [12],
        [87],
    ]
    assert schema["properties"]["avg_completeness"]["maximum"] == 100


def test_completeness_schema_lists_the_facts(published: dict[str, Any]) -> None:
    schemas = published["components"]["schemas"]
    assert list(schemas["FactScores"]["properties"]) == [fact.name for fact in FACTS]


def test_docs_page_runs_no_script_but_its_own_files() -> None:
    response = Client().get(f"{API}/docs")
    assert response.status_code == 200
    page = response.content.decode()
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "<style" not in page
    assert not re.search(r"\son\w+=|style=|javascript:", page)
    assert not re.search(r"<script(?![^>]*\ssrc=)", page)
    addresses = re.findall(r'(?:src|href|data-document)="([^"]+)"', page)
    assert len(addresses) >= 5
    for address in addresses:
        if address.startswith("/static/"):
            assert finders.find(address.removeprefix("/static/")), address
        else:
            assert address == f"{API}/openapi.json"
