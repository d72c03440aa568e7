"""The numbers are exact after any sequence of writes.

``SEQUENCES`` is the number of them in each of the two parts (10 without it).
"""

from __future__ import annotations

import datetime
import itertools
import os
from typing import Any

import pytest
import time_machine
from django.db import connection, transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from catalog.completeness import FACTS
from catalog.models import Brand, CompletenessRule, Product, ProductImage
from certifications.models import CertificationAssignment
from closient.db.ids import uuid7
from closient.tally.audit import compact
from offers.models import Offer
from tests import factories
from tests.counting import assert_exact, differences

SEQUENCES = int(os.environ.get("SEQUENCES", "10"))
pytestmark = pytest.mark.slow

# Noon of the real day: compaction uses the database's clock, which tests cannot set.
NOW = datetime.datetime.now(datetime.UTC).replace(hour=12)
TODAY = NOW.date()
days = st.none() | st.integers(-40, 90).map(lambda n: TODAY + datetime.timedelta(days=n))
texts = st.sampled_from(["", " ", "\t\xa0\u200b", "text", " x "])
places = st.integers(0, 30)
url_statuses = st.sampled_from(["unchecked", "ok", "broken", "timeout", "dns_failure", "blocked"])
statuses = st.sampled_from(["active", "discontinued", "seasonal", "out_of_stock"])


class CatalogMachine(RuleBasedStateMachine):
    """Two organizations, and all kinds of writes to their products."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = itertools.count(1)
        self.clock = time_machine.travel(NOW, tick=False)
        self.clock.start()
        self.transaction = transaction.atomic()
        self.transaction.__enter__()
        self.organizations = [
            factories.OrganizationFactory(time_zone=zone)
            for zone in ("Pacific/Kiritimati", "Etc/GMT+12")
        ]
        self.stale: list[Product] = []

    def teardown(self) -> None:
        try:
            for organization in self.organizations:
                other_days = [TODAY + datetime.timedelta(days=n) for n in (1, 30, 91)]
                assert_exact(organization, other_days)
        finally:
            transaction.set_rollback(True)
            self.transaction.__exit__(None, None, None)
            self.clock.stop()

    def pick(self, model: Any, place: int) -> Any:
        rows = list(model.objects.order_by("pk"))
        return rows[place % len(rows)] if rows else None

    @rule(which=st.integers(0, 1), name=texts, description=texts, filled=st.booleans())
    def create(self, which: int, name: str, description: str, filled: bool) -> None:
        product = factories.ProductFactory(
            organization=self.organizations[which],
            gtin=factories.gtin(next(self.numbers)),
            described=filled,
        )
        Product.objects.filter(pk=product.pk).update(name=name, description=description)
        self.stale.append(product)

    @rule(which=st.integers(0, 1), count=st.integers(1, 20), category=texts)
    def create_in_bulk(self, which: int, count: int, category: str) -> None:
        Product.objects.bulk_create(
            factories.ProductFactory.build(
                organization=self.organizations[which],
                gtin=factories.gtin(next(self.numbers)),
                category=category,
            )
            for _ in range(count)
        )

    @rule(which=st.integers(0, 1), count=st.integers(1, 5))
    def copy(self, which: int, count: int) -> None:
        columns = (
            "id, organization_id, gtin, name, description, manufacturer, category, gpc_brick_code,"
            " country_of_origin, net_content, nutrition, status, metadata"
        )
        with (
            connection.cursor() as cursor,
            cursor.copy(f"COPY catalog_product ({columns}) FROM STDIN") as copy,
        ):
            for _ in range(count):
                gtin = factories.gtin(next(self.numbers))
                copy.write_row(
                    [
                        uuid7(),
                        self.organizations[which].pk,
                        gtin,
                        "Copied",
                        " ",
                        "",
                        "",
                        "",
                        "FR",
                        "",
                        '{"nutrients": [{}]}',
                        "draft",
                        "{}",
                    ]
                )

    @rule(place=places, name=texts, country=st.sampled_from(["", "DE"]))
    def update(self, place: int, name: str, country: str) -> None:
        if product := self.pick(Product, place):
            product.name, product.country_of_origin = name, country
            product.save()

    @rule(place=places, description=texts)
    def save_stale(self, place: int, description: str) -> None:
        if self.stale:
            product = self.stale[place % len(self.stale)]
            if Product.objects.filter(pk=product.pk).exists():
                product.description = description
                if not Brand.objects.filter(pk=product.brand_id).exists():
                    product.brand = None
                product.save()

    @rule(category=texts, nutrition=st.sampled_from([{}, {"nutrients": []}, {"nutrients": [{}]}]))
    def update_in_bulk(self, category: str, nutrition: dict[str, Any]) -> None:
        Product.objects.update(category=category, nutrition=nutrition)

    @rule(place=places, count=st.integers(1, 3))
    def add_images(self, place: int, count: int) -> None:
        if product := self.pick(Product, place):
            for _ in range(count):
                factories.ProductImageFactory(product=product)

    @rule(place=places, status=statuses, url_status=url_statuses, in_store=st.booleans())
    def add_offer(self, place: int, status: str, url_status: str, in_store: bool) -> None:
        if product := self.pick(Product, place):
            more = {"in_store": True} if in_store else {"url_status": url_status}
            factories.OfferFactory(product=product, status=status, **more)

    @rule(place=places, first=days, last=days)
    def certify(self, place: int, first: Any, last: Any) -> None:
        if product := self.pick(Product, place):
            if first and last and last < first:
                first, last = last, first
            factories.CertificationAssignmentFactory(
                product=product, valid_from=first, expiry_date=last
            )

    @rule(first=days, last=days)
    def certify_all(self, first: Any, last: Any) -> None:
        if first and last and last < first:
            first, last = last, first
        for organization in self.organizations:
            certification = factories.CertificationFactory(organization=organization)
            CertificationAssignment.objects.bulk_create(
                factories.CertificationAssignmentFactory.build(
                    product=product,
                    organization=organization,
                    certification=certification,
                    valid_from=first,
                    expiry_date=last,
                )
                for product in Product.objects.filter(organization=organization)
            )

    @rule(place=places, last=days)
    def change_certificate(self, place: int, last: Any) -> None:
        certificate = self.pick(CertificationAssignment, place)
        if certificate and not (last and certificate.valid_from and last < certificate.valid_from):
            certificate.expiry_date = last
            certificate.verification_status = "verified"
            certificate.save()

    @rule(status=statuses, url_status=url_statuses)
    def change_offers_by_merge(self, status: str, url_status: str) -> None:
        """One MERGE updates, deletes and inserts: each fires triggers with its own tables."""
        with connection.cursor() as cursor:
            cursor.execute(
                """
                MERGE INTO offers_offer AS o
                USING (
                    SELECT p.id, p.organization_id, o.id AS offer
                    FROM catalog_product AS p LEFT JOIN offers_offer AS o ON o.product_id = p.id
                ) AS s ON o.id = s.offer
                WHEN MATCHED AND o.status = 'seasonal' THEN DELETE
                WHEN MATCHED AND o.channel = 'online' THEN
                    UPDATE SET status = %(status)s, url_status = %(url_status)s
                WHEN NOT MATCHED THEN
                    INSERT (id, organization_id, product_id, channel, retailer, store, sku, url,
                        currency, status, url_status, url_detail, metadata)
                    VALUES (gen_random_uuid(), s.organization_id, s.id, 'online', 'merged', '', '',
                        'https://example.com', '', %(status)s, %(url_status)s, '', '{}')
                """,
                {"status": status, "url_status": url_status},
            )

    @rule(place=places, other=places)
    def move_image(self, place: int, other: int) -> None:
        image, product = self.pick(ProductImage, place), self.pick(Product, other)
        if image and product and image.organization_id == product.organization_id:
            image.product = product
            image.save()

    @rule(place=places, url_status=url_statuses)
    def upsert_offer(self, place: int, url_status: str) -> None:
        if offer := self.pick(Offer, place):
            offer.id = uuid7()
            if offer.channel == "online":
                offer.url_status = url_status
            Offer.objects.bulk_create(
                [offer],
                update_conflicts=True,
                unique_fields=[
                    "organization", "product", "channel", "retailer", "store", "sku"
                ],
                update_fields=["url_status"],
            )  # fmt: skip

    @rule(
        model=st.sampled_from([Product, ProductImage, Offer, CertificationAssignment, Brand]),
        place=places,
    )
    def delete(self, model: Any, place: int) -> None:
        if row := self.pick(model, place):
            row.delete()

    @rule(model=st.sampled_from([ProductImage, Offer, CertificationAssignment]))
    def delete_half(self, model: Any) -> None:
        keys = list(model.objects.order_by("pk").values_list("pk", flat=True))
        model.objects.filter(pk__in=keys[::2]).delete()

    @rule(
        tables=st.sampled_from(
            [
                "catalog_productimage",
                "offers_offer",
                "certifications_certificationassignment, certifications_certificateattachment",
                "catalog_product, catalog_productimage, offers_offer, "
                "certifications_certificationassignment, certifications_certificateattachment",
            ]
        )
    )
    def truncate(self, tables: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE {tables}")

    @rule(which=st.integers(0, 1))
    def replace_organization(self, which: int) -> None:
        zone = self.organizations[which].time_zone
        self.organizations[which].delete()
        self.organizations[which] = factories.OrganizationFactory(time_zone=zone)

    @rule(which=st.integers(0, 1), weights=st.lists(st.integers(0, 100), min_size=9, max_size=9))
    def change_rule(self, which: int, weights: list[int]) -> None:
        if any(weights):
            named = {fact.name: weight for fact, weight in zip(FACTS, weights, strict=True)}
            CompletenessRule.objects.update_or_create(
                organization=self.organizations[which], defaults={**named, "threshold": 50}
            )

    @rule()
    def fold(self) -> None:
        compact([organization.pk for organization in self.organizations])

    @rule(hours=st.integers(1, 30))
    def wait(self, hours: int) -> None:
        """Let time pass; midnight is at another hour for each organization."""
        now = datetime.datetime.now(datetime.UTC)
        self.clock.stop()
        self.clock = time_machine.travel(now + datetime.timedelta(hours=hours), tick=False)
        self.clock.start()

    @invariant()
    def numbers_are_exact(self) -> None:
        assert differences() == []


@pytest.mark.django_db
@pytest.mark.parametrize("part", range(2))
def test_any_sequence_of_writes_keeps_the_numbers_exact(part):
    """Two parts that can run in parallel."""
    run_state_machine_as_test(
        CatalogMachine,
        settings=settings(
            max_examples=SEQUENCES,
            stateful_step_count=15,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
