"""An exported workbook that is edited and imported: the edited cells change, and nothing else."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from catalog.models import Product
from certifications.models import CertificationAssignment
from closient.accounts.models import Organization
from closient.text.csv_safety import keep_apostrophes
from dashboard.imports import Options, import_file
from offers.models import Offer
from tests.clients import client_of
from tests.counting import assert_exact
from tests.factories import (
    BrandFactory,
    CertificationAssignmentFactory,
    OfferFactory,
    ProductFactory,
    ProductImageFactory,
    gtin,
)
from tests.test_api_exports import bytes_of, everything, path_of
from tests.test_web_export import TEXTS

pytestmark = pytest.mark.django_db(transaction=True)

PRICES = (("12.50", "EUR"), ("1200", "JPY"), ("1.046", "KWD"), (None, ""), ("0.9", "USD"))
BEGINS, ENDS = datetime.date(1899, 12, 31), datetime.date(2030, 12, 31)


@pytest.fixture
def catalog(organization: Organization) -> Organization:
    """An organization with texts, numbers and dates that spreadsheets like to change."""
    for number, text in enumerate(TEXTS):
        line = text.replace("\t", " ")
        product = ProductFactory(
            organization=organization,
            gtin=gtin(number),
            name=line,
            description=f"{text}\n{text}",
            brand=BrandFactory(organization=organization, name=f"{line}{number}"),
            gpc_brick_code="00012345",
            nutrition={"serving_size": line, "nutrients": []},
            metadata={"=key": text},
        )
        for priority in (2, 0, 1):
            ProductImageFactory(
                product=product,
                priority=priority,
                is_primary=priority == 1,
                is_imported=priority < 2,
            )
        price, currency = PRICES[number % len(PRICES)]
        OfferFactory(
            product=product, retailer=line, sku=f"00{number}", price=price, currency=currency
        )
        CertificationAssignmentFactory(
            product=product,
            certificate_number=f"00{number}",
            issuing_body=line,
            valid_from=BEGINS if number % 2 else None,
            expiry_date=ENDS,
        )
    return organization


def edit(path: Path, place: int, cells: Mapping[str, Any]) -> str:
    """Change cells of a row in a workbook, and return its GTIN."""
    book = openpyxl.load_workbook(path)
    sheet = book.worksheets[0]
    titles = [cell.value for cell in sheet[1]]
    for title, value in cells.items():
        sheet.cell(place, titles.index(title) + 1).value = value
    found = str(sheet.cell(place, titles.index("gtin") + 1).value)
    book.save(path)
    return found


@pytest.mark.parametrize(
    ("what", "model", "cells", "changes"),
    [
        ("trade-items", Product, {}, {}),
        (
            "trade-items",
            Product,
            {"name": "00456", "category": keep_apostrophes("'=2"), "gpc_brick_code": None},
            {"name": "00456", "category": "'=2", "gpc_brick_code": ""},
        ),
        (
            "offers",
            Offer,
            {"price": 3.125, "currency": "KWD", "status": "out_of_stock"},
            {"price": Decimal("3.125"), "currency": "KWD", "status": "out_of_stock"},
        ),
        (
            "offers",
            Offer,
            {"price": None, "currency": None},
            {"price": None, "currency": ""},
        ),
        (
            "certifications",
            CertificationAssignment,
            {"valid_from": datetime.date(2026, 1, 2), "expiry_date": datetime.datetime(2027, 3, 4)},
            {"valid_from": datetime.date(2026, 1, 2), "expiry_date": datetime.date(2027, 3, 4)},
        ),
        (
            "certifications",
            CertificationAssignment,
            {"valid_from": None, "expiry_date": None, "issuing_body": None},
            {"valid_from": None, "expiry_date": None, "issuing_body": ""},
        ),
    ],
)
def test_only_edited_cells_of_a_workbook_change(  # noqa: PLR0917
    catalog: Organization,
    tmp_path: Path,
    what: str,
    model: Any,
    cells: dict[str, Any],
    changes: dict[str, Any],
) -> None:
    file = tmp_path / "export.xlsx"
    file.write_bytes(bytes_of(client_of(catalog).get(path_of(catalog, what, "?format=xlsx"))))
    # A row with a price and both dates.
    edited = edit(file, 4, cells)
    key = {"gtin": edited} if model is Product else {"product__gtin": edited}
    before, row = everything(), model.objects.get(**key)
    result = import_file(file, catalog, Options(overwrite_blank=True))
    assert (result.total, result.updated) == (len(TEXTS), 1 if cells else 0)
    now = model.objects.get(**key)
    if cells:
        assert {name: getattr(now, name) for name in changes} == changes
        assert now.updated_at > row.updated_at
        # With the edited values as they were, every row is as it was.
        values = {name: getattr(row, name) for name in (*changes, "updated_at", "updated_by")}
        model.objects.filter(pk=now.pk).update(**values)
    after = everything()
    for rows in (*before, *after):
        for each in rows:
            # A trigger sets it when the test writes.
            if each["id"] == row.pk:
                each["updated_at"] = None
    assert after == before
    assert_exact(catalog)
