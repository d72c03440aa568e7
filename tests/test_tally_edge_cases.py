"""Concurrency problems of counters that the tally avoids."""

from __future__ import annotations

import datetime

import pytest
from django.db import IntegrityError, OperationalError, connection, transaction
from psycopg import errors

from catalog.completeness import ALL_MASKS
from catalog.models import Product, ProductImage, ProductSummary
from certifications.models import CertificationAssignment
from closient.accounts.models import Organization
from closient.db.ids import uuid7
from closient.tally.audit import compact
from closient.tally.models import TallyEntry
from offers.models import Offer
from tests import factories
from tests.counting import ZEROS, assert_exact
from tests.sessions import query, sessions

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def product() -> Product:
    return factories.ProductFactory(described=True)


@pytest.fixture
def organization(product: Product) -> Organization:
    return product.organization


def test_counter_counts_two_concurrent_images(organization, product):
    with sessions(2) as (one, two):
        one.begin()
        one.run(lambda: factories.ProductImageFactory(product=product))
        two.begin()
        waiting = two.start(lambda: factories.ProductImageFactory(product=product))
        two.wait_until_blocked()
        one.end()
        waiting.result()
        two.end()
    product.refresh_from_db()
    assert product.summary.image_count == 2
    assert_exact(organization)


def test_days_certified_include_two_concurrent_certificates(organization, product):
    """The aggregate must not be taken from the snapshot before the row lock was granted."""
    periods = [(2020, 2021), (2030, 2031)]
    certification = factories.CertificationFactory(organization=organization)

    def assign(first: int, last: int) -> None:
        factories.CertificationAssignmentFactory(
            product=product,
            certification=certification,
            valid_from=datetime.date(first, 1, 1),
            expiry_date=datetime.date(last, 1, 1),
        )

    with sessions(2) as (one, two):
        one.begin()
        one.run(lambda: assign(*periods[0]))
        two.begin()
        waiting = two.start(lambda: assign(*periods[1]))
        two.wait_until_blocked()
        one.end()
        waiting.result()
        two.end()
    product.refresh_from_db()
    assert [(s.lower.year, s.upper.year) for s in product.summary.certified_during] == periods
    assert_exact(organization, [datetime.date(2030, 6, 1)])


@pytest.mark.parametrize("is_insert_first", [True, False])
def test_days_certified_remain_if_a_certificate_replaces_one_that_is_deleted_meanwhile(
    organization, product, is_insert_first
):
    """Both transactions see the days covered until the other one commits."""
    old = factories.CertificationAssignmentFactory(product=product)

    def insert() -> None:
        factories.CertificationAssignmentFactory(
            product=product,
            certification=old.certification,
            valid_from=old.valid_from,
            expiry_date=old.expiry_date,
        )

    first, second = (insert, old.delete) if is_insert_first else (old.delete, insert)
    with sessions(2) as (one, two):
        one.begin()
        one.run(first)
        two.begin()
        waiting = two.start(second)
        two.wait_until_blocked()
        one.end()
        waiting.result()
        two.end()
    product.refresh_from_db()
    assert len(product.summary.certified_during) == 1
    assert_exact(organization)


@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
def test_days_certified_raise_serialization_failures_above_read_committed(
    organization, product, isolation
):
    """The later of two transactions gets a serialization failure, even where its own view of the
    product would not change."""
    certificate = factories.CertificationAssignmentFactory(product=product)
    other = factories.CertificationAssignmentFactory(
        product=product, certification=certificate.certification
    )
    with sessions(2) as (one, two):
        one.begin(isolation)
        two.begin(isolation)
        # Each sees the other's certificate, so in each transaction the product stays certified.
        one.run(certificate.delete)
        waiting = two.start(other.delete)
        two.wait_until_blocked()
        one.end()
        with pytest.raises(OperationalError) as failure:
            waiting.result()
        two.end("rollback")
    assert isinstance(failure.value.__cause__, errors.SerializationFailure)
    assert CertificationAssignment.objects.count() == 1
    assert_exact(organization)


def test_bulk_writes_in_opposite_orders_do_not_deadlock(organization):
    products = [factories.ProductFactory(organization=organization) for _ in range(40)]
    certification = factories.CertificationFactory(organization=organization)

    def images(order: list[Product]) -> None:
        ProductImage.objects.bulk_create(
            factories.ProductImageFactory.build(product=p, organization=organization) for p in order
        )

    def certificates(order: list[Product]) -> None:
        CertificationAssignment.objects.bulk_create(
            factories.CertificationAssignmentFactory.build(
                product=p, organization=organization, certification=certification
            )
            for p in order
        )

    with sessions(4) as workers:
        for write in (images, certificates):
            for _ in range(5):
                started = [
                    worker.start(lambda w=write, o=products[:: 1 - 2 * (n % 2)]: w(o))
                    for n, worker in enumerate(workers)
                ]
                for future in started:
                    future.result()
    assert ProductImage.objects.count() == CertificationAssignment.objects.count() == 4 * 5 * 40
    assert_exact(organization)


def test_saving_a_stale_product_keeps_its_summary(organization, product):
    stale = Product.objects.get(pk=product.pk)
    with sessions(1) as (other,):
        other.run(lambda: factories.ProductImageFactory(product=product))
        other.run(lambda: factories.OfferFactory(product=product))
        other.run(lambda: factories.CertificationAssignmentFactory(product=product))
    stale.name = "Another name"
    stale.save()
    product.refresh_from_db()
    assert (product.name, product.summary.image_count, product.summary.active_offer_count) == (
        "Another name",
        1,
        1,
    )
    assert product.fact_mask(organization.today()) == ALL_MASKS[-1]
    assert_exact(organization)


def test_save_of_a_product_that_waited_for_a_counter_keeps_it(organization, product):
    """A change of the product's own facts writes the row with the counters."""
    stale = Product.objects.get(pk=product.pk)
    stale.name = ""
    with sessions(2) as (one, two):
        one.begin()
        one.run(lambda: factories.ProductImageFactory(product=product))
        waiting = two.start(stale.save)
        two.wait_until_blocked()
        one.end()
        waiting.result()
    product.refresh_from_db()
    assert product.summary.image_count == 1
    assert_exact(organization)


WRITES_OF_SUMMARIES = {
    "update": "UPDATE catalog_productsummary SET image_count = 7",
    "delete": "DELETE FROM catalog_productsummary",
    "truncate": "TRUNCATE catalog_productsummary",
    "insert": (
        "INSERT INTO catalog_productsummary (product_id, organization_id, status, own_facts)"
        " SELECT gen_random_uuid(), organization_id, status, own_facts FROM catalog_product"
    ),
}


@pytest.mark.parametrize("statement", WRITES_OF_SUMMARIES.values(), ids=WRITES_OF_SUMMARIES.keys())
def test_only_the_database_writes_summaries(organization, product, statement):
    with (
        pytest.raises(IntegrityError, match="Only the database writes product summaries"),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)
    product.refresh_from_db()
    assert product.summary.image_count == 0
    assert_exact(organization)


def test_products_and_summaries_can_be_truncated_at_once(organization, product):
    factories.ProductImageFactory(product=product)
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE catalog_productsummary, catalog_product CASCADE")
    assert Product.objects.count() == ProductSummary.objects.count() == 0
    assert list(TallyEntry.objects.all()) == []


def test_a_statement_may_insert_a_product_and_its_rows_in_any_order(organization, product):
    """The triggers of the part that is first in the statement run last."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH product AS (
                INSERT INTO catalog_product (id, organization_id, gtin, name, description,
                    manufacturer, category, gpc_brick_code, country_of_origin, net_content,
                    nutrition, status, metadata)
                VALUES (%(id)s, %(organization)s, %(gtin)s, 'Oat drink', '', '', '', '', '', '',
                    '{}', 'draft', '{}')
            ), image AS (
                INSERT INTO catalog_productimage (id, organization_id, product_id, image,
                    external_url, title, is_primary, priority, is_imported)
                VALUES (gen_random_uuid(), %(organization)s, %(id)s, '', 'https://example.com/a.png',
                    '', true, 0, false)
            )
            INSERT INTO certifications_certificationassignment (id, organization_id, product_id,
                certification_id, certificate_number, issuing_body, verification_status,
                verification_url, metadata)
            VALUES (gen_random_uuid(), %(organization)s, %(id)s, %(certification)s, '', '',
                'verified', '', '{}')
            """,
            {
                "id": uuid7(),
                "organization": organization.pk,
                "gtin": factories.gtin(990),
                "certification": factories.CertificationFactory(organization=organization).pk,
            },
        )
    made = Product.objects.get(gtin=factories.gtin(990))
    assert made.summary.image_count == 1
    assert len(made.summary.certified_during) == 1
    assert_exact(organization)


def test_a_product_with_another_id_keeps_counting(organization, product):
    Product.objects.filter(pk=product.pk).update(id=uuid7())
    assert ProductSummary.objects.get().product == Product.objects.get()
    assert_exact(organization)


def test_status_is_counted_for_products_that_are_not_active(organization, product):
    others = [factories.ProductFactory(organization=organization) for _ in range(3)]
    factories.CertificationAssignmentFactory(product=others[0], expiry_date=organization.today())

    def counts() -> dict[str, int]:
        return TallyEntry.objects.of(organization.pk).counts(
            "products_by_status", organization.today()
        )

    assert counts() == {}
    Product.objects.exclude(pk=product.pk).update(status="draft")
    assert counts() == {"draft/65": 1, "draft/1": 2}
    others[1].delete()
    Product.objects.filter(pk=others[2].pk).update(status="discontinued", description="Filled.")
    assert counts() == {"draft/65": 1, "discontinued/3": 1}
    Product.objects.update(status="active")
    assert counts() == {}
    assert_exact(organization, [organization.today() + datetime.timedelta(days=1)])


def test_product_cannot_move_to_another_organization(product):
    other = factories.OrganizationFactory()
    with pytest.raises(IntegrityError, match="cannot move to another organization"):
        Product.objects.filter(pk=product.pk).update(organization=other)
    product.refresh_from_db()
    assert product.organization_id != other.pk


@pytest.mark.parametrize("child", ["image", "offer", "certificate"])
def test_database_rejects_rows_of_another_organization(product, child):
    other = factories.OrganizationFactory()
    build = {
        "image": factories.ProductImageFactory,
        "offer": factories.OfferFactory,
        "certificate": factories.CertificationAssignmentFactory,
    }[child].build
    extra = (
        {"certification": factories.CertificationFactory(organization=other)}
        if child == "certificate"
        else {}
    )
    row = build(product=product, organization=other, **extra)
    with pytest.raises(IntegrityError, match="foreign key"):
        type(row).objects.bulk_create([row])
    assert type(row).objects.count() == 0


def test_brand_of_another_organization_is_rejected(product):
    brand = factories.BrandFactory()
    with pytest.raises(IntegrityError, match="catalog_product_brand_fk"):
        Product.objects.filter(pk=product.pk).update(brand=brand)


def test_deleting_a_brand_removes_the_fact_from_its_products(organization, product):
    product.brand.delete()
    product.refresh_from_db()
    assert product.brand_id is None
    assert_exact(organization)


def test_deleting_an_organization_deletes_rows_and_counts(organization, product):
    for make in (
        factories.ProductImageFactory,
        factories.OfferFactory,
        factories.CertificationAssignmentFactory,
    ):
        make(product=product)
    factories.ProductFactory(organization=organization)
    Organization.objects.filter(pk=organization.pk).delete()
    assert Product.objects.count() == Offer.objects.count() == 0
    compact([organization.pk])
    assert list(TallyEntry.objects.all()) == []


def test_compaction_ignores_uncommitted_entries(organization, product):
    for _ in range(5):
        factories.OfferFactory(product=product)
    with sessions(2) as (writer, folder):
        writer.begin()
        writer.run(lambda: factories.OfferFactory(product=product))
        folder.run(lambda: compact([organization.pk]))
        assert assert_exact(organization).active_offers == 5
        writer.end()
    assert assert_exact(organization).active_offers == 6


def test_concurrent_compactions_do_not_wait_and_lose_nothing(organization, product):
    # Writers compact at random, so write until there is something to compact.
    while TallyEntry.objects.filter(account="offers").count() < 2:
        factories.OfferFactory(product=product)
    before = assert_exact(organization)
    with sessions(3) as (one, two, reader):
        one.begin()
        assert one.run(lambda: compact([organization.pk])) > 0
        # The first holds all rows: the second finds nothing to do, and does not wait.
        assert two.run(lambda: compact([organization.pk])) == 0
        assert reader.run(lambda: assert_exact(organization)) == before
        one.end()
        assert two.run(lambda: compact([organization.pk])) == 0
    assert assert_exact(organization) == before


def test_compaction_merges_past_dates_and_each_future_date(organization, product):
    today = organization.today()
    certification = factories.CertificationFactory(organization=organization)
    for offset in (-400, -400, -399, 20, 20, 20):
        factories.CertificationAssignmentFactory(
            product=product,
            certification=certification,
            expiry_date=today + datetime.timedelta(days=offset),
        )
    compact([organization.pk])
    entries = TallyEntry.objects.filter(account="certification_expiry").order_by("effective_on")
    assert list(entries.values_list("effective_on", "amount")) == [
        (datetime.date(1, 1, 1), 3),
        (today + datetime.timedelta(days=20), 3),
    ]
    assert_exact(organization, [today + datetime.timedelta(days=days) for days in (19, 20, 21)])


def test_writer_compacts_only_under_read_committed(organization, product):
    """Above READ COMMITTED a compaction could fail with an error unrelated to the write."""
    # Each of these statements posts more than 128 entries, so it would always compact.
    today = organization.today()
    certification = factories.CertificationFactory(organization=organization)

    def many() -> None:
        CertificationAssignment.objects.bulk_create(
            factories.CertificationAssignmentFactory.build(
                product=product,
                organization=organization,
                certification=certification,
                expiry_date=today + datetime.timedelta(days=days),
            )
            for days in range(1, 140)
        )

    many()
    with sessions(2) as (folder, writer):
        writer.begin("REPEATABLE READ")
        folder.run(lambda: factories.OfferFactory(product=product))
        folder.run(lambda: compact([organization.pk]))
        entries = TallyEntry.objects.count()
        # No other session uses its product row: only a compaction could fail here.
        other = writer.run(lambda: factories.ProductFactory(organization=organization))
        writer.run(
            lambda: CertificationAssignment.objects.bulk_create(
                factories.CertificationAssignmentFactory.build(
                    product=other,
                    organization=organization,
                    certification=certification,
                    expiry_date=today + datetime.timedelta(days=days),
                )
                for days in range(1, 140)
            )
        )
        writer.end()
    assert TallyEntry.objects.count() > entries + 128
    assert_exact(organization, [today + datetime.timedelta(days=70)])


def test_writers_compact_the_tally(organization, product):
    with connection.cursor() as cursor:
        cursor.execute(
            """
            DO $$ BEGIN FOR n IN 1..3000 LOOP
                INSERT INTO offers_offer (id, organization_id, product_id, channel, retailer,
                    store, sku, url, currency, status, url_status, url_detail, metadata)
                SELECT gen_random_uuid(), organization_id, id, 'online', '', '', n::text,
                    'https://example.com', '', 'active', 'ok', '', '{}'
                FROM catalog_product;
            END LOOP; END $$
            """
        )
    # Without compaction there are at least 3,000 entries; the chance of none is about 2e-5.
    assert TallyEntry.objects.count() < 2900
    assert assert_exact(organization).active_offers == 3000


def test_truncate_empties_accounts_and_derived_columns(organization, product):
    factories.ProductImageFactory(product=product)
    factories.OfferFactory(product=product)
    factories.CertificationAssignmentFactory(product=product)
    with connection.cursor() as cursor:
        cursor.execute(
            "TRUNCATE catalog_productimage, offers_offer, certifications_certificationassignment, "
            "certifications_certificateattachment"
        )
    product.refresh_from_db()
    assert (product.summary.image_count, product.summary.active_offer_count) == (0, 0)
    assert list(product.summary.certified_during) == []
    assert_exact(organization)
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE catalog_product CASCADE")
    assert assert_exact(organization) == ZEROS
    assert list(TallyEntry.objects.all()) == []


def test_truncate_waits_for_a_running_compaction(organization, product):
    """A compaction moves entries of every account without locking the truncated table."""
    for _ in range(3):
        factories.OfferFactory(product=product)

    def truncate() -> None:
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE offers_offer")

    with sessions(2) as (folder, other):
        folder.begin()
        folder.run(lambda: compact([organization.pk]))
        waiting = other.start(truncate)
        other.wait_until_blocked()
        folder.end()
        waiting.result()
    assert assert_exact(organization).active_offers == 0


def test_empty_organization_has_seven_zeros():
    assert assert_exact(factories.OrganizationFactory()) == ZEROS


def test_update_that_changes_no_count_writes_no_entry(organization, product):
    factories.OfferFactory(product=product)
    newest = query("SELECT max(id) FROM tally_tallyentry")
    Offer.objects.update(url_detail="Checked again.", url_status="unchecked")
    Product.objects.update(manufacturer="Another")
    assert query("SELECT max(id) FROM tally_tallyentry") == newest


def test_rolled_back_writes_count_nothing(organization, product):
    before = assert_exact(organization)
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        factories.OfferFactory(product=product)
        factories.ProductImageFactory(product=product)
        1 / 0  # noqa: B018
    assert assert_exact(organization) == before


def test_certificate_that_expires_in_9999_has_readable_dates(organization, product):
    factories.CertificationAssignmentFactory(product=product, expiry_date=datetime.date.max)
    product.refresh_from_db()
    (period,) = product.summary.certified_during
    assert period.upper is None
    assert_exact(organization, [datetime.date(9999, 1, 1)])


@pytest.mark.parametrize("date", ["infinity", "-infinity", "0044-03-15 BC"])
@pytest.mark.parametrize("column", ["valid_from", "expiry_date"])
def test_dates_outside_the_range_of_python_are_rejected(product, column, date):
    certificate = factories.CertificationAssignmentFactory(product=product)
    with pytest.raises(IntegrityError, match="real_dates"), connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE certifications_certificationassignment SET {column} = %s WHERE id = %s",
            [date, certificate.pk],
        )
