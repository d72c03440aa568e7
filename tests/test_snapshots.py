"""Snapshots: one exact row per organization and day, and none for missed days."""

from __future__ import annotations

import dataclasses
import datetime
from io import StringIO
from typing import Any
from uuid import UUID

import pytest
import time_machine
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from catalog.completeness import FACTS
from catalog.models import CompletenessRule, effective_rule
from closient.accounts.models import Organization
from dashboard import snapshots
from dashboard.api.history import SnapshotSerializer
from dashboard.models import Snapshot, _column
from dashboard.numbers import NUMBERS, Stats
from dashboard.snapshots import take_snapshots
from offers.models import UrlStatus
from tests import factories
from tests.counting import ZEROS, assert_exact, count_in_python
from tests.dates import NOON, TODAY
from tests.sessions import sessions


def numbers(snapshot: Snapshot) -> Stats:
    """Return a snapshot as stats."""
    return Stats(**{f.name: getattr(snapshot, f.name) for f in dataclasses.fields(Stats)})


def fill(organization: Organization) -> None:
    """Create rows that every number counts."""
    full, half = factories.ProductFactory.create_batch(2, organization=organization, described=True)
    factories.ProductFactory(organization=organization)
    factories.ProductImageFactory(product=full)
    factories.OfferFactory(product=full)
    factories.OfferFactory(product=half, url_status=UrlStatus.BROKEN, status="discontinued")
    # Where it is the 25th already, one less is expiring, and one less is valid.
    for days in (0, 1, 30, 60, 61):
        expiry_date = TODAY + datetime.timedelta(days=days)
        factories.CertificationAssignmentFactory(
            product=full if days else half, expiry_date=expiry_date
        )


@pytest.mark.django_db
def test_snapshots_use_the_day_and_rule_of_each_organization() -> None:
    rules: dict[str, dict[str, int]] = {
        "UTC": {},
        "Pacific/Kiritimati": {"certifications": 90, "threshold": 40},
        "Pacific/Pago_Pago": {"certifications": 90, "threshold": 95},
        # The default weights with another threshold.
        "Asia/Tokyo": {"threshold": 15},
        # Equal to the default rule.
        "Europe/Berlin": {fact.name: fact.weight for fact in FACTS},
    }
    owners: dict[str, Organization] = {}
    for zone, own in rules.items():
        owners[zone] = factories.OrganizationFactory(time_zone=zone)
        fill(owners[zone])
        if own:
            CompletenessRule.objects.create(organization=owners[zone], **own)
    empty = factories.OrganizationFactory()
    with time_machine.travel(NOON, tick=False):
        assert take_snapshots() == 6

        taken = {snapshot.organization_id: snapshot for snapshot in Snapshot.objects.all()}
        assert numbers(taken.pop(empty.pk)) == ZEROS
        days = {zone: taken[owner.pk].date for zone, owner in owners.items()}
        assert days == {
            "UTC": TODAY,
            "Pacific/Kiritimati": TODAY + datetime.timedelta(days=1),
            "Pacific/Pago_Pago": TODAY,
            "Asia/Tokyo": TODAY,
            "Europe/Berlin": TODAY,
        }
        for zone, owner in owners.items():
            rule = effective_rule(Organization.objects.get(pk=owner.pk))
            assert numbers(taken[owner.pk]) == count_in_python(owner, rule, days[zone]), zone
            assert_exact(owner)
        assert len({numbers(snapshot) for snapshot in taken.values()}) == 4


def test_only_a_number_without_full_history_can_be_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, *_ = NUMBERS
    later = dataclasses.replace(second, has_full_history=False)
    assert [_column(number).null for number in (first, later)] == [False, True]
    monkeypatch.setattr("dashboard.api.history.NUMBERS", [first, later])
    fields = SnapshotSerializer().fields
    assert [name for name, field in fields.items() if field.allow_null] == [later.name]


@pytest.mark.django_db
def test_first_snapshot_of_a_day_is_kept() -> None:
    organization = factories.OrganizationFactory()
    other = factories.OrganizationFactory(time_zone="Pacific/Pago_Pago")
    with time_machine.travel(NOON, tick=False) as clock:
        assert take_snapshots() == 2
        factories.ProductFactory(organization=organization)
        assert take_snapshots() == 0
        assert [s.total_products for s in Snapshot.objects.all()] == [0, 0]
        # A later run adds only the missing ones.
        newcomer = factories.OrganizationFactory()
        assert take_snapshots() == 1

        # Midnight in UTC: not yet in Pago Pago (UTC-11).
        clock.move_to(datetime.datetime(2096, 11, 25, 0, 0, tzinfo=datetime.UTC))
        assert take_snapshots() == 2
        clock.move_to(datetime.datetime(2096, 11, 25, 10, 59, 59, tzinfo=datetime.UTC))
        assert take_snapshots() == 0
        clock.move_to(datetime.datetime(2096, 11, 25, 11, 0, tzinfo=datetime.UTC))
        assert take_snapshots() == 1

        # Three days without a run leave three days without a row.
        clock.move_to(datetime.datetime(2096, 11, 29, 12, 0, tzinfo=datetime.UTC))
        assert take_snapshots() == 3
    reported = {
        owner.pk: [(s.date.day, s.total_products) for s in Snapshot.objects.of(owner)]
        for owner in (organization, other, newcomer)
    }
    assert reported == {
        organization.pk: [(24, 0), (25, 1), (29, 1)],
        other.pk: [(24, 0), (25, 0), (29, 0)],
        newcomer.pk: [(24, 0), (25, 0), (29, 0)],
    }


@pytest.mark.django_db
def test_snapshots_take_three_queries_for_all_organizations() -> None:
    for count in (1, 20):
        for number in range(count):
            organization = factories.OrganizationFactory(
                time_zone=["UTC", "Asia/Tokyo"][number % 2]
            )
            factories.ProductFactory(organization=organization)
            CompletenessRule.objects.create(organization=organization, name=number)
        # 1. the time zones; 2. the rules of those that are due; 3. the snapshots.
        with CaptureQueriesContext(connection) as captured:
            assert take_snapshots() == count
        assert len(captured) == 3
    # 1., 2. as above: no organization is due.
    with CaptureQueriesContext(connection) as captured:
        assert take_snapshots() == 0
    assert len(captured) == 2


@pytest.mark.django_db
def test_snapshot_with_a_rule_changed_meanwhile_is_left_to_the_next_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    organization, other = factories.OrganizationFactory(), factories.OrganizationFactory()
    factories.ProductFactory(organization=organization)
    read = snapshots._weights

    def change_after_reading(row: tuple[Any, ...]) -> tuple[int, ...]:
        CompletenessRule.objects.update_or_create(organization=organization, defaults={"name": 99})
        return read(row)

    with monkeypatch.context() as patched:
        patched.setattr(snapshots, "_weights", change_after_reading)
        assert take_snapshots() == 1
    assert [s.organization_id for s in Snapshot.objects.all()] == [other.pk]
    assert take_snapshots() == 1
    (late,) = Snapshot.objects.of(organization)
    rule = effective_rule(Organization.objects.get(pk=organization.pk))
    counted = count_in_python(organization, rule, late.date).avg_completeness
    assert late.avg_completeness == counted > 50


@pytest.mark.django_db
def test_snapshots_are_deleted_with_their_organization() -> None:
    organization = factories.OrganizationFactory()
    take_snapshots()
    organization.delete()
    assert not Snapshot.objects.exists()
    with pytest.raises(IntegrityError), transaction.atomic():
        Snapshot.objects.create(
            organization_id=UUID(int=0),
            date=TODAY,
            **dataclasses.asdict(ZEROS),
        )


@pytest.mark.django_db
def test_command_takes_snapshots_and_prints_their_number() -> None:
    factories.OrganizationFactory.create_batch(2)
    said = StringIO()
    for _ in range(2):
        call_command("take_snapshots", stdout=said)
    assert said.getvalue() == "2 snapshots taken\n0 snapshots taken\n"


@pytest.mark.django_db(transaction=True)
def test_concurrent_snapshots_are_taken_once() -> None:
    factories.OrganizationFactory.create_batch(5)
    with sessions(2) as (one, other):
        one.begin()
        assert one.run(take_snapshots) == 5
        second = other.start(take_snapshots)
        other.wait_until_blocked()
        one.end()
        assert second.result(timeout=30) == 0
    assert Snapshot.objects.count() == 5


@pytest.mark.django_db(transaction=True)
def test_snapshots_skip_an_organization_that_is_being_deleted() -> None:
    going, staying = factories.OrganizationFactory(), factories.OrganizationFactory()
    with sessions(2) as (deleter, taker):
        deleter.begin()
        deleter.run(going.delete)
        taking = taker.start(take_snapshots)
        taker.wait_until_blocked()
        deleter.end()
        assert taking.result(timeout=30) == 1
    assert [s.organization_id for s in Snapshot.objects.all()] == [staying.pk]
