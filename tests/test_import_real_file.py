"""Import of a real export, compared with independent code."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pycountry
import pytest
from django.db import connection

from catalog.models import Brand, ProductImage
from closient.accounts.models import Organization
from dashboard.numbers import Stats
from tests.counting import assert_exact
from tests.factories import OrganizationFactory
from tests.importing import numbers, run
from tests.shared_data import OPEN_FOOD_FACTS, needs_shared_data

pytestmark = [pytest.mark.django_db, needs_shared_data]


def rows_of_file() -> list[tuple[int, dict[str, str]]]:
    """Return every row with its line number: no row of this file spans two lines."""
    with OPEN_FOOD_FACTS.open(encoding="utf-8", newline="") as file:
        lines = file.read().split("\r\n")
    header, *rows = csv.reader(lines, delimiter="\t")
    return [(at, dict(zip(header, row, strict=True))) for at, row in enumerate(rows, 2) if row]


def is_gtin(code: str) -> bool:
    if len(code) not in (8, 12, 13, 14) or not code.isascii() or not code.isdigit():
        return False
    padded = [int(digit) for digit in code.zfill(14)]
    return any(padded) and (3 * sum(padded[0::2]) + sum(padded[1::2])) % 10 == 0


def is_one_country(text: str) -> bool:
    names = {name.strip().removeprefix("en:").replace("-", " ") for name in text.split(",")}
    found = set()
    for name in names:
        if name in ("Turkey", "Russia"):  # Names that are not in the standard.
            found.add(name)
            continue
        try:
            found.add(pycountry.countries.lookup(name).alpha_2)
        except LookupError:
            return False
    return len(found) == 1


def is_amount(text: str) -> bool:
    try:
        return float(text) >= 0
    except ValueError:
        return False


NO_NUTRIENTS = ("fruits-vegetables", "cocoa", "carbon-footprint", "ph_", "glycemic", "collagen")


def expected_stats(rows: list[dict[str, str]]) -> Stats:
    """Count the dashboard numbers from the cells of the file."""
    percentages = []
    without_image = 0
    for row in rows:
        nutrients = [
            row[column]
            for column in row
            if column.endswith("_100g") and not column.startswith(NO_NUTRIENTS)
        ]
        percentages.append(
            15 * bool(row["product_name"].strip())
            + 15 * bool(row["generic_name"].strip())
            + 10 * bool(row["brands"].split(",")[0].strip())
            + 10 * bool(row["main_category_en"].strip() or row["categories_en"].strip())
            + 15 * bool(row["image_url"].strip())
            + 10 * any(is_amount(amount) for amount in nutrients)
            + 10 * any(is_one_country(row[c]) for c in ("origins", "manufacturing_places"))
        )
        without_image += not row["image_url"].strip()
    return Stats(
        total_products=len(rows),
        complete_products=sum(percentage >= 80 for percentage in percentages),
        avg_completeness=int(sum(percentages) / len(percentages) + 0.5),
        active_offers=0,
        broken_offers=0,
        expiring_certifications=0,
        missing_images=without_image,
    )


def versions(table: str) -> set[tuple[Any, ...]]:
    """Return the location of each row and the transactions that wrote or locked it."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT id, ctid::text, xmin::text, xmax::text FROM {table}")
        return set(cursor.fetchall())


def test_real_export_is_imported_completely(tmp_path: Path) -> None:
    organization: Organization = OrganizationFactory.create()
    rows = rows_of_file()
    good = [row for _, row in rows if is_gtin(row["code"])]
    bad = {line: row["code"] for line, row in rows if not is_gtin(row["code"])}
    rejects = tmp_path / "rejects.csv"

    result = run(OPEN_FOOD_FACTS, organization, skip_bad_rows=True, rejects=rejects)

    assert numbers(result) == (1000, 962, 0, 0, 38)
    assert len(bad) == 38
    with rejects.open(encoding="utf-8", newline="") as file:
        rejected = list(csv.DictReader(file, delimiter="\t"))
    assert {int(row["_line"]): row["code"] for row in rejected} == bad
    assert all(row["_reason"].startswith("gtin: ") for row in rejected)
    whole = dict(rows)
    for row in rejected:
        line = int(row.pop("_line"))
        row.pop("_reason")
        assert row == whole[line]
    assert assert_exact(organization) == expected_stats(good)


def test_real_export_changes_nothing_the_second_time(tmp_path: Path) -> None:
    organization: Organization = OrganizationFactory.create()
    rejects = tmp_path / "rejects.csv"
    run(OPEN_FOOD_FACTS, organization, skip_bad_rows=True, rejects=rejects)
    tables = (
        "catalog_product",
        "catalog_productimage",
        "catalog_brand",
        "tally_tallyentry",
        "accounts_organization",
    )
    before = {table: versions(table) for table in tables}

    result = run(OPEN_FOOD_FACTS, organization, skip_bad_rows=True, rejects=rejects)

    assert numbers(result) == (1000, 0, 0, 962, 38)
    assert {table: versions(table) for table in tables} == before


def test_real_export_stores_no_user_names(tmp_path: Path) -> None:
    organization: Organization = OrganizationFactory.create()
    run(OPEN_FOOD_FACTS, organization, skip_bad_rows=True, rejects=tmp_path / "rejects.csv")
    people = {
        row[column]
        for _, row in rows_of_file()
        for column in ("creator", "last_modified_by")
        if len(row[column]) > 12
    }
    with connection.cursor() as cursor:
        cursor.execute("SELECT p::text FROM catalog_product p")
        everything = "\n".join(row[0] for row in cursor)
    assert people
    assert [name for name in people if name in everything] == []
    assert Brand.objects.filter(organization=organization).exists()
    assert not ProductImage.objects.filter(external_url="").exists()
