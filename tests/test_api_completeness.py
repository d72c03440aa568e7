"""The completeness report of a trade item."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
import time_machine

from catalog.completeness import ALL_MASKS, DEFAULT_RULE, FACTS, Rule
from catalog.completeness_report import completeness_report, shown_weights
from catalog.models import CompletenessRule
from tests.clients import client_of, completeness_path
from tests.factories import (
    CertificationAssignmentFactory,
    OfferFactory,
    OrganizationFactory,
    ProductFactory,
    ProductImageFactory,
    gtin,
)


def has(weight: float) -> dict[str, Any]:
    return {"score": 1, "weight": weight, "points": 0, "hint": None}


def lacks(weight: float, points: int, hint: str) -> dict[str, Any]:
    return {"score": 0, "weight": weight, "points": points, "hint": hint}


@pytest.mark.django_db
def test_completeness_lists_every_fact_with_weight_and_gain() -> None:
    product = ProductFactory(described=True)
    ProductImageFactory(product=product)
    response = client_of(product.organization).get(
        completeness_path(product.organization, product.gtin)
    )
    assert response.status_code == 200
    assert response.json() == {
        "percentage": 85,
        "fields": {
            "name": has(0.15),
            "description": has(0.15),
            "brand": has(0.1),
            "category": has(0.1),
            "images": has(0.15),
            "nutrition": has(0.1),
            "certifications": lacks(0.05, 5, "Assign a certification that is valid today."),
            "offers": lacks(0.1, 10, "Add at least one active offer."),
            "country": has(0.1),
        },
    }
    assert response.headers["ETag"]
    OfferFactory(product=product)
    CertificationAssignmentFactory(product=product)
    full = client_of(product.organization).get(
        completeness_path(product.organization, product.gtin)
    )
    assert full.json()["percentage"] == 100
    assert {fact["score"] for fact in full.json()["fields"].values()} == {1}


@pytest.mark.django_db
def test_completeness_accepts_gtins_of_every_length() -> None:
    short = "96385074"
    product = ProductFactory(gtin=short.zfill(14))
    client = client_of(product.organization)
    bodies = {
        client.get(completeness_path(product.organization, short.zfill(length))).content
        for length in (8, 12, 13, 14)
    }
    assert len(bodies) == 1
    assert b'"percentage":15' in bodies.pop()


@pytest.mark.django_db
def test_completeness_is_of_the_product_of_the_organization() -> None:
    shared = gtin(77)
    mine, theirs = OrganizationFactory(), OrganizationFactory()
    ProductFactory(organization=mine, gtin=shared)
    ProductFactory(organization=theirs, gtin=shared, described=True)
    response = client_of(mine).get(completeness_path(mine, shared))
    assert response.json()["percentage"] == 15


@pytest.mark.django_db
def test_completeness_uses_the_rule_of_the_organization() -> None:
    product = ProductFactory()
    rule = dict.fromkeys((fact.name for fact in FACTS), 0) | {"name": 1, "images": 1, "offers": 1}
    CompletenessRule.objects.create(organization=product.organization, **rule)
    body = (
        client_of(product.organization)
        .get(completeness_path(product.organization, product.gtin))
        .json()
    )
    assert body["percentage"] == 33
    assert body["fields"]["name"] == has(0.3334)
    assert body["fields"]["images"] == lacks(0.3333, 34, "Add at least one image.")
    # Facts without weight are not reported as missing.
    assert body["fields"]["nutrition"] == {"score": 0, "weight": 0.0, "points": 0, "hint": None}


@pytest.mark.django_db
def test_completeness_uses_the_time_zone_of_the_organization() -> None:
    with time_machine.travel(datetime.datetime(2096, 11, 24, 12, tzinfo=datetime.UTC), tick=False):
        for zone, score in (("Pacific/Kiritimati", 0), ("Pacific/Pago_Pago", 1)):
            product = ProductFactory(organization=OrganizationFactory(time_zone=zone))
            CertificationAssignmentFactory(product=product, expiry_date=datetime.date(2096, 11, 24))
            body = (
                client_of(product.organization)
                .get(completeness_path(product.organization, product.gtin))
                .json()
            )
            assert body["fields"]["certifications"]["score"] == score


@pytest.mark.parametrize(
    "rule",
    [
        DEFAULT_RULE,
        Rule(weights=(1,) * 9),
        Rule(weights=(1, 1, 1, 0, 0, 0, 0, 0, 0)),
        Rule(weights=(7, 3, 100, 1, 1, 99, 0, 13, 17)),
        Rule(weights=(0, 0, 0, 0, 0, 0, 0, 0, 1)),
    ],
)
def test_completeness_report_adds_up_for_every_mask(rule: Rule) -> None:
    shown = shown_weights(rule)
    assert sum(round(weight * 10_000) for weight in shown.values()) == 10_000
    for fact in FACTS:
        assert abs(shown[fact.name] - rule.weight(fact) / rule.total_weight) < 0.0001
    for mask in ALL_MASKS:
        report = completeness_report(rule, mask)
        total = sum(f.score * f.weight for f in report.fields.values()) * 100
        assert report.percentage == pytest.approx(total, abs=0.6)
        for fact in FACTS:
            reported = report.fields[fact.name]
            gained = rule.percentage(mask | fact.bit) - report.percentage
            assert reported.points == gained
            assert (reported.hint is None) == bool(reported.score or not rule.weight(fact))
