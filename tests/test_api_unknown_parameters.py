"""Unknown query parameters are rejected, with a suggestion."""

from __future__ import annotations

import pytest

from tests.clients import API, client_of, problem, stats_path
from tests.operations import OPERATIONS, SampleData, call_path, documented, sample_data
from tests.test_api_isolation import forget_use, rows

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("media")]
DOCUMENTED = dict(documented())


def parameters_of(name: str) -> list[str]:
    """Return the names of the query parameters that an operation documents."""
    return [p["name"] for p in DOCUMENTED[name].get("parameters", []) if p["in"] == "query"]


@pytest.mark.parametrize("name", DOCUMENTED)
def test_every_operation_rejects_unknown_query_parameters(name: str, own: SampleData) -> None:
    method, path = call_path(name, own.ids)
    client = client_of(own.organization, role=OPERATIONS[name].role)
    before = rows()
    response = client.generic(method, f"{path}?unheard_of=1", content_type="application/json")
    body = problem(response)
    assert (body["status"], body["error_code"]) == (422, "validation_error")
    (error,) = body["errors"]
    assert (error["pointer"], error["code"]) == ("#/query/unheard_of", "unknown_parameter")
    after = rows()
    forget_use(before, after)
    assert after == before


@pytest.mark.parametrize("name", [name for name in DOCUMENTED if name.startswith("GET")])
def test_every_operation_accepts_documented_query_parameters(name: str, own: SampleData) -> None:
    method, path = call_path(name, own.ids)
    client = client_of(own.organization, role=OPERATIONS[name].role)
    for parameter in parameters_of(name):
        response = client.generic(method, f"{path}?{parameter}=")
        errors = problem(response)["errors"] if response.status_code == 422 else []
        assert "unknown_parameter" not in {error["code"] for error in errors}


def test_unknown_query_parameter_is_rejected_with_a_suggestion(own: SampleData) -> None:
    client = client_of(own.organization)
    path = f"{API}/trade-items/{own.ids['organization_id']}"
    errors = problem(client.get(f"{path}?per_page=5&expand=5&stat=x"))["errors"]
    assert {e["pointer"]: e["detail"] for e in errors} == {
        "#/query/expand": "Unknown query parameter. Use one of complete, "
        "missing, min_completeness, max_completeness, status, brand, category, country_of_origin, "
        "retailer, q, updated_since, ordering, page, page_size, after.",
        "#/query/per_page": "Unknown query parameter. Did you mean page?",
        "#/query/stat": "Unknown query parameter. Did you mean status?",
    }
    (error,) = problem(client.get(f"{path}/{own.product.gtin}?expand=images"))["errors"]
    assert error["detail"] == "This operation takes no query parameters."


def test_unknown_organization_is_reported_before_unknown_parameters(own: SampleData) -> None:
    stranger = sample_data()
    response = client_of(own.organization).get(f"{stats_path(stranger.organization)}?x=1")
    assert problem(response)["error_code"] == "not_found"
