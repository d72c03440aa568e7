"""Concurrent writers, compactions, audits and readers."""

from __future__ import annotations

import datetime
import functools
import random
import threading
import time
from collections.abc import Callable

import pytest
from django.db import transaction

from catalog.completeness import DEFAULT_RULE
from catalog.models import Product, ProductImage
from certifications.models import Certification, CertificationAssignment
from closient.accounts.models import Organization
from closient.db.transactions import DatabaseBusy, run_with_retry
from closient.tally.audit import audit, compact
from dashboard.numbers import Stats, StatsQuery, stats
from offers.models import Offer
from tests import factories
from tests.counting import assert_exact
from tests.sessions import query, sessions

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

WRITERS = 16
SECONDS = 10


class Writer:
    """Writes at random to one organization, each time in a separate transaction."""

    def __init__(self, number: int, organization: Organization, certification: Certification):
        self.random = random.Random(number)
        self.organization = organization
        self.certification = certification
        self.today = organization.today()
        self.gtins = (number * 1_000_000 + n for n in range(1_000_000))
        self.written = 0
        self.timeouts = 0

    def write_until(self, deadline: float) -> int:
        writes: list[Callable[[], object]] = [
            self.add_product,
            self.add_image,
            self.add_offer,
            self.add_certificates,
            self.change_offers,
            self.change_product,
            self.change_certificate,
            lambda: self.delete(ProductImage),
            lambda: self.delete(Offer),
            lambda: self.delete(CertificationAssignment),
            lambda: self.delete(Product),
        ]
        while time.monotonic() < deadline:
            try:
                run_with_retry(self.random.choice(writes))
            except DatabaseBusy as error:
                # A stalled machine can hold a lock for five seconds; a deadlock is a bug.
                if "stayed locked" not in str(error):
                    raise
                self.timeouts += 1
            else:
                self.written += 1
        return self.written

    def any_product(self) -> Product | None:
        return self.any(Product)

    def any(self, model):
        rows = model.objects.order_by("pk")[: self.random.randrange(1, 40)]
        return rows[len(rows) - 1] if len(rows) else None

    def add_product(self) -> None:
        factories.ProductFactory(
            organization=self.organization, gtin=factories.gtin(next(self.gtins))
        )

    def add_image(self) -> None:
        if product := self._locked_product():
            factories.ProductImageFactory(product=product)

    def add_offer(self) -> None:
        if product := self._locked_product():
            factories.OfferFactory(product=product, sku=str(self.random.random()))

    def add_certificates(self) -> None:
        products = list(self._locked_products())
        self.random.shuffle(products)
        CertificationAssignment.objects.bulk_create(
            factories.CertificationAssignmentFactory.build(
                product=product,
                organization=self.organization,
                certification=self.certification,
                expiry_date=self.today + datetime.timedelta(days=self.random.randrange(-5, 100)),
            )
            for product in products
        )

    def change_offers(self) -> None:
        keys = Offer.objects.order_by("pk").values_list("pk", flat=True)[:10]
        locked = Offer.objects.filter(pk__in=list(keys)).order_by("pk").select_for_update()
        status = self.random.choice(["ok", "broken", "timeout"])
        Offer.objects.filter(pk__in=[offer.pk for offer in locked]).update(
            url_status=status, status=self.random.choice(["active", "discontinued"])
        )

    def change_product(self) -> None:
        if product := self.any_product():
            Product.objects.filter(pk=product.pk).update(
                description=self.random.choice(["", "Described."]), category="Things"
            )

    def change_certificate(self) -> None:
        if certificate := self.any(CertificationAssignment):
            CertificationAssignment.objects.filter(pk=certificate.pk).update(
                expiry_date=self.today + datetime.timedelta(days=self.random.randrange(-5, 100))
            )

    def delete(self, model) -> None:
        if row := self.any(model):
            model.objects.filter(pk=row.pk).delete()

    def _locked_product(self) -> Product | None:
        """Return a product that is locked against deletion until the transaction ends."""
        product = self.any_product()
        rows = Product.objects.filter(pk=getattr(product, "pk", None))
        return rows.select_for_update(no_key=True).first()

    def _locked_products(self):
        return Product.objects.order_by("pk").select_for_update(no_key=True)[:20]


def test_sixteen_writers_on_one_organization_stay_exact():
    organization = factories.OrganizationFactory()
    certification = factories.CertificationFactory(organization=organization)
    for _ in range(30):
        factories.ProductFactory(organization=organization, described=True)
    done = threading.Event()

    def watch() -> int:
        waits = 0
        while not done.wait(0.02):
            waits += query(
                "SELECT count(*) FROM pg_locks WHERE NOT granted"
                " AND relation = 'tally_tallyentry'::regclass"
            )
        return waits

    with sessions(WRITERS + 1) as (watcher, *opened):
        waits = watcher.start(watch)
        deadline = time.monotonic() + SECONDS
        writers = [Writer(number, organization, certification) for number in range(1, WRITERS + 1)]
        running = [
            session.start(functools.partial(writer.write_until, deadline))
            for session, writer in zip(opened, writers, strict=True)
        ]
        # Raises the exception of any writer, including deadlocks.
        written = [future.result(timeout=SECONDS * 6) for future in running]
        done.set()
        assert waits.result() == 0
    assert min(written) > 0
    assert sum(writer.timeouts for writer in writers) <= sum(written) / 100
    assert not audit(organization.pk)
    assert_exact(organization, [organization.today() + datetime.timedelta(days=30)])


def test_concurrent_reads_see_only_committed_states():
    """Each commit adds a product with an image and an offer: no state has one without the other."""
    organization = factories.OrganizationFactory()
    today = organization.today()
    done = threading.Event()

    def write() -> None:
        for _ in range(60):
            with transaction.atomic():
                product = factories.ProductFactory(organization=organization, name="")
                factories.OfferFactory(product=product, url_status="broken")
                factories.ProductImageFactory(product=product)

    def until_done(work: Callable[[], object]) -> Callable[[], list[object]]:
        def loop() -> list[object]:
            results = []
            while not done.is_set():
                results.append(work())
            return results

        return loop

    with sessions(7) as (one, two, three, folder, auditor, *readers):
        writing = [session.start(write) for session in (one, two, three)]
        folding = folder.start(until_done(lambda: compact([organization.pk])))
        auditing = auditor.start(until_done(lambda: audit(organization.pk)))
        reading = [
            reader.start(
                until_done(lambda: stats(StatsQuery(organization.pk, DEFAULT_RULE, today)))
            )
            for reader in readers
        ]
        for future in writing:
            future.result(timeout=120)
        done.set()
        assert sum(folding.result()) > 0
        assert not any(auditing.result())
        for future in reading:
            seen = future.result()
            assert len(seen) > 10
            totals = [numbers.total_products for numbers in seen]
            assert totals == sorted(totals)
            # An image and an active offer are 25 of 100 points.
            assert seen == [Stats(n, 0, 25 if n else 0, n, n, 0, 0) for n in totals]
    assert assert_exact(organization).total_products == 180
