"""Certification assignments in the API: list, filters, create, change and delete."""

from __future__ import annotations

import datetime
from typing import Any
from uuid import uuid4

import pytest
import time_machine
from django.test import Client

from catalog.completeness import DEFAULT_RULE
from certifications.editing import certification_of
from certifications.models import Certification, CertificationAssignment
from closient.accounts.models import Organization
from closient.db.ids import format_id
from dashboard.numbers import StatsQuery, stats
from tests.clients import (
    API,
    ONE_ROW,
    client_of,
    editor_of,
    errors_of,
    problem,
    queries_of,
    times_of,
)
from tests.counting import assert_exact
from tests.dates import NOON, TODAY, days_ahead
from tests.factories import (
    CertificationAssignmentFactory,
    CertificationFactory,
    OrganizationFactory,
    ProductFactory,
    gtin,
)
from tests.sessions import sessions

pytestmark = pytest.mark.django_db


def assignments_path(
    organization: Organization, assignment: CertificationAssignment | None = None
) -> str:
    ids = [format_id(row.id) for row in (organization, assignment) if row is not None]
    return "/".join([API, "certifications", *ids])


def listed(organization: Organization, query: str = "") -> dict[str, Any]:
    response = client_of(organization).get(assignments_path(organization) + query)
    assert response.status_code == 200, response.content
    body: dict[str, Any] = response.json()
    return body


def post(client: Client, organization: Organization, body: Any, **headers: str) -> Any:
    path = assignments_path(organization)
    return client.post(path, body, content_type="application/json", headers=headers)


def patch(client: Client, assignment: CertificationAssignment, body: Any) -> Any:
    path = assignments_path(assignment.organization, assignment)
    return client.patch(path, body, content_type="application/json")


@pytest.fixture
def organization() -> Organization:
    """An organization with certificates that expire around today; another one has some too."""
    organization = OrganizationFactory()
    product = ProductFactory(organization=organization)
    organic = CertificationFactory(organization=organization, code="organic")
    fair = CertificationFactory(organization=organization, code="fair")
    for days in (-400, -1, 0, 1, 1, 59, 60, 61, 365, 366, None):
        for certification, status in ((organic, "verified"), (fair, "unverified")):
            CertificationAssignmentFactory(
                product=product,
                certification=certification,
                expiry_date=None if days is None else days_ahead(days),
                verification_status=status,
            )
    CertificationAssignmentFactory(expiry_date=days_ahead(10))
    return organization


# Lists


@time_machine.travel(NOON, tick=False)
def test_assignment_has_all_fields() -> None:
    product = ProductFactory(gtin=gtin(7))
    assignment = CertificationAssignmentFactory(
        product=product,
        certification__code="organic",
        certification__label="EU Organic",
        certification__body="European Union",
        certificate_number="DE-007",
        issuing_body="Inspection Ltd",
        valid_from=days_ahead(-10),
        expiry_date=TODAY,
        verification_status="verified",
        verification_url="https://certificates.example.com/7",
        metadata={"audit": "2096"},
    )
    shown = {
        "id": format_id(assignment.id),
        "gtin": gtin(7),
        "certification": {"code": "organic", "label": "EU Organic", "body": "European Union"},
        "certificate_number": "DE-007",
        "issuing_body": "Inspection Ltd",
        "valid_from": "2096-11-14",
        "expiry_date": "2096-11-24",
        "verification_status": "verified",
        "is_active": True,
        "verification_url": "https://certificates.example.com/7",
        "metadata": {"audit": "2096"},
        **times_of(assignment),
    }
    assert listed(product.organization) == {
        "data": [shown],
        "pagination": ONE_ROW,
    }
    client = client_of(product.organization)
    for identifier in (format_id(assignment.id), str(assignment.id)):
        response = client.get(f"{assignments_path(product.organization)}/{identifier}")
        assert (response.status_code, response.json()) == (200, shown)


@pytest.mark.parametrize(
    ("valid_from", "expiry_date", "is_active"),
    [
        (None, None, True),
        (0, 0, True),
        (None, -1, False),
        (None, 0, True),
        (1, None, False),
        (0, None, True),
    ],
)
def test_assignment_is_active_between_its_dates(
    valid_from: int | None, expiry_date: int | None, is_active: bool
) -> None:
    with time_machine.travel(NOON, tick=False):
        assignment = CertificationAssignmentFactory(
            valid_from=None if valid_from is None else days_ahead(valid_from),
            expiry_date=None if expiry_date is None else days_ahead(expiry_date),
        )
        (row,) = listed(assignment.organization)["data"]
        assert row["is_active"] is is_active


def test_assignment_expires_in_the_time_zone_of_the_organization() -> None:
    # In Kiritimati (UTC+14) it is the 25th already, in Pago Pago (UTC-11) still the 24th.
    with time_machine.travel(NOON, tick=False):
        for zone, is_over in (("Pacific/Kiritimati", True), ("Pacific/Pago_Pago", False)):
            organization = OrganizationFactory(time_zone=zone)
            product = ProductFactory(organization=organization)
            CertificationAssignmentFactory(product=product, expiry_date=TODAY)
            (row,) = listed(organization)["data"]
            assert row["is_active"] is not is_over
            for expired, count in (("true", is_over), ("false", not is_over)):
                body = listed(organization, f"?expired={expired}")
                assert len(body["data"]) == body["pagination"]["total_count"] == count


def by_expiry(assignments: Any) -> list[CertificationAssignment]:
    return sorted(assignments, key=lambda a: (a.expiry_date or datetime.date.max, a.id))


@time_machine.travel(NOON, tick=False)
def test_assignments_are_sorted_by_expiry_across_pages(organization: Organization) -> None:
    rows = CertificationAssignment.objects.of(organization)
    expected = [format_id(row.id) for row in by_expiry(rows)]
    for ordering, ids in (
        ("", expected),
        ("&ordering=expiry_date", expected),
        ("&ordering=-expiry_date", expected[::-1]),
    ):
        pages = [listed(organization, f"?page={n}&page_size=5{ordering}") for n in range(1, 7)]
        assert [row["id"] for page in pages for row in page["data"]] == ids
        assert {page["pagination"]["total_count"] for page in pages} == {22}


@time_machine.travel(NOON, tick=False)
@pytest.mark.parametrize("expiring_within", [None, 1, 59, 60, 365])
@pytest.mark.parametrize("expired", [None, "true", "false"])
@pytest.mark.parametrize("certification", [None, "organic", "nothing"])
@pytest.mark.parametrize("verification_status", [None, "verified", "expired"])
def test_assignments_are_filtered_by_every_combination(
    organization: Organization,
    expiring_within: int | None,
    expired: str | None,
    certification: str | None,
    verification_status: str | None,
) -> None:
    def is_wanted(row: CertificationAssignment) -> bool:
        days = None if row.expiry_date is None else (row.expiry_date - TODAY).days
        return (
            (expiring_within is None or (days is not None and 0 < days <= expiring_within))
            and (expired is None or (days is not None and days < 0) == (expired == "true"))
            and certification in (None, row.certification.code)
            and verification_status in (None, row.verification_status)
        )

    rows = CertificationAssignment.objects.of(organization).select_related("certification")
    expected = [format_id(row.id) for row in by_expiry(filter(is_wanted, rows))]
    given = {
        "expiring_within": expiring_within,
        "expired": expired,
        "certification": certification,
        "verification_status": verification_status,
    }
    query = "&".join(f"{name}={value}" for name, value in given.items() if value is not None)
    body = listed(organization, f"?page_size=100&{query}")
    assert [row["id"] for row in body["data"]] == expected
    assert body["pagination"]["total_count"] == len(expected)


@time_machine.travel(NOON, tick=False)
def test_assignments_are_filtered_by_expiry_date(organization: Organization) -> None:
    rows = list(by_expiry(CertificationAssignment.objects.of(organization)))
    days = {row.expiry_date for row in rows if row.expiry_date}
    assert len(days) > 3
    for day in days:
        expected = [format_id(row.id) for row in rows if row.expiry_date == day]
        body = listed(organization, f"?page_size=100&expires_on={day}")
        assert [row["id"] for row in body["data"]] == expected
        assert body["pagination"]["total_count"] == len(expected)
    body = listed(organization, f"?expires_on={min(days)}&expired=false")
    assert body["pagination"]["total_count"] == 0


@time_machine.travel(NOON, tick=False)
def test_assignments_are_searched_by_gtin_and_name_of_the_trade_item() -> None:
    organization = OrganizationFactory()
    oats = ProductFactory(organization=organization, gtin="04012345678901", name="Crunchy Oats")
    late, soon = (
        CertificationAssignmentFactory(product=oats, expiry_date=days_ahead(days))
        for days in (200, 10)
    )
    of_bars = CertificationAssignmentFactory(
        product=ProductFactory(organization=organization, name="Bars"), expiry_date=days_ahead(20)
    )
    CertificationAssignmentFactory(product=ProductFactory(name="Crunchy Oats"))
    for query, expected in (
        ("q=40123", [soon, late]),
        ("q=cru%20oat", [soon, late]),
        ("q=cru%20oat&ordering=-expiry_date", [late, soon]),
        ("q=oats&expiring_within=60", [soon]),
        ("q=BAR", [of_bars]),
        ("q=ars", []),
    ):
        body = listed(organization, f"?{query}")
        assert [row["id"] for row in body["data"]] == [format_id(a.id) for a in expected], query
        assert body["pagination"]["total_count"] == len(expected)


@time_machine.travel(NOON, tick=False)
def test_assignments_are_filtered_by_trade_item() -> None:
    organization = OrganizationFactory()
    one, other = (ProductFactory(organization=organization, gtin=gtin(n)) for n in (1, 2))
    late, soon = (
        CertificationAssignmentFactory(product=one, expiry_date=days_ahead(days))
        for days in (200, 10)
    )
    of_other = CertificationAssignmentFactory(product=other, expiry_date=days_ahead(20))
    # The same GTIN in another organization.
    CertificationAssignmentFactory(product=ProductFactory(gtin=gtin(1)))
    for query, expected in (
        (f"gtin={gtin(1)}", [soon, late]),
        # The same GTIN in a shorter form.
        (f"gtin={gtin(1)[1:]}", [soon, late]),
        (f"gtin={gtin(1)}&ordering=-expiry_date", [late, soon]),
        (f"gtin={gtin(1)}&expiring_within=60", [soon]),
        (f"gtin={gtin(2)}", [of_other]),
        (f"gtin={gtin(3)}", []),
    ):
        body = listed(organization, f"?{query}")
        assert [row["id"] for row in body["data"]] == [format_id(a.id) for a in expected], query
        assert body["pagination"]["total_count"] == len(expected)


@time_machine.travel(NOON, tick=False)
def test_total_count_equals_the_dashboard_number(organization: Organization) -> None:
    def check() -> None:
        numbers = assert_exact(organization, [days_ahead(1)])
        body = listed(organization, "?expiring_within=60")
        assert body["pagination"]["total_count"] == numbers.expiring_certifications
        for days in (1, 61, 365):
            stats_query = StatsQuery(organization.pk, DEFAULT_RULE, TODAY, expiring_within=days)
            body = listed(organization, f"?expiring_within={days}")
            count = body["pagination"]["total_count"]
            assert count == stats(stats_query).expiring_certifications == len(body["data"])

    rows = CertificationAssignment.objects.of(organization)
    check()
    rows.filter(expiry_date=days_ahead(60)).update(expiry_date=days_ahead(61))
    check()
    rows.filter(expiry_date=days_ahead(1)).delete()
    check()
    rows.delete()
    check()


@pytest.mark.parametrize(
    ("query", "errors"),
    [
        ("expiring_within=0", [("expiring_within", "range")]),
        ("expiring_within=366", [("expiring_within", "range")]),
        ("expired=1", [("expired", "boolean")]),
        ("expired=True", [("expired", "boolean")]),
        ("certification=", [("certification", "text")]),
        ("certification=%00", [("certification", "text")]),
        ("verification_status=maybe", [("verification_status", "choice")]),
        ("q=", [("q", "text")]),
        ("ordering=valid_from", [("ordering", "choice")]),
        ("page=x", [("page", "integer")]),
    ],
)
def test_assignments_reject_invalid_filters(query: str, errors: list[tuple[str, str]]) -> None:
    organization = OrganizationFactory()
    response = client_of(organization).get(f"{assignments_path(organization)}?{query}")
    assert errors_of(response) == [(f"#/query/{name}", code) for name, code in errors]


@pytest.mark.parametrize(
    ("query", "queries"),
    [
        # The key with its organization and the rate limit, the tally, how many never expire, the
        # page's keys, its rows.
        ("", 5),
        # The key and the rate limit, the tally, the page's keys, its rows.
        ("?expiring_within=60", 4),
        # The key and the rate limit, the count, the page's keys, its rows.
        ("?expired=true", 4),
        ("?verification_status=verified", 4),
        ("?q=product", 4),
        # As without a filter, plus the count of expired ones.
        ("?expired=false", 6),
        # The key and the rate limit, the certification, the count, the page's keys, its rows.
        ("?certification=organic", 4),
    ],
)
@time_machine.travel(NOON, tick=False)
def test_assignments_list_uses_a_constant_number_of_queries(query: str, queries: int) -> None:
    organization = OrganizationFactory()
    organic = CertificationFactory(organization=organization, code="organic")
    client, path = client_of(organization), assignments_path(organization) + query

    def add() -> None:
        for days in (-1, 30):
            CertificationAssignmentFactory(
                product=ProductFactory(organization=organization),
                certification=organic,
                expiry_date=days_ahead(days),
                verification_status="verified",
            )

    for rounds in (1, 15):
        for _ in range(rounds):
            add()
        response, seen = queries_of(client, path)
        assert len(seen) == queries, seen
        assert response.json()["data"]


# Writing


@time_machine.travel(NOON, tick=False)
def test_assignment_is_created_with_only_a_code() -> None:
    product = ProductFactory()
    organization = product.organization
    client = editor_of(organization)
    response = post(client, organization, {"gtin": product.gtin, "certification": "organic"})
    assert response.status_code == 201, response.content
    assignment = CertificationAssignment.objects.get()
    assert response.json() == {
        "id": format_id(assignment.id),
        "gtin": product.gtin,
        "certification": {"code": "organic", "label": "", "body": ""},
        "certificate_number": "",
        "issuing_body": "",
        "valid_from": None,
        "expiry_date": None,
        "verification_status": "unverified",
        "is_active": True,
        "verification_url": "",
        "metadata": {},
        **times_of(assignment),
    }
    assert response.headers["Location"] == assignments_path(organization, assignment)
    assert client.get(response.headers["Location"]).json() == response.json()
    assert_exact(organization, [days_ahead(1)])


@time_machine.travel(NOON, tick=False)
def test_assignment_is_created_with_all_fields() -> None:
    product = ProductFactory()
    body = {
        "gtin": product.gtin,
        "certification": {"code": "organic", "label": "EU Organic", "body": "European Union"},
        "certificate_number": "DE-007",
        "issuing_body": "Inspection Ltd",
        "valid_from": "2096-11-25",
        "expiry_date": "2097-01-01",
        "verification_status": "verified",
        "verification_url": "https://certificates.example.com/7",
        "metadata": {"audit": "2096"},
    }
    response = post(editor_of(product.organization), product.organization, body)
    assert response.status_code == 201, response.content
    assignment = CertificationAssignment.objects.get()
    assert response.json() == {
        **body,
        "id": format_id(assignment.id),
        "is_active": False,
        **times_of(assignment),
    }
    numbers = assert_exact(product.organization, [days_ahead(1), days_ahead(39)])
    assert numbers.expiring_certifications == 1


def test_certification_codes_are_unique_per_organization() -> None:
    product, foreign = ProductFactory(), ProductFactory()
    organization = product.organization
    CertificationFactory(organization=foreign.organization, code="organic", label="Foreign")
    client = editor_of(organization)

    def assigned(certification: Any) -> Any:
        number = str(CertificationAssignment.objects.count())
        body = {
            "gtin": product.gtin,
            "certification": certification,
            "certificate_number": number,
        }
        response = post(client, organization, body)
        assert response.status_code == 201, response.content
        return response.json()["certification"]

    assert assigned("organic") == {"code": "organic", "label": "", "body": ""}
    labelled = {"code": "organic", "label": "EU Organic", "body": ""}
    assert assigned({"code": "organic", "label": "EU Organic"}) == labelled
    # Existing label and body stay; blank ones are filled.
    assert assigned({"code": "organic", "label": "Another", "body": "EU"}) == {
        **labelled,
        "body": "EU",
    }
    assert assigned({"code": "organic", "label": "", "body": ""})["body"] == "EU"
    assert assigned({"code": "Organic"})["label"] == ""
    assert Certification.objects.filter(organization=organization).count() == 2
    assert Certification.objects.get(organization=foreign.organization).label == "Foreign"


def test_assignment_is_created_once_per_idempotency_key() -> None:
    product = ProductFactory()
    organization = product.organization
    client = editor_of(organization)
    body = {"gtin": product.gtin, "certification": "organic"}
    first, again = (post(client, organization, body, **{"Idempotency-Key": "1"}) for _ in "12")
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.content == again.content
    assert CertificationAssignment.objects.count() == 1
    changed = {**body, "certificate_number": "2"}
    assert post(client, organization, changed, **{"Idempotency-Key": "1"}).status_code == 409


@pytest.mark.django_db(transaction=True)
def test_concurrent_assignments_of_a_new_certification_create_it_once() -> None:
    organization = OrganizationFactory()
    with sessions(2) as (one, other):
        one.begin()
        other.begin()
        first = one.run(lambda: certification_of(organization.id, "organic", label="One"))
        waiting = other.start(lambda: certification_of(organization.id, "organic", label="Two"))
        other.wait_until_blocked()
        one.end()
        second = waiting.result(timeout=30)
        other.end()
    assert first.pk == second.pk
    assert Certification.objects.get().label == "One"


@pytest.mark.parametrize(
    ("change", "errors"),
    [
        ({"gtin": None}, [("#/gtin", "null")]),
        ({"gtin": "1"}, [("#/gtin", "gtin_length")]),
        ({"gtin": gtin(10**10)}, [("#/gtin", "unknown_gtin")]),
        ({"certification": None}, [("#/certification", "null")]),
        ({"certification": ""}, [("#/certification", "blank")]),
        ({"certification": " "}, [("#/certification", "blank")]),
        ({"certification": "x" * 65}, [("#/certification", "text")]),
        ({"certification": 5}, [("#/certification", "invalid")]),
        ({"certification": []}, [("#/certification", "invalid")]),
        ({"certification": {}}, [("#/certification/code", "required")]),
        ({"certification": {"code": ""}}, [("#/certification/code", "blank")]),
        (
            {"certification": {"code": "a", "label": "x" * 256, "body": None}},
            [("#/certification/label", "text"), ("#/certification/body", "null")],
        ),
        ({"certificate_number": "x" * 101}, [("#/certificate_number", "text")]),
        ({"issuing_body": "a\tb"}, [("#/issuing_body", "text")]),
        ({"valid_from": "2096-02-30"}, [("#/valid_from", "date")]),
        ({"valid_from": "20960201"}, [("#/valid_from", "date")]),
        ({"valid_from": "2096-2-1"}, [("#/valid_from", "date")]),
        ({"valid_from": "2096-W01-1"}, [("#/valid_from", "date")]),
        ({"valid_from": "0000-01-01"}, [("#/valid_from", "date")]),
        ({"valid_from": "infinity"}, [("#/valid_from", "date")]),
        ({"expiry_date": "2096-01-01T00:00:00Z"}, [("#/expiry_date", "date")]),
        ({"expiry_date": ""}, [("#/expiry_date", "date")]),
        ({"expiry_date": 20960101}, [("#/expiry_date", "date")]),
        (
            {"valid_from": "2096-02-02", "expiry_date": "2096-02-01"},
            [("#/expiry_date", "dates_reversed")],
        ),
        ({"verification_status": "maybe"}, [("#/verification_status", "invalid_choice")]),
        ({"verification_url": "certificates.example.com"}, [("#/verification_url", "url")]),
        ({"metadata": "x"}, [("#/metadata", "invalid")]),
    ],
)
def test_assignment_rejects_invalid_values(change: Any, errors: list[tuple[str, str]]) -> None:
    product = ProductFactory()
    ProductFactory(gtin=gtin(10**10))
    organization = product.organization
    client = editor_of(organization)
    body = {"gtin": product.gtin, "certification": "organic"}
    assert errors_of(post(client, organization, {**body, **change})) == errors
    assert not CertificationAssignment.objects.exists()
    assert not Certification.objects.exists()
    assignment = CertificationAssignmentFactory(product=product)
    before = CertificationAssignment.objects.values().get()
    assert errors_of(patch(client, assignment, change)) == errors
    assert CertificationAssignment.objects.values().get() == before


def test_assignment_requires_a_gtin_and_a_certification() -> None:
    organization = OrganizationFactory()
    response = post(editor_of(organization), organization, {})
    assert errors_of(response) == [("#/gtin", "required"), ("#/certification", "required")]


@time_machine.travel(NOON, tick=False)
def test_assignment_patch_changes_only_given_fields() -> None:
    assignment = CertificationAssignmentFactory(
        valid_from=days_ahead(-5), expiry_date=days_ahead(5), metadata={"a": "1", "b": "2"}
    )
    organization = assignment.organization
    client = editor_of(organization)
    before = client.get(assignments_path(organization, assignment)).json()
    change = {"expiry_date": "2096-11-23", "metadata": {"b": None, "c": "3"}}
    after = {**before, **change, "metadata": {"a": "1", "c": "3"}, "is_active": False}
    response = patch(client, assignment, change)
    after |= times_of(assignment)
    assert (response.status_code, response.json()) == (200, after)
    assert client.get(assignments_path(organization, assignment)).json() == after
    assert assert_exact(organization, [days_ahead(1)]).expiring_certifications == 0
    # A date is validated against the stored other date.
    response = patch(client, assignment, {"valid_from": "2096-11-24"})
    assert errors_of(response) == [("#/expiry_date", "dates_reversed")]
    assert response.json()["errors"][0]["detail"] == "expiry_date cannot be before valid_from."
    without = patch(client, assignment, {"valid_from": None, "expiry_date": None}).json()
    assert (without["valid_from"], without["expiry_date"], without["is_active"]) == (
        None,
        None,
        True,
    )
    assert_exact(organization, [days_ahead(1)])


def test_assignment_patch_changes_certification_and_trade_item() -> None:
    assignment = CertificationAssignmentFactory(certification__code="organic")
    organization = assignment.organization
    other = ProductFactory(organization=organization)
    client = editor_of(organization)
    body = patch(client, assignment, {"certification": "fair", "gtin": other.gtin}).json()
    assert body["certification"] == {"code": "fair", "label": "", "body": ""}
    assert body["gtin"] == other.gtin
    for product, is_certified in ((assignment.product, False), (other, True)):
        product.refresh_from_db()
        assert bool(product.summary.certified_during) is is_certified
    assert_exact(organization)


def test_assignment_patch_without_changes_writes_nothing() -> None:
    assignment = CertificationAssignmentFactory(certification__code="organic")
    before = CertificationAssignment.objects.values().get()
    client = editor_of(assignment.organization)
    for body in ({}, {"certification": "organic", "expiry_date": None}):
        assert patch(client, assignment, body).status_code == 200
    assert CertificationAssignment.objects.values().get() == before
    assert patch(client, assignment, {"issuing_body": "New"}).status_code == 200
    assert CertificationAssignment.objects.get().updated_at > before["updated_at"]


READ_ONLY = {
    "id": "2" * 22,
    "is_active": False,
    "organization": "2" * 22,
    "organization_id": str(uuid4()),
    "product": str(uuid4()),
    "product_id": str(uuid4()),
    "certification_id": str(uuid4()),
    "created_at": "2020-01-01T00:00:00Z",
    "updated_at": "2020-01-01T00:00:00Z",
}


@pytest.mark.parametrize("field", READ_ONLY)
def test_assignment_ignores_read_only_fields(field: str) -> None:
    assignment = CertificationAssignmentFactory()
    before = CertificationAssignment.objects.values().get()
    organization = assignment.organization
    client = editor_of(organization)
    response = patch(client, assignment, {field: READ_ONLY[field]})
    if field not in client.get(assignments_path(organization, assignment)).json():
        assert errors_of(response) == [(f"#/{field}", "unknown_field")]
        return
    assert (response.status_code, response.json()["is_active"]) == (200, True)
    assert CertificationAssignment.objects.values().get() == before
    plain = {"gtin": assignment.product.gtin, "certification": "organic"}
    expected = post(client, organization, plain).json()
    other = {**plain, "certificate_number": "2"}
    given = post(client, organization, {**other, field: READ_ONLY[field]}).json()
    assert given.pop("id") not in (expected.pop("id"), "2" * 22)
    for name in ("created_at", "updated_at"):
        assert given.pop(name) > expected.pop(name)
    assert given == {**expected, "certificate_number": "2"}
    created = CertificationAssignment.objects.latest("pk")
    assert created.organization_id == organization.pk
    assert created.created_at.year > 2020
    assert created.updated_at.year > 2020


def test_deleting_an_assignment_keeps_its_certification() -> None:
    assignment = CertificationAssignmentFactory()
    organization = assignment.organization
    client = editor_of(organization)
    path = assignments_path(organization, assignment)
    response = client.delete(path)
    assert (response.status_code, response.content) == (204, b"")
    assert not CertificationAssignment.objects.exists()
    assert Certification.objects.count() == 1
    assert_exact(organization)
    for gone in (client.get(path), client.delete(path), patch(client, assignment, {})):
        assert problem(gone)["error_code"] == "not_found"


def test_assignment_uses_a_constant_number_of_queries() -> None:
    assignment = CertificationAssignmentFactory()
    organization = assignment.organization
    CertificationAssignmentFactory.create_batch(5, product=assignment.product)
    # The key with its organization and the rate limit, the assignment with GTIN and certification.
    _, seen = queries_of(client_of(organization), assignments_path(organization, assignment))
    assert len(seen) == 2, seen
