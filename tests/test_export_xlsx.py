"""Workbooks, read by two other libraries: every text unchanged, numbers and dates as such."""

from __future__ import annotations

import datetime
import io
import json
import re
import tracemalloc
import zipfile
from decimal import Decimal
from typing import Any

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from python_calamine import CalamineWorkbook

from catalog.models import Product
from closient.accounts.models import Membership, Organization
from closient.db.ids import format_id
from closient.text.csv_safety import keep_apostrophes
from dashboard.exports import workbook
from dashboard.exports.workbook import CellTooLong, write_workbook
from tests.clients import API, browser_of, client_of, problem
from tests.factories import (
    BrandFactory,
    CertificationAssignmentFactory,
    MembershipFactory,
    OfferFactory,
    ProductFactory,
)
from tests.test_web_export import TEXTS

UTC = datetime.UTC
NASTY = [
    *TEXTS,
    "<r><t>1</t></r>",
    "<r>",
    "&amp;<b>\"'",
    " spaces ",
    "{=1}",
    "https://example.com",
    "mailto:a@example.com",
    "internal:Sheet1!A1",
    "line\nbreak",
    "\U0001f95b\u200d\u2028",
    "4006381333931",
    "1e5",
]


def written(header: list[str], *rows: list[Any]) -> bytes:
    file = io.BytesIO()
    write_workbook(file, "Rows", header, rows)
    return file.getvalue()


def by_openpyxl(content: bytes) -> list[list[Any]]:
    sheet = openpyxl.load_workbook(io.BytesIO(content)).worksheets[0]
    return [[cell.value for cell in row] for row in sheet.iter_rows()]


def by_calamine(content: bytes) -> list[list[Any]]:
    return CalamineWorkbook.from_filelike(io.BytesIO(content)).get_sheet_by_index(0).to_python()


def xml_of(content: bytes, name: str = "xl/worksheets/sheet1.xml") -> str:
    return zipfile.ZipFile(io.BytesIO(content)).read(name).decode()


@pytest.mark.parametrize("read", [by_openpyxl, by_calamine])
def test_every_text_is_a_string_and_never_a_formula_or_link(read: Any) -> None:
    content = written(["name"], *([text] for text in NASTY))
    # XML readers turn a lone carriage return into a line feed; the file has it escaped.
    assert [row[0] for row in read(content)] == ["name", *NASTY]
    xml = xml_of(content)
    assert "<f>" not in xml
    assert "hyperlink" not in xml
    assert set(re.findall(r' t="(\w+)"', xml)) == {"inlineStr"}


@settings(max_examples=60)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1))
def test_any_text_comes_back(texts: list[str]) -> None:
    stored = [text for text in texts if not re.search("[\x00-\x1f\x7f-\x9f\ufffe\uffff]", text)]
    content = written(["name"], *([text] for text in stored))
    assert [row[0] for row in by_openpyxl(content)][1:] == stored


def test_values_have_their_kind() -> None:
    header = ["gtin", "price", "count", "is_active", "valid_from", "expiry_date", "updated_at"]
    moment = datetime.datetime(2026, 11, 28, 1, 2, 3, 456, tzinfo=UTC)
    berlin = moment.astimezone(datetime.timezone(datetime.timedelta(hours=1)))
    content = written(
        header,
        [
            "00036000291452",
            Decimal("1234567890.1234"),
            7,
            True,
            datetime.date(1900, 3, 1),
            datetime.date(9999, 12, 31),
            berlin,
        ],
        ["04006381333931", None, 0, False, datetime.date(1900, 2, 28), None, None],
        ["4006381333931", Decimal("0.50"), None, None, datetime.date(1, 1, 1), None, None],
    )
    assert by_openpyxl(content)[1:] == [
        [
            "00036000291452",
            1234567890.1234,
            7,
            True,
            datetime.datetime(1900, 3, 1),
            datetime.datetime(9999, 12, 31),
            datetime.datetime(2026, 11, 28, 1, 2, 3),
        ],
        ["04006381333931", None, 0, False, "1900-02-28", None, None],
        ["4006381333931", 0.5, None, None, "0001-01-01", None, None],
    ]
    sheet = openpyxl.load_workbook(io.BytesIO(content)).worksheets[0]
    formats = [cell.number_format for cell in sheet[2]]
    assert formats == ["@", "0.0000", "General", "General", *["yyyy-mm-dd"] * 2, formats[-1]]
    assert formats[-1] == "yyyy-mm-dd hh:mm:ss"
    assert sheet["B4"].number_format == "0.00"
    calamine = by_calamine(content)
    assert calamine[1][0] == "00036000291452"
    assert calamine[1][4:6] == [datetime.date(1900, 3, 1), datetime.date(9999, 12, 31)]


def test_sheet_has_a_fixed_bold_header_widths_and_a_filter() -> None:
    content = written(["gtin", "name", "other"], ["1", "a", "b"], ["2", "c", "d"])
    sheet = openpyxl.load_workbook(io.BytesIO(content)).worksheets[0]
    assert sheet.title == "Rows"
    assert sheet.freeze_panes == "A2"
    assert sheet.auto_filter.ref == "A1:C3"
    assert [cell.font.bold for cell in sheet[1]] == [True] * 3
    assert [cell.font.bold for cell in sheet[2]] == [False] * 3
    widths = [round(sheet.column_dimensions[letter].width) for letter in "ABC"]
    assert widths[1] > widths[0] >= 14
    # A spreadsheet keeps the zeros of a GTIN that is typed below the others.
    assert sheet.column_dimensions["A"].number_format == "@"


def test_rows_beyond_a_sheet_go_into_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbook, "MAX_ROWS", 3)
    content = written(["name"], *([str(number)] for number in range(5)))
    book = openpyxl.load_workbook(io.BytesIO(content))
    assert {
        sheet.title: [row[0] for row in sheet.iter_rows(values_only=True)]
        for sheet in book.worksheets
    } == {
        "Rows": ["name", "0", "1"],
        "Rows 2": ["name", "2", "3"],
        "Rows 3": ["name", "4"],
    }


def test_a_text_that_does_not_fit_is_an_error() -> None:
    fits = "\U0001f95b" * (32_767 // 2) + "x"
    assert by_openpyxl(written(["name"], [fits]))[1] == [fits]
    for text in (fits + "x", "x" * 32_768, f"<r>{'x' * 32_750}</r>"):
        with pytest.raises(CellTooLong):
            written(["name"], [text])


@pytest.mark.django_db(transaction=True)
def test_a_long_description_is_reported_before_the_file(organization: Organization) -> None:
    product = ProductFactory(organization=organization, description="x" * 40_000)
    ProductFactory(organization=organization, status="draft")
    path = f"{API}/exports/{format_id(organization.id)}/trade-items?format=xlsx"
    client = client_of(organization)
    (error,) = problem(client.get(path))["errors"]
    assert error == {
        "pointer": "#/query/format",
        "code": "cell_too_long",
        "detail": f"The description of {product.gtin} has 40,000 characters, and a cell of a "
        "workbook takes at most 32,767: use CSV or JSON Lines.",
    }
    assert client.get(f"{path}&status=draft").getvalue()  # type: ignore[attr-defined]
    alice: Membership = MembershipFactory(organization=organization)
    page = browser_of(alice.user).get(
        f"/dashboard/{format_id(organization.id)}/products/export?format=xlsx"
    )
    assert page.status_code == 422
    assert "a cell of a workbook takes at most 32,767" in page.content.decode()


@pytest.mark.django_db(transaction=True)
def test_workbooks_have_the_values_of_the_rows(organization: Organization) -> None:
    expiry = datetime.date(2027, 1, 31)
    for number, text in enumerate(TEXTS):
        line = text.replace("\t", " ")
        product = ProductFactory(
            organization=organization,
            name=line,
            brand=BrandFactory(organization=organization, name=f"{line}{number}"),
            metadata={"=key": text},
            country_of_origin="DE",
        )
        OfferFactory(product=product, retailer=line, sku="007", price="12.5", currency="EUR")
        CertificationAssignmentFactory(
            product=product, certificate_number=f"00{number}", expiry_date=expiry
        )
    client = client_of(organization)

    def rows(what: str) -> list[dict[str, Any]]:
        path = f"{API}/exports/{format_id(organization.id)}/{what}?format=xlsx"
        response: Any = client.get(path)
        content = response.getvalue()
        assert response.headers["Content-Length"] == str(len(content))
        header, *others = by_calamine(content)
        assert by_openpyxl(content)[0] == header
        return [dict(zip(header, row, strict=True)) for row in others]

    products = list(Product.objects.filter(organization=organization).order_by("-pk"))
    assert [
        (row["gtin"], row["name"], row["brand"], row["metadata"], row["percentage"], row["images"])
        for row in rows("trade-items")
    ] == [
        (
            product.gtin,
            keep_apostrophes(product.name),
            keep_apostrophes(product.brand_name),
            keep_apostrophes(json.dumps(product.metadata, ensure_ascii=False)),
            50,
            0,
        )
        for product in products
    ]
    assert [(row["gtin"], row["retailer"], row["sku"], row["price"]) for row in rows("offers")] == [
        (product.gtin, keep_apostrophes(product.name), "007", 12.5) for product in products
    ]
    assert {
        (row["gtin"], row["certificate_number"], row["expiry_date"], row["is_active"])
        for row in rows("certifications")
    } == {
        (product.gtin, f"00{number}", expiry, True)
        for number, product in enumerate(reversed(products))
    }


@pytest.mark.slow
def test_memory_of_a_workbook_is_constant() -> None:
    rows = ([f"{number:014}", "x" * 5_000] for number in range(5_000))
    file = io.BytesIO()
    write_workbook(file, "Rows", ["gtin", "name"], [["1", "x"]])
    tracemalloc.start()
    write_workbook(file, "Rows", ["gtin", "name"], rows)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Of 25 megabytes.
    assert peak < 3_000_000
