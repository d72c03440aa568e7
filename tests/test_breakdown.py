"""The breakdown: its numbers are those of the lists behind them, and sum to the whole."""

from __future__ import annotations

import datetime
import re
from html import unescape
from typing import Any

import pytest
import time_machine
from django.test import Client
from django.urls import reverse

from catalog.completeness import half_up
from catalog.models import CompletenessRule, Product
from closient.accounts.models import Organization
from closient.db.ids import format_id
from dashboard.breakdown import SORTABLE, Dimension
from dashboard.numbers import NUMBERS, current_numbers
from tests.clients import API, browser_of, client_of, errors_of
from tests.dates import NOON, TODAY
from tests.factories import (
    BrandFactory,
    CertificationAssignmentFactory,
    MembershipFactory,
    OfferFactory,
    OrganizationFactory,
    ProductFactory,
    ProductImageFactory,
)

pytestmark = [pytest.mark.django_db]

NAMES = [number.name for number in NUMBERS]
FAILURES = ("broken", "timeout", "dns_failure", "blocked", "ok")
RETAILERS = ("Corner & Sons", "", "Example Market")


@pytest.fixture
def organization() -> Organization:
    """An organization whose products differ in all dimensions, beside another one."""
    organization = OrganizationFactory(name="Haferhof")
    fill(organization)
    fill(OrganizationFactory())
    # Half of the default percentages, and another threshold.
    weights = {"images": 40, "country": 0}
    CompletenessRule.objects.create(organization=organization, threshold=65, **weights)
    return organization


def fill(organization: Organization) -> None:
    brands = [
        BrandFactory(organization=organization, name="Oat & Co"),
        BrandFactory(organization=organization, name="100% Dark"),
        None,
    ]
    for number in range(24):
        product = ProductFactory(
            organization=organization,
            brand=brands[number % 5 % 3],
            category=("Drinks, cold", "", "Milk/Dark", "Café")[number % 4],
            country_of_origin=("DE", "", "FR")[number % 7 % 3],
            status=("active", "active", "draft", "discontinued")[number % 11 % 4],
            description="What it is." if number % 3 else "",
        )
        if number % 4:
            ProductImageFactory(product=product)
        for place in range(number % 4):
            OfferFactory(
                product=product,
                retailer=RETAILERS[(number + place // 2) % 3],
                sku=str(place),
                url_status=FAILURES[(number + place) % 5],
                status="active" if (number + place) % 3 else "discontinued",
            )
        if number % 6 == 0:
            OfferFactory(product=product, retailer=RETAILERS[number % 3], in_store=True)
        for days in range(0, number % 4 * 25, 25):
            CertificationAssignmentFactory(
                product=product, expiry_date=TODAY + datetime.timedelta(days=days)
            )


def path(organization: Organization) -> str:
    return f"{API}/breakdown/{format_id(organization.id)}"


def read(client: Client, organization: Organization, query: str) -> list[dict[str, Any]]:
    response = client.get(f"{path(organization)}?{query}")
    assert response.status_code == 200, response.content
    rows: list[dict[str, Any]] = response.json()["data"]
    return rows


def total(client: Client, organization: Organization, resource: str, **filters: Any) -> int:
    response = client.get(f"{API}/{resource}/{format_id(organization.id)}", filters)
    assert response.status_code == 200, response.content
    return int(response.json()["pagination"]["total_count"])


@time_machine.travel(NOON, tick=False)
@pytest.mark.parametrize("dimension", Dimension)
@pytest.mark.slow
def test_every_number_is_the_total_of_its_list(
    organization: Organization, dimension: Dimension
) -> None:
    client = client_of(organization)
    rows = read(client, organization, f"by={dimension}&page_size=100")
    assert len(rows) == {"category": 4}.get(dimension, 3)
    for row in rows:
        own = {str(dimension): row["value"]}
        of_products = {"trade_item_status" if dimension == "status" else dimension: row["value"]}

        def products(own: Any = own, **filters: Any) -> int:
            return total(client, organization, "trade-items", **own, **filters)

        assert row["total_products"] == products()
        assert row["complete_products"] == products(complete="true")
        assert row["incomplete_products"] == products(complete="false")
        assert row["missing_images"] == products(missing="images")
        assert row["active_offers"] == total(
            client, organization, "offers", status="active", **of_products
        )
        assert row["broken_offers"] == total(
            client, organization, "offers", url_status="failing", **of_products
        )
        assert row["expiring_certifications"] == total(
            client, organization, "certifications", expiring_within=60, **of_products
        )
        listed = client.get(
            f"{API}/trade-items/{format_id(organization.id)}", {**own, "page_size": 100}
        ).json()["data"]
        percentages = [product["percentage"] for product in listed]
        assert row["avg_completeness"] == half_up(sum(percentages), len(percentages))
        missing = sum(100 - percentage for percentage in percentages)
        assert row["average_gain"] == half_up(100 * missing, 24) / 100


@time_machine.travel(NOON, tick=False)
@pytest.mark.parametrize("dimension", Dimension)
def test_rows_sum_to_the_numbers_of_the_organization(
    organization: Organization, dimension: Dimension
) -> None:
    rows = read(client_of(organization), organization, f"by={dimension}")
    whole = current_numbers(organization)
    assert all(whole.values())
    names = {*NAMES} - {"avg_completeness"}
    if dimension is Dimension.RETAILER:
        names = {"active_offers", "broken_offers"}
        sold = Product.objects.of(organization).exclude(offers=None).distinct().count()
        assert sold < sum(row["total_products"] for row in rows)
    for name in names:
        assert sum(row[name] for row in rows) == whole[name], name


@time_machine.travel(NOON, tick=False)
def test_pages_by_number_and_by_cursor_have_every_row_once_in_each_order(
    organization: Organization,
) -> None:
    for number in range(6):
        brand = BrandFactory(organization=organization, name=f"Brand {number}")
        ProductFactory.create_batch(number % 3 + 1, organization=organization, brand=brand)
    client = client_of(organization)
    for name in SORTABLE:
        for ordering in (name, f"-{name}"):
            rows = read(client, organization, f"ordering={ordering}&page_size=100")
            assert len(rows) == 9
            ordered = sorted(rows, key=lambda row: row["value"])
            ordered.sort(key=lambda row: row[name], reverse=ordering.startswith("-"))
            assert rows == ordered, ordering
            paged = [
                row
                for page in (1, 2, 3)
                for row in read(
                    client, organization, f"ordering={ordering}&page_size=4&page={page}"
                )
            ]
            assert paged == rows, ordering
            followed: list[dict[str, Any]] = []
            address: str | None = f"{path(organization)}?ordering={ordering}&page_size=4"
            while address:
                response = client.get(address)
                followed += response.json()["data"]
                link = re.match("<(.*)>", response.headers.get("Link", ""))
                address = link[1] if link else None
            assert followed == rows, ordering
    assert read(client, organization, "") == read(
        client, organization, "by=brand&ordering=-incomplete_products"
    )


@time_machine.travel(NOON, tick=False)
@pytest.mark.parametrize("dimension", Dimension)
@pytest.mark.slow
def test_page_links_each_number_to_a_list_of_that_length(
    organization: Organization, dimension: Dimension
) -> None:
    client = browser_of(MembershipFactory(organization=organization, role="viewer").user)
    home = client.get(reverse("page-home", args=[organization.id])).content.decode()
    address = reverse("page-breakdown", args=[organization.id])
    assert f'href="{address}"' in home
    html = client.get(address, {"by": dimension}).content.decode()
    links = re.findall(r'<td class="number"[^>]*><a[^>]* href="([^"]+)">([\d,]+)(%?)<', html)
    rows = {"category": 5}.get(dimension, 4)
    assert len(links) == rows * (len(NUMBERS) + 1)
    for link, number, is_percentage in links:
        listed = client.get(unescape(link))
        assert listed.status_code == 200
        if not is_percentage:
            shown = re.search(r'data-total="(\d+)"', listed.content.decode())
            assert shown, link
            assert shown[1] == number.replace(",", ""), link


@time_machine.travel(NOON, tick=False)
def test_page_names_the_row_that_lowers_the_average_the_most(organization: Organization) -> None:
    client = browser_of(MembershipFactory(organization=organization, role="viewer").user)
    address = reverse("page-breakdown", args=[organization.id])
    worst, *_ = read(client_of(organization), organization, "ordering=-average_gain")
    for query in ("", "?ordering=value", "?page=9"):
        html = unescape(re.sub("<[^>]+>", "", client.get(address + query).content.decode()))
        is_page = "page=9" not in query
        sentence = f"Costs the average the most: {worst['value']}, {worst['average_gain']:.2f} of"
        assert (sentence in html) == is_page
        assert ("This page does not exist" in html) == (not is_page)
    # The last row and the sentence have the exact sum, which the rows sum to.
    for dimension in (Dimension.BRAND, Dimension.RETAILER):
        html = client.get(address, {"by": dimension}).content.decode()
        cells = re.findall(r'data-label="Costs the average">([\d.]+)', html)
        *rows, whole = (float(cell) for cell in cells)
        if dimension is Dimension.BRAND:
            assert whole == pytest.approx(sum(rows), abs=0.005 * len(rows))
            exact = whole
            assert exact != round(exact)
        assert whole == exact
        assert f"of the {exact:.2f} points between the average and 100%" in html
    assert client.get(address, {"by": "color"}).status_code == 422
    empty = MembershipFactory(role="viewer")
    html = browser_of(empty.user).get(reverse("page-breakdown", args=[empty.organization_id]))
    assert "Nothing to break down" in html.content.decode()


def test_filters_by_country_take_names_and_refuse_other_texts(organization: Organization) -> None:
    client = client_of(organization)
    by_code = total(client, organization, "trade-items", country_of_origin="FR")
    assert 0 < by_code < 24
    for name in ("France", "fr", "FRA", "Frankreich"):
        assert total(client, organization, "trade-items", country_of_origin=name) == by_code
    response = client.get(
        f"{API}/trade-items/{format_id(organization.id)}", {"country_of_origin": "Atlantis"}
    )
    assert errors_of(response) == [("#/query/country_of_origin", "country")]


def test_breakdown_counts_by_the_rule_and_the_day_of_the_organization() -> None:
    organization = OrganizationFactory(time_zone="Pacific/Kiritimati")
    product = ProductFactory(organization=organization, described=True)
    ProductImageFactory(product=product)
    CertificationAssignmentFactory(product=product, expiry_date=TODAY)
    CompletenessRule.objects.create(organization=organization, threshold=95, offers=0)
    client = client_of(organization)
    # 14 hours ahead, the certificate has expired.
    for hour, complete, average in ((9, 1, 100), (11, 0, 94)):
        with time_machine.travel(NOON.replace(hour=hour), tick=False):
            (row,) = read(client, organization, "by=category")
            assert (row["complete_products"], row["avg_completeness"]) == (complete, average)
            assert {name: row[name] for name in NAMES} == current_numbers(organization)
