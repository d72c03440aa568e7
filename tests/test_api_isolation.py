"""Every operation of the OpenAPI document: access to rows of others, and required roles."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from catalog.models import (
    Brand,
    CompletenessRule,
    ImportRun,
    ImportSource,
    Product,
    ProductImage,
)
from certifications.models import (
    CertificateAttachment,
    Certification,
    CertificationAssignment,
)
from closient.accounts.models import ApiKey, ApiKeyKind, ApiKeyRole, Membership, Organization
from offers.models import Offer
from tests.clients import client_of, problem
from tests.operations import (
    MANAGER,
    OPERATIONS,
    SampleData,
    call,
    documented,
    path_parameters,
    unknown_ids,
)

pytestmark = pytest.mark.usefixtures("media")

DOCUMENTED = dict(documented())
CASES = [
    (name, parameter)
    for name, operation in DOCUMENTED.items()
    for parameter in path_parameters(operation)
]
MODELS: list[Any] = [
    Organization,
    Membership,
    ApiKey,
    Brand,
    CompletenessRule,
    Product,
    ProductImage,
    Offer,
    Certification,
    CertificationAssignment,
    CertificateAttachment,
    ImportRun,
    ImportSource,
]


def rows() -> list[Any]:
    """Return all rows of all tables."""
    return [list(model.objects.order_by("pk").values()) for model in MODELS]


def outline(response: Any) -> tuple[int, str, set[str]]:
    """Return status, body and headers of a response, without the values that always differ."""
    body = response.json()
    text = response.content.decode()
    for name in ("instance", "timestamp", "request_id"):
        text = text.replace(body[name], "")
    return response.status_code, text, set(response.headers)


def test_matrix_covers_every_documented_operation() -> None:
    assert set(OPERATIONS) == set(DOCUMENTED)


@pytest.mark.django_db
@pytest.mark.parametrize("name", DOCUMENTED)
def test_every_example_request_succeeds(name: str, own: SampleData) -> None:
    operation = OPERATIONS[name]
    response = call(client_of(own.organization, role=operation.role), name, own.ids)
    assert response.status_code == operation.status, response.content
    assert str(response.status_code) in DOCUMENTED[name]["responses"]


@pytest.mark.django_db
@pytest.mark.parametrize(("name", "parameter"), CASES)
def test_foreign_ids_respond_like_unknown_ids(
    name: str, parameter: str, own: SampleData, foreign: SampleData
) -> None:
    client = client_of(own.organization, role=MANAGER)
    body = OPERATIONS[name].body(own.ids)
    before = rows()
    response = call(client, name, own.ids | {parameter: foreign.ids[parameter]}, body)
    unknown = call(client, name, own.ids | {parameter: unknown_ids()[parameter]}, body)
    assert problem(response)["error_code"] == "not_found"
    assert outline(response) == outline(unknown)
    # Also a path with only foreign ids.
    assert outline(call(client, name, foreign.ids, body)) == outline(unknown)
    after = rows()
    forget_use(before, after)
    assert after == before


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("name", "parameter"),
    [
        (name, parameter)
        for name, parameter in CASES
        if "requestBody" in DOCUMENTED[name] and not OPERATIONS[name].is_form
    ],
)
def test_unknown_id_is_not_found_with_any_body(
    name: str, parameter: str, own: SampleData, foreign: SampleData
) -> None:
    client = client_of(own.organization, role=MANAGER)
    for ids in ({parameter: foreign.ids[parameter]}, {parameter: unknown_ids()[parameter]}):
        response = call(client, name, own.ids | ids, ["no", "object"])
        assert problem(response)["error_code"] == "not_found"


@pytest.mark.django_db
@pytest.mark.parametrize(("name", "parameter"), CASES)
def test_malformed_ids_respond_like_unknown_ids(name: str, parameter: str, own: SampleData) -> None:
    client = client_of(own.organization, role=MANAGER)
    body = OPERATIONS[name].body(own.ids)
    unknown = call(client, name, own.ids | {parameter: unknown_ids()[parameter]}, body)
    for text in ("z" * 22, "nonsense"):
        response = call(client, name, own.ids | {parameter: text}, body)
        assert (response.status_code, problem(response)["error_code"]) == (404, "not_found")
        assert outline(response) == outline(unknown)


def forget_use(*snapshots: list[Any]) -> None:
    """Clear `last_used_at` of all keys."""
    for snapshot in snapshots:
        for key in snapshot[MODELS.index(ApiKey)]:
            del key["last_used_at"]


BODIES = {
    name: operation.body
    for name, operation in OPERATIONS.items()
    if operation.body({"gtin": "1", "image_id": "1"})
    != operation.body({"gtin": "2", "image_id": "2"})
    and not operation.is_form
}


def test_matrix_covers_bodies_with_references() -> None:
    assert {name.split("/v1/")[1] for name in BODIES} == {
        "trade-items/{organization_id}/{gtin}/images/order",
        "offers/{organization_id}",
        "offers/{organization_id}/batch",
        "offers/{organization_id}/{offer_id}",
        "certifications/{organization_id}",
        "certifications/{organization_id}/batch",
        "certifications/{organization_id}/{assignment_id}",
    }


@pytest.mark.django_db
@pytest.mark.parametrize("name", BODIES)
def test_foreign_references_in_bodies_respond_like_unknown_ones(
    name: str, own: SampleData, foreign: SampleData
) -> None:
    client = client_of(own.organization, role=MANAGER)
    before = rows()
    response = call(client, name, own.ids, BODIES[name](foreign.ids))
    unknown = call(client, name, own.ids, BODIES[name](unknown_ids()))
    assert problem(response)["error_code"] == "validation_error"
    # The message may repeat the sent value.
    sent = [(foreign.ids[key], unknown_ids()[key]) for key in ("gtin", "image_id")]
    status, text, headers = outline(response)
    for foreign_sent, unknown_sent in sent:
        text = text.replace(foreign_sent, unknown_sent)
    assert (status, text, headers) == outline(unknown)
    after = rows()
    forget_use(before, after)
    assert after == before


@pytest.mark.django_db
@pytest.mark.parametrize("name", DOCUMENTED)
def test_role_below_the_required_one_is_forbidden(name: str, own: SampleData) -> None:
    ranks = list(ApiKeyRole)
    needed = ranks.index(OPERATIONS[name].role)
    # The role is checked before the body.
    bodies = [None] if OPERATIONS[name].is_form else [None, {}, ["no", "object"]]
    before = rows()
    for role in ranks[:needed]:
        client = client_of(own.organization, role=role)
        for body in bodies:
            response = call(client, name, own.ids, body)
            assert (response.status_code, problem(response)["error_code"]) == (403, "forbidden")
    publishable = client_of(own.organization, role=MANAGER, kind=ApiKeyKind.PUBLISHABLE)
    response = call(publishable, name, own.ids)
    assert (response.status_code, problem(response)["error_code"]) == (403, "forbidden")
    response = call(Client(), name, own.ids)
    assert (response.status_code, problem(response)["error_code"]) == (401, "unauthorized")
    keys = MODELS.index(ApiKey)
    after = rows()
    assert before[:keys] + before[keys + 1 :] == after[:keys] + after[keys + 1 :]


@pytest.mark.parametrize("name", [name for name in OPERATIONS if not name.startswith("GET")])
def test_writes_require_more_than_a_readonly_key(name: str) -> None:
    assert OPERATIONS[name].role != ApiKeyRole.READONLY
