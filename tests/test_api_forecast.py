"""The forecast of a day equals the stats on that day."""

from __future__ import annotations

import dataclasses
import datetime
import random
from typing import Any

import pytest
import time_machine
from django.utils import timezone

from catalog.completeness import Rule
from catalog.models import CompletenessRule, Product, effective_rule
from closient.accounts.models import Organization
from closient.tally.audit import compact
from dashboard.numbers import NUMBERS
from tests import factories
from tests.clients import client_of, problem, queries_of, stats_path
from tests.counting import count_in_python
from tests.dates import NOON, days_ahead

pytestmark = pytest.mark.django_db

NAMES = [number.name for number in NUMBERS]


def forecast_path(organization: Organization) -> str:
    return f"{stats_path(organization)}/forecast"


def forecast(organization: Organization, query: str = "") -> list[dict[str, Any]]:
    response = client_of(organization).get(forecast_path(organization) + query)
    assert response.status_code == 200
    days: list[dict[str, Any]] = response.json()["days"]
    return days


def products(owner: Organization, count: int) -> list[Product]:
    """Create products at 70 percent, and 75 while a certificate is valid."""
    made: list[Product] = factories.ProductFactory.create_batch(
        count, organization=owner, described=True
    )
    return made


def certify(product: Product, **dates: Any) -> None:
    factories.CertificationAssignmentFactory(product=product, **dates)


def fallen(organization: Organization, rule: Rule, day: datetime.date) -> list[Product]:
    """Return the products that fall below the threshold on a day, by checking every row."""

    def percentage(product: Product, on: datetime.date) -> int:
        return rule.percentage(product.fact_mask(on))

    before = day - datetime.timedelta(days=1)
    return [
        product
        for product in Product.objects.filter(organization=organization).order_by("id")
        if percentage(product, before) >= rule.threshold > percentage(product, day)
    ]


@time_machine.travel(NOON, tick=False)
def test_forecast_lists_days_with_changes_and_falling_products() -> None:
    organization = factories.OrganizationFactory()
    (falls,) = products(organization, 1)
    certify(falls, expiry_date=days_ahead(10))
    # One certificate follows the other without a gap: only the number of expiring ones changes.
    (covered,) = products(organization, 1)
    certify(covered, expiry_date=days_ahead(20))
    certify(covered, valid_from=days_ahead(21))
    (rises,) = products(organization, 1)
    certify(rises, valid_from=days_ahead(30))
    neighbour = factories.ProductFactory()
    certify(neighbour, expiry_date=days_ahead(5))

    now = {
        "total_products": 3,
        "complete_products": 2,
        "avg_completeness": 73,
        "active_offers": 0,
        "broken_offers": 0,
        "expiring_certifications": 2,
        "missing_images": 3,
    }
    CompletenessRule.objects.create(organization=organization, threshold=75)
    none_falling = {"falling_below": 0, "first_falling": []}
    fall = {
        "gtin": falls.gtin,
        "name": falls.name,
        "percentage_before": 75,
        "percentage_after": 70,
    }
    assert forecast(organization) == [
        {"date": "2096-11-24", **now, **none_falling},
        # On its last day a certificate no longer counts as expiring.
        {"date": "2096-12-04", **now, "expiring_certifications": 1, **none_falling},
        {
            "date": "2096-12-05",
            **now,
            "expiring_certifications": 1,
            "complete_products": 1,
            "avg_completeness": 72,
            "falling_below": 1,
            "first_falling": [fall],
        },
        {
            "date": "2096-12-14",
            **now,
            "expiring_certifications": 0,
            "complete_products": 1,
            "avg_completeness": 72,
            **none_falling,
        },
        {
            "date": "2096-12-24",
            **now,
            "expiring_certifications": 0,
            **none_falling,
        },
    ]
    # Only the requested days.
    assert [day["date"] for day in forecast(organization, "?days=10")] == [
        "2096-11-24",
        "2096-12-04",
    ]
    assert [day["date"] for day in forecast(organization, "?days=11")][-1] == "2096-12-05"


@pytest.fixture
def organization() -> Organization:
    """Forty products with certificates that start, expire, overlap and follow each other."""
    rng = random.Random(11)
    organization: Organization = factories.OrganizationFactory(time_zone="Asia/Tokyo")
    today = organization.today()
    certification = factories.CertificationFactory(organization=organization)
    for number in range(40):
        product = factories.ProductFactory(organization=organization, described=number % 4 < 3)
        if number % 5 == 0:
            factories.ProductImageFactory(product=product)
        if number % 7 == 0:
            factories.OfferFactory(product=product)
        for _ in range(rng.randrange(1, 5)):
            starts = today + datetime.timedelta(days=rng.randrange(-60, 60))
            ends = starts + datetime.timedelta(days=rng.choice([0, 1, 7, 30]))
            certify(
                product,
                certification=certification,
                valid_from=rng.choice([None, starts, starts]),
                expiry_date=rng.choice([None, ends, ends, ends, ends]),
            )
    return organization


@pytest.mark.parametrize(
    ("own", "is_folded"),
    [
        ({"threshold": 75}, False),
        # The certificate has nearly all of the weight.
        ({"certifications": 100, "threshold": 50}, True),
        # It has no weight.
        ({"certifications": 0, "threshold": 70}, False),
    ],
)
@pytest.mark.slow
def test_forecast_equals_the_stats_of_each_day(
    organization: Organization, own: dict[str, int], is_folded: bool
) -> None:
    CompletenessRule.objects.create(organization=organization, **own)
    rule = effective_rule(Organization.objects.get(pk=organization.pk))
    if is_folded:
        compact([organization.pk])
    today = organization.today()
    reported = {day["date"]: day for day in forecast(organization, "?days=100")}
    assert list(reported) == sorted(reported)
    assert next(iter(reported)) == str(today)

    shown: dict[str, Any] = {}
    falling_days = 0
    client = client_of(organization)
    for ahead in range(101):
        day = today + datetime.timedelta(days=ahead)
        falls = fallen(organization, rule, day)
        falling_days += bool(falls)
        came = dataclasses.asdict(count_in_python(organization, rule, day))
        if str(day) in reported:
            entry = reported[str(day)]
            assert {name: entry[name] for name in NAMES} == came, day
            assert entry["falling_below"] == len(falls), day
            assert entry["first_falling"] == [
                {
                    "gtin": product.gtin,
                    "name": product.name,
                    "percentage_before": rule.percentage(
                        product.fact_mask(day - datetime.timedelta(days=1))
                    ),
                    "percentage_after": rule.percentage(product.fact_mask(day)),
                }
                for product in falls[:10]
            ], day
            if shown == came:
                assert falls or ahead == 0, f"nothing changes on {day}"
        else:
            assert (came, falls) == (shown, []), day
        shown = came
        if ahead % 10 == 0:
            with time_machine.travel(timezone.now() + datetime.timedelta(days=ahead), tick=False):
                assert client.get(stats_path(organization)).json() == came
    # The forecast is not empty.
    assert len(reported) > 20
    assert bool(falling_days) == bool(rule.weights[6])


@time_machine.travel(NOON, tick=False)
def test_forecast_counts_all_falling_products_and_names_the_ten_oldest() -> None:
    organization = factories.OrganizationFactory()
    CompletenessRule.objects.create(organization=organization, threshold=75)
    made = products(organization, 12)
    for product in reversed(made):
        # Two that expire on one day are one fall.
        certify(product, expiry_date=days_ahead(3))
        certify(product, expiry_date=days_ahead(3))
    day = forecast(organization)[-1]
    assert (day["date"], day["falling_below"]) == ("2096-11-28", 12)
    assert [product["gtin"] for product in day["first_falling"]] == [
        product.gtin for product in made[:10]
    ]


@time_machine.travel(NOON, tick=False)
def test_forecast_lists_a_fall_offset_by_another_product() -> None:
    organization = factories.OrganizationFactory()
    CompletenessRule.objects.create(organization=organization, threshold=75)
    falls, rises = products(organization, 2)
    certify(falls, expiry_date=days_ahead(3))
    certify(rises, valid_from=days_ahead(4))
    # After compaction the tally has no entry for that day.
    compact([organization.pk])
    days = {day["date"]: day for day in forecast(organization)}
    assert list(days) == ["2096-11-24", "2096-11-27", "2096-11-28"]
    before, after = days["2096-11-27"], days["2096-11-28"]
    assert {name: before[name] for name in NAMES} == {name: after[name] for name in NAMES}
    assert (after["falling_below"], after["first_falling"][0]["gtin"]) == (1, falls.gtin)


@time_machine.travel(NOON, tick=False)
def test_forecast_starts_with_products_that_fall_today() -> None:
    organization = factories.OrganizationFactory()
    CompletenessRule.objects.create(organization=organization, threshold=75)
    (product,) = products(organization, 1)
    certify(product, expiry_date=days_ahead(-1))
    (today,) = forecast(organization)
    assert (today["date"], today["falling_below"]) == ("2096-11-24", 1)


@time_machine.travel(NOON, tick=False)
def test_forecast_starts_today_in_the_time_zone_of_the_organization() -> None:
    for zone, first in (("Pacific/Kiritimati", "2096-11-25"), ("Pacific/Pago_Pago", "2096-11-24")):
        days = forecast(factories.OrganizationFactory(time_zone=zone))
        assert days == [
            {"date": first, **dict.fromkeys(NAMES, 0), "falling_below": 0, "first_falling": []}
        ]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("days=0", "range"),
        ("days=366", "range"),
        ("days=x", "integer"),
        ("days=1&days=2", "repeated"),
    ],
)
def test_forecast_rejects_invalid_parameters(query: str, code: str) -> None:
    organization = factories.OrganizationFactory()
    response = client_of(organization).get(f"{forecast_path(organization)}?{query}")
    assert response.status_code == 422
    (error,) = problem(response)["errors"]
    assert (error["pointer"], error["code"]) == ("#/query/days", code)


def test_forecast_is_readable_by_any_role_and_hidden_from_others() -> None:
    organization, other = factories.OrganizationFactory(), factories.OrganizationFactory()
    response = client_of(other).get(forecast_path(organization))
    assert problem(response)["error_code"] == "not_found"
    assert (
        client_of(organization, role="readonly").get(forecast_path(organization)).status_code == 200
    )
    assert client_of(organization).post(forecast_path(organization)).status_code == 405


def test_forecast_uses_three_queries_at_any_size() -> None:
    organization = factories.OrganizationFactory()
    client = client_of(organization)
    for size in (1, 30):
        for product in products(organization, size):
            certify(product, expiry_date=organization.today() + datetime.timedelta(days=size))
        # 1. the key with its organization and rule and the rate limit; 2. all days.
        response, queries = queries_of(client, forecast_path(organization) + "?days=365")
        assert len(response.json()["days"]) > 1
        assert len(queries) == 2
