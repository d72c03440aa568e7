"""The admin forms of products, images, offers and certifications."""

from __future__ import annotations

import io
import re

import pytest
from django.contrib.auth.models import Permission
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from PIL import Image

from catalog.completeness import DEFAULT_RULE
from catalog.models import Product, ProductImage
from certifications.models import CertificationAssignment
from closient.accounts.models import Organization
from closient.accounts.tenant_admin import changelist_url
from dashboard.numbers import StatsQuery, recount, stats
from offers.models import Offer
from tests.factories import (
    BrandFactory,
    CertificationAssignmentFactory,
    CertificationFactory,
    OfferFactory,
    OrganizationFactory,
    ProductFactory,
    ProductImageFactory,
    UserFactory,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def other() -> Organization:
    return OrganizationFactory(name="Other")


def add_url(model) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_add")


def page_url(row) -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


def product_form(images=(), **changed) -> dict:
    """Return the form data of a product's page."""
    existing = sum("id" in image for image in images)
    return {
        "gtin": "4006381333931",
        "name": "Stabilo",
        "status": "active",
        "nutrition": "{}",
        "metadata": "{}",
        "images-TOTAL_FORMS": len(images),
        "images-INITIAL_FORMS": existing,
        **{
            f"images-{number}-{name}": value
            for number, image in enumerate(images)
            for name, value in {"priority": 0, **image}.items()
        },
    } | changed


def picture(name="a.png", kind="PNG", size=(3, 2)) -> SimpleUploadedFile:
    file = io.BytesIO()
    Image.new("RGB", size).save(file, kind)
    return SimpleUploadedFile(name, file.getvalue())


def assert_stats_are_exact(organization: Organization) -> None:
    stats_query = StatsQuery(organization.pk, DEFAULT_RULE, organization.today())
    assert stats(stats_query) == recount(stats_query)


# --- Products ----------------------------------------------------------------------------------


def test_product_is_created_with_a_padded_gtin_and_an_image(staff: Client, organization) -> None:
    form = product_form(
        [{"external_url": "images.example.com/a.jpg"}],
        organization=organization.pk,
        country_of_origin="de",
        nutrition='{"nutrients": [{"name": "fat", "amount": 1.50, "unit": "g"}]}',
        metadata='{"season": "summer"}',
    )

    response = staff.post(add_url(Product), form)

    assert response.status_code == 302
    product = Product.objects.get()
    assert (product.organization, product.gtin, product.country_of_origin) == (
        organization,
        "04006381333931",
        "DE",
    )
    assert product.nutrition == {"nutrients": [{"name": "fat", "amount": "1.5", "unit": "g"}]}
    assert list(
        ProductImage.objects.values_list("organization", "product", "external_url", "is_primary")
    ) == [(organization.pk, product.pk, "https://images.example.com/a.jpg", True)]
    assert_stats_are_exact(organization)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"gtin": "4006381333932"}, "The check digit is wrong: 400638133393 is followed by 1"),
        ({"gtin": "123"}, "A GTIN has 8, 12, 13 or 14 digits; this one has 3."),
        ({"gtin": "\uff14006381333931"}, "A GTIN consists of the digits 0 to 9 only"),
        (
            {"country_of_origin": "XX"},
            "XX is not an ISO 3166-1 country code: enter two letters, for example DE.",
        ),
        ({"gpc_brick_code": "1234"}, "A GPC brick code has eight digits."),
        ({"metadata": '{"a": 1}'}, "The metadata key &#x27;a&#x27; must be a string."),
        ({"metadata": "[1]"}, "The metadata must be an object of strings"),
        ({"metadata": '{"a": "%s"}' % ("x" * 501)}, "has 501 characters; at most 500 are allowed"),
        ({"metadata": '{"a": "\\u0000"}'}, "contains the control character U+0000"),
        ({"metadata": "[" * 100_000}, "Enter a valid JSON."),
        ({"metadata": '{"a": %s}' % ("9" * 5_000)}, "Enter a valid JSON."),
        (
            {"nutrition": '{"nutrients": [{"name": "fat", "amount": "much", "unit": "g"}]}'},
            "The nutrition nutrient 1 must be a number of 0 or more, for example 1.5.",
        ),
        ({"nutrition": '{"nutrients": [{"name": "fat"}]}'}, "exactly name, amount and unit"),
        (
            {"nutrition": '{"nutrients": [{"name": "fat", "amount": NaN, "unit": "g"}]}'},
            "must be a number",
        ),
    ],
)
def test_invalid_product_is_rejected_with_a_reason(staff, organization, changed, message) -> None:
    response = staff.post(add_url(Product), product_form(organization=organization.pk, **changed))

    assert message in response.content.decode()
    assert not Product.objects.exists()


def test_product_with_a_duplicate_gtin_is_rejected(staff, organization) -> None:
    ProductFactory(organization=organization, gtin="04006381333931")

    response = staff.post(add_url(Product), product_form(organization=organization.pk))

    assert "The organization has a product with this GTIN already." in response.content.decode()
    assert Product.objects.count() == 1


def test_brand_of_another_organization_is_rejected(staff, organization, other) -> None:
    product = ProductFactory(organization=organization)
    form = product_form(gtin=product.gtin, brand=BrandFactory(organization=other).pk)

    responses = [
        staff.post(page_url(product), form),
        staff.post(
            add_url(Product), form | {"gtin": "4006381333931", "organization": organization.pk}
        ),
    ]

    for response in responses:
        assert "This brand belongs to another organization." in response.content.decode()
    assert not Product.objects.exclude(brand=None).exists()


def test_product_keeps_its_read_only_fields(staff, organization, other) -> None:
    product = ProductFactory(organization=organization)
    kept = Product.objects.filter(pk=product.pk).values(
        "organization",
        "own_facts",
        "summary__image_count",
        "summary__active_offer_count",
        "summary__certified_during",
        "summary__facts",
        "created_at",
    )
    before = list(kept)
    posted = {
        "id": ProductFactory.build().pk,
        "organization": other.pk,
        "image_count": 7,
        "active_offer_count": 7,
        "certified_during": "{[2020-01-01,)}",
        "facts": 511,
        "own_facts": 511,
        "created_at_0": "2001-01-01",
        "created_at_1": "00:00:00",
    }

    response = staff.post(page_url(product), product_form(gtin=product.gtin, **posted))

    assert response.status_code == 302
    assert list(kept.all()) == before
    assert Product.objects.get(pk=product.pk).name == "Stabilo"
    assert_stats_are_exact(organization)


def test_product_saved_from_a_stale_form_keeps_its_counts(staff, organization) -> None:
    product = ProductFactory(organization=organization, name="Stabilo")
    staff.get(page_url(product))
    # Meanwhile others change it.
    ProductImageFactory(product=product, is_primary=True)
    OfferFactory(product=product)
    CertificationAssignmentFactory(product=product)

    staff.post(page_url(product), product_form(gtin=product.gtin, name="Renamed"))

    product.refresh_from_db()
    assert (product.name, product.summary.image_count, product.summary.active_offer_count) == (
        "Renamed",
        1,
        1,
    )
    assert ProductImage.objects.values_list("is_primary", flat=True).get()
    assert_stats_are_exact(organization)


def test_product_page_shows_missing_facts(staff, organization) -> None:
    product = ProductFactory(organization=organization)

    html = staff.get(page_url(product)).content.decode()

    assert "<strong>15 %, not complete</strong> (complete at 80 % or more)" in html
    assert (
        '<tr><th scope="row">images</th><td class="absent">missing</td><td>weight 15</td>'
        "<td>Add at least one image.</td></tr>"
    ) in html
    assert '<tr><th scope="row">name</th><td class="present">✓</td>' in html


# --- Images ------------------------------------------------------------------------------------


def test_image_is_uploaded(staff, organization, settings, tmp_path) -> None:
    settings.MEDIA_ROOT = tmp_path
    product = ProductFactory(organization=organization)

    staff.post(page_url(product), product_form([{"image": picture()}], gtin=product.gtin))

    image = ProductImage.objects.get()
    assert (image.width, image.height, image.is_primary) == (3, 2, True)
    assert re.fullmatch(r"products/\d{4}/\d{2}/[0-9a-f]{32}\.png", image.image.name)
    assert (tmp_path / image.image.name).exists()
    assert_stats_are_exact(organization)


@pytest.mark.django_db(transaction=True)
def test_image_file_is_deleted_when_its_image_is_deleted_or_replaced(
    staff, organization, settings, tmp_path
) -> None:
    settings.MEDIA_ROOT = tmp_path
    product = ProductFactory(organization=organization)
    staff.post(
        page_url(product), product_form([{"image": picture()} for _ in "12"], gtin=product.gtin)
    )
    first, second = ProductImage.objects.order_by("pk")
    rows = [{"id": image.pk, "product": product.pk} for image in (first, second)]

    def files() -> set[str]:
        return {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}

    assert files() == {first.image.name, second.image.name}
    # One is deleted; the other is replaced by a BMP, which is stored as PNG.
    rows[0] |= {"DELETE": "on"}
    rows[1] |= {"image": picture("a.bmp", "BMP", (4, 4))}
    staff.post(page_url(product), product_form(rows, gtin=product.gtin))
    kept = ProductImage.objects.get()
    assert (kept.pk, kept.width, kept.image.name == second.image.name) == (second.pk, 4, False)
    assert files() == {kept.image.name}
    # Then the file is replaced by an external URL.
    rows = [
        {"id": kept.pk, "product": product.pk, "image-clear": "on", "external_url": "e.com/1.png"}
    ]
    staff.post(page_url(product), product_form(rows, gtin=product.gtin))
    kept.refresh_from_db()
    assert (kept.image.name, kept.width, kept.external_url) == ("", None, "https://e.com/1.png")
    assert files() == set()


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ({"image": picture("a.tif", "TIFF")}, "The file is not a JPEG, PNG, GIF"),
        (
            {"image": SimpleUploadedFile("a.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>")},
            "The file is SVG, which can contain scripts",
        ),
        (
            {"image": picture(size=(6_000, 5_000))},
            "The picture has more than 25,000,000 pixels, all frames together: make it smaller.",
        ),
        ({"title": "nothing"}, "Give either a file or an external URL, not both."),
    ],
    ids=["kind", "script", "size", "nothing"],
)
def test_invalid_image_is_rejected_with_a_reason(staff, organization, image, message) -> None:
    product = ProductFactory(organization=organization)

    response = staff.post(page_url(product), product_form([image], gtin=product.gtin))

    assert message in response.content.decode()
    assert not ProductImage.objects.exists()


def test_checked_image_becomes_primary(staff, organization) -> None:
    product = ProductFactory(organization=organization)
    old = ProductImageFactory(product=product, is_primary=True, external_url="https://e.com/1")
    new = ProductImageFactory(product=product, external_url="https://e.com/2")
    images = [
        {"id": image.pk, "product": product.pk, "external_url": image.external_url}
        for image in (old, new)
    ]

    # The old one is still checked in the form.
    for image in images:
        image["is_primary"] = "on"
    staff.post(page_url(product), product_form(images, gtin=product.gtin))
    ticked = dict(ProductImage.objects.values_list("pk", "is_primary"))
    # Then none is checked.
    for image in images:
        del image["is_primary"]
    staff.post(page_url(product), product_form(images[::-1], gtin=product.gtin))
    unticked = ProductImage.objects.filter(is_primary=True).count()

    assert (ticked, unticked) == ({old.pk: False, new.pk: True}, 1)


def test_deleting_the_primary_image_makes_another_primary(staff, organization) -> None:
    product = ProductFactory(organization=organization)
    first = ProductImageFactory(product=product, is_primary=True, external_url="https://e.com/1")
    second = ProductImageFactory(product=product, external_url="https://e.com/2")
    images = [
        {"id": image.pk, "product": product.pk, "external_url": image.external_url}
        for image in (first, second)
    ]
    images[0] |= {"is_primary": "on", "DELETE": "on"}

    staff.post(page_url(product), product_form(images, gtin=product.gtin))

    assert list(ProductImage.objects.values_list("pk", "is_primary")) == [(second.pk, True)]
    assert_stats_are_exact(organization)


# --- Offers and certifications -----------------------------------------------------------------

OFFER = {
    "channel": "online",
    "retailer": "Shop",
    "url": "https://shop.example.com/1",
    "status": "active",
    "metadata": "{}",
}


def test_offer_gets_the_organization_of_its_product(staff, organization, other) -> None:
    product = ProductFactory(organization=organization)

    staff.post(add_url(Offer), OFFER | {"product": product.pk, "organization": other.pk})

    assert list(Offer.objects.values_list("organization", "product", "url_status")) == [
        (organization.pk, product.pk, "unchecked")
    ]
    assert_stats_are_exact(organization)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"url": ""}, "An online offer needs a URL."),
        ({"price": "-1", "currency": "EUR"}, "A price is 0 or more."),
        ({"price": "1"}, "A price needs a currency."),
        (
            {"price": "1.505", "currency": "EUR"},
            "A price in EUR has at most 2 digits after the point.",
        ),
        ({"currency": "eur"}, "A currency is three capital letters (ISO 4217)."),
        ({"retailer": "Known"}, "has an offer of this channel, retailer, store and SKU already."),
    ],
)
def test_invalid_offer_is_rejected_with_a_reason(staff, organization, changed, message) -> None:
    product = ProductFactory(organization=organization)
    OfferFactory(product=product, retailer="Known")

    response = staff.post(add_url(Offer), OFFER | {"product": product.pk} | changed)

    assert message in response.content.decode()
    assert Offer.objects.count() == 1


PRICES = {"EUR": "12.50", "JPY": "1250", "KWD": "12.500", "CLF": "12.5000", "USD": "0.00"}


@pytest.mark.parametrize("currency", PRICES)
def test_offer_shows_its_price_with_the_digits_of_its_currency(
    staff, organization, currency
) -> None:
    price = PRICES[currency]
    offer = OfferFactory(product__organization=organization, price=price, currency=currency)

    shown = staff.get(page_url(offer)).content.decode()
    fields = re.findall(r'<input[^>]* name="(?:initial-)?price"[^>]*>', shown)
    assert [re.findall(r'value="([^"]*)"', field) for field in fields] == [[price], [price]]

    # Submitted as shown, the price is unchanged; a conflict shows it in the same form.
    form = OFFER | {"product": offer.product.pk, "url": offer.url, "currency": currency}
    opened = form | {"price": price, "initial-price": price}
    assert staff.post(page_url(offer), opened).status_code == 302
    offer.refresh_from_db()
    assert offer.shown_price == price
    stale = staff.post(page_url(offer), form | {"price": "3", "initial-price": "2"})
    assert f"Changed to “{price}” while this form was open." in stale.content.decode()

    clerk = UserFactory(is_staff=True, password=None)
    clerk.user_permissions.add(Permission.objects.get(codename="view_offer"))
    browser = Client()
    browser.force_login(clerk)
    viewed = browser.get(page_url(offer)).content.decode()
    assert re.search(rf'field-viewed_price.*?<div class="readonly">{price}</div>', viewed, re.S)


def test_offer_cannot_move_to_a_product_of_another_organization(staff, organization, other) -> None:
    offer = OfferFactory(product__organization=organization)
    foreign = ProductFactory(organization=other)

    response = staff.post(page_url(offer), OFFER | {"product": foreign.pk})

    assert "This product belongs to another organization." in response.content.decode()
    offer.refresh_from_db()
    assert offer.organization == organization


def test_url_status_of_an_offer_is_set_manually(staff, organization) -> None:
    offer = OfferFactory(product__organization=organization)
    form = OFFER | {"product": offer.product.pk, "url": offer.url}
    seen = []
    for changed in ({"url_status": "broken"}, {"channel": "in_store", "url_status": "broken"}):
        assert staff.post(page_url(offer), form | changed).status_code == 302
        offer.refresh_from_db()
        seen.append((offer.channel, offer.url_status))
        assert_stats_are_exact(organization)

    assert seen == [("online", "broken"), ("in_store", None)]


def test_offer_keeps_the_fields_of_the_url_checker(staff, organization) -> None:
    offer = OfferFactory(product__organization=organization, http_status=404, url_detail="Gone.")
    posted = {"http_status": 200, "url_detail": "Fine.", "url_checked_at_0": "2020-01-01"}

    form = OFFER | {"product": offer.product.pk, "url": offer.url}
    staff.post(page_url(offer), form | posted)

    offer.refresh_from_db()
    assert (offer.retailer, offer.http_status, offer.url_detail, offer.url_checked_at) == (
        "Shop",
        404,
        "Gone.",
        None,
    )


def test_certification_of_another_organization_is_rejected(staff, organization, other) -> None:
    product = ProductFactory(organization=organization)
    form = {
        "product": product.pk,
        "certification": CertificationFactory(organization=organization).pk,
        "verification_status": "unverified",
        "expiry_date": "2125-01-01",
        "metadata": "{}",
    }
    foreign = form | {"certification": CertificationFactory(organization=other).pk}
    backwards = form | {"valid_from": "2126-01-01"}

    pages = [
        staff.post(add_url(CertificationAssignment), f).content.decode()
        for f in (foreign, backwards)
    ]
    staff.post(add_url(CertificationAssignment), form)

    assert "This certification belongs to another organization." in pages[0]
    assert "expiry_date cannot be before valid_from." in pages[1]
    assert CertificationAssignment.objects.get().organization == organization
    assert_stats_are_exact(organization)


# --- Choices, searches and filters -------------------------------------------------------------


def choices(staff: Client, **parameters) -> list[str]:
    address = reverse("admin:autocomplete")
    return [choice["text"] for choice in staff.get(address, parameters).json()["results"]]


def test_autocomplete_shows_only_rows_of_the_organization(staff, organization, other) -> None:
    BrandFactory(organization=organization, name="Alpine")
    BrandFactory(organization=other, name="Alpine")
    product = ProductFactory(organization=organization)
    field = {"app_label": "catalog", "model_name": "product", "field_name": "brand"}

    assert choices(staff, **field, term="alp") == ["Alpine (Alpine Foods)", "Alpine (Other)"]
    assert choices(staff, **field, term="alp", organization=other.pk) == ["Alpine"]
    # The page of a product requests only choices of its organization.
    assert (
        f'data-ajax--url="/admin/autocomplete/?organization={organization.pk}"'
        in staff.get(page_url(product)).content.decode()
    )


def search(staff: Client, model, **parameters) -> list:
    response = staff.get(changelist_url(model, **parameters))
    assert response.status_code == 200
    return list(response.context["cl"].result_list)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("4006381333931", ["Dark Chocolate"]),
        ("04006381333931", ["Dark Chocolate"]),
        ("40063", ["Dark Chocolate"]),
        ("96385074", ["Milk o'Clock"]),
        ("choc da", ["Dark Chocolate"]),
        ("MILK", ["Milk o'Clock"]),
        ("o'clo", ["Milk o'Clock"]),
        ("colate", []),
        ("& | ! ' \\", []),
    ],
)
def test_search_finds_products_and_offers(staff, organization, text, names) -> None:
    for gtin, name in (("04006381333931", "Dark Chocolate"), ("00000096385074", "Milk o'Clock")):
        OfferFactory(product__organization=organization, product__gtin=gtin, product__name=name)

    assert [product.name for product in search(staff, Product, q=text)] == names
    assert [offer.product.name for offer in search(staff, Offer, q=text)] == names


def test_search_finds_offers_by_retailer(staff, organization) -> None:
    offer = OfferFactory(product__organization=organization, retailer="Corner Shop")
    OfferFactory(product__organization=organization, retailer="Market")

    assert search(staff, Offer, q="corner") == [offer]


def test_products_are_filtered_by_facts(staff, organization, other) -> None:
    bare = ProductFactory(organization=organization)
    full = ProductFactory(organization=organization, described=True)
    for factory in (ProductImageFactory, OfferFactory, CertificationAssignmentFactory):
        factory(product=full)
    expired = ProductFactory(organization=organization, name="")
    CertificationAssignmentFactory(product=expired, expiry_date="2020-01-01")
    foreign = ProductFactory(organization=other)

    def filtered(**parameters) -> set:
        return set(search(staff, Product, **parameters))

    assert filtered(missing="images") == {bare, expired, foreign}
    assert filtered(missing="images", has="name") == {bare, foreign}
    assert filtered(has="certifications") == {full}
    assert filtered(missing="certifications,brand", organization=organization.pk) == {bare, expired}
    assert filtered(organization=organization.pk, complete="true") == {full}
    assert filtered(organization=organization.pk, complete="false") == {bare, expired}


def test_list_with_an_invalid_filter_redirects_to_the_whole_list(staff, organization) -> None:
    for query in ("organization=unknown", "missing=taste"):
        response = staff.get(f"{changelist_url(Product)}?{query}")
        assert response.status_code == 302
        assert response["Location"] == f"{changelist_url(Product)}?e=1"


def test_assignments_are_filtered_by_expiry(staff, organization) -> None:
    rows = {
        when: CertificationAssignmentFactory(product__organization=organization, expiry_date=when)
        for when in ("2020-01-01", "2125-01-01", None)
    }

    results = {
        expiry: search(staff, CertificationAssignment, expiry=expiry)
        for expiry in ("expired", "later", "never", "30")
    }

    assert results == {
        "expired": [rows["2020-01-01"]],
        "later": [rows["2125-01-01"]],
        "never": [rows[None]],
        "30": [],
    }
