"""The list of products: every filter and order compared with Python, and with the numbers."""

from __future__ import annotations

import datetime
import itertools
import random
from typing import Any

import pytest
import time_machine
from django.db import InternalError
from django.test import Client

from catalog import products_by_mask
from catalog.completeness import FACTS, Rule
from catalog.lists import ProductList
from catalog.models import CompletenessRule, Product, effective_rule
from closient.accounts.models import Organization
from closient.db.ids import format_id
from closient.db.transactions import consistent_read
from dashboard.numbers import StatsQuery, stats
from tests.clients import ONE_ROW, client_of, errors_of, products_path, queries_of
from tests.dates import NOON, TODAY
from tests.factories import (
    BrandFactory,
    CertificationAssignmentFactory,
    OfferFactory,
    OrganizationFactory,
    ProductFactory,
    ProductImageFactory,
    gtin,
)
from tests.sessions import sessions

pytestmark = pytest.mark.django_db

FACT_NAMES = [fact.name for fact in FACTS]


def listed(client: Client, organization: Organization, query: str = "") -> dict[str, Any]:
    """Return a list's total and the GTINs on all its pages, in order."""
    found: list[str] = []
    for number in itertools.count(1):
        address = f"{products_path(organization)}?page={number}&page_size=25&{query}"
        response = client.get(address)
        assert response.status_code == 200, response.content
        body = response.json()
        found += [row["gtin"] for row in body["data"]]
        if not body["pagination"]["has_next"]:
            return {"total_count": body["pagination"]["total_count"], "gtins": found}
    raise AssertionError


def make_product(organization: Organization, rng: random.Random, brands: list[Any]) -> Product:
    def maybe(value: Any, otherwise: Any = "") -> Any:
        return value if rng.random() < 0.6 else otherwise

    product: Product = ProductFactory(
        organization=organization,
        name=maybe(rng.choice(["Oat drink", "oat bar", "Rye bread", "Oat drink"])),
        description=maybe("What it is."),
        brand=maybe(rng.choice(brands), None),
        category=maybe("Groceries"),
        nutrition=maybe({"nutrients": [{"name": "fat", "amount": "1", "unit": "g"}]}, {}),
        country_of_origin=maybe("DE"),
        status=rng.choice(["active", "draft", "discontinued"]),
    )
    if maybe(True):
        ProductImageFactory(product=product)
    if maybe(True):
        OfferFactory(product=product, status=rng.choice(["active", "seasonal"]))
    if maybe(True):
        days = datetime.timedelta(days=rng.choice([-1, 0, 30]))
        CertificationAssignmentFactory(product=product, expiry_date=TODAY + days)
    return product


@pytest.fixture
def catalog() -> Organization:
    """An organization with sixty varied products; another one has five."""
    rng = random.Random(11)
    organization: Organization = OrganizationFactory()
    for owner, count in ((organization, 60), (OrganizationFactory(), 5)):
        brands = [BrandFactory(organization=owner, name=name) for name in ("Haferhof", "Rye & Co")]
        for _ in range(count):
            make_product(owner, rng, brands)
    return organization


def facts_in_python(product: Product, day: datetime.date) -> set[str]:
    """Return a product's facts from its rows, without any derived column."""
    facts = {
        "name": bool(product.name),
        "description": bool(product.description),
        "brand": product.brand_id is not None,
        "category": bool(product.category),
        "images": product.images.exists(),
        "nutrition": bool(product.nutrition.get("nutrients")),
        "certifications": any(
            certificate.expiry_date >= day
            for certificate in product.certification_assignments.all()
        ),
        "offers": product.offers.filter(status="active").exists(),
        "country": bool(product.country_of_origin),
    }
    return {name for name, has in facts.items() if has}


class PythonList:
    """The products of an organization with their percentages, newest first, in Python alone."""

    def __init__(self, organization: Organization, rule: Rule, day: datetime.date) -> None:
        products = Product.objects.of(organization).select_related("brand").order_by("-id")
        self.products = list(products)
        self.facts = {p.gtin: facts_in_python(p, day) for p in self.products}
        self.rule = rule

    def percentage(self, product: Product) -> int:
        weights = dict(zip(FACT_NAMES, self.rule.weights, strict=True))
        earned = sum(weights[name] for name in self.facts[product.gtin])
        return int(100 * earned / sum(weights.values()) + 0.5)

    def list(self, matches: Any, key: Any = None, *, reverse: bool = False) -> dict[str, Any]:
        found = [product for product in self.products if matches(product)]
        if key is not None:
            # Stable in both directions: equal rows stay newest first.
            found.sort(key=key, reverse=reverse)
        return {"total_count": len(found), "gtins": [product.gtin for product in found]}


def filter_in_python(expected_list: PythonList, query: dict[str, str]) -> Any:
    def matches(product: Product) -> bool:
        percentage, facts = expected_list.percentage(product), expected_list.facts[product.gtin]
        checks = {
            "complete": lambda v: (percentage >= expected_list.rule.threshold) == (v == "true"),
            "missing": lambda v: not facts & set(v.split(",")),
            "min_completeness": lambda v: percentage >= int(v),
            "max_completeness": lambda v: percentage <= int(v),
            "status": lambda v: product.status == v,
            "brand": lambda v: product.brand is not None and product.brand.name == v,
            "q": lambda v: v.lower() in product.name.lower().split(),
        }
        return all(checks[name](value) for name, value in query.items())

    return matches


FILTERS: list[dict[str, str]] = [
    {},
    {"complete": "true"},
    {"complete": "false"},
    {"missing": "images"},
    {"missing": "certifications"},
    {"missing": "images,description"},
    {"missing": "certifications,offers"},
    {"missing": ",".join(FACT_NAMES)},
    {"min_completeness": "50"},
    {"max_completeness": "49"},
    {"min_completeness": "30", "max_completeness": "65"},
    {"min_completeness": "60", "max_completeness": "59"},
    {"complete": "false", "missing": "certifications", "min_completeness": "40"},
    {"status": "draft"},
    {"brand": "Haferhof"},
    {"brand": "Unknown"},
    {"q": "oat"},
    {"q": "rye", "status": "active"},
    {"status": "active", "complete": "true"},
    {"brand": "Rye & Co", "missing": "certifications"},
    {"q": "drink", "brand": "Haferhof", "status": "active", "min_completeness": "30"},
]
RULES = [{}, {"certifications": 60, "threshold": 50}, {"images": 0, "offers": 3, "name": 100}]


def query_of(parameters: dict[str, str]) -> str:
    return "&".join(f"{name}={value.replace('&', '%26')}" for name, value in parameters.items())


@time_machine.travel(NOON, tick=False)
@pytest.mark.parametrize(
    "min_rows", [products_by_mask.MIN_ROWS_TO_COMPARE, 0], ids=["by_mask", "by_cost"]
)
@pytest.mark.parametrize("weights", RULES, ids=["published", "certified", "own"])
@pytest.mark.slow
def test_lists_equal_a_count_in_python(
    catalog: Organization, weights: dict[str, int], min_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With a minimum of 0 the cost decides between both ways to read a page.
    monkeypatch.setattr(products_by_mask, "MIN_ROWS_TO_COMPARE", min_rows)
    if weights:
        CompletenessRule.objects.create(organization=catalog, **weights)
    client = client_of(catalog, limit_per_minute=100_000)
    expected_list = PythonList(
        catalog, effective_rule(Organization.objects.get(pk=catalog.pk)), TODAY
    )
    totals = set()
    for parameters in FILTERS:
        matches, query = filter_in_python(expected_list, parameters), query_of(parameters)
        expected = expected_list.list(matches)
        totals.add(expected["total_count"])
        assert listed(client, catalog, query) == expected, query
        ascending = expected_list.list(matches, expected_list.percentage)
        assert listed(client, catalog, f"{query}&ordering=completeness") == ascending, query
        descending = expected_list.list(matches, lambda p: -expected_list.percentage(p))
        assert listed(client, catalog, f"{query}&ordering=-completeness") == descending, query
    # The filters make a difference.
    assert len(totals) > 8


@pytest.mark.django_db
def test_filter_values_may_be_comma_separated_or_repeated(catalog: Organization) -> None:
    together = listed(client_of(catalog), catalog, "missing=images,offers,images")
    one_by_one = listed(client_of(catalog), catalog, "missing=images&missing=offers")
    assert together == one_by_one
    images = listed(client_of(catalog), catalog, "missing=images")
    assert 0 < together["total_count"] < images["total_count"]


@time_machine.travel(NOON, tick=False)
@pytest.mark.parametrize("query", ["", "complete=true", "missing=certifications", "status=draft"])
def test_lists_are_sorted_by_name_and_last_change(catalog: Organization, query: str) -> None:
    client = client_of(catalog, limit_per_minute=100_000)
    found = set(listed(client, catalog, query)["gtins"])
    products = [p for p in Product.objects.of(catalog).order_by("-id") if p.gtin in found]
    # Lower case after upper case: the test database compares by code point.
    by_name = [p.gtin for p in sorted(products, key=lambda p: p.name)]
    assert listed(client, catalog, f"{query}&ordering=name")["gtins"] == by_name
    moved = products[-1]
    Product.objects.filter(pk=moved.pk).update(updated_at=NOON + datetime.timedelta(days=1))
    changed = listed(client, catalog, f"{query}&ordering=-updated_at")["gtins"]
    rest = [p for p in products if p != moved]
    assert changed == [
        moved.gtin,
        *(p.gtin for p in sorted(rest, key=lambda p: p.updated_at, reverse=True)),
    ]


@time_machine.travel(NOON, tick=False)
@pytest.mark.parametrize("weights", RULES, ids=["published", "certified", "own"])
def test_totals_equal_the_dashboard_numbers(catalog: Organization, weights: dict[str, int]) -> None:
    if weights:
        CompletenessRule.objects.create(organization=catalog, **weights)
    organization = Organization.objects.get(pk=catalog.pk)
    client = client_of(organization, limit_per_minute=100_000)
    for days in (0, 1, 31):
        with time_machine.travel(NOON + datetime.timedelta(days=days), tick=False):
            day = organization.today()
            numbers = stats(StatsQuery(organization.id, effective_rule(organization), day))
            for query, number in (
                ("", numbers.total_products),
                ("complete=true", numbers.complete_products),
                ("complete=false", numbers.total_products - numbers.complete_products),
                ("missing=images", numbers.missing_images),
            ):
                assert listed(client, organization, query)["total_count"] == number
            body = client.get(f"{products_path(organization)}?page_size=100").json()
            percentages = [row["percentage"] for row in body["data"]]
            mean = int(sum(percentages) / len(percentages) + 0.5)
            assert mean == numbers.avg_completeness


def test_certificate_that_expires_at_midnight_changes_the_list() -> None:
    organization = OrganizationFactory(time_zone="Pacific/Kiritimati")
    product = ProductFactory(organization=organization)
    CertificationAssignmentFactory(product=product, expiry_date=TODAY)
    client = client_of(organization)
    last_day = datetime.datetime(2096, 11, 24, 9, 59, tzinfo=datetime.UTC)
    for moment, is_listed in ((last_day, False), (last_day + datetime.timedelta(minutes=1), True)):
        with time_machine.travel(moment, tick=False):
            found = listed(client, organization, "missing=certifications")
            assert found["gtins"] == ([product.gtin] if is_listed else [])


@time_machine.travel(NOON, tick=False)
def test_list_contains_all_fields_of_a_product() -> None:
    organization = OrganizationFactory()
    product = ProductFactory(
        organization=organization,
        gtin=gtin(1),
        name="Oat drink",
        described=True,
        brand=BrandFactory(organization=organization, name="Haferhof"),
        metadata={"season": "summer"},
    )
    ProductImageFactory(product=product)
    CertificationAssignmentFactory(product=product, expiry_date=TODAY)
    body = client_of(organization).get(products_path(organization)).json()
    product.refresh_from_db()
    assert body == {
        "data": [
            {
                "id": format_id(product.id),
                "gtin": gtin(1),
                "name": "Oat drink",
                "description": "What it is.",
                "brand": "Haferhof",
                "manufacturer": "",
                "category": "Groceries",
                "gpc_brick_code": "",
                "country_of_origin": "DE",
                "net_content": "",
                "nutrition": {
                    "serving_size": "",
                    "nutrients": [{"name": "energy", "amount": "100", "unit": "kJ"}],
                },
                "status": "active",
                "metadata": {"season": "summer"},
                "percentage": 90,
                "facts": {
                    "name": True,
                    "description": True,
                    "brand": True,
                    "category": True,
                    "images": True,
                    "nutrition": True,
                    "certifications": True,
                    "offers": False,
                    "country": True,
                },
                "created_at": body["data"][0]["created_at"],
                "updated_at": body["data"][0]["updated_at"],
            }
        ],
        "pagination": ONE_ROW,
    }
    single = client_of(organization).get(f"{products_path(organization)}/{gtin(1)[1:]}").json()
    assert single == body["data"][0]


def test_search_matches_prefixes_of_gtins_and_words() -> None:
    organization = OrganizationFactory()
    oat = ProductFactory(organization=organization, name="Organic OAT drink", gtin=gtin(1))
    ean = ProductFactory(organization=organization, name="Bread", gtin="04006381333931")
    client = client_of(organization)
    for text, found in (
        ("oat", [oat]),
        ("drink%20org", [oat]),
        ("gani", []),
        ("4006381", [ean]),
        ("04006381333931", [ean]),
        ("%20%20", [ean, oat]),
        ("'%20%26%20|%20!%20\\", []),
    ):
        assert listed(client, organization, f"q={text}")["gtins"] == [p.gtin for p in found], text


@pytest.mark.parametrize(
    ("query", "errors"),
    [
        ("complete=yes", [("complete", "boolean")]),
        ("complete=True", [("complete", "boolean")]),
        ("missing=", [("missing", "choice")]),
        ("missing=images,colour", [("missing", "choice")]),
        ("missing=images&missing=colour", [("missing", "choice")]),
        ("brand=One&brand=Two", [("brand", "repeated")]),
        ("min_completeness=-1", [("min_completeness", "range")]),
        ("max_completeness=101", [("max_completeness", "range")]),
        ("max_completeness=80.5", [("max_completeness", "integer")]),
        ("status=gone", [("status", "choice")]),
        ("category=%00", [("category", "text")]),
        ("q=%00", [("q", "text")]),
        ("q=" + "x" * 256, [("q", "text")]),
        ("ordering=", [("ordering", "choice")]),
        ("ordering=-name", [("ordering", "choice")]),
        ("ordering=id;drop", [("ordering", "choice")]),
    ],
)
def test_list_rejects_invalid_parameters(query: str, errors: list[tuple[str, str]]) -> None:
    organization = OrganizationFactory()
    response = client_of(organization).get(f"{products_path(organization)}?{query}")
    assert errors_of(response) == [(f"#/query/{name}", code) for name, code in errors]


# 1 key with organization, rule and rate limit, 2 counts by mask from the tally, 3 keys of the page,
# 4 its products with their brands. Sorted by completeness, 3 runs once per percentage on the
# page. A filter that the tally does not know counts rows in 2.
@pytest.mark.parametrize(
    ("query", "queries"),
    [
        ("", 4),
        ("complete=true", 4),
        ("missing=certifications&page=2&page_size=10", 4),
        ("ordering=name", 4),
        ("ordering=-updated_at", 4),
        ("status=active&brand=Haferhof&q=oat&ordering=completeness", 4),
        ("page=1000", 2),
        ("brand=Unknown", 2),
    ],
)
def test_list_uses_a_constant_number_of_queries(query: str, queries: int) -> None:
    organization = OrganizationFactory()
    brand = BrandFactory(organization=organization, name="Haferhof")
    client, path = client_of(organization), f"{products_path(organization)}?{query}"
    ProductFactory.create_batch(
        11, organization=organization, described=True, brand=brand, name="Oat"
    )
    for product in Product.objects.of(organization):
        ProductImageFactory(product=product)
        OfferFactory(product=product)
    small = queries_of(client, path)[1]
    ProductFactory.create_batch(40, organization=organization, brand=brand, name="Oat")
    large = queries_of(client, path)[1]
    assert (len(small), len(large)) == (queries, queries), large


def test_page_sorted_by_completeness_reads_only_its_percentages() -> None:
    organization = OrganizationFactory()
    client = client_of(organization)
    ProductFactory.create_batch(5, organization=organization)
    ProductFactory.create_batch(5, organization=organization, described=True)
    ProductFactory.create_batch(5, organization=organization, name="")
    path = f"{products_path(organization)}?ordering=completeness&page_size=5"
    for number in (1, 2, 3):
        # 1 key, 2 counts, 3 keys of one percentage, 4 products.
        assert len(queries_of(client, f"{path}&page={number}")[1]) == 4
    assert len(queries_of(client, f"{path}&page_size=100".replace("&page_size=5", ""))[1]) == 6


@pytest.mark.django_db(transaction=True)
def test_page_and_total_are_read_from_one_snapshot() -> None:
    organization = OrganizationFactory()
    ProductFactory(organization=organization)
    products = ProductList(organization.id, Rule(), organization.today())
    with sessions(1) as (other,), consistent_read():
        assert products.page(start=0, end=25)[1] == 1
        other.run(lambda: ProductFactory(organization=organization))
        rows, total = products.page(start=0, end=25)
        assert (len(rows), total) == (1, 1)
        with pytest.raises(InternalError, match="read-only"):
            Product.objects.all().delete()
    assert len(listed(client_of(organization), organization)["gtins"]) == 2
