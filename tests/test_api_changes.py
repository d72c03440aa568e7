"""The change feed and `updated_since`: a client that follows them misses no change."""

from __future__ import annotations

import datetime
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from catalog.models import Product
from certifications.models import Certification, CertificationAssignment
from closient.accounts.models import Organization
from closient.changes.models import Deletion
from closient.db.ids import format_id, uuid7
from closient.embedded_postgres.layout import ADMIN_ROLE
from dashboard.retention import delete_old_deletions
from offers.models import Offer
from tests.clients import API, client_of, problem
from tests.factories import (
    CertificationAssignmentFactory,
    OfferFactory,
    OrganizationFactory,
    ProductFactory,
    gtin,
)
from tests.operations import READONLY
from tests.sessions import Session, query, sessions

KINDS: dict[Any, str] = {
    Product: "trade_item",
    Offer: "offer",
    CertificationAssignment: "certification",
}


def read(client: Client, organization: Organization, **parameters: Any) -> Any:
    return client.get(f"{API}/changes/{format_id(organization.pk)}", parameters)


def follow(client: Client, organization: Organization, **parameters: Any) -> tuple[list[Any], str]:
    """Return all entries from a place in the feed on, and the cursor at its end."""
    entries: list[Any] = []
    while True:
        response = read(client, organization, **parameters)
        assert response.status_code == 200, response.content
        body = response.json()
        entries += body["data"]
        size = {name: value for name, value in parameters.items() if name == "page_size"}
        parameters = {**size, "after": body["next_after"]}
        if not body["has_next"]:
            return entries, body["next_after"]


def entry(row: Any, change: str = "changed", at: datetime.datetime | None = None) -> dict[str, Any]:
    at = at or type(row).objects.get(pk=row.pk).updated_at
    product = row if isinstance(row, Product) else row.product
    return {
        "kind": KINDS[type(row)],
        "id": format_id(row.pk),
        "gtin": product.gtin,
        "change": change,
        "at": at.isoformat().replace("+00:00", "Z"),
    }


def deleted(row: Any) -> dict[str, Any]:
    return entry(row, "deleted", Deletion.objects.get(row_id=row.pk).deleted_at)


@pytest.mark.django_db(transaction=True)
def test_feed_has_each_row_once_at_its_last_change(organization: Organization) -> None:
    client = client_of(organization)
    product = ProductFactory(organization=organization)
    offer = OfferFactory(product=product)
    certificate = CertificationAssignmentFactory(product=product)
    OfferFactory()
    Product.objects.filter(pk=product.pk).update(name="Changed")
    response = read(client, organization)
    body = response.json()
    assert body == {
        "data": [entry(offer), entry(certificate), entry(product)],
        "has_next": False,
        "next_after": body["next_after"],
    }
    assert "Link" not in response.headers
    # The end of the feed is a place to read on from.
    assert follow(client, organization, after=body["next_after"])[0] == []
    key = offer.pk
    offer.delete()
    offer.pk = key
    Product.objects.filter(pk=product.pk).update(name="Again")
    entries, end = follow(client, organization, after=body["next_after"])
    assert entries == [deleted(offer), entry(product)]
    assert follow(client, organization, after=end)[0] == []
    # A check of a URL is no change of the offer.
    other = OfferFactory(product=product)
    _, end = follow(client, organization, after=end)
    Offer.objects.filter(pk=other.pk).update(url_status="broken")
    assert follow(client, organization, after=end)[0] == []


@pytest.mark.django_db(transaction=True)
def test_pages_of_the_feed_have_all_entries_in_order(organization: Organization) -> None:
    """Also those of rows with the same time, which one statement has written."""
    client = client_of(organization)
    products = [
        Product(organization=organization, gtin=gtin(number), name="x") for number in range(7)
    ]
    Product.objects.bulk_create(products)
    Offer.objects.bulk_create(
        Offer(
            organization=organization,
            product=product,
            url="https://x.example.com/",
            url_status="unchecked",
        )
        for product in products
    )
    Product.objects.filter(pk__in=[product.pk for product in products[:3]]).delete()
    whole, _ = follow(client, organization)
    assert len(whole) == 14
    assert whole == sorted(whole, key=lambda one: one["at"])
    for size in (1, 2, 5, 1000):
        assert follow(client, organization, page_size=size)[0] == whole
    response = read(client, organization, page_size=5)
    assert response.json()["has_next"] is True
    link = response.headers["Link"]
    assert link.endswith('; rel="next"')
    following = client.get(link[1 : link.index(">")])
    assert following.json()["data"] == whole[5:10]
    since = whole[3]["at"]
    assert follow(client, organization, since=since)[0] == [
        one for one in whole if one["at"] >= since
    ]


def delete_product(product: Product) -> None:
    Product.objects.filter(pk=product.pk).delete()


def delete_with_sql(product: Product) -> None:
    query("DELETE FROM catalog_product WHERE id = %s RETURNING id", [product.pk])


def delete_all_with_sql(product: Product) -> None:
    query("DELETE FROM catalog_product RETURNING id")


def delete_one_by_one(product: Product) -> None:
    for model in (Offer, CertificationAssignment, Product):
        for row in model.objects.all():
            row.delete()


def delete_in_one_statement(product: Product) -> None:
    query(
        "WITH o AS (DELETE FROM offers_offer), p AS (DELETE FROM catalog_product) SELECT 1",
    )


def truncate(product: Product) -> None:
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE catalog_product CASCADE")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "delete",
    [
        delete_product,
        delete_with_sql,
        delete_all_with_sql,
        delete_one_by_one,
        delete_in_one_statement,
        truncate,
    ],
    ids=lambda function: function.__name__,
)
def test_every_deletion_is_in_the_feed(delete: Any, organization: Organization) -> None:
    client = client_of(organization)
    product = ProductFactory(organization=organization)
    rows = [product, OfferFactory(product=product), CertificationAssignmentFactory(product=product)]
    _, end = follow(client, organization)
    delete(product)
    entries, _ = follow(client, organization, after=end)
    assert sorted(entries, key=str) == sorted(map(deleted, rows), key=str)


@pytest.mark.django_db(transaction=True)
def test_cascade_from_a_certification_is_in_the_feed(organization: Organization) -> None:
    client = client_of(organization)
    certificate = CertificationAssignmentFactory(product__organization=organization)
    _, end = follow(client, organization)
    query("DELETE FROM certifications_certification RETURNING id")
    assert Certification.objects.count() == 0
    assert follow(client, organization, after=end)[0] == [deleted(certificate)]


@pytest.mark.django_db(transaction=True)
def test_deletion_that_is_rolled_back_is_not_in_the_feed(organization: Organization) -> None:
    product = ProductFactory(organization=organization)
    with transaction.atomic():
        delete_product(product)
        transaction.set_rollback(True)
    assert follow(client_of(organization), organization)[0] == [entry(product)]


@pytest.mark.django_db(transaction=True)
def test_row_with_the_id_of_a_deleted_one_is_in_the_feed_again(organization: Organization) -> None:
    """As after a restore of single rows."""
    client = client_of(organization)
    product = ProductFactory(organization=organization)
    for _ in range(2):
        delete_product(product)
        assert follow(client, organization)[0] == [deleted(product)]
        product = ProductFactory(pk=product.pk, organization=organization, gtin=product.gtin)
        assert follow(client, organization)[0] == [deleted(product), entry(product)]


@pytest.mark.django_db(transaction=True)
def test_only_deletions_are_recorded(organization: Organization) -> None:
    product = ProductFactory(organization=organization)
    Product.objects.filter(pk=product.pk).update(name="Changed")
    Product.objects.filter(pk=uuid7()).delete()
    assert not Deletion.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_deleted_organization_leaves_no_deletions(organization: Organization) -> None:
    OfferFactory(product__organization=organization)
    ProductFactory(organization=organization).delete()
    assert Deletion.objects.count() == 1
    query("DELETE FROM accounts_organization WHERE id = %s RETURNING id", [organization.pk])
    assert not Deletion.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_foreign_changes_are_not_in_the_feed(organization: Organization) -> None:
    other = OrganizationFactory()
    ProductFactory(organization=other).delete()
    OfferFactory(product__organization=other)
    assert follow(client_of(organization), organization)[0] == []
    _, end = follow(client_of(other), other)
    response = read(client_of(organization), organization, after=end)
    assert problem(response)["errors"] == [
        {
            "pointer": "#/query/after",
            "code": "cursor",
            "detail": "Not a cursor of this feed: use the `next_after` of one of its pages.",
        }
    ]


@pytest.fixture
def early() -> Iterator[Session]:
    """A session with a transaction that begins before others."""
    with sessions(1) as (session,):
        session.begin()
        yield session


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("kind", ["update", "insert", "delete"])
def test_change_that_is_committed_late_is_not_missed(
    kind: str, organization: Organization, early: Session
) -> None:
    """One session writes first and commits last; the feed is read in between."""
    client = client_of(organization)
    first = ProductFactory(organization=organization)
    _, end = follow(client, organization)

    def write() -> Any:
        if kind == "insert":
            return ProductFactory(organization=organization)
        if kind == "delete":
            query("DELETE FROM catalog_product WHERE id = %s RETURNING id", [first.pk])
        else:
            Product.objects.filter(pk=first.pk).update(name="Early")
        return first

    row = early.run(write)
    # Written and committed while the early one is still open.
    later = OfferFactory(product=ProductFactory(organization=organization))
    assert later.product.updated_at >= row.updated_at
    entries, between = follow(client, organization, after=end)
    # Later changes wait for the earlier one: after them, it would be missed.
    assert entries == []
    early.end()
    entries, end = follow(client, organization, after=between)
    changed = deleted(row) if kind == "delete" else entry(row)
    assert entries == [changed, entry(later.product), entry(later)]
    assert follow(client, organization, after=end)[0] == []


@pytest.mark.django_db(transaction=True)
def test_transaction_that_writes_after_a_page_was_read_is_not_missed(
    organization: Organization, early: Session
) -> None:
    """A transaction that has not written yet holds nothing back, and its change comes later."""
    client = client_of(organization)
    product = ProductFactory(organization=organization)
    entries, end = follow(client, organization)
    assert entries == [entry(product)]
    early.run(lambda: Product.objects.filter(pk=product.pk).update(name="Early"))
    assert follow(client, organization, after=end) == ([], end)
    other = ProductFactory(organization=organization)
    early.end()
    entries, _ = follow(client, organization, after=end)
    assert sorted(entries, key=str) == sorted([entry(product), entry(other)], key=str)


@pytest.mark.django_db(transaction=True)
def test_statement_that_waits_for_a_row_is_not_missed(
    organization: Organization, early: Session
) -> None:
    """Its time is that of its beginning, before it got the row."""
    client = client_of(organization)
    product = ProductFactory(organization=organization)
    _, end = follow(client, organization)
    early.run(lambda: Product.objects.select_for_update().get(pk=product.pk))
    with sessions(1) as (waiting,):
        done = waiting.start(lambda: Product.objects.filter(pk=product.pk).update(name="Late"))
        waiting.wait_until_blocked()
        other = ProductFactory(organization=organization)
        assert follow(client, organization, after=end)[0] == []
        early.end()
        done.result()
    assert follow(client, organization, after=end)[0] == [entry(product), entry(other)]


@pytest.mark.django_db(transaction=True)
def test_reader_with_an_open_transaction_holds_nothing_back(
    organization: Organization, early: Session
) -> None:
    """Such as a dump, which takes hours."""
    early.run(lambda: list(Product.objects.all()))
    product = ProductFactory(organization=organization)
    assert follow(client_of(organization), organization)[0] == [entry(product)]
    early.end()


@pytest.mark.django_db(transaction=True)
def test_follower_beside_writers_ends_with_the_rows_that_exist(
    organization: Organization,
) -> None:
    """Writers with transactions of different lengths; the follower applies each entry."""
    client = client_of(organization)
    known: dict[str, str] = {}
    stopped = threading.Event()

    def write(seed: int) -> None:
        chance = random.Random(seed)
        mine: list[Any] = []
        try:
            for number in range(40):
                with transaction.atomic():
                    for step in range(chance.randint(1, 4)):
                        if mine and chance.random() < 0.3:
                            mine.pop(chance.randrange(len(mine))).delete()
                        elif mine and chance.random() < 0.5:
                            row = chance.choice(mine)
                            text = f"{number} {step}"
                            Product.objects.filter(pk=row.pk).update(name=text)
                        else:
                            code = gtin(seed * 10_000 + number * 10 + step)
                            mine.append(ProductFactory(organization=organization, gtin=code))
                        query("SELECT pg_sleep(%s)", [chance.random() / 200])
        finally:
            connection.close()

    def apply(after: dict[str, str]) -> dict[str, str]:
        entries, end = follow(client, organization, page_size=7, **after)
        for one in entries:
            if one["change"] == "deleted":
                known.pop(one["id"], None)
            else:
                known[one["id"]] = one["at"]
        return {"after": end}

    def keep_reading() -> None:
        after: dict[str, str] = {}
        try:
            while not stopped.is_set():
                after = apply(after)
            apply(after)
        finally:
            connection.close()

    with ThreadPoolExecutor(5) as threads:
        reading = threads.submit(keep_reading)
        try:
            for done in [threads.submit(write, seed) for seed in range(4)]:
                done.result()
        finally:
            stopped.set()
        reading.result()
    assert known == {
        format_id(key): at.isoformat().replace("+00:00", "Z")
        for key, at in Product.objects.values_list("pk", "updated_at")
    }


def connect_as_superuser() -> psycopg.Connection[Any]:
    """Return a connection of another role than ours, whose sessions ours cannot look into."""
    settings = connection.settings_dict
    is_superuser = query("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
    return psycopg.connect(
        host=settings["HOST"],
        port=settings["PORT"],
        dbname=settings["NAME"],
        user=settings["USER"] if is_superuser else ADMIN_ROLE,
        password=settings["PASSWORD"],
    )


@pytest.mark.django_db(transaction=True)
def test_change_of_another_database_role_is_not_missed(organization: Organization) -> None:
    client = client_of(organization)
    product = ProductFactory(organization=organization)
    _, end = follow(client, organization)
    with connect_as_superuser() as admin:
        admin.execute("UPDATE catalog_product SET name = 'By hand'")
        other = ProductFactory(organization=organization)
        # A superuser sees when the other session began, so the end may have moved on to that time.
        found, end = follow(client, organization, after=end)
        assert found == []
    assert follow(client, organization, after=end)[0] == [entry(product), entry(other)]


@pytest.mark.django_db(transaction=True)
def test_old_cursor_says_to_read_the_lists_again(
    organization: Organization, settings: Settings
) -> None:
    settings.KEEP_DELETIONS_DAYS = 30
    client = client_of(organization)
    now = timezone.now()
    products = ProductFactory.create_batch(3, organization=organization)
    for days, product in zip((40, 35, 0), products, strict=True):
        delete_product(product)
        Deletion.objects.filter(row_id=product.pk).update(
            deleted_at=now - datetime.timedelta(days=days)
        )
    # From the beginning, the feed may have old entries, and can be followed.
    first = read(client, organization, page_size=1).json()
    assert first["data"] == [deleted(products[0])]
    second = read(client, organization, page_size=1, after=first["next_after"]).json()
    assert second["data"] == [deleted(products[1])]
    since = (now - datetime.timedelta(days=31)).isoformat()
    response = read(client, organization, since=since)
    (error,) = problem(response)["errors"]
    assert (response.status_code, error) == (
        422,
        {
            "pointer": "#/query/since",
            "code": "expired",
            "detail": "This time is more than 30 days ago, and older deletions are not kept: read "
            "the lists again, and then the changes since the time at which you began (`since`).",
        },
    )
    recent = (now - datetime.timedelta(days=29)).isoformat()
    end = read(client, organization, since=recent).json()["next_after"]
    assert delete_old_deletions() == 2
    assert follow(client, organization)[0] == [deleted(products[2])]
    settings.KEEP_DELETIONS_DAYS = 0
    assert delete_old_deletions() == 0
    assert read(client, organization, since=since).status_code == 200
    assert read(client, organization, after=end).json()["data"] == []


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("parameters", "pointer", "code"),
    [
        ({"after": "x.y"}, "after", "cursor"),
        ({"after": "x"}, "after", "cursor"),
        ({"page_size": "1001"}, "page_size", "range"),
        ({"page_size": "0"}, "page_size", "range"),
        ({"page": "1"}, "page", "unknown_parameter"),
        ({"since": "2026-11-24"}, "since", "moment"),
        ({"since": "2026-11-24T09:30:00"}, "since", "moment"),
        ({"since": "0001-01-01T00:00:00+14:00"}, "since", "moment"),
    ],
)
def test_wrong_parameter_is_rejected(
    parameters: dict[str, str], pointer: str, code: str, organization: Organization
) -> None:
    response = read(client_of(organization), organization, **parameters)
    errors = [(e["pointer"], e["code"]) for e in problem(response)["errors"]]
    assert (response.status_code, errors) == (422, [(f"#/query/{pointer}", code)])


@pytest.mark.django_db
def test_number_of_queries_of_the_feed(organization: Organization) -> None:
    client = client_of(organization)
    product = ProductFactory(organization=organization)
    OfferFactory.create_batch(9, product=product)
    Offer.objects.filter(sku="").first().delete()  # type: ignore[union-attr]
    with CaptureQueriesContext(connection) as captured:
        assert len(read(client, organization).json()["data"]) == 10
    # Key with its limit; end of the feed; two for each of four kinds; GTINs of deleted and others.
    assert len(captured) <= 12


LISTS: dict[str, Any] = {
    "trade-items": Product,
    "offers": Offer,
    "certifications": CertificationAssignment,
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", LISTS)
def test_list_of_what_was_changed_since_a_time(path: str, organization: Organization) -> None:
    products = ProductFactory.create_batch(4, organization=organization)
    made: dict[str, list[Any]] = {
        "trade-items": products,
        "offers": [OfferFactory(product=product) for product in products],
        "certifications": [CertificationAssignmentFactory(product=product) for product in products],
    }
    rows = made[path]
    client = client_of(organization, role=READONLY)
    address = f"{API}/{path}/{format_id(organization.pk)}"
    times = [type(row).objects.get(pk=row.pk).updated_at for row in rows]
    LISTS[path].objects.filter(pk=rows[0].pk).update(metadata={"a": "b"})
    zone = datetime.timezone(datetime.timedelta(hours=5, minutes=30))
    for since in (times[2].isoformat(), times[2].astimezone(zone).isoformat()):
        body = client.get(address, {"updated_since": since}).json()
        assert body["pagination"]["total_count"] == 3
        expected = {format_id(row.pk) for row in (rows[0], rows[2], rows[3])}
        assert {row["id"] for row in body["data"]} == expected
    # With a cursor and another filter.
    found = []
    query_: dict[str, Any] = {"updated_since": times[2].isoformat(), "page_size": 1}
    while query_:
        body = client.get(address, query_).json()
        found += [row["id"] for row in body["data"]]
        after = body["pagination"]["next_after"]
        query_ = query_ | {"after": after} if after else {}
    assert sorted(found) == sorted(expected)
    one = {"updated_since": times[2].isoformat(), "q": products[3].gtin}
    assert [row["id"] for row in client.get(address, one).json()["data"]] == [format_id(rows[3].pk)]
    wrong = client.get(address, {"updated_since": times[2].replace(tzinfo=None).isoformat()})
    assert [(e["pointer"], e["code"]) for e in problem(wrong)["errors"]] == [
        ("#/query/updated_since", "moment")
    ]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("model", "index"),
    [
        (Product, "catalog_product_changed"),
        (Offer, "offers_offer_changed"),
        (CertificationAssignment, "certifications_assignment_chg"),
    ],
)
def test_index_serves_what_was_changed_since_a_time(
    model: Any, index: str, organization: Organization
) -> None:
    """Among rows of which most have not changed."""
    ages = "now() - number * interval '1 minute'"
    text = "lpad(number::text, 13, '0')"
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            INSERT INTO catalog_product (id, organization_id, gtin, created_at, updated_at, name,
                description, manufacturer, category, gpc_brick_code, country_of_origin,
                net_content, nutrition, status, metadata)
            SELECT gen_random_uuid(), %s, d.digits || (10 - d.total %% 10) %% 10, d.at, d.at, '',
                '', '', '', '', '', '', '{{}}', 'active', '{{}}'
            FROM (
                SELECT {text} AS digits, {ages} AS at, (
                    SELECT sum(substr({text}, place, 1)::int * (1 + 2 * (place %% 2)))
                    FROM generate_series(1, 13) AS place
                ) AS total
                FROM generate_series(1, 5000) AS number
            ) AS d
            """,
            [organization.pk],
        )
        cursor.execute(
            """
            INSERT INTO offers_offer (id, organization_id, product_id, channel, retailer, store,
                sku, url, currency, status, metadata, created_at, updated_at, url_detail)
            SELECT gen_random_uuid(), organization_id, id, 'in_store', '', '', '', '', '',
                'active', '{}', created_at, updated_at, ''
            FROM catalog_product
            """
        )
        certification = Certification.objects.create(organization=organization, code="c")
        cursor.execute(
            """
            INSERT INTO certifications_certificationassignment (id, organization_id, product_id,
                certification_id, certificate_number, issuing_body, verification_status,
                verification_url, metadata, created_at, updated_at)
            SELECT gen_random_uuid(), organization_id, id, %s, '', '', 'unverified', '', '{}',
                created_at, updated_at
            FROM catalog_product
            """,
            [certification.pk],
        )
        cursor.execute(f"ANALYZE {model._meta.db_table}")
    since = timezone.now() - datetime.timedelta(minutes=20)
    rows = model.objects.of(organization).filter(updated_at__gte=since)
    assert rows.count() == 19
    assert index in rows.values("pk").explain()
    # A page of the feed, with a position.
    page = model.objects.of(organization).filter(
        updated_at__gt=since, updated_at__lt=timezone.now()
    )
    plan = page.order_by("updated_at", "pk").values("updated_at", "pk")[:10].explain()
    assert index in plan
    assert "Sort" not in plan
