"""Opportunities: the gain of each fact, compared with adding it to every product."""

from __future__ import annotations

import datetime
import itertools
import random
from typing import Any

import pytest
import time_machine

from catalog.completeness import FACTS, Fact, Rule
from catalog.models import CompletenessRule, Product, effective_rule
from closient.accounts.models import Organization
from tests import factories
from tests.clients import client_of, problem, queries_of, stats_path
from tests.counting import count_in_python

pytestmark = pytest.mark.django_db


def path(organization: Organization) -> str:
    return f"{stats_path(organization)}/opportunities"


def opportunities(organization: Organization) -> list[dict[str, Any]]:
    response = client_of(organization).get(path(organization))
    assert response.status_code == 200
    found: list[dict[str, Any]] = response.json()["opportunities"]
    return found


def test_opportunities_are_sorted_by_gain() -> None:
    organization = factories.OrganizationFactory()
    # 75 percent: an image or an offer completes it.
    factories.ProductFactory(organization=organization, described=True)
    # 15 percent: no single fact completes it.
    factories.ProductFactory(organization=organization)
    found = opportunities(organization)
    assert found[0] == {
        "fact": "images",
        "weight": 0.15,
        "missing": 2,
        "lifts_to_complete": 1,
        "average_gain": 15.0,
        "hint": "Add at least one image.",
    }
    assert [
        (o["fact"], o["missing"], o["lifts_to_complete"], o["average_gain"]) for o in found
    ] == [
        ("images", 2, 1, 15.0),
        ("offers", 2, 1, 10.0),
        ("description", 1, 0, 7.5),
        # Equal gains are sorted by missing products, then in the documented order.
        ("certifications", 2, 0, 5.0),
        ("brand", 1, 0, 5.0),
        ("category", 1, 0, 5.0),
        ("nutrition", 1, 0, 5.0),
        ("country", 1, 0, 5.0),
        ("name", 0, 0, 0.0),
    ]


def test_opportunities_of_an_empty_organization_are_empty() -> None:
    found = opportunities(factories.OrganizationFactory())
    assert [o["fact"] for o in found] == [fact.name for fact in FACTS]
    assert {(o["missing"], o["lifts_to_complete"], o["average_gain"]) for o in found} == {
        (0, 0, 0.0)
    }


def test_opportunities_omit_facts_without_weight() -> None:
    organization = factories.OrganizationFactory()
    CompletenessRule.objects.create(organization=organization, nutrition=0, country=0)
    factories.ProductFactory(organization=organization)
    assert {o["fact"] for o in opportunities(organization)} == {
        fact.name for fact in FACTS if fact.name not in ("nutrition", "country")
    }


@pytest.fixture
def catalog() -> Organization:
    """Sixty varied products, and a rule whose percentages must be rounded."""
    rng = random.Random(5)
    organization: Organization = factories.OrganizationFactory(time_zone="Asia/Tokyo")
    CompletenessRule.objects.create(
        organization=organization, images=13, description=7, certifications=29, threshold=63
    )
    for _ in range(60):
        product = factories.ProductFactory(
            organization=organization,
            described=rng.random() < 0.5,
            name=rng.choice(["", "Tea"]),
        )
        if rng.random() < 0.5:
            factories.ProductImageFactory(product=product)
        if rng.random() < 0.5:
            factories.OfferFactory(product=product)
        if rng.random() < 0.7:
            days = datetime.timedelta(days=rng.randrange(-3, 3))
            expiry_date = organization.today() + days
            factories.CertificationAssignmentFactory(product=product, expiry_date=expiry_date)
    return organization


def gain_by_product(fact: Fact, masks: list[int], rule: Rule) -> tuple[str, int, int, float]:
    """Return the gain of adding a fact to each product, computed one by one."""
    now = [rule.percentage(mask) for mask in masks]
    then = [rule.percentage(mask | fact.bit) for mask in masks]
    lifted = sum(a < rule.threshold <= b for a, b in zip(now, then, strict=True))
    gain = int((sum(then) - sum(now)) / len(masks) * 100 + 0.5) / 100
    return fact.name, sum(not mask & fact.bit for mask in masks), lifted, gain


def test_opportunities_equal_the_gain_of_adding_the_fact_to_every_product(
    catalog: Organization,
) -> None:
    rule, today = effective_rule(catalog), catalog.today()
    masks = [p.fact_mask(today) for p in Product.objects.filter(organization=catalog)]
    found = opportunities(catalog)
    reported = [(o["fact"], o["missing"], o["lifts_to_complete"], o["average_gain"]) for o in found]
    assert sorted(reported) == sorted(gain_by_product(fact, masks, rule) for fact in FACTS)
    assert reported == sorted(reported, key=lambda o: (-o[2], -o[3], -o[1]))
    assert sum(o["weight"] for o in found) == pytest.approx(1)
    missing = {o["fact"]: o["missing"] for o in found}
    assert missing["images"] == count_in_python(catalog, rule, today).missing_images


def test_sets_equal_the_gain_of_adding_all_of_their_facts(catalog: Organization) -> None:
    rule, today = effective_rule(catalog), catalog.today()
    masks = [p.fact_mask(today) for p in Product.objects.filter(organization=catalog)]
    response = client_of(catalog).get(path(catalog)).json()["sets"]
    assert 0 < len(response) <= 10
    reported = [
        (s["facts"], s["missing"], s["lifts_to_complete"], s["average_gain"]) for s in response
    ]
    assert reported == sorted(reported, key=lambda s: (-s[2], -s[3]))
    expected = []
    for facts in itertools.combinations(FACTS, 2):
        lacking = [mask for mask in masks if not any(mask & fact.bit for fact in facts)]
        both = facts[0].bit | facts[1].bit
        lifted = [
            mask
            for mask in lacking
            if rule.is_complete(mask | both)
            and not any(rule.is_complete(mask | fact.bit) for fact in facts)
        ]
        gain = sum(rule.percentage(mask | both) - rule.percentage(mask) for mask in lacking)
        if lifted:
            names = [fact.name for fact in facts]
            rounded = int(gain / len(masks) * 100 + 0.5) / 100
            expected.append((names, len(lacking), len(lifted), rounded))
    assert reported == sorted(expected, key=lambda s: (-s[2], -s[3]))[:10]


def test_sets_are_extended_until_they_complete_products() -> None:
    organization = factories.OrganizationFactory()
    assert client_of(organization).get(path(organization)).json()["sets"] == []
    # 30 percent: even the four heaviest of the other facts add no more than 45.
    factories.ProductFactory(organization=organization, description="Oats")
    response = client_of(organization).get(path(organization)).json()
    assert {one["lifts_to_complete"] for one in response["opportunities"]} == {0}
    assert response["sets"][0] == {
        "facts": ["brand", "category", "images", "nutrition", "offers"],
        "missing": 1,
        "lifts_to_complete": 1,
        "average_gain": 55.0,
    }
    assert {len(one["facts"]) for one in response["sets"]} == {5}


def test_completed_product_is_complete_after_adding_the_fact(catalog: Organization) -> None:
    client = client_of(catalog)
    before = client.get(stats_path(catalog)).json()["complete_products"]
    lifts = {o["fact"]: o["lifts_to_complete"] for o in opportunities(catalog)}
    assert lifts["images"] > 0
    for product in Product.objects.filter(organization=catalog, images=None):
        factories.ProductImageFactory(product=product)
    after = client.get(stats_path(catalog)).json()["complete_products"]
    assert after - before == lifts["images"]
    assert {o["fact"]: o["missing"] for o in opportunities(catalog)}["images"] == 0


def test_opportunities_use_the_time_zone_of_the_organization() -> None:
    noon = datetime.datetime(2096, 11, 24, 12, tzinfo=datetime.UTC)
    with time_machine.travel(noon, tick=False):
        for zone, missing in (("Pacific/Kiritimati", 1), ("Pacific/Pago_Pago", 0)):
            owner = factories.OrganizationFactory(time_zone=zone)
            product = factories.ProductFactory(organization=owner)
            factories.CertificationAssignmentFactory(product=product, expiry_date=noon.date())
            reported = {o["fact"]: o["missing"] for o in opportunities(owner)}
            assert reported["certifications"] == missing


def test_opportunities_are_readable_by_any_role_and_hidden_from_others() -> None:
    organization, other = factories.OrganizationFactory(), factories.OrganizationFactory()
    assert problem(client_of(other).get(path(organization)))["error_code"] == "not_found"
    assert client_of(organization, role="readonly").get(path(organization)).status_code == 200
    assert client_of(organization).put(path(organization)).status_code == 405


def test_opportunities_use_three_queries_at_any_size() -> None:
    organization = factories.OrganizationFactory()
    client = client_of(organization)
    for size in (1, 30):
        factories.ProductFactory.create_batch(size, organization=organization)
        # 1. the key with its organization and rule and the rate limit; 2. the counts by mask.
        assert len(queries_of(client, path(organization))[1]) == 2
