"""Imports of images, offers and certificates: what one file writes into several tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from catalog.models import Product, ProductImage
from certifications.models import CertificationAssignment
from closient.accounts.models import Organization
from offers.models import Offer
from tests.counting import assert_exact
from tests.importing import EAN, EAN_14, UPC, UPC_14, numbers, run, write

pytestmark = pytest.mark.django_db

OFFERS = "gtin,channel,retailer,store,sku,url,price,currency,status\n"
CERTIFICATES = "gtin,certification,certificate_number,issuing_body,valid_from,expiry_date\n"


@pytest.fixture
def products(organization: Organization, tmp_path: Path) -> Organization:
    run(write(tmp_path, f"gtin,name\n{EAN},Oats\n{UPC},Tissues\n", "base.csv"), organization)
    return organization


def offers(organization: Organization) -> list[tuple[Any, ...]]:
    found = Offer.objects.of(organization).order_by("product__gtin", "retailer", "sku")
    return [
        (o.product.gtin, o.retailer, o.sku, o.url, o.shown_price, o.currency, o.status)
        for o in found.select_related("product")
    ]


def test_offers_are_created_and_changed_by_their_key(
    products: Organization, tmp_path: Path
) -> None:
    first = write(
        tmp_path,
        OFFERS
        + f"{EAN},online,Shop,,A1,https://shop.example.com/1,1.99,EUR,\n"
        + f"{EAN},online,Shop,,A2,https://shop.example.com/2,,,out_of_stock\n"
        + f"{UPC},in_store,Mart,Main Street,,,3.5,USD,active\n",
    )
    result = run(first, products)
    assert numbers(result) == (3, 3, 0, 0, 0)
    assert result.tables["offers"] == (3, 0)
    assert result.tables["products"] == (0, 0)
    assert offers(products) == [
        (UPC_14, "Mart", "", "", "3.50", "USD", "active"),
        (EAN_14, "Shop", "A1", "https://shop.example.com/1", "1.99", "EUR", "active"),
        (EAN_14, "Shop", "A2", "https://shop.example.com/2", None, "", "out_of_stock"),
    ]
    assert assert_exact(products).active_offers == 2

    Offer.objects.filter(sku="A1").update(url_status="ok")
    times = dict(Offer.objects.values_list("sku", "updated_at"))
    assert numbers(run(first, products)) == (3, 0, 0, 3, 0)
    assert dict(Offer.objects.values_list("sku", "updated_at")) == times

    second = write(
        tmp_path,
        OFFERS
        + f"{EAN},online,Shop,,A1,https://shop.example.com/new,,,\n"
        + f"{EAN},online,Shop,,A3,https://shop.example.com/3,,,\n",
        "second.csv",
    )
    result = run(second, products)
    assert numbers(result) == (2, 1, 1, 0, 0)
    assert result.tables["offers"] == (1, 1)
    changed = Offer.objects.get(sku="A1")
    assert (changed.url, changed.shown_price, changed.url_status) == (
        "https://shop.example.com/new",
        "1.99",
        "unchecked",
    )
    assert assert_exact(products).active_offers == 3


def test_certificates_are_created_and_changed_by_their_key(
    products: Organization, tmp_path: Path
) -> None:
    first = write(
        tmp_path,
        CERTIFICATES
        + f"{EAN},organic,N1,Control,2025-01-01,2026-12-31\n"
        + f"{EAN},vegan,,,,\n"
        + f"{UPC},organic,N2,,,2020-01-01\n",
    )
    result = run(first, products)
    assert numbers(result) == (3, 3, 0, 0, 0)
    assert numbers(run(first, products)) == (3, 0, 0, 3, 0)
    later = write(tmp_path, CERTIFICATES + f"{EAN},organic,N1,,,2027-12-31\n", "later.csv")
    assert run(later, products).tables["certificates"] == (0, 1)
    found = CertificationAssignment.objects.of(products).order_by("product__gtin", "pk")
    assert [
        (
            each.product.gtin,
            each.certification.code,
            each.certificate_number,
            each.issuing_body,
            str(each.valid_from),
            str(each.expiry_date),
        )
        for each in found.select_related("product", "certification")
    ] == [
        (UPC_14, "organic", "N2", "", "None", "2020-01-01"),
        (EAN_14, "organic", "N1", "Control", "2025-01-01", "2027-12-31"),
        (EAN_14, "vegan", "", "", "None", "None"),
    ]
    assert_exact(products)


def test_offers_that_do_not_fit_are_rejected_with_the_reason(
    products: Organization, tmp_path: Path
) -> None:
    path = write(
        tmp_path,
        OFFERS
        + f"{EAN},online,Shop,,A1,https://shop.example.com/1,1.99,EUR,\n"
        + f"{EAN},online,Shop,,A1,https://shop.example.com/1,2.99,EUR,\n"
        + "4012345678901,online,Shop,,A1,https://shop.example.com/1,,,\n"
        + f"{UPC},online,Shop,,A1,,,,\n"
        + f"{UPC},online,Shop,,A2,https://shop.example.com/2,1.99,,\n"
        + f"{UPC},by mail,Shop,,A3,https://shop.example.com/3,one,,sold\n",
    )
    result = run(path, products, skip_bad_rows=True)
    assert numbers(result) == (6, 1, 0, 0, 5)
    assert [str(problem) for problem in result.problems] == [
        "line 3: gtin: the same offer comes twice in the file, the first time in line 2",
        "line 4: gtin: the organization has no product with this GTIN; import the product first",
        "line 5: offer_url: is missing: an online offer needs the URL of its page",
        "line 6: offer_price: A price needs a currency.",
        "line 7: offer_channel: is none of online, in_store; "
        "offer_status: is none of active, discontinued, seasonal, out_of_stock; "
        "offer_price: must be a number with its currency, such as 15.00 USD (found 'one')",
    ]
    assert_exact(products)


def test_images_of_a_row_replace_the_imported_ones_in_their_order(
    products: Organization, tmp_path: Path
) -> None:
    def images() -> list[tuple[str, bool, int]]:
        found = ProductImage.objects.of_product(Product.objects.get(gtin=EAN_14))
        return [(i.external_url, i.is_primary, i.priority) for i in found.order_by("priority")]

    one, two, three = (f"https://images.example.com/{n}.jpg" for n in (1, 2, 3))

    def load(*urls: str) -> None:
        text = f'gtin,image_url\n{EAN},"{", ".join(urls)}"\n'
        run(write(tmp_path, text, f"{len(urls)}{urls[0][-5]}.csv"), products)

    load(one, two)
    assert images() == [(one, True, 0), (two, False, 1)]
    load(three, two, one)
    assert images() == [(three, False, 0), (two, False, 1), (one, True, 2)]
    load(two)
    assert images() == [(two, True, 0)]
    assert assert_exact(products).missing_images == 1
