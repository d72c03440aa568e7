"""Whatever the format, the layout and the damage to the cells: what is stored is what was meant.

The files are written by independent code (``tests/catalog_files.py``). With ``GENERATED_CATALOGS``
there are that many catalogs of each layout and format instead of 2, and new ones each time.
"""

from __future__ import annotations

import csv
import json
import os
import tempfile
import unicodedata
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

import openpyxl
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from dashboard.imports.engine import ImportFile, Options
from tests.catalog_files import LAYOUTS, FileLayout, Item, catalog, write_catalog
from tests.counting import assert_exact
from tests.factories import OrganizationFactory, ProductFactory
from tests.importing import certificates, numbers, offers, product, run, stored
from tests.shared_data import OPEN_FOOD_FACTS, needs_shared_data

pytestmark = pytest.mark.django_db

CATALOGS = int(os.environ.get("GENERATED_CATALOGS", "2"))
CASES = [(name, kind) for name, layout in LAYOUTS.items() for kind in layout.formats]


def meant(items: list[Item], layout: FileLayout) -> list[dict[str, Any]]:
    """The products that a file of a layout says, as :func:`stored` returns them."""
    found = []
    for item in sorted(items, key=lambda item: item.gtin):
        texts = {name: getattr(item, name) for name in layout.texts}
        serving_size = texts.pop("serving_size", "")
        nutrients = [
            {"name": name, "unit": unit, "amount": item.nutrients[name, unit]}
            for name, unit in layout.nutrients
            if (name, unit) in item.nutrients
        ]
        nutrition: dict[str, Any] = {"serving_size": serving_size, "nutrients": nutrients}
        found.append(
            product(
                gtin=item.gtin,
                **texts,
                nutrition={name: value for name, value in nutrition.items() if value},
                metadata=item.metadata if layout.has_metadata else {},
                images=item.images[: None if layout.has_images else 0],
            )
        )
    return found


def comparable(products: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Products with numbers instead of their texts, and brands as people compare them."""
    for each in products:
        # Columns come in any order.
        nutrients = each["nutrition"].get("nutrients", [])
        nutrients.sort(key=lambda nutrient: nutrient["name"])
        for nutrient in nutrients:
            nutrient["amount"] = Decimal(nutrient["amount"])
        brand = unicodedata.normalize("NFKC", each["brand"]).replace("\u00ad", "")
        each["brand"] = " ".join(brand.casefold().split())
    return products


def meant_offers(items: list[Item], layout: FileLayout) -> list[dict[str, Any]]:
    found = []
    for item in items:
        for offer in item.offers:
            fields = {name: offer[name] for name in layout.offer_fields}
            if "retailer" not in layout.offer_fields:
                # The file of a shop does not name it.
                fields["retailer"] = urlsplit(offer["url"]).hostname
            if fields.get("price") is not None:
                fields["price"] = f"{fields['price']:f}"
            found.append({"gtin": item.gtin, **{k: v for k, v in fields.items() if v}})
    return sorted(found, key=lambda offer: (offer["gtin"], offer["sku"]))


def meant_certificates(items: list[Item], layout: FileLayout) -> list[dict[str, Any]]:
    found = []
    for item in items:
        for each in item.certificates:
            fields = {name: each[name] for name in layout.certificate_fields}
            for name in ("valid_from", "expiry_date"):
                if fields.get(name):
                    fields[name] = str(fields[name])
            found.append({"gtin": item.gtin, **{k: v for k, v in fields.items() if v}})
    return sorted(found, key=lambda each: (each["gtin"], each["certification"], each["number"]))


def differences(stored: list[dict[str, Any]], meant: list[dict[str, Any]]) -> list[Any]:
    """The fields that differ, each with what is stored and what was meant."""
    if len(stored) != len(meant):
        return [(stored, meant)]
    return [
        (name, one.get(name), other.get(name))
        for one, other in zip(stored, meant, strict=True)
        for name in {**one, **other}
        if one.get(name) != other.get(name)
    ]


def is_google_feed(items: list[Item]) -> bool:
    """Whether any product has the title, and any the address, which Google requires of all."""
    return any(item.name for item in items) and any(
        offer["url"] for item in items for offer in item.offers[:1]
    )


def check(name: str, kind: str, random: Random) -> None:
    """Write a catalog, import it, and compare what is stored; import it again."""
    layout = LAYOUTS[name]
    items = catalog(random, random.randint(1, 5))
    organization = OrganizationFactory()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "catalog"
        write_catalog(path, random, layout, kind, items)
        if name == "openfoodfacts":
            for item in items:
                del item.images[1:]
        if not layout.creates_products:
            for item in items:
                ProductFactory(organization=organization, gtin=item.gtin)
            if not any(item.offers or item.certificates for item in items):
                return
        if kind in ("rss", "atom") and not is_google_feed(items):
            return
        file = ImportFile(path, organization=organization)
        # JSON of ours without nested values is a table.
        has_nested = any(item.nutrients or item.metadata or item.images for item in items)
        is_table = (name, kind) == ("jsonl", "json") and not has_nested
        assert is_table or file.detected.layout == name.split(maxsplit=1)[0]
        rejects = Path(folder) / "rejects"
        result = file.load(organization, Options(skip_bad_rows=True, rejects=rejects))
        assert not result.problems
        if layout.creates_products:
            assert numbers(result) == (len(items), len(items), 0, 0, 0)
            found = differences(comparable(stored(organization)), comparable(meant(items, layout)))
            assert not found
        assert not differences(offers(organization), meant_offers(items, layout))
        assert not differences(certificates(organization), meant_certificates(items, layout))
        again = ImportFile(path, organization=organization).load(organization, Options())
        assert again.unchanged == again.total
    assert_exact(organization)


# Shrinking a catalog takes minutes: an example is small enough.
@settings(max_examples=5, phases=[Phase.generate])
@given(st.sampled_from(CASES), st.randoms(use_true_random=False))
def test_what_is_stored_is_what_was_meant(case: tuple[str, str], random: Random) -> None:
    check(*case, random)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), CASES)
@settings(max_examples=CATALOGS, phases=[Phase.generate])
@given(st.integers(0, 2**32))
def test_each_format_and_layout_stores_what_was_meant(name: str, kind: str, seed: int) -> None:
    check(name, kind, Random(seed))


def write_feed(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Write the rows of an Open Food Facts export as a feed for Google Merchant Center."""
    items = []
    for row in rows:
        last = row["categories_en"].rpartition(",")[2].strip()
        values = {
            "id": row["code"],
            "title": row["product_name"],
            "description": row["generic_name"],
            "link": row["url"],
            "image_link": row["image_url"],
            "brand": row["brands"].split(",")[0],
            "gtin": row["code"],
            "product_type": row["main_category_en"] or last,
        }
        inner = "".join(f"<g:{name}>{escape(text)}</g:{name}>" for name, text in values.items())
        items.append(f"<item>{inner}</item>")
    path.write_text(
        '<rss version="2.0" xmlns:g="http://base.google.com/ns/1.0"><channel>'
        f"{''.join(items)}</channel></rss>",
        encoding="utf-8",
    )


@pytest.mark.slow
@needs_shared_data
def test_real_products_are_the_same_in_every_format(tmp_path: Path) -> None:
    with OPEN_FOOD_FACTS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    header = list(rows[0])
    with (tmp_path / "commas.csv").open("w", encoding="utf-16", newline="") as file:
        writer = csv.DictWriter(file, header)
        writer.writeheader()
        writer.writerows(rows)
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet()
    sheet.append(header)
    for row in rows:
        cells = []
        for text in row.values():
            cell = openpyxl.cell.WriteOnlyCell(sheet, text)
            cell.data_type = "s"
            cells.append(cell)
        sheet.append(cells)
    book.save(tmp_path / "workbook.xlsx")
    lines = [json.dumps({name: text for name, text in row.items() if text}) for row in rows]
    (tmp_path / "lines.jsonl").write_text("\n".join(lines))
    write_feed(tmp_path / "feed.xml", rows)

    def imported(path: Path) -> list[dict[str, Any]]:
        organization = OrganizationFactory()
        run(path, organization, skip_bad_rows=True, rejects=tmp_path / "rejects")
        assert_exact(organization)
        return comparable(stored(organization))

    expected = imported(OPEN_FOOD_FACTS)
    assert len(expected) > 900
    for name in ("commas.csv", "workbook.xlsx", "lines.jsonl"):
        assert imported(tmp_path / name) == expected
    # A feed for Google has no fields for these.
    nothing = {"country_of_origin": "", "net_content": "", "nutrition": {}}
    assert imported(tmp_path / "feed.xml") == [{**each, **nothing} for each in expected]
