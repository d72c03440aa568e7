"""Stats of a future day equal the stats on that day, if no row changes."""

from __future__ import annotations

import datetime
import random

import pytest
import time_machine
from django.utils import timezone

from closient.accounts.models import Organization
from closient.tally.audit import compact
from tests import factories
from tests.clients import client_of, stats_path

pytestmark = pytest.mark.django_db

DAYS = [0, 1, 2, 29, 30, 31, 60, 61, 365, 1826]


@pytest.fixture
def organization() -> Organization:
    """Forty products with certificates that start, expire, overlap and follow each other."""
    rng = random.Random(7)
    organization: Organization = factories.OrganizationFactory(time_zone="Asia/Tokyo")
    today = organization.today()
    certification = factories.CertificationFactory(organization=organization)
    for number in range(40):
        product = factories.ProductFactory(organization=organization, described=number % 2 == 0)
        if number % 3:
            factories.ProductImageFactory(product=product)
        for _ in range(rng.randrange(1, 5)):
            first, length = rng.randrange(-100, 100), rng.choice([0, 1, 30, 400])
            starts = today + datetime.timedelta(days=first)
            factories.CertificationAssignmentFactory(
                product=product,
                certification=certification,
                valid_from=rng.choice([None, starts, starts]),
                expiry_date=rng.choice([None] + [starts + datetime.timedelta(days=length)] * 3),
            )
    return organization


@pytest.mark.parametrize("is_folded", [False, True])
def test_stats_as_of_a_day_equal_the_stats_on_that_day(
    organization: Organization, is_folded: bool
) -> None:
    if is_folded:
        compact([organization.pk])
    today = organization.today()
    # Products need everything except the offer and the image: the certificate decides.
    asked = "expiring_within=45&complete_at=75"
    reported, came = {}, {}
    for days in DAYS:
        day = today + datetime.timedelta(days=days)
        response = client_of(organization).get(f"{stats_path(organization)}?{asked}&as_of={day}")
        reported[day] = response.json()
        with time_machine.travel(timezone.now() + datetime.timedelta(days=days), tick=False):
            came[day] = client_of(organization).get(f"{stats_path(organization)}?{asked}").json()
    assert reported == came
    # The numbers change from day to day; otherwise the test proves nothing.
    assert len({tuple(numbers.values()) for numbers in reported.values()}) > 4
