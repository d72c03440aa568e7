"""Certificates from a real register of televisions, with dates from the past to 2125."""

from __future__ import annotations

import csv
import dataclasses
import datetime
from collections import defaultdict

import pytest
from django.db.models import F

from catalog.completeness import DEFAULT_RULE
from catalog.models import Brand, Product
from certifications.models import CertificationAssignment
from closient.accounts.models import Organization
from dashboard.numbers import Stats, StatsQuery, stats
from tests import factories
from tests.counting import assert_exact
from tests.shared_data import TELEVISIONS, needs_shared_data

pytestmark = [pytest.mark.django_db, needs_shared_data]

# Name and brand are worth 25 of 100 points, a certificate 5: products at 30 are certified.
CERTIFIED_FROM = 30


@dataclasses.dataclass(frozen=True)
class Registration:
    """One line of the register; an empty date means no limit."""

    brand: str
    model: str
    number: str
    granted: datetime.date | None
    expires: datetime.date | None

    def holds_on(self, day: datetime.date) -> bool:
        return not (self.granted and day < self.granted) and not (
            self.expires and self.expires < day
        )


@pytest.fixture(scope="module")
def register() -> list[Registration]:
    def date(text: str) -> datetime.date | None:
        return datetime.date.fromisoformat(text[:10]) if text else None

    with TELEVISIONS.open(encoding="utf-8", newline="") as file:
        rows = [
            Registration(
                row["Brand_Reg"],
                row["Model_No"],
                row["Registration Number"],
                date(row["GrandDate"]),
                date(row["ExpDate"]),
            )
            for row in csv.DictReader(file)
        ]
    assert len(rows) == 4856
    return rows


@pytest.fixture
def organization(register: list[Registration]) -> Organization:
    """A manufacturer of all televisions: one product per model, one certificate per line."""
    organization = factories.OrganizationFactory(time_zone="Australia/Sydney")
    certification = factories.CertificationFactory(organization=organization, code="gems")
    # The register has several spellings of some brands, which are one brand in the service.
    brands = {r.brand.casefold(): Brand(organization=organization, name=r.brand) for r in register}
    Brand.objects.bulk_create(brands.values())
    products = {}
    for registration in register:
        model = registration.brand, registration.model
        if model not in products:
            products[model] = Product(
                organization=organization,
                gtin=factories.gtin(len(products)),
                brand=brands[registration.brand.casefold()],
                name=registration.model or "unnamed",
            )
    Product.objects.bulk_create(products.values(), batch_size=1000)
    CertificationAssignment.objects.bulk_create(
        [
            CertificationAssignment(
                organization=organization,
                product=products[registration.brand, registration.model],
                certification=certification,
                certificate_number=registration.number,
                valid_from=registration.granted,
                expiry_date=registration.expires,
            )
            for registration in register
        ],
        batch_size=1000,
    )
    return organization


def count(register: list[Registration], day: datetime.date, within: int) -> Stats:
    """Count directly from the register."""
    models = defaultdict(list)
    for registration in register:
        models[registration.brand, registration.model].append(registration)
    certified = sum(any(r.holds_on(day) for r in lines) for lines in models.values())
    # 25 points each, and 5 more with a valid certificate; rounded half up.
    mean = (25 * len(models) + 5 * certified) / len(models)
    return Stats(
        total_products=len(models),
        complete_products=certified,
        avg_completeness=int(mean + 0.5),
        active_offers=0,
        broken_offers=0,
        expiring_certifications=sum(
            r.expires is not None and 1 <= (r.expires - day).days <= within for r in register
        ),
        missing_images=len(models),
    )


@pytest.mark.slow
def test_register_counts_are_exact_on_every_day(register, organization):
    rule = dataclasses.replace(DEFAULT_RULE, threshold=CERTIFIED_FROM)
    today = organization.today()
    # Every second month of five years, and the days around the register's own dates.
    days = {today + datetime.timedelta(days=n) for n in range(0, 5 * 365, 61)}
    expiries = sorted({r.expires for r in register if r.expires and r.expires >= today})
    for expires in expiries[::150] + expiries[-1:]:
        days |= {expires, expires + datetime.timedelta(days=1)}
    reported = {day: stats(StatsQuery(organization.pk, rule, day)) for day in sorted(days)}
    assert reported == {day: count(register, day, 60) for day in sorted(days)}
    # The dates span a hundred years, and most certificates have expired by then.
    assert max(days).year > 2100
    certified = [numbers.complete_products for numbers in reported.values()]
    assert certified[0] > 3000
    assert certified[-1] < 500


@pytest.mark.slow
@pytest.mark.campaign
def test_register_counts_registrations_that_expire_within_days(register, organization):
    today = organization.today()
    rule = dataclasses.replace(DEFAULT_RULE, threshold=CERTIFIED_FROM)
    for within in (1, 7, 60, 365):
        reported = stats(StatsQuery(organization.pk, rule, today, expiring_within=within))
        assert reported == count(register, today, within), within


@pytest.mark.slow
@pytest.mark.campaign
def test_register_counts_are_exact_after_updates_and_deletions(register, organization):
    CertificationAssignment.objects.filter(expiry_date__lt=datetime.date(2100, 1, 1)).update(
        expiry_date=F("expiry_date") + datetime.timedelta(days=1)
    )
    keys = list(CertificationAssignment.objects.order_by("pk").values_list("pk", flat=True))
    CertificationAssignment.objects.filter(pk__in=keys[::2]).delete()
    assert_exact(organization, [organization.today() + datetime.timedelta(days=400)])
