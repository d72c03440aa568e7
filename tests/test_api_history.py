"""The history: the numbers of snapshots, and nothing for days without one."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
import time_machine

from closient.accounts.models import Organization
from dashboard.models import Snapshot
from dashboard.numbers import NUMBERS
from dashboard.snapshots import take_snapshots
from tests import factories
from tests.clients import client_of, errors_of, problem, queries_of, stats_path
from tests.dates import NOON, TODAY

pytestmark = pytest.mark.django_db

ZEROS = dict.fromkeys((number.name for number in NUMBERS), 0)


def path(organization: Organization) -> str:
    return f"{stats_path(organization)}/history"


def history(organization: Organization, query: str = "") -> list[dict[str, Any]]:
    response = client_of(organization).get(path(organization) + query)
    assert response.status_code == 200
    days: list[dict[str, Any]] = response.json()["days"]
    return days


def store_snapshots(organization: Organization, *days_ago: int) -> None:
    """Store snapshots of some days; the number of products is the age in days."""
    Snapshot.objects.bulk_create(
        Snapshot(
            organization=organization,
            date=TODAY - datetime.timedelta(days=days),
            **{**ZEROS, "total_products": days},
        )
        for days in days_ago
    )


def test_history_equals_past_stats() -> None:
    organization = factories.OrganizationFactory()
    client = client_of(organization)
    came = []
    with time_machine.travel(NOON, tick=False) as clock:
        for day in (24, 25, 27):
            clock.move_to(NOON.replace(day=day))
            factories.ProductImageFactory(product__organization=organization)
            factories.OfferFactory(product__organization=organization)
            take_snapshots()
            stats = client.get(stats_path(organization)).json()
            came.append({"date": f"2096-11-{day}", **stats})
            # Later changes on that day appear in the next day's row.
            factories.ProductFactory(organization=organization)
        assert history(organization) == came
    assert [day["total_products"] for day in came] == [2, 5, 8]


@time_machine.travel(NOON, tick=False)
def test_history_returns_the_requested_days_in_order() -> None:
    organization, neighbour = factories.OrganizationFactory(), factories.OrganizationFactory()
    store_snapshots(organization, 0, 89, 90, 3, 1099, 1100)
    store_snapshots(neighbour, 0, 1, 2, 3)

    def ages(query: str) -> list[int]:
        return [day["total_products"] for day in history(organization, query)]

    assert history(organization, "?since=2096-11-24") == [{"date": "2096-11-24", **ZEROS}]
    # Ninety days, including today.
    assert ages("") == [89, 3, 0]
    assert ages("?since=2096-08-26") == [90, 89, 3, 0]
    assert ages("?since=2096-08-26&until=2096-08-27") == [90, 89]
    assert ages("?since=2096-08-27&until=2096-08-27") == [89]
    assert ages("?until=2096-11-23") == [90, 89, 3]
    assert ages(f"?since={TODAY - datetime.timedelta(days=1099)}") == [1099, 90, 89, 3, 0]
    assert ages("?since=2096-11-22&until=2096-11-23") == []
    assert ages("?until=0001-01-01") == []
    assert ages("?since=2096-11-25&until=2097-01-01") == []


@time_machine.travel(NOON, tick=False)
def test_history_ends_today_in_the_time_zone_of_the_organization() -> None:
    for zone, seen in (("Pacific/Kiritimati", ["2096-11-25"]), ("Pacific/Pago_Pago", [])):
        organization = factories.OrganizationFactory(time_zone=zone)
        store_snapshots(organization, -1)
        assert [day["date"] for day in history(organization)] == seen


@time_machine.travel(NOON, tick=False)
@pytest.mark.parametrize(
    ("query", "errors"),
    [
        ("since=yesterday", [("since", "date")]),
        ("since=2096-1-1&until=2096-02-30", [("since", "date"), ("until", "date")]),
        ("until=2096-11-24&until=2096-11-24", [("until", "repeated")]),
        ("since=2096-11-25", [("since", "order")]),
        ("since=2096-11-02&until=2096-11-01", [("since", "order")]),
        ("since=2093-11-20", [("since", "range")]),
        ("since=0001-01-01&until=9999-12-31", [("since", "range")]),
    ],
)
def test_history_rejects_invalid_parameters(query: str, errors: list[tuple[str, str]]) -> None:
    organization = factories.OrganizationFactory()
    response = client_of(organization).get(f"{path(organization)}?{query}")
    assert errors_of(response) == [(f"#/query/{name}", code) for name, code in errors]
    assert all(error["detail"].endswith(".") for error in problem(response)["errors"])


@time_machine.travel(NOON, tick=False)
def test_history_documents_the_maximum_number_of_days() -> None:
    organization = factories.OrganizationFactory()
    first = TODAY - datetime.timedelta(days=1100)
    response = client_of(organization).get(f"{path(organization)}?since={first}")
    assert problem(response)["errors"][0]["detail"] == (
        "From this to 2096-11-24 are more than 1100 days: request fewer days."
    )


def test_history_is_readable_by_any_role_and_hidden_from_others() -> None:
    organization, other = factories.OrganizationFactory(), factories.OrganizationFactory()
    assert problem(client_of(other).get(path(organization)))["error_code"] == "not_found"
    assert client_of(organization, role="readonly").get(path(organization)).status_code == 200
    assert client_of(organization).post(path(organization)).status_code == 405


@time_machine.travel(NOON, tick=False)
def test_history_uses_three_queries_at_any_length() -> None:
    organization = factories.OrganizationFactory()
    client = client_of(organization)
    for days in (range(1), range(1, 90)):
        store_snapshots(organization, *days)
        # 1. the key with its organization and the rate limit; 2. the snapshots.
        response, queries = queries_of(client, path(organization))
        assert len(response.json()["days"]) == days.stop
        assert len(queries) == 2
