"""CSV exports: exactly the filtered rows, without formulas, and imported unchanged."""

from __future__ import annotations

import csv
import io
import json
import re
import tracemalloc
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import example, given
from hypothesis import strategies as st
from python_calamine import CalamineWorkbook

from catalog import lists
from catalog.exporting import exported_products
from catalog.lists import Order, ProductList
from catalog.models import Product
from closient.accounts.models import Membership, Organization
from closient.db.ids import format_id
from closient.db.transactions import consistent_read
from closient.text.csv_safety import escape_cell, unescape_cell
from dashboard.imports import Options, import_file
from tests.clients import browser_of
from tests.counting import assert_exact
from tests.factories import (
    BrandFactory,
    CertificationAssignmentFactory,
    MembershipFactory,
    OfferFactory,
    ProductFactory,
    ProductImageFactory,
)
from tests.sessions import sessions

pytestmark = pytest.mark.django_db(transaction=True)

# Texts that are formulas to spreadsheets, look like ones, or are hard to quote.
TEXTS = [
    "=1+1",
    "=cmd|' /C calc'!A0",
    "+49 30 123",
    "-5 °C",
    "@SUM(A1)",
    "'=1+1",
    "''=1+1",
    "'",
    "''",
    "'s Gravenhage",
    "'-'",
    "\uff1d1",
    "-",
    'a "quoted", cell; with\ttab',
    "Ünïcödé 汉字 🥛",
    "a,b",
    "1e5",
    "00123",
    "TRUE",
    "a;=1+1;b",
    "a;'=1+1",
    "a,-1;'-1;- 1",
    'a;"=1+1;b',
    "a;'\"=1+1;- b(c)",
]


@pytest.fixture
def alice() -> Membership:
    return MembershipFactory(role="owner", organization__name="Äcme & Söhne")


def export_path(organization: Organization, query: str = "") -> str:
    return f"/dashboard/{format_id(organization.id)}/products/export{query}"


def content_of(response: Any) -> str:
    return b"".join(response.streaming_content).decode("utf-8-sig")


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("text", [*TEXTS, "", "\t=1", "\r\n"])
def test_every_text_survives_export_and_import(text: str) -> None:
    cell = escape_cell(text)
    assert cell[:1] not in {*"=+-@\t\r\n\uff1d"}
    assert unescape_cell(cell) == text


@given(st.text("=+-@\t\r\n\uff1d';,\" a1(|"), st.sampled_from(",;"), st.sampled_from(",;\t"))
@example("- oats\n- milk", ",", ";")
@example('a;"=1+1;b', ",", ";")
@example('a,"@SUM(1),b', ";", ",")
@example("a;- 1+cmd|' /C calc'!A0;", ",", ";")
@example("a;- 1,5+HYPERLINK(A1);", ",", ";")
def test_no_cell_is_a_formula_with_any_separator(text: str, written: str, expected: str) -> None:
    cell = escape_cell(text)
    assert unescape_cell(cell) == text
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=written).writerow([12, cell, 34])
    file.seek(0)
    for row in csv.reader(file, delimiter=expected):
        for shown in row:
            assert shown[:1] not in {*"=+@\uff1d"}
            assert shown[:1] != "-" or (shown[:2] == "- " and not {*"(|"} & {*shown})


def test_ordinary_texts_are_not_changed() -> None:
    lists = "Contains:\n- oats\n- water", "5,- \u20ac; a, b", 'large;"extra"\n"yes"'
    for text in (*lists, "'s Gravenhage", "well-known"):
        assert escape_cell(text) == text


def test_a_product_is_exported_in_the_format_of_the_import(alice: Membership) -> None:
    organization = alice.organization
    product = ProductFactory(
        organization=organization,
        gtin="04012345678901",
        name="=HYPERLINK(1)",
        description="Two\nlines",
        brand=BrandFactory(organization=organization, name="+Plus"),
        nutrition={
            "serving_size": "30 g",
            "nutrients": [{"name": "fat", "amount": "1.5", "unit": "g"}],
        },
        metadata={"season": "sümmer"},
        country_of_origin="DE",
        net_content="1 l",
    )
    ProductImageFactory(product=product, external_url="https://i.example.com/a", is_imported=True)
    product.refresh_from_db()
    response = browser_of(alice.user).get(export_path(organization))
    today = organization.today().isoformat()
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
    name = f"filename*=utf-8''products-%C3%A4cme-s%C3%B6hne-{today}.csv"
    assert response.headers["Content-Disposition"] == f"attachment; {name}"
    assert rows_of(content_of(response)) == [
        {
            "gtin": "04012345678901",
            "name": "'=HYPERLINK(1)",
            "description": "Two\nlines",
            "brand": "'+Plus",
            "manufacturer": "",
            "category": "",
            "gpc_brick_code": "",
            "country_of_origin": "DE",
            "net_content": "1 l",
            "status": "active",
            "image_url": "https://i.example.com/a",
            "serving_size": "30 g",
            "nutrients": '[{"name": "fat", "unit": "g", "amount": "1.5"}]',
            "metadata": '{"season": "sümmer"}',
            "percentage": "75",
            "images": "1",
            "active_offers": "0",
            "updated_at": product.updated_at.isoformat(timespec="seconds"),
        }
    ]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["c", "b", "a"]),
        ("?ordering=name", ["a", "b", "c"]),
        ("?ordering=-completeness", ["b", "c", "a"]),
        ("?missing=images", ["c", "a"]),
        ("?status=draft", ["c"]),
        ("?complete=true", []),
        # Pagination does not apply to exports.
        ("?page_size=1&page=2", ["c", "b", "a"]),
    ],
)
def test_export_contains_exactly_the_filtered_products(
    alice: Membership, query: str, names: list[str]
) -> None:
    organization = alice.organization
    ProductFactory(organization=organization, name="a")
    ProductImageFactory(product=ProductFactory(organization=organization, name="b"))
    ProductFactory(organization=organization, name="c", status="draft")
    ProductFactory(name="of another organization")
    rows = rows_of(content_of(browser_of(alice.user).get(export_path(organization, query))))
    assert [row["name"] for row in rows] == names


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("?complete=perhaps", "Must be true or false."),
        ("?separator=dot", "Must be one of comma, semicolon."),
    ],
)
def test_an_invalid_filter_exports_nothing(alice: Membership, query: str, sentence: str) -> None:
    response = browser_of(alice.user).get(export_path(alice.organization, query))
    assert response.status_code == 422
    assert not response.streaming
    assert sentence in response.content.decode()


@pytest.mark.parametrize("what", ["products", "offers", "certifications"])
def test_each_list_offers_all_formats(alice: Membership, what: str) -> None:
    OfferFactory(product__organization=alice.organization)
    CertificationAssignmentFactory(product=Product.objects.get())
    client = browser_of(alice.user)
    html = client.get(f"/dashboard/{format_id(alice.organization.id)}/{what}").content.decode()
    addresses = [unescape(found) for found in re.findall(r'href="([^"]*/export[^"]*)"', html)]
    files = [client.get(address) for address in addresses]
    suffixes = [file.headers["Content-Disposition"].rpartition(".")[2] for file in files]
    assert suffixes == ["xlsx", "csv", "csv", "jsonl"]
    workbook, *others = (b"".join(file.streaming_content) for file in files)  # type: ignore[attr-defined]
    sheet = CalamineWorkbook.from_filelike(io.BytesIO(workbook)).get_sheet_by_index(0)
    header, _ = sheet.to_python()
    commas, semicolons, line = (other.decode("utf-8-sig") for other in others)
    assert commas.splitlines()[0].split(",") == semicolons.splitlines()[0].split(";") == header
    assert json.loads(line)["gtin"] == Product.objects.get().gtin


@pytest.mark.parametrize("overwrite_blank", [False, True])
@pytest.mark.parametrize("separator", [",", ";"])
def test_an_export_is_imported_without_changes(
    alice: Membership, tmp_path: Path, separator: str, overwrite_blank: bool
) -> None:
    organization = alice.organization
    for number, text in enumerate(TEXTS):
        ProductFactory(
            organization=organization,
            name=text.replace("\t", " "),
            description=f"{text}\r\nsecond line\n{text}",
            brand=BrandFactory(organization=organization, name=f"{text}{number}".replace("\t", "")),
            category=text.replace("\t", " "),
            nutrition={
                "serving_size": f"{text}".replace("\t", " "),
                "nutrients": [
                    {"name": "salt", "amount": "0.5", "unit": "g"},
                    # A duplicate and no order: the export keeps the list as it is.
                    {"name": "salt", "amount": "500", "unit": "mg"},
                    {"name": '="fat"', "amount": "10", "unit": ""},
                ],
            },
            metadata={"=key": text, "lines": "a\nb", "x;=1": "a;'=1"},
        )
    ProductImageFactory(
        product=ProductFactory(organization=organization, described=False), is_imported=True
    )
    ProductImageFactory(product=ProductFactory(organization=organization, name=""))
    before = list(Product.objects.filter(organization=organization).order_by("pk").values())
    file = tmp_path / "products.csv"
    query = "?separator=semicolon" if separator == ";" else ""
    response = browser_of(alice.user).get(export_path(organization, query))
    file.write_bytes(b"".join(response.streaming_content))
    assert file.read_text("utf-8-sig").startswith(f"gtin{separator}name{separator}")

    result = import_file(file, organization, Options(overwrite_blank=overwrite_blank))
    assert (result.total, result.unchanged) == (len(TEXTS) + 2, len(TEXTS) + 2)
    assert set(result.ignored_columns) == {"percentage", "images", "active_offers", "updated_at"}
    after = list(Product.objects.filter(organization=organization).order_by("pk").values())
    assert after == before

    # Imported into an empty organization it creates the same products.
    other = MembershipFactory().organization
    assert import_file(file, other).created == len(TEXTS) + 2
    fields = ("gtin", "name", "description", "category", "nutrition", "metadata", "brand__name")
    both = [
        list(Product.objects.filter(organization=one).order_by("gtin").values(*fields))
        for one in (organization, other)
    ]
    assert both[0] == both[1]
    assert_exact(other)


@pytest.mark.parametrize(
    ("columns", "cells", "reason"),
    [
        (
            "nutrients",
            "fat",
            "nutrients: the cell is not valid JSON: Expecting value at character 1",
        ),
        ("nutrients", "{}", "nutrients: must be a list of objects"),
        ("nutrients", "[{}]", "nutrients[0].amount: is missing"),
        ("metadata", "[]", "metadata: must be an object"),
        ("metadata", '"{""a"": 1}"', "metadata.a: must be a string (put it in quotes)"),
    ],
)
def test_a_cell_with_json_is_validated(
    alice: Membership, tmp_path: Path, columns: str, cells: str, reason: str
) -> None:
    file = tmp_path / "products.csv"
    file.write_text(f"gtin,{columns}\n04012345678901,{cells}\n")
    result = import_file(file, alice.organization, Options(skip_bad_rows=True))
    assert [problem.reason for problem in result.problems] == [reason]


@pytest.mark.parametrize(
    "values",
    [
        *({"ordering": order.value} for order in Order),
        {"missing": ["images"]},
        {"missing": ["images"], "ordering": "-completeness"},
        {"max_completeness": 30},
        {"complete": False, "ordering": "completeness"},
        {"status": "draft", "ordering": "completeness"},
    ],
)
def test_batches_of_an_export_are_the_rows_of_the_list(
    organization: Organization, monkeypatch: pytest.MonkeyPatch, values: dict[str, Any]
) -> None:
    monkeypatch.setattr(lists, "CHUNK", 2)
    monkeypatch.setattr(lists, "MAX_IDS", 4)
    for number in range(12):
        product = ProductFactory(
            organization=organization,
            name=f"Name {number % 4}",
            description="x" * (number % 3),
            status="draft" if number % 2 else "active",
        )
        if number % 4 == 0:
            ProductImageFactory(product=product)
    listed = ProductList.of(organization, values)
    page, total = listed.page(start=0, end=100)
    assert total >= 4
    with consistent_read():
        exported = [row[0] for row in exported_products(listed)]
    assert exported == [product.gtin for product in page]


def test_an_export_reads_one_snapshot(alice: Membership) -> None:
    organization = alice.organization
    ProductFactory.create_batch(3, organization=organization, description="x" * 50_000)
    response = browser_of(alice.user).get(export_path(organization))
    pieces: Iterator[bytes] = iter(response.streaming_content)
    first = next(pieces)

    def change() -> None:
        ProductFactory(organization=organization, name="too late")
        Product.objects.filter(organization=organization).update(description="changed")

    with sessions(1) as [other]:
        other.run(change)
    text = (first + b"".join(pieces)).decode("utf-8-sig")
    assert [row["description"][:3] for row in rows_of(text)] == ["xxx"] * 3
    # The connection is usable again for reads and writes.
    assert Product.objects.filter(organization=organization).update(status="draft") == 4


def test_an_aborted_download_leaves_no_open_transaction(alice: Membership) -> None:
    ProductFactory.create_batch(3, organization=alice.organization, description="x" * 50_000)
    response = browser_of(alice.user).get(export_path(alice.organization))
    next(iter(response.streaming_content))
    response.close()
    assert not connection.in_atomic_block


@pytest.mark.slow
def test_memory_and_queries_are_constant(alice: Membership) -> None:
    organization = alice.organization
    Product.objects.bulk_create(
        ProductFactory.build_batch(2_500, organization=organization, description="x" * 1_000)
    )
    client = browser_of(alice.user)
    client.get(export_path(organization, "?q=none")).close()
    with CaptureQueriesContext(connection) as captured:
        tracemalloc.start()
        response = client.get(export_path(organization))
        size = sum(len(piece) for piece in response.streaming_content)
        response.close()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert size > 2_500_000
    # Memory holds a thousand rows at a time, never the whole file.
    assert peak < 12_000_000
    # Session, user, membership with organization and rule; acquire an export slot, set the
    # time limits; the products; release the slot.
    reads = [q["sql"] for q in captured.captured_queries if "SELECT" in q["sql"][:80]]
    assert len(reads) <= 7, reads
