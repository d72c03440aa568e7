"""Exports with the API: the rows of a list in three formats, and their limits."""

from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from catalog.models import Brand, Product, ProductImage
from certifications.models import Certification, CertificationAssignment
from closient.accounts.models import ApiKey, Membership, Organization
from closient.db.ids import format_id
from closient.serving.server import LONG_PATHS
from dashboard.imports import Options, import_file
from offers.models import Offer
from tests.clients import API, browser_of, client_of, problem
from tests.counting import assert_exact
from tests.factories import (
    BrandFactory,
    CertificationAssignmentFactory,
    MembershipFactory,
    OfferFactory,
    OrganizationFactory,
    ProductFactory,
    ProductImageFactory,
)
from tests.sessions import sessions
from tests.test_web_export import TEXTS

pytestmark = pytest.mark.django_db(transaction=True)

LISTS = ("trade-items", "offers", "certifications")


def path_of(organization: Organization, what: str = "trade-items", query: str = "") -> str:
    return f"{API}/exports/{format_id(organization.id)}/{what}{query}"


def bytes_of(response: Any) -> bytes:
    assert response.status_code == 200
    return b"".join(response.streaming_content)


def lines_of(client: Client, path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in bytes_of(client.get(path)).decode().split("\n")[:-1]]


def everything() -> list[list[dict[str, Any]]]:
    """The rows of all tables that imports write, with all of their columns."""
    models: list[Any] = [
        *(Product, Brand, ProductImage, Offer, Certification, CertificationAssignment)
    ]
    return [list(model.objects.order_by("pk").values()) for model in models]


def contents_of(organization: Organization) -> list[dict[str, Any]]:
    """The products with their imported images, without what each organization has for itself."""
    products = Product.objects.of(organization).order_by("gtin").select_related("brand")
    fields = (
        *("gtin", "name", "description", "manufacturer", "category", "gpc_brick_code"),
        *("country_of_origin", "net_content", "nutrition", "metadata", "status", "brand_name"),
    )
    return [
        {
            **{name: getattr(product, name) for name in fields},
            "images": list(
                product.images.filter(is_imported=True)
                .order_by("priority")
                .values_list("external_url", flat=True)
            ),
        }
        for product in products
    ]


@pytest.fixture
def nasty(organization: Organization) -> Organization:
    """An organization with texts that are hard to keep, an offer and a certificate each."""
    for number, text in enumerate([*TEXTS, "\U0001f95b\u2028\u200d", "<r>1</r>", "_x0041_"]):
        line = text.replace("\t", " ").replace("\u2028", " ")
        product = ProductFactory(
            organization=organization,
            name=line,
            description=f"{text}\r\nsecond line\n{text}",
            brand=BrandFactory(organization=organization, name=f"{line}{number}"),
            category=line,
            nutrition={
                "serving_size": line,
                "nutrients": [{"name": "salt", "amount": "0.5", "unit": "g"}] * 2,
            },
            metadata={"=key": text, "lines": "a\nb"},
        )
        OfferFactory(product=product, retailer=line, sku="007", price="12.5", currency="EUR")
        OfferFactory(product=product, in_store=True, store=line, price="12", currency="JPY")
        CertificationAssignmentFactory(product=product, certificate_number=f"00{number}")
        if number % 3 == 0:
            # The order is not that of their creation, and images of people are between them.
            ProductImageFactory(product=product, priority=2, is_imported=True)
            ProductImageFactory(product=product, priority=1, is_primary=True)
            ProductImageFactory(product=product, priority=1, is_imported=True)
            ProductImageFactory(product=product, priority=0, is_imported=number % 2 == 0)
    ProductFactory(organization=organization, name="")
    OfferFactory()
    CertificationAssignmentFactory()
    return organization


@pytest.mark.parametrize("what", LISTS)
def test_json_lines_are_the_resources_of_the_list(nasty: Organization, what: str) -> None:
    client = client_of(nasty)
    listed = client.get(f"{API}/{what}/{format_id(nasty.id)}?page_size=100").json()["data"]
    lines = lines_of(client, path_of(nasty, what, "?format=jsonl"))
    if what == "trade-items":
        urls: dict[str, list[str]] = defaultdict(list)
        images = ProductImage.objects.filter(is_imported=True).order_by("priority")
        for gtin, url in images.values_list("product__gtin", "external_url"):
            urls[gtin].append(url)
        assert {2, 3} == {*map(len, urls.values())}
        for row in listed:
            row["image_urls"] = urls[row["gtin"]]
            row["image_url"] = next(iter(row["image_urls"]), "")
    assert len(lines) >= len(TEXTS)
    assert lines == listed


@pytest.mark.parametrize("overwrite_blank", [False, True])
@pytest.mark.parametrize("what", LISTS)
@pytest.mark.parametrize("query", ["csv", "csv&separator=semicolon", "xlsx", "jsonl"])
def test_exports_are_imported_back_unchanged(
    nasty: Organization, tmp_path: Path, query: str, what: str, overwrite_blank: bool
) -> None:
    before = everything()
    response = client_of(nasty).get(path_of(nasty, what, f"?format={query}"))
    file = tmp_path / "export"
    file.write_bytes(bytes_of(response))
    result = import_file(file, nasty, Options(overwrite_blank=overwrite_blank))
    assert result.total == result.unchanged > len(TEXTS)
    assert everything() == before
    if what != "trade-items":
        return
    # Another organization gets the same products and images.
    other = OrganizationFactory()
    assert import_file(file, other).created == result.total
    assert contents_of(other) == contents_of(nasty)
    assert_exact(other)


@pytest.mark.parametrize("what", LISTS)
def test_answers_of_the_api_are_imported_back_unchanged(
    nasty: Organization, tmp_path: Path, what: str
) -> None:
    before = everything()
    answer: Any = client_of(nasty).get(f"{API}/{what}/{format_id(nasty.id)}?page_size=100")
    rows = answer.json()["data"]
    exported = lines_of(client_of(nasty), path_of(nasty, what, "?format=jsonl"))
    for content in (
        answer.content,
        json.dumps(rows, indent=2).encode(),
        json.dumps({"count": len(rows), "results": rows}).encode("utf-16"),
        json.dumps(exported).encode(),
        json.dumps(exported[0], indent=1).encode(),
    ):
        file = tmp_path / "answer.json"
        file.write_bytes(content)
        result = import_file(file, nasty)
        assert result.total == result.unchanged
        assert everything() == before
    if what == "trade-items":
        other = OrganizationFactory()
        file.write_bytes(json.dumps(exported).encode())
        assert import_file(file, other).created == len(rows)
        assert contents_of(other) == contents_of(nasty)


def test_columns_that_can_be_set_come_first(nasty: Organization) -> None:
    client = client_of(nasty)
    headers = {
        what: next(csv.reader(io.StringIO(bytes_of(client.get(path_of(nasty, what))).decode())))
        for what in LISTS
    }
    assert headers["offers"] == [
        *("\ufeffgtin", "channel", "retailer", "store", "sku", "url", "price", "currency"),
        *("status", "metadata", "product_name", "url_status", "http_status", "url_detail"),
        *("url_failing_since", "url_checked_at"),
    ]
    assert headers["certifications"] == [
        *("\ufeffgtin", "certification", "certification_label", "certification_body"),
        *("certificate_number", "issuing_body", "valid_from", "expiry_date"),
        *("verification_status", "verification_url", "metadata", "product_name", "is_active"),
    ]


@pytest.mark.parametrize(
    ("what", "query"),
    [
        ("trade-items", "missing=images&ordering=name"),
        ("trade-items", "ordering=-completeness"),
        ("trade-items", "q=quoted"),
        ("offers", "channel=in_store&ordering=-retailer"),
        ("offers", "retailer=%3D1%2B1"),
        ("certifications", "expired=false&ordering=-expiry_date"),
    ],
)
def test_export_has_the_rows_of_the_list_in_its_order(
    nasty: Organization, what: str, query: str
) -> None:
    client = client_of(nasty)
    listed = client.get(f"{API}/{what}/{format_id(nasty.id)}?{query}&page_size=100").json()["data"]
    lines = lines_of(client, path_of(nasty, what, f"?format=jsonl&{query}"))
    assert [line["id"] for line in lines] == [row["id"] for row in listed]
    assert lines


def test_format_is_the_parameter_or_the_first_accepted_one(organization: Organization) -> None:
    client = client_of(organization, limit_per_minute=1_000)
    workbook = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    for query, accept, sent in (
        ("", "*/*", "text/csv; charset=utf-8"),
        ("", "application/jsonl", "application/jsonl; charset=utf-8"),
        ("", f"text/html, {workbook}", workbook),
        ("?format=jsonl", "*/*", "application/jsonl; charset=utf-8"),
        ("?format=csv", "application/problem+json", "text/csv; charset=utf-8"),
    ):
        response = client.get(path_of(organization, query=query), headers={"Accept": accept})
        bytes_of(response)
        assert response.headers["Content-Type"] == sent
        assert response.headers["Cache-Control"] == "private, no-store"
    for query, accept, named in (
        ("?format=csv", "application/json", "text/csv"),
        ("?format=jsonl", "text/csv", "application/jsonl"),
        ("", "text/html", f"text/csv or {workbook} or application/jsonl"),
    ):
        response = client.get(path_of(organization, query=query), headers={"Accept": accept})
        body = problem(response)
        assert (body["status"], body["detail"]) == (
            406,
            f"The file is only available as {named}.",
        )


def test_file_is_named_after_list_organization_and_day(organization: Organization) -> None:
    client = client_of(organization)
    today = organization.today().isoformat()
    for what, query, name in (
        ("trade-items", "?format=jsonl", f"products-alpine-foods-{today}.jsonl"),
        ("offers", "", f"offers-alpine-foods-{today}.csv"),
        ("certifications", "?format=xlsx", f"certifications-alpine-foods-{today}.xlsx"),
    ):
        response = client.get(path_of(organization, what, query))
        bytes_of(response)
        assert response.headers["Content-Disposition"] == f'attachment; filename="{name}"'


@pytest.mark.parametrize(
    ("query", "pointer", "sentence"),
    [
        ("?format=pdf", "format", "Must be one of csv, xlsx, jsonl."),
        ("?format=xlsx&separator=comma", "separator", "Only CSV has a separator; leave it out"),
        ("?complete=perhaps", "complete", "Must be true or false."),
        ("?page=2", "page", "Unknown query parameter."),
    ],
)
def test_invalid_parameters_are_rejected(
    organization: Organization, query: str, pointer: str, sentence: str
) -> None:
    body = problem(client_of(organization).get(path_of(organization, query=query)))
    assert (body["status"], body["error_code"]) == (422, "validation_error")
    (error,) = body["errors"]
    assert error["pointer"] == f"#/query/{pointer}"
    assert error["detail"].startswith(sentence)


def test_readers_export_with_keys_and_sessions(organization: Organization) -> None:
    ProductFactory(organization=organization)
    viewer = MembershipFactory(organization=organization, role="viewer").user
    for client in (browser_of(viewer), client_of(viewer), client_of(organization, role="readonly")):
        assert len(lines_of(client, path_of(organization, query="?format=jsonl"))) == 1
    stranger = client_of(OrganizationFactory())
    assert problem(stranger.get(path_of(organization)))["error_code"] == "not_found"


def test_exports_are_counted_for_each_key_and_user(
    organization: Organization, settings: Settings
) -> None:
    settings.EXPORT_LIMIT_PER_MINUTE = 2
    alice: Membership = MembershipFactory(organization=organization, role="viewer")
    key, other, browser = client_of(organization), client_of(organization), browser_of(alice.user)
    for _ in range(2):
        bytes_of(key.get(path_of(organization)))
    response = key.get(path_of(organization, "offers"))
    assert problem(response)["detail"].startswith("Too many exports. Try again in ")
    assert int(response.headers["Retry-After"]) in range(1, 61)
    # The page and the API count the exports of a user together.
    bytes_of(browser.get(path_of(organization)))
    page = f"/dashboard/{format_id(organization.id)}/products/export"
    bytes_of(browser.get(page))
    assert browser.get(page).status_code == 429
    bytes_of(other.get(path_of(organization)))


@pytest.mark.parametrize("query", ["?format=csv", "?format=jsonl", "?format=xlsx"])
def test_a_key_runs_two_exports_at_a_time(organization: Organization, query: str) -> None:
    client = client_of(organization)
    key = ApiKey.objects.get(organization=organization)

    def hold() -> None:
        with connection.cursor() as cursor:
            cursor.execute("BEGIN")
            for number in range(2):
                name = f"export {number} of {key.pk}"
                cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [name])

    def release() -> None:
        with connection.cursor() as cursor:
            cursor.execute("ROLLBACK")

    with sessions(1) as [other]:
        other.run(hold)
        body = problem(client.get(path_of(organization, query=query)))
        other.run(release)
    assert (body["status"], body["error_code"], body["retry_after"]) == (429, "rate_limited", 10)
    assert body["detail"].startswith("You have 2 exports running")
    bytes_of(client.get(path_of(organization, query=query)))
    bytes_of(client_of(organization).get(path_of(organization, query=query)))


@pytest.mark.parametrize("query", ["?format=csv", "?format=jsonl"])
def test_text_is_sent_while_it_is_read_from_one_snapshot(
    organization: Organization, query: str
) -> None:
    ProductFactory.create_batch(3, organization=organization, description="x" * 50_000)
    with CaptureQueriesContext(connection) as captured:
        response: Any = client_of(organization).get(path_of(organization, query=query))
        pieces: Iterator[bytes] = iter(response.streaming_content)
        first = next(pieces)

        def change() -> None:
            Product.objects.filter(organization=organization).update(name="changed")

        with sessions(1) as [other]:
            other.run(change)
        whole = first + b"".join(pieces)
    assert b"changed" not in whole
    assert whole.count(b"x" * 50_000) == 3
    # Key with organization and rule; count the export; a free slot, twice; the products.
    reads = [q["sql"] for q in captured.captured_queries if "catalog_product" in q["sql"]]
    assert len(reads) == 1, reads


def test_export_ends_after_its_time(organization: Organization, settings: Settings) -> None:
    settings.EXPORT_TIMEOUT = 0
    ProductFactory.create_batch(3, organization=organization, description="x" * 50_000)
    client = client_of(organization)
    response: Any = client.get(path_of(organization))
    with pytest.raises(TimeoutError):
        bytes_of(response)
    body = problem(client.get(path_of(organization, query="?format=xlsx")))
    assert (body["status"], body["error_code"]) == (503, "unavailable")
    assert "export fewer rows with filters, or use CSV or JSON Lines" in body["detail"]
    assert not connection.in_atomic_block


def test_exports_are_served_by_the_threads_for_long_requests() -> None:
    for path in ("/dashboard/x/offers/export", "/dashboard/x/export", f"{API}/exports/x/offers"):
        assert LONG_PATHS.search(path)
    for path in ("/dashboard/x/offers", f"{API}/offers/x", f"{API}/stats/exports"):
        assert not LONG_PATHS.search(path)
