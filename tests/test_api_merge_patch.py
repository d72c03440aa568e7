"""PATCH with a merge patch (RFC 7396), and removal of metadata with null."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest

from catalog.models import Product
from certifications.models import CertificationAssignment
from tests.clients import client_of, problem
from tests.operations import OPERATIONS, SampleData, call_path, sample_data
from tests.sessions import sessions

pytestmark = pytest.mark.django_db
MERGE_PATCH = "application/merge-patch+json"
PATCHES = [name for name in OPERATIONS if name.startswith("PATCH")]
ITEM = "PATCH /dashboard/api/v1/trade-items/{organization_id}/{gtin}"
OFFER = "PATCH /dashboard/api/v1/offers/{organization_id}/{offer_id}"
ASSIGNMENT = "PATCH /dashboard/api/v1/certifications/{organization_id}/{assignment_id}"


def send(own: SampleData, name: str, body: Any, content_type: str = MERGE_PATCH) -> Any:
    method, path = call_path(name, own.ids)
    client = client_of(own.organization, role="manager")
    return client.generic(method, path, json.dumps(body), content_type=content_type)


@pytest.mark.parametrize("name", PATCHES)
def test_every_patch_accepts_a_merge_patch(name: str, own: SampleData) -> None:
    body = OPERATIONS[name].body(own.ids)
    assert send(own, name, body).status_code == 200
    assert send(own, name, body, f"{MERGE_PATCH}; charset=utf-8").status_code == 200
    assert problem(send(own, name, [1]))["status"] == 422


def test_other_methods_reject_a_merge_patch(own: SampleData) -> None:
    name = "POST /dashboard/api/v1/offers/{organization_id}"
    assert send(own, name, OPERATIONS[name].body(own.ids)).status_code == 415


@pytest.mark.parametrize("content_type", [MERGE_PATCH, "application/json"])
@pytest.mark.parametrize("name", [ITEM, OFFER, ASSIGNMENT])
def test_null_removes_one_or_all_metadata_keys(
    name: str, content_type: str, own: SampleData
) -> None:
    def metadata_after(change: Any) -> Any:
        response = send(own, name, {"metadata": change}, content_type)
        assert response.status_code == 200, response.content
        return response.json()["metadata"]

    assert metadata_after({"a": "1", "b": "2"}) == {"a": "1", "b": "2"}
    assert metadata_after({"a": None, "c": "3"}) == {"b": "2", "c": "3"}
    assert metadata_after(None) == {}


def test_merge_patch_merges_objects_and_json_replaces_them(own: SampleData) -> None:
    fat = [{"name": "fat", "amount": "1.5", "unit": "g"}]
    send(own, ITEM, {"nutrition": {"serving_size": "30 g", "nutrients": fat}}, "application/json")
    merged = send(own, ITEM, {"nutrition": {"serving_size": "50 g"}}).json()["nutrition"]
    assert merged == {"serving_size": "50 g", "nutrients": fat}
    removed = send(own, ITEM, {"nutrition": {"serving_size": None}}).json()["nutrition"]
    assert removed == {"serving_size": "", "nutrients": fat}
    change = {"nutrition": {"serving_size": "60 g"}}
    replaced = send(own, ITEM, change, "application/json").json()["nutrition"]
    assert replaced == {"serving_size": "60 g", "nutrients": []}
    send(own, ASSIGNMENT, {"certification": {"code": "eu-organic"}})
    labeled = send(own, ASSIGNMENT, {"certification": {"label": "EU Organic"}})
    assert labeled.status_code == 200, labeled.content
    assert labeled.json()["certification"]["label"] == "EU Organic"


CONCURRENT = {
    ITEM: (
        {"nutrition": {"serving_size": "50 g"}},
        {"nutrition": {"nutrients": [{"name": "fat", "amount": "1.5", "unit": "g"}]}},
        "nutrition",
        {
            "serving_size": "50 g",
            "nutrients": [{"name": "fat", "amount": "1.5", "unit": "g"}],
        },
    ),
    # The label goes to the certification that the other patch has just assigned.
    ASSIGNMENT: (
        {"certification": {"code": "halal"}},
        {"certification": {"label": "Halal"}},
        "certification",
        {"code": "halal", "label": "Halal", "body": ""},
    ),
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", CONCURRENT)
def test_concurrent_merge_patches_are_all_kept(name: str) -> None:
    own = sample_data()
    first_body, second_body, part, merged = CONCURRENT[name]
    row = Product if name == ITEM else CertificationAssignment
    with sessions(3) as (holder, first, second):
        holder.begin()
        holder.run(lambda: row.objects.select_for_update().get())
        # Both read the row before either writes it, and write in this order.
        responses = []
        for session, body in ((first, first_body), (second, second_body)):
            responses.append(session.start(partial(send, own, name, body)))
            session.wait_until_blocked()
        holder.end()
        assert [response.result().status_code for response in responses] == [200, 200]
    assert responses[1].result().json()[part] == merged
