"""Versions of resources: ``ETag`` of responses, and ``If-Match`` against lost updates."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from catalog.models import Product, ProductImage
from certifications.models import CertificationAssignment
from closient.db.ids import format_id, parse_id
from closient.http.docs.documents import document
from offers.models import Offer
from tests.clients import client_of, problem
from tests.factories import BrandFactory, ProductFactory
from tests.operations import (
    MANAGER,
    OPERATIONS,
    STORED_FILES,
    SampleData,
    call,
    call_path,
    documented,
    sample_data,
)
from tests.sessions import sessions

pytestmark = pytest.mark.usefixtures("media")

DOCUMENTED = dict(documented())
# Rejected rows are stored as a file, which has a version; exports are made for each request.
FILES = [name for name in DOCUMENTED if OPERATIONS[name].files and name not in STORED_FILES]
# Its cursor contains the time of the first request.
CHANGES = "GET /dashboard/api/v1/changes/{organization_id}"
READS = [name for name in DOCUMENTED if name.startswith("GET ")]
READS = [name for name in READS if name not in (*FILES, CHANGES)]
WRITES = [name for name in DOCUMENTED if not name.startswith("GET ")]
# POST operations that change something instead of creating it.
CHECK = "POST /dashboard/api/v1/offers/{organization_id}/{offer_id}/check"
ON_RESOURCES = [name for name in WRITES if not name.startswith("POST ") or name == CHECK]
# An attachment does not change.
CHANGEABLE = [
    name
    for name in ON_RESOURCES
    if name.startswith("DELETE") and not name.endswith("{attachment_id}")
]
RETURNING_A_ROW = [
    name
    for name in WRITES
    if OPERATIONS[name].status not in (202, 204) and not name.endswith("/batch")
]
ORDER = "PUT /dashboard/api/v1/trade-items/{organization_id}/{gtin}/images/order"
FAILED = {
    "type": "/docs/errors/precondition_failed",
    "title": "Precondition Failed",
    "status": 412,
    "detail": "The resource is not the version in If-Match; get it again.",
    "error_code": "precondition_failed",
    "retryable": False,
}


@pytest.fixture
def manager(own: SampleData) -> Client:
    """A client that can use every operation."""
    return client_of(own.organization, role=MANAGER)


def resource_path(name: str, ids: dict[str, str]) -> str:
    """Return the path of the resource that an operation changes."""
    path = call_path(name, ids)[1]
    return re.sub("/(check|apply|map|cancel|run)$", "", path)


def etag_of(client: Client, address: str) -> str:
    response = client.get(address)
    assert response.status_code == 200, response.content
    return response.headers["ETag"]


def call_if(client: Client, name: str, own: SampleData, if_match: str) -> Any:
    return call(client, name, own.ids, headers={"If-Match": if_match})


@pytest.mark.django_db
@pytest.mark.parametrize("name", READS)
def test_every_read_has_a_strong_etag_and_can_be_not_modified(
    name: str, own: SampleData, manager: Client
) -> None:
    first = call(manager, name, own.ids)
    etag = first.headers["ETag"]
    assert etag.startswith('"')
    # The test client would leave the file of a HEAD response open.
    if not first.streaming:
        assert manager.head(call_path(name, own.ids)[1]).headers["ETag"] == etag
    again = call(manager, name, own.ids, headers={"If-None-Match": etag})
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", etag)
    same = call_if(manager, name, own, etag)
    if first.streaming:
        assert same.file_content == first.file_content
    else:
        assert same.content == first.content
    assert problem(call_if(manager, name, own, '"other"')) == FAILED


@pytest.mark.django_db
@pytest.mark.parametrize("name", FILES)
def test_files_have_no_version(name: str, own: SampleData, manager: Client) -> None:
    response = call_if(manager, name, own, "*")
    assert response.status_code == 200
    assert "ETag" not in response.headers
    assert problem(call_if(manager, name, own, '"other"')) == {
        **FAILED,
        "detail": "This resource has no version that If-Match could match.",
    }


@pytest.mark.django_db
@pytest.mark.parametrize("name", WRITES)
def test_every_write_rejects_another_version(name: str, own: SampleData, manager: Client) -> None:
    response = call_if(manager, name, own, '"nonsense"')
    body = problem(response)
    assert (body["status"], body["error_code"]) == (412, "precondition_failed")
    assert body["detail"].endswith(".")


@pytest.mark.django_db
@pytest.mark.parametrize("name", WRITES)
def test_every_write_rejects_an_invalid_entity_tag(
    name: str, own: SampleData, manager: Client
) -> None:
    for if_match in ("nonsense", '"open', "W/", '"a" "b"', '*, "a"', "a, b"):
        assert problem(call_if(manager, name, own, if_match)) == {
            "type": "/docs/errors/bad_request",
            "title": "Bad Request",
            "status": 400,
            "detail": "If-Match takes * or a list of entity tags in quotes, "
            'such as "5e884898da280471".',
            "error_code": "bad_request",
            "retryable": False,
        }, if_match


@pytest.mark.django_db
@pytest.mark.parametrize("name", WRITES)
def test_every_write_accepts_any_version(name: str, own: SampleData, manager: Client) -> None:
    response = call_if(manager, name, own, "*")
    assert response.status_code == OPERATIONS[name].status, response.content


@pytest.mark.django_db
@pytest.mark.parametrize("name", ON_RESOURCES)
def test_every_write_accepts_the_current_version(
    name: str, own: SampleData, manager: Client
) -> None:
    etag = etag_of(manager, resource_path(name, own.ids))
    weak = call_if(manager, name, own, f"W/{etag}")
    assert problem(weak) == FAILED
    response = call_if(manager, name, own, f'"other", {etag}')
    assert response.status_code == OPERATIONS[name].status, response.content


@pytest.mark.django_db
@pytest.mark.parametrize("name", ON_RESOURCES)
def test_every_write_accepts_the_etag_of_a_compressed_response(
    name: str, own: SampleData, manager: Client
) -> None:
    etag = etag_of(manager, resource_path(name, own.ids))
    response = call_if(manager, name, own, f'{etag[:-1]}-gzip"')
    assert response.status_code == OPERATIONS[name].status, response.content


@pytest.mark.django_db
@pytest.mark.parametrize("name", RETURNING_A_ROW)
def test_every_write_returns_the_etag_of_the_new_state(
    name: str, own: SampleData, manager: Client
) -> None:
    if name not in (CHECK, ORDER):
        before = resource_path(name, own.ids)
        old = manager.get(before).headers.get("ETag")
    written = call(manager, name, own.ids)
    address = written.headers.get("Location") or resource_path(name, own.ids)
    assert written.headers["ETag"] == etag_of(manager, address)
    if name not in (CHECK, ORDER):
        assert written.headers["ETag"] != old


@pytest.mark.django_db
def test_write_without_changes_keeps_the_etag(own: SampleData, manager: Client) -> None:
    for name in (n for n in ON_RESOURCES if n.startswith("PATCH ")):
        once = call(manager, name, own.ids)
        again = call(manager, name, own.ids)
        assert once.headers["ETag"] == again.headers["ETag"], name


@pytest.mark.django_db
def test_etag_of_a_product_changes_with_its_completeness(own: SampleData, manager: Client) -> None:
    address = call_path("GET /dashboard/api/v1/trade-items/{organization_id}/{gtin}", own.ids)[1]
    seen = [etag_of(manager, address)]
    Offer.objects.all().delete()
    seen.append(etag_of(manager, address))
    call(manager, "PUT /dashboard/api/v1/stats/{organization_id}/rule", own.ids)
    seen.append(etag_of(manager, address))
    assert len(set(seen)) == 3


@pytest.mark.django_db
def test_missing_resource_is_not_found_with_any_if_match(own: SampleData, manager: Client) -> None:
    Product.objects.all().delete()
    for name in ON_RESOURCES:
        if "{gtin}" in name or "{offer_id}" in name or "{assignment_id}" in name:
            for if_match in ('"nonsense"', "*"):
                assert call_if(manager, name, own, if_match).status_code == 404, name


@pytest.mark.django_db
def test_document_has_preconditions_and_etags_of_every_operation() -> None:
    headers = json.loads(document())["components"]["headers"]
    assert headers["ETag"]["schema"]["type"] == "string"
    for name, operation in DOCUMENTED.items():
        sent = {p["name"] for p in operation.get("parameters", []) if p["in"] == "header"}
        assert ("If-None-Match" in sent) == (name in (*READS, CHANGES)), name
        assert ("If-Match" in sent) == (name in ON_RESOURCES), name
        assert "412" in operation["responses"], name
        for status in {"200", "201", "304"} & set(operation["responses"]):
            has_version = name not in FILES
            assert ("ETag" in operation["responses"][status]["headers"]) == has_version, name


def run_concurrently(*calls: Callable[[], Any]) -> list[Any]:
    """Return the responses of concurrent calls, each on its own connection."""
    begin = threading.Barrier(len(calls))

    def run(one: Callable[[], Any]) -> Any:
        try:
            begin.wait()
            return one()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(run, calls))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "name", [name for name in ON_RESOURCES if name != CHECK and not name.startswith("DELETE")]
)
def test_of_two_writes_of_one_version_only_one_succeeds(name: str) -> None:
    own = sample_data()
    if name == ORDER:
        # Another order than the current one.
        second = ProductImage.objects.create(
            organization=own.organization, product=own.product, external_url="https://a.test/2"
        )
        first = ProductImage.objects.exclude(pk=second.pk).get()
        bodies: list[dict[str, Any]] = [{"ids": [format_id(second.pk), format_id(first.pk)]}] * 2
    elif name.endswith("/allowed-origins"):
        (field,) = OPERATIONS[name].body(own.ids)
        bodies = [{field: [f"https://{host}.example.com"]} for host in ("a", "b")]
    elif name.startswith("PUT"):
        body = OPERATIONS[name].body(own.ids)
        bodies = [{**body, "threshold": threshold} for threshold in (61, 62)]
    else:
        (field,) = set(OPERATIONS[name].body(own.ids)) - {"gtin", "currency"}
        bodies = [{field: value} for value in ("11.00", "12.00")]
    manager = client_of(own.organization, role=MANAGER)
    etag = etag_of(manager, resource_path(name, own.ids))
    responses = run_concurrently(
        *(
            lambda body=body: call(manager, name, own.ids, body, headers={"If-Match": etag})
            for body in bodies
        )
    )
    assert sorted(response.status_code for response in responses) == [200, 412]
    (done,) = (response for response in responses if response.status_code == 200)
    assert done.headers["ETag"] == etag_of(manager, resource_path(name, own.ids))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", CHANGEABLE)
def test_changed_resource_is_not_deleted(name: str) -> None:
    own = sample_data()
    manager = client_of(own.organization, role=MANAGER)
    address = resource_path(name, own.ids)
    etag = etag_of(manager, address)
    change = name.replace("DELETE", "PUT" if name.endswith("rule") else "PATCH")
    changed = call(manager, change, own.ids)
    assert changed.status_code == 200
    assert problem(call_if(manager, name, own, etag)) == FAILED
    assert manager.get(address).status_code == 200
    assert call_if(manager, name, own, changed.headers["ETag"]).status_code == 204


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("model", "id_name", "name"),
    [
        (Offer, "offer_id", "PATCH /dashboard/api/v1/offers/{organization_id}/{offer_id}"),
        (
            CertificationAssignment,
            "assignment_id",
            "PATCH /dashboard/api/v1/certifications/{organization_id}/{assignment_id}",
        ),
    ],
)
def test_patch_of_a_row_that_moves_meanwhile_succeeds(model: Any, id_name: str, name: str) -> None:
    own = sample_data()
    other = ProductFactory(organization=own.organization)
    manager = client_of(own.organization, role=MANAGER)
    with sessions(2) as (first, second):
        first.begin()
        moved = model.objects.filter(pk=parse_id(own.ids[id_name]))
        first.run(lambda: moved.update(product=other))
        result = second.start(lambda: call(manager, name, own.ids, {"metadata": {"a": "b"}}))
        second.wait_until_blocked()
        first.end()
        response = result.result(timeout=30)
    assert response.status_code == 200
    assert (response.json()["gtin"], response.json()["metadata"]) == (other.gtin, {"a": "b"})


@pytest.mark.django_db(transaction=True)
def test_patch_of_a_product_returns_a_brand_changed_meanwhile() -> None:
    own = sample_data()
    brand = BrandFactory(organization=own.organization)
    name = "PATCH /dashboard/api/v1/trade-items/{organization_id}/{gtin}"
    manager = client_of(own.organization, role=MANAGER)
    with sessions(2) as (first, second):
        first.begin()
        first.run(lambda: Product.objects.filter(pk=own.product.pk).update(brand=brand))
        result = second.start(lambda: call(manager, name, own.ids, {"status": "active"}))
        second.wait_until_blocked()
        first.end()
        response = result.result(timeout=30)
    assert (response.status_code, response.json()["brand"]) == (200, brand.name)
