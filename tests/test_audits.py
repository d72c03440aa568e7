"""The last audit of each organization: kept, repeated by the worker, and shown as metrics."""

from __future__ import annotations

import datetime
import io
import logging

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from closient.accounts.models import Organization
from closient.db.ids import format_id
from closient.tally.models import Audit, TallyEntry
from dashboard import audits
from dashboard.audits import audit_due
from dashboard.metrics import DatabaseCollector
from tests.factories import OrganizationFactory, ProductFactory

pytestmark = pytest.mark.django_db(transaction=True)

DIFFERENCES = "closient_tally_audit_differences"
AUDITED = "closient_tally_audit_timestamp_seconds"


def metrics() -> dict[str, float]:
    """The samples of both metrics; absent ones are missing."""
    return {
        sample.name: sample.value
        for family in DatabaseCollector().collect()
        for sample in family.samples
        if sample.name in {DIFFERENCES, AUDITED}
    }


def set_age(organization: Organization, **age: int) -> datetime.datetime:
    at = timezone.now() - datetime.timedelta(**age)
    assert Audit.objects.filter(pk=organization.pk).update(audited_at=at)
    return at


def damage(organization: Organization) -> None:
    TallyEntry.objects.filter(organization_id=organization.pk)[0].delete()


def test_worker_audits_each_organization_once_a_week(
    caplog: pytest.LogCaptureFixture, settings: Settings
) -> None:
    first, second = (ProductFactory().organization for _ in range(2))
    assert metrics() == {}
    assert audit_due() == 2
    assert audit_due() == 0
    assert metrics()[DIFFERENCES] == 0
    set_age(first, days=6)
    oldest = set_age(second, days=8)
    assert metrics()[AUDITED] == pytest.approx(oldest.timestamp())
    damage(second)
    with caplog.at_level(logging.ERROR, logger="dashboard.audits"):
        assert audit_due() == 1
    (record,) = caplog.records
    assert format_id(second.pk) in record.getMessage()
    assert metrics()[DIFFERENCES] > 0
    set_age(first, days=100)
    settings.AUDIT_INTERVAL_DAYS = 0
    assert audit_due() == 0


def test_run_that_takes_long_leaves_the_rest_to_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    organizations = [OrganizationFactory() for _ in range(3)]
    monkeypatch.setattr(audits, "RUN_SECONDS", 0.0)
    assert [audit_due() for _ in range(4)] == [1, 1, 1, 0]
    assert Audit.objects.count() == len(organizations)


def test_complete_audit_is_as_old_as_an_organization_that_was_never_audited() -> None:
    organization = ProductFactory().organization
    assert audit_due() == 1
    before = timezone.now() - datetime.timedelta(days=30)
    Organization.objects.filter(pk=OrganizationFactory().pk).update(created_at=before)
    assert metrics()[AUDITED] == pytest.approx(before.timestamp())
    assert audit_due() == 1
    at = Audit.objects.get(pk=organization.pk).audited_at
    assert metrics()[AUDITED] == pytest.approx(at.timestamp())


def test_differences_of_a_deleted_organization_are_kept_until_they_are_repaired() -> None:
    whole, damaged = (ProductFactory().organization for _ in range(2))
    damage(damaged)
    assert audit_due() == 2
    found = metrics()[DIFFERENCES]
    assert found > 0
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM accounts_organization")
    assert audit_due() == 0
    assert [audit.pk for audit in Audit.objects.all()] == [damaged.pk]
    output = io.StringIO()
    with pytest.raises(SystemExit):
        call_command("audit_tally", "--repair", stdout=output)
    assert format_id(damaged.pk) in output.getvalue()
    assert format_id(whole.pk) not in output.getvalue()
    assert audit_due() == 0
    assert metrics() == {}


def test_differences_that_vanished_are_forgotten_by_a_complete_audit() -> None:
    gone = OrganizationFactory.build().pk
    Audit.objects.create(organization_id=gone, differences=3)
    kept = ProductFactory().organization
    call_command("audit_tally", "--organization", format_id(kept.pk), stdout=io.StringIO())
    assert Audit.objects.filter(pk=gone).exists()
    call_command("audit_tally", stdout=io.StringIO())
    assert [audit.pk for audit in Audit.objects.all()] == [kept.pk]


def test_read_only_database_can_be_audited() -> None:
    ProductFactory()
    output = io.StringIO()
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
    try:
        call_command("audit_tally", stdout=output)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("RESET default_transaction_read_only")
    assert "1 organizations audited, 0 differences found" in output.getvalue()
    assert not Audit.objects.exists()
