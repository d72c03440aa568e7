"""Search by words of the name, in the API, pages, exports and the admin."""

from __future__ import annotations

import csv
import io
import sys
import unicodedata
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from pytest_django import Settings

from catalog.models import Brand, Product, ProductImage
from certifications.models import CertificationAssignment
from closient.accounts.models import Membership
from closient.db.ids import format_id
from offers.models import Offer
from tests.clients import API, client_of, problem
from tests.factories import (
    CertificationAssignmentFactory,
    MembershipFactory,
    OfferFactory,
    OrganizationFactory,
    ProductFactory,
)
from tests.migrating import migrate_to, migrate_to_latest

pytestmark = pytest.mark.django_db(transaction=True)

NAMES = [
    "Butter/Salted caramel",
    "Lime & Chili/Mango chips",
    "AB/CD drink",
    "St.Gallen cheese",
    "Crème brûlée",
    unicodedata.normalize("NFD", "Crème fraîche"),
    "ΜΈΛΙΣΣΑΣ ΛΌΓΟΣ",
    "Piñata mix",
    "抹茶 緑茶",
    "チョコレート",
    "Straße der Öle",
    "Soft\u00adened \ufb01gs",
    "Juice 1.5 l",
    "Juice 15 l",
    "Hand-made_bread (whole)",
    "Ben's \\ 'best'",
    "ﷺ",
]
SEARCHES: list[tuple[str, list[str]]] = [
    # Words end at punctuation.
    ("salted", ["Butter/Salted caramel"]),
    ("mango", ["Lime & Chili/Mango chips"]),
    ("cd", ["AB/CD drink"]),
    ("gallen", ["St.Gallen cheese"]),
    ("ab/cd", ["AB/CD drink"]),
    ("made bread whole", ["Hand-made_bread (whole)"]),
    ("hand-made", ["Hand-made_bread (whole)"]),
    # Prefixes of words, not substrings.
    ("mang chi", ["Lime & Chili/Mango chips"]),
    ("ango", []),
    # Unicode forms, accents, case.
    ("crème", ["Crème brûlée", "Crème fraîche"]),
    (unicodedata.normalize("NFD", "crème"), ["Crème brûlée", "Crème fraîche"]),
    ("CREME FRAICHE", ["Crème fraîche"]),
    ("pinata", ["Piñata mix"]),
    ("piñata", ["Piñata mix"]),
    # Greek has one capital sigma and two small ones.
    ("μέλισσας", ["ΜΈΛΙΣΣΑΣ ΛΌΓΟΣ"]),
    ("λόγος", ["ΜΈΛΙΣΣΑΣ ΛΌΓΟΣ"]),
    ("λογοσ", ["ΜΈΛΙΣΣΑΣ ΛΌΓΟΣ"]),
    ("strasse ole", ["Straße der Öle"]),
    # Scripts without spaces: any substring.
    ("茶", ["抹茶 緑茶"]),
    ("緑茶", ["抹茶 緑茶"]),
    ("茶緑", []),
    ("コレート", ["チョコレート"]),
    ("ﾁｮｺ", ["チョコレート"]),
    ("コチョ", []),
    # Ligatures and invisible characters.
    ("softened figs", ["Soft\u00adened \ufb01gs"]),
    ("soft\u200bened", ["Soft\u00adened \ufb01gs"]),
    # Decimals are one number.
    ("1.5", ["Juice 1.5 l"]),
    ("1,5", ["Juice 1.5 l"]),
    ("15 l", ["Juice 15 l"]),
    # Query syntax is treated as text.
    ("ben's", ["Ben's \\ 'best'"]),
    ("best' | 'mango", []),
    ("mango & !chips", ["Lime & Chili/Mango chips"]),
    ("\\", []),
    ("!?", []),
    ("صلى", ["ﷺ"]),
]


@pytest.fixture
def owner() -> Membership:
    member: Membership = MembershipFactory.create(role="owner")
    for name in NAMES:
        ProductFactory(organization=member.organization, name=name)
    # Another organization has products with the same names.
    other = OrganizationFactory()
    for name in NAMES:
        ProductFactory(organization=other, name=name)
    return member


def total_of(response: Any) -> int:
    total: int = response.json()["pagination"]["total_count"]
    return total


def by_api(owner: Membership) -> Callable[[str], list[str]]:
    client = client_of(owner.organization)
    path = f"{API}/trade-items/{format_id(owner.organization.id)}"
    return lambda q: [row["name"] for row in client.get(path, {"q": q}).json()["data"]]


def by_page(owner: Membership) -> Callable[[str], list[str]]:
    client = Client()
    client.force_login(owner.user)
    path = f"/dashboard/{format_id(owner.organization.id)}/products"
    return lambda q: [row.name for row in client.get(path, {"q": q}).context["rows"]]


def by_export(owner: Membership) -> Callable[[str], list[str]]:
    client = Client()
    client.force_login(owner.user)
    path = f"/dashboard/{format_id(owner.organization.id)}/products/export"

    def names(q: str) -> list[str]:
        response: Any = client.get(path, {"q": q})
        text = b"".join(response.streaming_content).decode("utf-8-sig")
        # Cells that look like formulas get an apostrophe.
        return [row["name"] for row in csv.DictReader(io.StringIO(text))]

    return names


def by_admin(owner: Membership) -> Callable[[str], list[str]]:
    owner.user.is_staff = owner.user.is_superuser = True
    owner.user.save()
    client = Client()
    client.force_login(owner.user)
    query = {"organization": format_id(owner.organization.id)}

    def names(q: str) -> list[str]:
        response = client.get("/admin/catalog/product/", query | {"q": q})
        return [row.name for row in response.context["cl"].result_list]

    return names


@pytest.mark.parametrize("by", [by_api, by_page, by_export, by_admin])
@pytest.mark.slow
def test_search_finds_the_same_products_everywhere(
    owner: Membership,
    by: Callable[[Membership], Callable[[str], list[str]]],
    settings: Settings,
) -> None:
    settings.EXPORT_LIMIT_PER_MINUTE = len(SEARCHES)
    names_of = by(owner)
    found = {q: sorted(names_of(q)) for q, _ in SEARCHES}
    expected = {q: sorted(names) for q, names in SEARCHES}
    assert found == expected


def test_search_finds_offers_and_certificates_of_products(owner: Membership) -> None:
    product = Product.objects.get(organization=owner.organization, name="St.Gallen cheese")
    OfferFactory(product=product, organization=owner.organization)
    CertificationAssignmentFactory(product=product, organization=owner.organization)
    client = client_of(owner.organization)
    for resource in ("offers", "certifications"):
        path = f"{API}/{resource}/{format_id(owner.organization.id)}"
        totals = [total_of(client.get(path, {"q": q})) for q in ("gallen", "GÄLLEN", "allen")]
        assert totals == [1, 1, 0]


@pytest.mark.slow
def test_every_character_is_allowed_in_names() -> None:
    # Characters that expand are repeated to the maximum length: lexemes have a size limit.
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(public.catalog_search_vector(name) @@ public.catalog_search_query(name)),"
            " count(public.catalog_brand_key(name)), max(octet_length(key)) FROM ("
            " SELECT repeat(chr(n),"
            " CASE WHEN octet_length(normalize(chr(n), NFKC)) > 8 THEN 255 ELSE 2 END)"
            " FROM generate_series(1, %s) AS n WHERE n < 55296 OR n BETWEEN 57344 AND 131071"
            ") AS names (name), public.catalog_brand_key(name) AS key",
            [sys.maxunicode],
        )
        found, keys, longest = cursor.fetchone()
    assert (found, keys) == (131_071 - 2048, 131_071 - 2048)
    assert longest <= 4 * 255


def test_search_uses_the_index(owner: Membership) -> None:
    with connection.cursor() as cursor:
        sql, parameters = Product.objects.search("mango chi").order_by().query.sql_with_params()
        cursor.execute("SET enable_seqscan = off")
        try:
            cursor.execute(f"EXPLAIN {sql}", parameters)
            plan = "\n".join(row[0] for row in cursor.fetchall())
        finally:
            cursor.execute("RESET enable_seqscan")
    assert "Bitmap Index Scan on catalog_product_words" in plan
    assert "'mango':* & 'chi':*" in plan.replace("''", "'")


# --- Texts are stored in one form ----------------------------------------------------------------

DECOMPOSED = unicodedata.normalize("NFD", "Müsli für Zoë")
COMPOSED = unicodedata.normalize("NFC", DECOMPOSED)
TABLES = {
    Product: ["name", "description", "manufacturer", "category", "net_content"],
    ProductImage: ["title"],
    Offer: ["retailer", "store", "sku"],
    CertificationAssignment: ["certificate_number", "issuing_body"],
}


def test_texts_are_stored_in_nfc_by_the_api_and_the_pages() -> None:
    owner = MembershipFactory.create(role="owner")
    organization = owner.organization
    client = client_of(organization, role="editor")
    texts = dict.fromkeys(
        ("name", "description", "brand", "manufacturer", "category", "net_content"), DECOMPOSED
    )
    body = {
        "gtin": "04006381333931",
        **texts,
        "metadata": {DECOMPOSED: DECOMPOSED},
        "nutrition": {
            "serving_size": DECOMPOSED,
            "nutrients": [{"name": DECOMPOSED, "amount": "1", "unit": "g"}],
        },
    }
    path = f"{API}/trade-items/{format_id(organization.id)}"
    response = client.post(path, body, content_type="application/json")
    assert response.status_code == 201
    shown = response.json()
    assert {name: shown[name] for name in texts} == dict.fromkeys(texts, COMPOSED)
    assert shown["metadata"] == {COMPOSED: COMPOSED}
    nutrients = [{"name": COMPOSED, "amount": "1", "unit": "g"}]
    assert shown["nutrition"] == {"serving_size": COMPOSED, "nutrients": nutrients}
    product = Product.objects.get()
    # Sent again in either form, nothing changes.
    changed = client.patch(
        f"{path}/04006381333931",
        {"name": DECOMPOSED, "brand": DECOMPOSED},
        content_type="application/json",
    )
    assert changed.status_code == 200
    assert Product.objects.get().updated_at == product.updated_at
    assert total_of(client.get(path, {"brand": DECOMPOSED})) == 1

    browser = Client()
    browser.force_login(owner.user)
    form = {"gtin": "96385074", "name": DECOMPOSED, "brand": DECOMPOSED, "status": "active"}
    made = browser.post(f"/dashboard/{format_id(organization.id)}/products/new", form)
    assert made.status_code == 302
    assert Product.objects.get(gtin="00000096385074").name == COMPOSED
    assert Brand.objects.get().name == COMPOSED


def test_texts_are_stored_in_nfc_by_every_write_of_a_model() -> None:
    product = ProductFactory(**dict.fromkeys(TABLES[Product], DECOMPOSED))
    OfferFactory(product=product, **dict.fromkeys(TABLES[Offer], DECOMPOSED))
    CertificationAssignmentFactory(
        product=product, **dict.fromkeys(TABLES[CertificationAssignment], DECOMPOSED)
    )
    Product.objects.update(category=DECOMPOSED, metadata={"a": [DECOMPOSED]})
    for model in (Product, Offer, CertificationAssignment):
        names = TABLES[model]
        assert model.objects.values(*names).get() == dict.fromkeys(names, COMPOSED)
    assert product.name == COMPOSED
    assert Product.objects.get(category=DECOMPOSED).metadata == {"a": [COMPOSED]}


@pytest.fixture
def older_database() -> Any:
    """The schema before texts were normalized; migrates to the latest afterwards."""
    migrate_to(
        ("offers", "0009_updated_by"),
        ("certifications", "0006_updated_by"),
        ("catalog", "0006_updated_by"),
    )
    yield connection
    migrate_to_latest()


@pytest.mark.slow
@pytest.mark.campaign
def test_migrations_store_texts_in_nfc_and_merge_brands(older_database: Any) -> None:
    organization = OrganizationFactory()
    with older_database.cursor() as cursor:
        names = ["Zoë", unicodedata.normalize("NFD", "Zoë"), "ZOË ", "Zoe"]
        for number, name in enumerate(names):
            cursor.execute(
                "WITH brand AS (INSERT INTO catalog_brand (id, organization_id, name, created_at) "
                "VALUES (gen_random_uuid(), %(org)s, %(name)s, now() + %(n)s * interval '1 s') "
                "RETURNING id) INSERT INTO catalog_product (id, organization_id, gtin, name, "
                "brand_id, description, manufacturer, category, gpc_brick_code, net_content, "
                "country_of_origin, nutrition, status, metadata) "
                "SELECT gen_random_uuid(), %(org)s, %(gtin)s, %(name)s, id, '', '', '', '', '', "
                "'', '{}', 'active', jsonb_build_object(%(name)s::text, %(name)s::text) FROM brand",
                {
                    "org": organization.pk,
                    "name": name,
                    "n": number,
                    "gtin": ProductFactory.build().gtin,
                },
            )
        cursor.execute(
            "INSERT INTO offers_offer (id, organization_id, product_id, channel, retailer, store, "
            "sku, url, currency, status, url_detail, metadata) "
            "SELECT gen_random_uuid(), organization_id, id, 'in_store', %s, 'x', '', '', '', "
            "'active', '', '{}' FROM catalog_product WHERE name = 'Zoe'",
            [DECOMPOSED],
        )
    migrate_to_latest()
    assert sorted(Brand.objects.values_list("name", flat=True)) == ["Zoe", "Zoë"]
    products = Product.objects.order_by("gtin").values_list("name", "brand__name", "metadata")
    assert list(products) == [
        ("Zoë", "Zoë", {"Zoë": "Zoë"}),
        ("Zoë", "Zoë", {"Zoë": "Zoë"}),
        ("ZOË ", "Zoë", {"ZOË ": "ZOË "}),
        ("Zoe", "Zoe", {"Zoe": "Zoe"}),
    ]
    assert Offer.objects.get().retailer == COMPOSED
    assert [found.name for found in Product.objects.search("ZOE")] != []


# --- Texts that cannot be stored -----------------------------------------------------------------

LISTS = {
    "products": ("trade-items", ["q", "brand"]),
    "offers": ("offers", ["q", "retailer"]),
    "certifications": ("certifications", ["q", "certification"]),
}
INVALID_TEXTS = {"NUL": "milk\x00", "too long": "x" * 256}
FILTERS = [(what, name) for what, (_, names) in LISTS.items() for name in names]


@pytest.mark.parametrize("invalid_text", INVALID_TEXTS)
@pytest.mark.parametrize(("what", "name"), FILTERS)
def test_invalid_text_is_rejected_everywhere(
    owner: Membership, what: str, name: str, invalid_text: str
) -> None:
    organization = format_id(owner.organization.id)
    query = {name: INVALID_TEXTS[invalid_text]}
    response = client_of(owner.organization).get(f"{API}/{LISTS[what][0]}/{organization}", query)
    assert response.status_code == 422
    [error] = problem(response)["errors"]
    assert (error["pointer"], error["code"]) == (f"#/query/{name}", "text")

    browser = Client()
    browser.force_login(owner.user)
    path = f"/dashboard/{organization}/{what}"
    export = browser.get(f"{path}/export", query)
    assert export.status_code == 422
    fragments = [{}, *({"HX-Request": "true", "HX-Target": part} for part in ("list", "listing"))]
    for headers in fragments:
        for parameters in (query, query | {"form": "1"}):
            page = browser.get(path, parameters, headers=headers)
            html = page.content.decode()
            assert page.status_code == 422
            assert (page.context["total"], list(page.context["rows"])) == (0, [])
            assert "Correct the filters" in html
            assert error["detail"] in html
            assert "\x00" not in html
    # The filter is still shown, marked as invalid.
    html = browser.get(path, query).content.decode()
    [control] = [c for c in page.context["controls"] if c.filter.name == name]
    assert control.error == error["detail"]
    assert 'aria-invalid="true"' in html


def test_lone_surrogates_find_nothing(owner: Membership) -> None:
    organization = format_id(owner.organization.id)
    browser = Client()
    browser.force_login(owner.user)
    # A lone surrogate in UTF-8, which is no valid text.
    query = "?q=%ED%A0%80"
    page = browser.get(f"/dashboard/{organization}/products{query}")
    assert (page.status_code, page.context["total"]) == (200, 0)
    export: Any = browser.get(f"/dashboard/{organization}/products/export{query}")
    assert b"".join(export.streaming_content).count(b"\r\n") == 1
    response = client_of(owner.organization).get(f"{API}/trade-items/{organization}{query}")
    assert (response.status_code, total_of(response)) == (200, 0)


def test_admin_rejects_nul(owner: Membership, staff: Client) -> None:
    for model in ("catalog/brand", "catalog/product", "offers/offer", "accounts/organization"):
        response = staff.get(f"/admin/{model}/", {"q": "milk\x00"}, follow=True)
        assert response.status_code == 200
        assert "Null characters are not allowed." in response.content.decode()
        assert not list(response.context["cl"].result_list)
    for app, model, field in (("catalog", "product", "brand"), ("offers", "offer", "product")):
        query = {"app_label": app, "model_name": model, "field_name": field, "term": "milk\x00"}
        response = staff.get("/admin/autocomplete/", query)
        assert response.json() == {"results": [], "pagination": {"more": False}}
