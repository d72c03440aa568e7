"""The OpenAPI document is valid, complete and public, and the docs page shows it."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.staticfiles import finders
from django.core.management import call_command
from django.test import Client
from openapi_spec_validator import OpenAPIV31SpecValidator
from pytest_django import Settings

from catalog.completeness import FACTS
from closient.http.docs import documents
from closient.http.docs.documents import document
from closient.http.problems import ERRORS
from dashboard.numbers import Stats
from tests.clients import API, client_of
from tests.operations import MANAGER, OPERATIONS, call, sample_data


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


def test_first_requests_at_the_same_time_get_the_same_document() -> None:
    documents.generate.cache_clear()
    with ThreadPoolExecutor(6) as pool:
        responses = list(pool.map(lambda _: Client().get(f"{API}/openapi.json"), range(6)))
    assert {response.status_code for response in responses} == {200}
    assert len({response.content for response in responses}) == 1


def test_document_is_generated_without_warnings() -> None:
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
    always = {"400", "401", "403", "404", "412", "413", "414", "429", "500", "503"}
    for name, operation in operations(published):
        responses = operation["responses"]
        assert always <= set(responses), name
        # A response without content satisfies every Accept.
        assert ("406" in responses) == ("204" not in responses), name
        for status in (s for s in responses if int(s) >= 400):
            kind = responses[status]["$ref"].removeprefix("#/components/responses/")
            assert str(ERRORS[kind].status) == status
            response = published["components"]["responses"][kind]
            content = response["content"]["application/problem+json"]
            assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
            (example,) = content["examples"].values()
            assert example["value"]["error_code"] == kind
            assert "X-Request-ID" in response["headers"]
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


def schemas_in(node: Any, place: str = "#") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every object in the document with its path."""
    if isinstance(node, dict):
        yield place, node
        for name, value in node.items():
            yield from schemas_in(value, f"{place}/{name}")
    elif isinstance(node, list):
        for position, value in enumerate(node):
            yield from schemas_in(value, f"{place}/{position}")


def kinds_of(openapi: dict[str, Any], schema: dict[str, Any]) -> set[str]:
    """Return the JSON types of a schema, including referenced schemas."""
    if "$ref" in schema:
        return kinds_of(openapi, openapi["components"]["schemas"][schema["$ref"].split("/")[-1]])
    kinds = schema.get("type", [])
    found = {kinds} if isinstance(kinds, str) else set(kinds)
    for part in ("oneOf", "anyOf", "allOf"):
        for inner in schema.get(part, []):
            found |= kinds_of(openapi, inner)
    return found


def test_no_value_is_a_union_of_strings(published: dict[str, Any]) -> None:
    unions = {
        place: [kinds_of(published, one) for one in schema[word]]
        for place, schema in schemas_in(published)
        for word in ("oneOf", "anyOf")
        if word in schema
    }
    assert len(unions) >= 4
    for place, kinds in unions.items():
        assert sum("string" in one for one in kinds) <= 1, place
    brick = published["components"]["schemas"]["Product"]["properties"]["gpc_brick_code"]
    assert (brick["type"], brick["pattern"]) == ("string", "^([0-9]{8})?$")
    currency = published["components"]["schemas"]["CurrencyEnum"]["enum"]
    assert "" in currency
    assert "EUR" in currency
    assert {"NullEnum", "BlankEnum"} & set(published["components"]["schemas"]) == set()


def test_introduction_documents_rules_of_every_operation(
    published: dict[str, Any], settings: Settings
) -> None:
    text = published["info"]["description"]
    chapters = re.findall(r"^## (.+)$", text, re.M)
    assert chapters == [
        "Keys",
        "Pages",
        "Dates",
        "Limits",
        "Synchronization",
        "Errors",
        "Changes at the same time",
        "Versions",
    ]
    assert "`get_dashboard_statistics`" in text
    assert f"{settings.API_LIMIT_PER_MINUTE:,} requests a minute" in text
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert links == ["/docs/errors/"]
    assert Client().get(links[0]).status_code == 200


def test_parameters_are_in_the_order_of_the_path(published: dict[str, Any]) -> None:
    for name, operation in operations(published):
        parameters = operation.get("parameters", [])
        in_path = [p["name"] for p in parameters if p["in"] == "path"]
        assert in_path == re.findall(r"{(\w+)}", name), name
        # The required ones are the first arguments of a generated function.
        assert [p["name"] for p in parameters][: len(in_path)] == in_path, name


def test_document_starts_with_the_main_endpoint(published: dict[str, Any]) -> None:
    name, operation = next(operations(published))
    assert name == "GET /dashboard/api/v1/stats/{organization_id}"
    assert operation["operationId"] == "get_dashboard_statistics"


def test_document_has_servers_contact_license_and_tags(
    published: dict[str, Any],
) -> None:
    assert [server["url"] for server in published["servers"]] == ["/"]
    assert set(published["info"]["contact"]) == {"name", "url"}
    assert published["info"]["license"] == {"name": "MIT", "identifier": "MIT"}
    tags = {tag["name"]: tag["description"] for tag in published["tags"]}
    assert all(tags.values())
    used = [tag for _, operation in operations(published) for tag in operation["tags"]]
    assert list(dict.fromkeys(used)) == list(tags)


@pytest.mark.parametrize(
    ("path", "name", "values"),
    [
        ("trade-items", "missing", "images"),
        ("offers", "url_status", "failing"),
    ],
)
def test_parameters_with_several_values_are_arrays(
    published: dict[str, Any], path: str, name: str, values: str
) -> None:
    listing = published["paths"][f"{API}/{path}/{{organization_id}}"]["get"]
    (parameter,) = [p for p in listing["parameters"] if p["name"] == name]
    assert parameter["schema"]["type"] == "array"
    assert values in parameter["schema"]["items"]["enum"]
    # In the form name=one,two.
    assert (parameter["style"], parameter["explode"]) == ("form", False)


TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{6})?Z"
DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"


def dates_in(openapi: dict[str, Any], schema: dict[str, Any], value: Any) -> Iterator[Any]:
    """Yield each value that a schema documents as a date or time, with its format."""
    if "$ref" in schema:
        yield from dates_in(
            openapi, openapi["components"]["schemas"][schema["$ref"].split("/")[-1]], value
        )
    for inner in schema.get("allOf", []) + schema.get("oneOf", []):
        yield from dates_in(openapi, inner, value)
    if isinstance(value, list) and "items" in schema:
        for one in value:
            yield from dates_in(openapi, schema["items"], one)
    elif isinstance(value, dict):
        for name, inner in schema.get("properties", {}).items():
            yield from dates_in(openapi, inner, value.get(name))
    elif value is not None and schema.get("format") in ("date", "date-time"):
        yield schema["format"], value


@pytest.mark.django_db
@pytest.mark.slow
def test_dates_of_all_responses_have_the_documented_format(
    published: dict[str, Any], settings: Settings, tmp_path: Path
) -> None:
    settings.MEDIA_ROOT = tmp_path
    forms = {"date": DATE, "date-time": TIME}
    found = []
    for name, operation in operations(published):
        own = sample_data()
        response = call(client_of(own.organization, role=MANAGER), name, own.ids)
        content = operation["responses"][str(response.status_code)].get("content")
        if content and "application/json" in content:
            schema = content["application/json"]["schema"]
            for kind, value in dates_in(published, schema, response.json()):
                assert re.fullmatch(forms[kind], value), (name, value)
                found.append(kind)
    assert set(found) == set(forms)
    for example in (
        field["examples"][0]
        for _, field in schemas_in(published["components"]["schemas"])
        if field.get("format") == "date-time"
    ):
        assert re.fullmatch(TIME.replace("{6}", "{3,6}"), example)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("2099-12-31T23:59:59Z", "2099-12-31T23:59:59Z"),
        ("2099-12-31T23:59:59", "2099-12-31T23:59:59Z"),
        ("2099-12-31T23:59:59.25+02:00", "2099-12-31T21:59:59.250000Z"),
    ],
)
def test_times_are_accepted_with_any_offset(sent: str, shown: str) -> None:
    own = sample_data()
    name = "POST /account/api/v1/organizations/{organization_id}/api-keys"
    body = {"name": "Night", "expires_at": sent}
    response = call(client_of(own.organization, role=MANAGER), name, own.ids, body)
    assert (response.status_code, response.json()["expires_at"]) == (201, shown)


def test_only_a_change_of_metadata_has_nulls(published: dict[str, Any]) -> None:
    kinds = {
        name: schema["properties"]["metadata"]["additionalProperties"]["type"]
        for name, schema in published["components"]["schemas"].items()
        if "metadata" in schema.get("properties", {})
    }
    resources = ("Product", "Offer", "CertificationAssignment")
    assert kinds == {
        **dict.fromkeys(resources, "string"),
        **{f"{name}Request": "string" for name in resources},
        **{f"Patched{name}Request": ["string", "null"] for name in resources},
        **{f"{name}BatchItemRequest": ["string", "null"] for name in resources},
    }


def test_url_detail_is_documented_with_all_its_values(published: dict[str, Any]) -> None:
    described = published["components"]["schemas"]["Offer"]["properties"]["url_detail"]
    for what in ("fails", "blocked", "confirm", "hint"):
        assert what in described["description"]


def test_nutrient_amounts_may_be_numbers_only_in_request_bodies(published: dict[str, Any]) -> None:
    schemas = published["components"]["schemas"]
    assert schemas["Nutrient"]["properties"]["amount"]["type"] == "string"
    assert schemas["NutrientRequest"]["properties"]["amount"]["type"] == ["string", "number"]


def test_created_responses_document_their_location(published: dict[str, Any]) -> None:
    made = {
        operation["operationId"]: operation["responses"]["201"]["headers"]
        for _, operation in operations(published)
        if "201" in operation["responses"]
    }
    assert {name for name, headers in made.items() if "Location" in headers} == set(made)
    # Responses with a secret are never repeated.
    assert {name for name, headers in made.items() if "Idempotency-Replayed" in headers} == {
        "create_trade_item",
        "create_trade_item_image",
        "create_offer",
        "create_certification_assignment",
        "create_certificate_attachment",
        "create_source",
    }


def test_links_name_operations_with_all_path_parameters(published: dict[str, Any]) -> None:
    paths = {operation["operationId"]: name for name, operation in operations(published)}
    links = {
        operation["operationId"]: response["links"]
        for _, operation in operations(published)
        for response in operation["responses"].values()
        if "links" in response
    }
    for source, targets in links.items():
        for target, link in targets.items():
            assert link["operationId"] == target
            assert set(link["parameters"]) == set(re.findall(r"{(\w+)}", paths[target]))
            for expression in link["parameters"].values():
                if "$request.path." in expression:
                    assert f"{{{expression.removeprefix('$request.path.')}}}" in paths[source]
    lifes = {
        "trade_item": {"get_trade_item", "update_trade_item", "delete_trade_item"},
        "offer": {"get_offer", "update_offer", "delete_offer", "check_offer"},
        "certification_assignment": {
            f"{verb}_certification_assignment" for verb in ("get", "update", "delete")
        },
        "trade_item_image": {f"{verb}_trade_item_image" for verb in ("get", "update", "delete")},
        "api_key": {f"{verb}_api_key" for verb in ("get", "update", "delete", "rotate")},
    }
    for kind, life in lifes.items():
        assert life <= set(links[f"create_{kind}"]), kind
    assert "get_dashboard_statistics" in links["whoami"]


# Operations that show something else than the created row.
OTHER_ENDS = ("_completeness", "_history", "_images", "_image_order", "_attachments")


@pytest.mark.django_db
@pytest.mark.parametrize("name", [name for name in OPERATIONS if OPERATIONS[name].status == 201])
def test_links_of_created_responses_name_the_created_resource(
    name: str, published: dict[str, Any], settings: Settings, tmp_path: Path
) -> None:
    settings.MEDIA_ROOT = tmp_path
    own = sample_data()
    client = client_of(own.organization, role=MANAGER)
    response = call(client, name, own.ids)
    assert response.status_code == 201
    seen = dict(operations(published))
    names = {operation["operationId"]: name for name, operation in seen.items()}
    links = seen[name]["responses"]["201"]["links"]
    followed = [target for target in links if target.split("_")[0] in ("get", "update", "list")]
    assert followed
    for target in followed:
        ids = dict(own.ids)
        for parameter, expression in links[target]["parameters"].items():
            where, _, what = expression.rpartition("/" if "#" in expression else ".")
            ids[parameter] = response.json()[what] if "#" in where else own.ids[what]
        linked = call(client, names[target], ids)
        assert linked.status_code == 200, (target, linked.content)
        if linked.streaming:
            assert linked.file_content
        elif not target.endswith(OTHER_ENDS):
            same = "gtin" if target.endswith("_trade_item") else "id"
            assert linked.json()[same] == response.json()[same], target


def test_stats_schema_equals_the_published_reference(published: dict[str, Any]) -> None:
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


def test_docs_page_loads_only_its_own_scripts() -> None:
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
