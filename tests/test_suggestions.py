"""Suggestions of text fields: what they find, and their use with the keyboard."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client
from django.urls import reverse
from playwright.sync_api import Page, expect

from closient.accounts.models import Membership
from dashboard.suggestions import AT_MOST, MAX_COUNT, suggestions
from offers.models import Offer
from tests.browser import assert_accessible
from tests.clients import browser_of
from tests.factories import (
    BrandFactory,
    CertificationAssignmentFactory,
    CertificationFactory,
    MembershipFactory,
    OfferFactory,
    ProductFactory,
    gtin,
)

pytestmark = pytest.mark.django_db

NAMES = ("Dr.Oetker", "Haferhof", "Hof & Garten", "Café Crème", "ΒΌΛΟΣ", "100% Dark", "緑茶", "Oat")


@pytest.fixture
def viewer() -> Membership:
    return MembershipFactory(role="viewer")


@pytest.fixture
def named(viewer: Membership) -> Membership:
    """A viewer of an organization that has the names as brands, categories and retailers."""
    for number, name in enumerate(NAMES):
        product = ProductFactory(
            organization=viewer.organization,
            brand=BrandFactory(organization=viewer.organization, name=name),
            category=name,
        )
        for sku in range(number % 2 + 1):
            OfferFactory(product=product, retailer=name, sku=str(sku))
    # Neither empty names nor those of other organizations are suggested.
    OfferFactory(product__organization=viewer.organization, retailer="")
    OfferFactory(retailer="Haferhof GmbH", product__category="Haferhof GmbH")
    BrandFactory(name="Haferhof GmbH")
    return viewer


def found(member: Membership, kind: str, text: str) -> list[str]:
    return [one.label for one in suggestions(member.organization_id, kind, text)]


@pytest.mark.parametrize("kind", ["brand", "category", "retailer"])
def test_names_are_found_by_parts_of_words_and_with_a_typo(named: Membership, kind: str) -> None:
    for text, expected in {
        "hof": ["Hof & Garten", "Haferhof"],
        "HAFER": ["Haferhof"],
        "hafrhof": ["Haferhof"],
        "hafer hof": ["Haferhof", "Hof & Garten"],
        "oetker": ["Dr.Oetker"],
        "oetkar": ["Dr.Oetker"],
        "garten hof": ["Hof & Garten"],
        "creme": ["Café Crème"],
        "caffe": ["Café Crème"],
        "βόλος": ["ΒΌΛΟΣ"],
        "100": ["100% Dark"],
        "茶": ["緑茶"],
        "_": sorted(NAMES),
        "nothing like it": [],
    }.items():
        names = found(named, kind, text)
        if text == "_":
            names.sort()
        assert names == expected, text
    assert len(found(named, kind, "")) == AT_MOST == len(NAMES)
    counts = {one.label: one.count for one in suggestions(named.organization_id, kind, "")}
    expected = {name: number % 2 + 1 for number, name in enumerate(NAMES)}
    assert counts == (expected if kind == "retailer" else dict.fromkeys(NAMES, 1))


def test_countries_certifications_and_products_are_found_by_name_and_code(
    viewer: Membership,
) -> None:
    organization = viewer.organization
    product = ProductFactory(
        organization=organization, name="Oat drink", country_of_origin="DE", gtin=gtin(7)
    )
    ProductFactory(organization=organization, country_of_origin="FR", name="Rice drink")
    ProductFactory(country_of_origin="DK", name="Oat drink")
    organic = CertificationFactory(
        organization=organization, code="eu-organic", label="Organic farming"
    )
    CertificationFactory(organization=organization, code="halal")
    CertificationAssignmentFactory.create_batch(2, product=product, certification=organic)
    for text in ("Germany", "german", "Gremany", "DE"):
        (country,) = suggestions(organization.pk, "country_of_origin", text)
        assert (country.value, country.note, country.count) == ("Germany", "DE", 1), text
    assert found(viewer, "country_of_origin", "Denmark") == []
    for text in ("farm", "eu organ", "orgnic"):
        (certification,) = suggestions(organization.pk, "certification", text)
        assert certification.value == "eu-organic"
        assert (certification.label, certification.note) == ("Organic farming", "eu-organic")
        assert certification.count == 2
    for text in ("drink oat", gtin(7), gtin(7)[1:8]):
        assert suggestions(organization.pk, "product", text)[0].value == product.gtin, text
    assert found(viewer, "product", "drink") == ["Oat drink", "Rice drink"]


@pytest.mark.slow
def test_options_show_the_count_up_to_a_limit(
    named: Membership, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = browser_of(named.user)
    address = reverse("page-suggestions", args=[named.organization_id])
    html = client.get(address, {"of": "retailer", "q": "haferhof"}).content.decode()
    assert 'data-value="Haferhof"' in html
    assert ">2</span>" in html
    product = named.organization.products.earliest("pk")
    more = (
        Offer(
            product_id=product.pk,
            organization_id=product.organization_id,
            retailer="Haferhof",
            sku=f"more {number}",
            url="https://shop.example.com/",
            url_status="unchecked",
        )
        for number in range(MAX_COUNT)
    )
    Offer.objects.bulk_create(more, batch_size=500)
    html = client.get(address, {"of": "retailer", "q": "haferhof"}).content.decode()
    assert f">{MAX_COUNT:,}+</span>" in html
    assert client.get(address, {"of": "brand", "q": "a\x00'%_\\" * 90}).status_code == 200
    assert client.get(address, {"of": "color"}).status_code == 404
    assert client.get(address).status_code == 404


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_fields_suggest_names_and_products_to_the_keyboard(visit: Callable[..., Page]) -> None:
    member = MembershipFactory(role="editor")
    organization = member.organization
    brands = [BrandFactory(organization=organization, name=n) for n in ("Haferhof", "Hofgut")]
    product = ProductFactory(organization=organization, brand=brands[0], name="Oat drink")
    ProductFactory(organization=organization, brand=brands[1])
    page = visit(member.user, reverse("page-products", args=[organization.id]))
    brand = page.get_by_role("combobox", name="Brand")
    brand.press_sequentially("hafrhof")
    options = page.get_by_role("listbox", name="Brand").get_by_role("option")
    expect(options).to_have_count(1)
    expect(brand).to_have_attribute("aria-expanded", "true")
    expect(page.get_by_role("status").get_by_text("1 suggestion")).to_be_attached()
    assert_accessible(page)
    # A key of an input method chooses nothing, and neither does Enter after another character.
    brand.press("ArrowDown")
    composing = {"key": "Enter", "bubbles": True, "cancelable": True, "isComposing": True}
    brand.dispatch_event("keydown", composing)
    expect(brand).to_have_value("hafrhof")
    expect(options.first).to_have_attribute("aria-selected", "true")
    marked = brand.evaluate(
        "field => { field.dispatchEvent(new Event('input', {bubbles: true}));"
        " return field.getAttribute('aria-activedescendant'); }"
    )
    assert marked is None
    brand.fill("xyzzy")
    expect(page.get_by_role("status").get_by_text("Nothing found")).to_be_attached()
    brand.fill("hafrhof")
    expect(options).to_have_count(1)
    brand.press("Escape")
    expect(options).to_have_count(0)
    expect(brand).to_have_value("hafrhof")
    brand.press("ArrowDown")
    expect(options).to_have_count(1)
    brand.press("ArrowDown")
    expect(options.first).to_have_attribute("aria-selected", "true")
    brand.press("Enter")
    expect(brand).to_have_value("Haferhof")
    expect(page.locator("[data-total]")).to_have_text("1")
    assert parse_qs(urlsplit(page.url).query)["brand"] == ["Haferhof"]

    page.goto(page.url.partition("/products")[0] + "/offers/new")
    picked = page.get_by_role("combobox", name="Product")
    picked.press_sequentially("oat dr")
    page.get_by_role("option", name="Oat drink").click()
    expect(picked).to_have_value(product.gtin)
    expect(page.get_by_role("status").get_by_text("Oat drink")).to_be_visible()
    page.get_by_label("Address").fill("https://shop.example.com/oat")
    page.get_by_role("button", name="Add the offer").click()
    expect(page.get_by_text("Offer added.")).to_be_visible()
    assert Offer.objects.get(organization=organization).product == product


def test_a_field_works_without_suggestions(client: Client, named: Membership) -> None:
    client.force_login(named.user)
    address = reverse("page-products", args=[named.organization_id])
    response = client.get(address, {"form": "1", "brand": " haferhof "}, follow=True)
    html = response.content.decode()
    assert 'data-total="1"' in html
    assert 'value="haferhof"' in html
