"""The API of imports and sources: from a file or an address to products, without a page."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from pytest_django import Settings

from catalog.models import ImportRun, ImportSource, Product
from closient.accounts.models import ApiKeyRole, Organization
from closient.db.ids import format_id
from dashboard.imports.runs import files
from dashboard.imports.runs.actions import MAX_UNFINISHED
from dashboard.imports.sources.worker import fetch_next
from offers.models import Offer
from tests.clients import API, client_of, problem
from tests.counting import assert_exact
from tests.factories import OrganizationFactory
from tests.feed_server import FeedServer, status
from tests.import_fixtures import work
from tests.importing import EAN, EAN_14, UPC, UPC_14

pytestmark = pytest.mark.django_db(transaction=True)

TWO_ROWS = f"gtin,name,Price\n{EAN},a,1\n{UPC},b,2\n"
ONE_INVALID_ROW = f"gtin,name\n{EAN},a\n123,b\n"
NOT_A_GTIN = "gtin: A GTIN has 8, 12, 13 or 14 digits; this one has 3 (found '123')"


# A row of the preview of which nothing is known but that its product is new.
NO_CELLS = {
    **dict.fromkeys(("brand", "category", "image")),
    **{"status": None, "images": 0, "offers": 0, "certificates": 0, "is_new": True},
}
UNKNOWN = f"Nummer;Was;Preis;Seite\n{EAN};Hafer;1,50;https://s.example.com/1\n"
MAPPING = {
    **{"Nummer": "gtin", "Was": "name", "Preis": "offer_price", "Seite": "offer_url"},
    "=My Shop": "offer_retailer",
}


@pytest.fixture
def client(organization: Organization) -> Client:
    """A client with the key of an editor."""
    return client_of(organization, role=ApiKeyRole.EDITOR)


def imports(organization: Organization, *more: str) -> str:
    return "/".join([f"{API}/imports/{format_id(organization.id)}", *more])


def sources(organization: Organization, *more: str) -> str:
    return "/".join([f"{API}/sources/{format_id(organization.id)}", *more])


def send(client: Client, organization: Organization, text: str = TWO_ROWS, **fields: Any) -> Any:
    """Send a file."""
    headers = fields.pop("headers", None)
    body = {"file": SimpleUploadedFile("our products.csv", text.encode()), **fields}
    return client.post(imports(organization), body, headers=headers)


def post(client: Client, path: str, body: Any = None) -> Any:
    return client.post(path, body or {}, content_type="application/json")


def test_file_is_imported_by_itself(client: Client, organization: Organization) -> None:
    sent = send(client, organization)
    assert sent.status_code == 202
    body = sent.json()
    assert sent.headers["Location"] == imports(organization, body["id"])
    assert {name: body[name] for name in ("status", "name", "size", "dry_run", "total")} == {
        "status": "waiting",
        "name": "our products.csv",
        "size": len(TWO_ROWS),
        "dry_run": False,
        "total": None,
    }
    work()
    found = client.get(sent.headers["Location"])
    assert found.status_code == 200
    times = ("created_at", "started_at", "ended_at")
    assert {n: v for n, v in found.json().items() if n not in times} == {
        "id": body["id"],
        "source_id": None,
        "name": "our products.csv",
        "url": "",
        "size": len(TWO_ROWS),
        "status": "done",
        "detail": "",
        "dry_run": False,
        "layout": "auto",
        "mapping": None,
        "saves_mapping": False,
        "retailer": "",
        "shop": "",
        "currency": "",
        "overwrite_blank": False,
        "skip_bad_rows": False,
        "suggested_mapping": None,
        "found": {
            "format": "delimited",
            "layout": "csv",
            "title": "CSV",
            "unused": [],
            "notices": [],
            "encoding": "utf-8",
            "delimiter": ",",
            "is_compressed": False,
            "columns": [
                {"column": "gtin", "field": "gtin"},
                {"column": "name", "field": "name"},
            ],
            "ignored": ["Price"],
            "samples": [
                {"column": "gtin", "values": [EAN, UPC]},
                {"column": "name", "values": ["a", "b"]},
                {"column": "Price", "values": ["1", "2"]},
            ],
        },
        "total": 2,
        "created": 2,
        "updated": 0,
        "unchanged": 0,
        "rejected": 0,
        "gone": None,
        "tables": {
            "products": {"created": 2, "updated": 0},
            "offers": None,
            "certificates": None,
        },
        "repairs": {},
        "preview": [
            {**NO_CELLS, "line": 2, "gtin": EAN_14, "name": "a"},
            {**NO_CELLS, "line": 3, "gtin": UPC_14, "name": "b"},
        ],
        "problem_groups": [],
        "problems": [],
        "has_rejects": False,
        "rows_done": 2,
        "bytes_done": len(TWO_ROWS),
    }
    assert assert_exact(organization).total_products == 2
    listed = client.get(imports(organization)).json()
    assert (listed["pagination"]["total_count"], listed["data"]) == (1, [found.json()])


def test_dry_run_waits_until_it_is_applied(client: Client, organization: Organization) -> None:
    path = send(client, organization, dry_run="true").headers["Location"]
    work()
    assert client.get(path).json()["status"] == "checked"
    assert Product.objects.count() == 0
    applied = post(client, f"{path}/apply")
    assert (applied.status_code, applied.json()["status"]) == (200, "confirmed")
    work()
    assert client.get(path).json()["status"] == "done"
    assert Product.objects.count() == 2
    again = problem(post(client, f"{path}/apply"))
    assert (again["error_code"], again["detail"]) == (
        "conflict",
        "This run is imported, so it cannot be imported now.",
    )
    assert problem(post(client, f"{path}/cancel"))["error_code"] == "conflict"


def test_rejected_rows_decide_whether_it_waits(client: Client, organization: Organization) -> None:
    path = send(client, organization, ONE_INVALID_ROW).headers["Location"]
    work()
    found = client.get(path).json()
    assert (found["status"], found["rejected"], found["has_rejects"]) == ("checked", 1, True)
    assert found["detail"] == "Rejected rows: 1. Import the others without them, or cancel."
    assert found["problems"] == [{"line": 3, "reason": NOT_A_GTIN}]
    rejects = client.get(f"{path}/rejects", headers={"Accept": "text/csv"})
    assert b"".join(rejects.streaming_content).decode() == (
        f'gtin,name,_line,_reason\n123,b,3,"{NOT_A_GTIN}"\n'
    )
    assert rejects.headers["Content-Disposition"] == (
        'attachment; filename="our products.rejects.csv"'
    )
    assert problem(post(client, f"{path}/apply"))["error_code"] == "conflict"
    assert post(client, f"{path}/apply", {"skip_bad_rows": True}).status_code == 200
    work()
    assert client.get(path).json()["status"] == "done"

    path = send(client, organization, f"gtin,name\n{UPC},b\n1,c\n", skip_bad_rows="true").headers[
        "Location"
    ]
    work()
    assert client.get(path).json()["status"] == "done"
    assert sorted(Product.objects.values_list("gtin", flat=True)) == [UPC_14, EAN_14]


def test_unknown_columns_are_mapped_by_a_request(
    client: Client, organization: Organization
) -> None:
    # The mapping does not take the place of what the first request asked for.
    sent = send(client, organization, f"{UNKNOWN}123;x;;\n", skip_bad_rows="true", currency="EUR")
    path = sent.headers["Location"]
    work()
    found = client.get(path).json()
    assert (found["status"], found["detail"]) == (
        "mapping",
        "The columns of this file are not known yet: choose what they mean.",
    )
    assert found["found"]["layout"] == ""
    assert found["found"]["samples"][:2] == [
        {"column": "Nummer", "values": [EAN, "123"]},
        {"column": "Was", "values": ["Hafer", "x"]},
    ]
    assert found["suggested_mapping"] == {"Preis": "offer_price", "Seite": "offer_url"}
    for mapping, sentence in (
        (None, "This field may not be null."),
        ([], 'Must be an object of strings, such as {"EAN-Code": "gtin"}.'),
        ({}, "No column is mapped to gtin"),
        ({"Was": "name"}, "No column is mapped to gtin: the GTIN says which product a row is."),
        ({"Nummer": "gtin", "Was": 1}, "A mapping must be an object of strings"),
        ({"Nummer": "gtin", "Was\0": "name"}, None),
    ):
        refused = problem(post(client, f"{path}/map", {"mapping": mapping}))
        if sentence is None:
            assert refused["error_code"] == "bad_request"
        else:
            (error,) = refused["errors"]
            assert (error["pointer"], error["detail"][: len(sentence)]) == ("#/mapping", sentence)
    mapped = post(client, f"{path}/map", {"mapping": MAPPING, "save_mapping": True})
    assert (mapped.status_code, mapped.json()["status"]) == (200, "waiting")
    work()
    found = client.get(path).json()
    assert (found["status"], found["created"], found["rejected"]) == ("done", 1, 1)
    assert (found["found"]["layout"], found["mapping"]) == ("mapping", MAPPING)
    assert (found["suggested_mapping"], found["preview"][0]["offers"]) == (None, 1)
    assert found["tables"]["offers"] == {"created": 1, "updated": 0}
    assert [group["rule"] for group in found["problem_groups"]] == ["gtin: too short"]
    offer = Offer.objects.get()
    assert (offer.retailer, offer.shown_price, offer.currency) == ("My Shop", "1.50", "EUR")
    assert problem(post(client, f"{path}/map", {"mapping": MAPPING}))["error_code"] == "conflict"

    # Saved, so the next file with these columns needs no question.
    path = send(client, organization, UNKNOWN, currency="EUR").headers["Location"]
    work()
    found = client.get(path).json()
    assert (found["status"], found["unchanged"], found["mapping"]) == ("done", 1, None)


def test_mapping_is_sent_with_the_file(
    client: Client, organization: Organization, server: FeedServer
) -> None:
    # Also a header with a column without a title, for which the mapping is saved.
    text = UNKNOWN.replace("Seite", "Seite;") + f"{UPC};Tee;2;https://s.example.com/2\n"
    fields = {"currency": "EUR", "mapping": json.dumps(MAPPING), "save_mapping": "true"}
    path = send(client, organization, text, dry_run="true", **fields).headers["Location"]
    work()
    found = client.get(path).json()
    assert (found["status"], found["created"], found["currency"]) == ("checked", 2, "EUR")
    assert (found["mapping"], found["saves_mapping"]) == (MAPPING, True)
    assert found["suggested_mapping"] == MAPPING

    server.serve(text)
    sent = post(client, imports(organization), {"url": server.url(), "currency": "EUR"})
    assert fetch_next(threading.Event())
    work()
    assert client.get(sent.headers["Location"]).json()["status"] == "done"
    assert Offer.objects.count() == 2

    both = send(client, organization, text, layout="google", mapping=json.dumps(MAPPING))
    assert problem(both)["errors"] == [
        {
            "pointer": "#/mapping",
            "code": "mapping",
            "detail": "A mapping takes the place of the layout: use the layout auto.",
        }
    ]
    for wrong in ("{", "[]", '"x"'):
        refused = problem(send(client, organization, text, mapping=wrong))
        assert [each["pointer"] for each in refused["errors"]] == ["#/mapping"]
    refused = problem(send(client, organization, text, currency="eur", shop="x"))
    assert {each["pointer"] for each in refused["errors"]} == {"#/currency", "#/shop"}


def test_mapping_of_a_missing_column_can_be_corrected(
    client: Client, organization: Organization
) -> None:
    mapping = {"Nummer": "gtin", "Bezeichnung": "name"}
    fields = {"currency": "EUR", "mapping": json.dumps(mapping)}
    path = send(client, organization, UNKNOWN, **fields).headers["Location"]
    work()
    found = client.get(path).json()
    assert (found["status"], found["suggested_mapping"]) == ("mapping", {"Nummer": "gtin"})
    assert found["found"]["format"] == "delimited"
    assert found["detail"] == (
        "The mapping names a column 'Bezeichnung', which the file does not have. Its columns are: "
        "Nummer, Was, Preis, Seite."
    )
    assert post(client, f"{path}/map", {"mapping": MAPPING}).status_code == 200
    work()
    assert client.get(path).json()["status"] == "done"
    assert Product.objects.get().name == "Hafer"


def test_file_without_names_waits_until_it_is_mapped(
    client: Client, organization: Organization
) -> None:
    path = send(client, organization, f"gtin,Bezeichnung lang,brand\n{EAN},Hafer,Acme\n").headers[
        "Location"
    ]
    work()
    found = client.get(path).json()
    assert (found["status"], found["found"]["layout"]) == ("mapping", "csv")
    assert found["detail"].startswith("No column of this file is read as the name")
    assert found["suggested_mapping"] == {"gtin": "gtin", "brand": "brand"}
    chosen = send(
        client, organization, f"gtin,brand,nutrient:fat:g\n{UPC},Acme,1.5\n", layout="csv"
    )
    work()
    # No question for a layout that was chosen.
    assert client.get(chosen.headers["Location"]).json()["status"] == "done"
    assert Product.objects.get().nutrition["nutrients"][0]["amount"] == "1.5"
    Product.objects.all().delete()
    mapping = {**found["suggested_mapping"], "Bezeichnung lang": "name"}
    assert post(client, f"{path}/map", {"mapping": mapping}).status_code == 200
    work()
    assert client.get(path).json()["status"] == "done"
    assert Product.objects.get().name == "Hafer"


def test_columns_of_json_lines_cannot_be_mapped(client: Client, organization: Organization) -> None:
    path = send(client, organization, f'{{"gtin": "{EAN}"}}\n', dry_run="true").headers["Location"]
    work()
    found = client.get(path).json()
    assert (found["status"], found["suggested_mapping"]) == ("checked", None)
    refused = problem(post(client, f"{path}/map", {"mapping": MAPPING}))
    assert (refused["error_code"], refused["detail"]) == (
        "conflict",
        "The columns of this file are not known, so they cannot be mapped.",
    )


def test_canceled_import_changes_nothing(client: Client, organization: Organization) -> None:
    path = send(client, organization).headers["Location"]
    assert post(client, f"{path}/cancel").json()["status"] == "cancelled"
    work()
    assert Product.objects.count() == 0
    assert files.storage().listdir("")[1] == []
    assert problem(client.get(f"{path}/rejects"))["error_code"] == "not_found"


def test_repeated_request_imports_once(client: Client, organization: Organization) -> None:
    headers = {"Idempotency-Key": "nightly"}
    first = send(client, organization, headers=headers)
    again = send(client, organization, headers=headers)
    assert (again.status_code, again.json()) == (202, first.json())
    assert again.headers["Location"] == first.headers["Location"]
    assert again.headers["Idempotency-Replayed"] == "true"
    assert ImportRun.objects.count() == 1
    # The file of the repeated request is not kept.
    assert len(files.storage().listdir("")[1]) == 1
    other = send(client, organization, ONE_INVALID_ROW, headers=headers)
    assert problem(other)["error_code"] == "conflict"


def test_unfit_requests_store_nothing(
    client: Client, organization: Organization, settings: Settings
) -> None:
    empty = problem(send(client, organization, ""))
    assert empty["error_code"] == "validation_error"
    assert empty["errors"][0]["pointer"] == "#/file"
    unknown = problem(send(client, organization, layout="other", retailr="x"))
    assert {each["pointer"] for each in unknown["errors"]} == {"#/layout", "#/retailr"}
    assert problem(post(client, imports(organization)))["errors"] == [
        {"pointer": "#/url", "code": "required", "detail": "This field is required."}
    ]
    plain = problem(post(client, imports(organization), {"url": "http://feeds.example.com/"}))
    assert plain["errors"] == [
        {"pointer": "#/url", "code": "https", "detail": "The address must start with https://."}
    ]
    # Larger than other uploads of the API, and than its own limit.
    settings.API_LARGEST_UPLOAD = 10
    settings.IMPORT_LARGEST_FILE = len(TWO_ROWS)
    assert send(client, organization).status_code == 202
    large = send(client, organization, TWO_ROWS + " ")
    assert (large.status_code, problem(large)["error_code"]) == (413, "payload_too_large")
    larger = send(client, organization, TWO_ROWS * 3000)
    assert (larger.status_code, problem(larger)["error_code"]) == (413, "payload_too_large")
    for _ in range(MAX_UNFINISHED - 1):
        assert send(client, organization).status_code == 202
    assert problem(send(client, organization))["detail"] == (
        "10 imports are not finished: import or cancel one of them first."
    )
    assert len(files.storage().listdir("")[1]) == ImportRun.objects.count() == MAX_UNFINISHED


def test_file_is_fetched_once_from_an_address(
    client: Client, organization: Organization, server: FeedServer
) -> None:
    server.serve(TWO_ROWS, "/daily/products.csv")
    sent = post(client, imports(organization), {"url": server.url("/daily/products.csv?key=1")})
    server.answers["/daily/products.csv?key=1"] = server.answers["/daily/products.csv"]
    assert (sent.status_code, sent.json()["name"]) == (202, "products.csv")
    work()
    path = sent.headers["Location"]
    assert client.get(path).json()["status"] == "waiting"
    assert fetch_next(threading.Event())
    assert not fetch_next(threading.Event())
    work()
    found = client.get(path).json()
    assert (found["status"], found["created"], found["size"]) == ("done", 2, len(TWO_ROWS))

    server.answers["/gone"] = status(404)
    sent = post(client, imports(organization), {"url": server.url("/gone"), "dry_run": True})
    assert fetch_next(threading.Event())
    found = client.get(sent.headers["Location"]).json()
    assert (found["status"], found["detail"]) == ("failed", "The server returned 404 Not Found.")


def test_source_is_created_run_changed_and_deleted(
    client: Client, organization: Organization, server: FeedServer
) -> None:
    server.serve(TWO_ROWS)
    values = {"url": server.url(), "username": "brand", "password": "s3cret-word"}
    created = post(client, sources(organization), values)
    assert created.status_code == 201
    assert b"s3cret-word" not in created.content
    assert ImportSource.objects.get().password == "s3cret-word"
    path = created.headers["Location"]
    body = created.json()
    times = ("created_at", "updated_at", "next_run_at")
    assert all(body[name] for name in times)
    assert {n: v for n, v in body.items() if n not in times} == {
        "id": body["id"],
        "name": "feeds.test",
        "url": server.url(),
        "username": "brand",
        "has_password": True,
        "layout": "auto",
        "mapping": None,
        "retailer": "",
        "shop": "",
        "currency": "",
        "overwrite_blank": False,
        "skip_bad_rows": True,
        "interval_hours": 24,
        "when_gone": "keep",
        "is_paused": False,
        "state": "waiting",
        "detail": "",
        "failures": 0,
        "last_run_at": None,
        "last_outcome": "",
        "last_import_id": None,
    }
    assert fetch_next(threading.Event())
    work()
    shown = client.get(path).json()
    run = ImportRun.objects.get()
    assert (shown["state"], shown["last_outcome"], shown["last_import_id"]) == (
        "ok",
        "importing",
        format_id(run.pk),
    )
    assert client.get(imports(organization, format_id(run.pk))).json()["source_id"] == body["id"]
    assert client.get(sources(organization)).json()["data"] == [shown]

    assert post(client, f"{path}/run").json()["state"] == "running"
    changed = client.patch(
        path, {"is_paused": True, "password": ""}, content_type="application/json"
    )
    assert (changed.status_code, changed.json()["state"]) == (200, "paused")
    assert (changed.json()["has_password"], changed.json()["next_run_at"]) == (False, None)
    options = {
        **{"mapping": {"Nummer": "gtin", "Was": "name"}, "currency": "EUR", "layout": "auto"},
        **{"overwrite_blank": True, "skip_bad_rows": False},
    }
    changed = client.patch(path, options, content_type="application/json").json()
    assert {name: changed[name] for name in options} == options
    both = client.patch(path, {"layout": "google"}, content_type="application/json")
    assert problem(both)["errors"][0]["pointer"] == "#/mapping"
    merged = client.patch(
        path, {"mapping": {"Was": "brand"}}, content_type="application/merge-patch+json"
    )
    assert merged.json()["mapping"] == {"Nummer": "gtin", "Was": "brand"}
    none = client.patch(path, {"mapping": None}, content_type="application/json")
    assert none.json()["mapping"] is None
    wrong = client.patch(path, {"interval_hours": 2}, content_type="application/json")
    assert problem(wrong)["errors"][0]["pointer"] == "#/interval_hours"
    assert client.delete(path).status_code == 204
    assert ImportSource.objects.count() == 0
    assert Product.objects.count() == 2


def test_lists_take_as_many_queries_for_one_row_as_for_many(
    client: Client,
    organization: Organization,
    django_assert_num_queries: Any,
) -> None:
    for number in range(3):
        post(client, sources(organization), {"url": f"https://feeds.example.com/{number}"})
        send(client, organization)
    # Key and limit, page, total; the runs of the sources.
    with django_assert_num_queries(3):
        assert len(client.get(imports(organization)).json()["data"]) == 3
    with django_assert_num_queries(4):
        assert len(client.get(sources(organization)).json()["data"]) == 3


def test_readonly_key_sees_neither_imports_nor_sources(organization: Organization) -> None:
    readonly = client_of(organization, role=ApiKeyRole.READONLY)
    for path in (imports(organization), sources(organization)):
        assert readonly.get(path).status_code == 403
    other = client_of(OrganizationFactory(), role=ApiKeyRole.MANAGER)
    for path in (imports(organization), sources(organization)):
        assert other.get(path).status_code == 404
