"""The stats endpoint: seven numbers, on any day, with any threshold, and conditional requests."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

import pytest
import time_machine

from catalog.completeness import Rule
from catalog.models import CompletenessRule, effective_rule
from closient.accounts.models import Organization
from dashboard.numbers import StatsQuery, recount
from offers.models import OfferStatus, UrlStatus
from tests.clients import client_of, problem, stats_path
from tests.dates import NOON, TODAY, days_ahead
from tests.factories import (
    CertificationAssignmentFactory,
    OfferFactory,
    OrganizationFactory,
    ProductFactory,
    ProductImageFactory,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def catalog() -> Organization:
    """An organization with rows of each model; another one has some too."""
    organization = OrganizationFactory()
    full = ProductFactory(organization=organization, described=True)
    ProductImageFactory(product=full)
    OfferFactory(product=full)
    CertificationAssignmentFactory(product=full, expiry_date=days_ahead(10))
    half = ProductFactory(organization=organization, described=True)
    OfferFactory(product=half, url_status=UrlStatus.BROKEN)
    OfferFactory(product=half, url_status=UrlStatus.TIMEOUT, status=OfferStatus.DISCONTINUED)
    OfferFactory(product=half, in_store=True)
    CertificationAssignmentFactory(product=half, expiry_date=days_ahead(60))
    CertificationAssignmentFactory(product=half, expiry_date=days_ahead(61))
    CertificationAssignmentFactory(product=half, expiry_date=TODAY)
    ProductFactory(organization=organization)
    ProductImageFactory(product=ProductFactory(described=True))
    return organization


def numbers(organization: Organization, query: str = "") -> dict[str, int]:
    response = client_of(organization).get(stats_path(organization) + query)
    assert response.status_code == 200
    body: dict[str, int] = response.json()
    return body


@time_machine.travel(NOON, tick=False)
def test_stats_are_the_seven_numbers_in_the_documented_order(catalog: Organization) -> None:
    response = client_of(catalog).get(stats_path(catalog))
    assert response.headers["Content-Type"] == "application/json"
    # 100, 85 and 15 percent: the mean is 66.67.
    assert response.content == (
        b'{"total_products":3,"complete_products":2,"avg_completeness":67,"active_offers":3,'
        b'"broken_offers":2,"expiring_certifications":2,"missing_images":2}'
    )


def test_stats_of_an_empty_organization_are_seven_zeros() -> None:
    assert set(numbers(OrganizationFactory()).values()) == {0}


@time_machine.travel(NOON, tick=False)
@pytest.mark.parametrize(
    ("query", "parameters"),
    [
        ("", {}),
        ("?as_of=2096-11-24", {}),
        ("?as_of=2096-12-04", {"day": days_ahead(10)}),
        ("?as_of=2096-12-05", {"day": days_ahead(11)}),
        ("?as_of=2101-11-24", {"day": datetime.date(2101, 11, 24)}),
        ("?expiring_within=1", {"expiring_within": 1}),
        ("?expiring_within=61", {"expiring_within": 61}),
        ("?expiring_within=365", {"expiring_within": 365}),
        ("?complete_at=1", {"rule": Rule(threshold=1)}),
        ("?complete_at=86", {"rule": Rule(threshold=86)}),
        ("?complete_at=100", {"rule": Rule(threshold=100)}),
        (
            "?as_of=2096-12-05&complete_at=96&expiring_within=50",
            {"day": days_ahead(11), "rule": Rule(threshold=96), "expiring_within": 50},
        ),
    ],
)
def test_stats_with_parameters_equal_a_recount(
    catalog: Organization, query: str, parameters: dict[str, Any]
) -> None:
    stats_query = StatsQuery(catalog.id, effective_rule(catalog), TODAY)
    expected = dataclasses.asdict(recount(dataclasses.replace(stats_query, **parameters)))
    assert numbers(catalog, query) == expected


@time_machine.travel(NOON, tick=False)
def test_stats_parameters_change_their_numbers(catalog: Organization) -> None:
    today = numbers(catalog)
    assert numbers(catalog, "?complete_at=96") == {**today, "complete_products": 1}
    assert numbers(catalog, "?complete_at=15") == {**today, "complete_products": 3}
    assert numbers(catalog, "?expiring_within=9") == {**today, "expiring_certifications": 0}
    # The day after its certificate expired the full product is at 95 percent.
    later = numbers(catalog, "?as_of=2096-12-05&complete_at=96")
    assert (later["complete_products"], later["total_products"]) == (0, 3)


@time_machine.travel(NOON, tick=False)
def test_stats_use_a_changed_rule_immediately(catalog: Organization) -> None:
    before = numbers(catalog)
    rule = CompletenessRule.objects.create(organization=catalog, threshold=100)
    assert numbers(catalog) == {**before, "complete_products": 1}
    CompletenessRule.objects.filter(pk=rule.pk).update(
        **dict.fromkeys(["name", "description", "brand", "category", "images", "nutrition"], 0),
        certifications=0,
        country=0,
        offers=1,
    )
    assert numbers(catalog) == {**before, "complete_products": 2, "avg_completeness": 67}


def test_stats_use_the_time_zone_of_the_organization() -> None:
    # In Kiritimati (UTC+14) it is the 25th already, in Pago Pago (UTC-11) still the 24th.
    with time_machine.travel(NOON, tick=False):
        for zone, expiring in (("Pacific/Kiritimati", 0), ("Pacific/Pago_Pago", 1)):
            organization = OrganizationFactory(time_zone=zone)
            CertificationAssignmentFactory(
                product=ProductFactory(organization=organization),
                expiry_date=datetime.date(2096, 11, 25),
            )
            assert numbers(organization)["expiring_certifications"] == expiring
            yesterday = client_of(organization).get(stats_path(organization) + "?as_of=2096-11-24")
            assert yesterday.status_code == (200 if expiring else 422)


@time_machine.travel(NOON, tick=False)
@pytest.mark.parametrize(
    ("query", "errors"),
    [
        ("as_of=2096-11-23", [("as_of", "range")]),
        ("as_of=2101-11-25", [("as_of", "range")]),
        ("as_of=9999-12-31", [("as_of", "range")]),
        ("as_of=", [("as_of", "date")]),
        ("as_of=2097-02-29", [("as_of", "date")]),
        ("as_of=20270101", [("as_of", "date")]),
        ("as_of=2097-W01-1", [("as_of", "date")]),
        ("as_of=2097-01-01T00:00:00", [("as_of", "date")]),
        ("as_of=2097-01-01%0A", [("as_of", "date")]),
        ("as_of=%EF%BC%92097-01-01", [("as_of", "date")]),
        ("as_of=today", [("as_of", "date")]),
        ("as_of=%00", [("as_of", "date")]),
        ("as_of=2097-01-01&as_of=2097-01-01", [("as_of", "repeated")]),
        ("expiring_within=0", [("expiring_within", "range")]),
        ("expiring_within=366", [("expiring_within", "range")]),
        ("expiring_within=-1", [("expiring_within", "range")]),
        ("expiring_within=1.0", [("expiring_within", "integer")]),
        ("expiring_within=1e2", [("expiring_within", "integer")]),
        ("expiring_within=060", [("expiring_within", "integer")]),
        ("expiring_within=%2060", [("expiring_within", "integer")]),
        ("expiring_within=+60", [("expiring_within", "integer")]),
        ("expiring_within=%EF%BC%96%EF%BC%90", [("expiring_within", "integer")]),
        ("expiring_within=6_0", [("expiring_within", "integer")]),
        ("expiring_within=" + "9" * 5000, [("expiring_within", "integer")]),
        ("complete_at=0", [("complete_at", "range")]),
        ("complete_at=101", [("complete_at", "range")]),
        ("complete_at=NaN", [("complete_at", "integer")]),
        ("complete_at=80&complete_at=90", [("complete_at", "repeated")]),
        (
            "as_of=x&expiring_within=x&complete_at=x",
            [("as_of", "date"), ("expiring_within", "integer"), ("complete_at", "integer")],
        ),
    ],
)
def test_stats_reject_invalid_parameters(query: str, errors: list[tuple[str, str]]) -> None:
    organization = OrganizationFactory()
    response = client_of(organization).get(f"{stats_path(organization)}?{query}")
    assert response.status_code == 422
    body = problem(response)
    found = body.pop("errors")
    assert body == {
        "type": "/docs/errors/validation_error",
        "title": "Unprocessable Entity",
        "status": 422,
        "detail": "Some values are not valid; see errors.",
        "error_code": "validation_error",
        "retryable": False,
    }
    assert [(e["pointer"], e["code"]) for e in found] == [(f"#/query/{n}", c) for n, c in errors]
    assert all(e["detail"].endswith(".") for e in found)


@time_machine.travel(NOON, tick=False)
def test_stats_error_names_the_allowed_days() -> None:
    organization = OrganizationFactory()
    response = client_of(organization).get(stats_path(organization) + "?as_of=2020-02-02")
    assert response.json()["errors"][0]["detail"] == (
        "Must be from 2096-11-24 (today in the organization's time zone) to 2101-11-24."
    )


@time_machine.travel(datetime.datetime(2028, 2, 29, 12, tzinfo=datetime.UTC), tick=False)
def test_stats_accept_five_years_ahead_on_a_leap_day() -> None:
    organization = OrganizationFactory()
    client, path = client_of(organization), stats_path(organization)
    assert client.get(path + "?as_of=2033-02-28").status_code == 200
    assert client.get(path + "?as_of=2033-03-01").status_code == 422


def test_stats_reject_unknown_parameters() -> None:
    organization = OrganizationFactory()
    query = "?format=xml&x=%00&page=" + "9" * 30
    errors = problem(client_of(organization).get(stats_path(organization) + query))["errors"]
    assert [(error["pointer"], error["code"]) for error in errors] == [
        (f"#/query/{name}", "unknown_parameter") for name in ("format", "x", "page")
    ]


def test_unchanged_stats_are_not_modified(catalog: Organization) -> None:
    client, path = client_of(catalog), stats_path(catalog)
    first = client.get(path)
    etag = first.headers["ETag"]
    assert etag.startswith('"')
    assert first.headers["Cache-Control"] == "private, no-cache"
    assert set(first.headers["Vary"].split(", ")) >= {"X-API-Key", "Cookie"}
    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = client.get(path, headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["ETag"] == etag
        assert again.headers["Cache-Control"] == "private, no-cache"
        assert "Content-Type" not in again.headers
        assert int(again.headers["RateLimit-Remaining"]) < 300
        assert again.headers["X-Request-ID"]
    for unknown in ('"other"', etag.strip('"'), "", "nonsense", '"*"'):
        again = client.get(path, headers={"If-None-Match": unknown})
        assert (again.status_code, again.content) == (200, first.content)
    ProductFactory(organization=catalog)
    changed = client.get(path, headers={"If-None-Match": etag})
    assert changed.status_code == 200
    assert changed.headers["ETag"] != etag


def test_stats_etag_depends_on_the_organization() -> None:
    one, other = OrganizationFactory(), OrganizationFactory()
    etag = client_of(one).get(stats_path(one)).headers["ETag"]
    response = client_of(one).get(stats_path(other), headers={"If-None-Match": etag})
    assert response.status_code == 404
    response = client_of(one).get(stats_path(other), headers={"If-None-Match": "*"})
    assert response.status_code == 404


def test_head_has_no_body_and_options_lists_the_methods(catalog: Organization) -> None:
    client, path = client_of(catalog), stats_path(catalog)
    get, head, options = client.get(path), client.head(path), client.options(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["ETag"] == get.headers["ETag"]
    assert (options.status_code, options.content) == (204, b"")
    assert options.headers["Allow"] == "GET, HEAD, OPTIONS"
    problem(client.post(path))
