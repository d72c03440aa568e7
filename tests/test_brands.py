"""Brands: one per name in all of its spellings, from every source."""

from __future__ import annotations

import threading
import unicodedata
from pathlib import Path

import pytest
from django.db import IntegrityError, connection
from django.test import Client

from catalog.gtin import check_digit
from catalog.models import Brand, Product
from closient.accounts.models import Organization
from closient.db.ids import format_id
from tests import importing
from tests.clients import API, client_of
from tests.factories import BrandFactory

pytestmark = pytest.mark.django_db(transaction=True)

# Each line is one brand.
BRANDS = [
    [
        "Müller",
        unicodedata.normalize("NFD", "Müller"),
        "MÜLLER",
        "müller",
        "M\u00fcl\u00adler",
        "\u200bMüller",
        "\u202aMüller\u202c",
        " Müller ",
        "Müller\u00a0",
        "\uff2düller",
    ],
    ["Müller®"],
    ["Muller"],
    ["Dr.  Oat", "Dr. Oat", "DR.\u00a0OAT", "Dr.\u2003 Oat"],
    ["Coca\u2011Mate", "Coca-Mate", "coca\u2010mate"],
    ["\ufb01nest", "finest"],
    ["ΌΜΙΛΟΣ", "όμιλος", "όμιλοσ"],
    ["Groß", "GROSS"],
]
NAMES = [name for names in BRANDS for name in names]


def gtin(number: int) -> str:
    digits = f"400700000{number:03d}"
    return digits + check_digit(digits)


def same_brands(organization: Organization) -> list[list[str]]:
    """Return the names that share a brand, in the order of BRANDS."""
    products = Product.objects.of(organization).order_by("gtin").values_list("name", "brand")
    groups: dict[object, list[str]] = {}
    for name, brand in products:
        groups.setdefault(brand, []).append(NAMES[int(name.removeprefix("n"))])
    return list(groups.values())


def test_import_creates_one_brand_for_all_spellings(
    tmp_path: Path, organization: Organization
) -> None:
    lines = [f'{gtin(n)},n{n},"{name}"' for n, name in enumerate(NAMES)]
    path = importing.write(tmp_path, "\n".join(["gtin,name,brand", *lines]))
    assert importing.run(path, organization).created == len(NAMES)
    assert same_brands(organization) == BRANDS
    assert Brand.objects.count() == len(BRANDS)
    assert set(Brand.objects.values_list("name", flat=True)) == {names[0] for names in BRANDS}
    # Repeated, and with the spellings in another order, nothing changes.
    assert importing.run(path, organization).unchanged == len(NAMES)
    swapped = [f'{gtin(n)},n{n},"{names[-1]}"' for names in BRANDS for n in [NAMES.index(names[0])]]
    path = importing.write(tmp_path, "\n".join(["gtin,name,brand", *swapped]), "swapped.csv")
    assert importing.run(path, organization).unchanged == len(BRANDS)


def test_api_creates_one_brand_for_all_spellings(organization: Organization) -> None:
    client = client_of(organization, role="editor")
    path = f"{API}/trade-items/{format_id(organization.id)}"
    for n, name in enumerate(NAMES):
        body = {"gtin": gtin(n), "name": f"n{n}", "brand": name}
        assert client.post(path, body, content_type="application/json").status_code == 201
    assert same_brands(organization) == BRANDS
    for names in BRANDS:
        for name in names:
            listed = client.get(path, {"brand": name}).json()
            assert listed["pagination"]["total_count"] == len(names)


def test_admin_and_database_reject_another_spelling(
    staff: Client, organization: Organization
) -> None:
    BrandFactory(organization=organization, name="Müller")
    BrandFactory(name="MÜLLER")
    form = {"organization": organization.pk, "name": "MÜLLER"}
    response = staff.post("/admin/catalog/brand/add/", form, follow=True)
    assert "The organization has a brand of this name already." in response.content.decode()
    with pytest.raises(IntegrityError, match="catalog_brand_name_unique"):
        BrandFactory(organization=organization, name="mÜLLER")
    # The spelling of its own name can be changed.
    brand = Brand.objects.get(organization=organization)
    form = {"organization": organization.pk, "name": "MÜLLER"}
    assert staff.post(f"/admin/catalog/brand/{brand.pk}/change/", form).status_code == 302
    brand.refresh_from_db()
    assert brand.name == "MÜLLER"


def test_concurrent_creations_return_the_same_brand(organization: Organization) -> None:
    barrier = threading.Barrier(4)
    made = []

    def make(name: str) -> None:
        barrier.wait()
        try:
            made.append(Brand.objects.get_or_make(organization.pk, name).pk)
        finally:
            connection.close()

    names = ["Müller", "MÜLLER", "müller", unicodedata.normalize("NFD", "Müller")]
    threads = [threading.Thread(target=make, args=[name]) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [Brand.objects.get().pk] * 4
