"""`created_at` and `updated_at`: one clock for every kind of write."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
import time_machine
from django.db import IntegrityError, connection, transaction

from catalog.models import Product
from certifications.models import CertificationAssignment
from offers.models import Offer
from tests.clients import API, client_of
from tests.factories import (
    CertificationAssignmentFactory,
    OfferFactory,
    OrganizationFactory,
    ProductFactory,
)

pytestmark = pytest.mark.django_db(transaction=True)
MADE = [
    (ProductFactory, "name"),
    (OfferFactory, "sku"),
    (CertificationAssignmentFactory, "issuing_body"),
]


def stored(row: Any) -> Any:
    return type(row).objects.get(pk=row.pk)


@pytest.mark.parametrize(("factory", "column"), MADE)
def test_timestamps_use_the_clock_of_the_database(factory: Any, column: str) -> None:
    # The clock of the process is two years ahead.
    with time_machine.travel(datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=730)):
        row = factory()
        assert row.created_at == row.updated_at == stored(row).updated_at
        created = row.created_at
        setattr(row, column, "Changed")
        row.save()
        assert row.updated_at == stored(row).updated_at
        assert created < row.updated_at < created + datetime.timedelta(hours=1)
        assert row.created_at == created


@pytest.mark.parametrize(("factory", "column"), MADE)
def test_every_write_updates_updated_at_only_on_changes(factory: Any, column: str) -> None:
    row = factory()
    rows, table = type(row).objects.filter(pk=row.pk), type(row)._meta.db_table
    before = row.updated_at

    def moved() -> bool:
        nonlocal before
        now = stored(row).updated_at
        has_moved: bool = now > before
        assert now >= before
        before = now
        return has_moved

    rows.update(**{column: "One"})
    assert moved()
    rows.update(**{column: "One"})
    assert not moved()
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {table} SET {column} = 'Two' WHERE id = %s", [row.pk])
    assert moved()
    setattr(row, column, "Three")
    type(row).objects.bulk_update([row], [column])
    assert moved()
    # A stale instance does not revert anything.
    stale, fresh = stored(row), stored(row)
    setattr(fresh, column, "Four")
    fresh.save()
    assert moved()
    stale.save(update_fields=["updated_at"])
    assert not moved()


def test_facts_and_url_checks_do_not_change_updated_at() -> None:
    offer = OfferFactory()
    product = stored(offer.product)
    Offer.objects.filter(pk=offer.pk).update(url_status="broken", http_status=404)
    assert stored(offer).updated_at == offer.updated_at
    OfferFactory(product=product, sku="another")
    assert stored(product).updated_at == product.updated_at


@pytest.mark.parametrize("model", [Product, Offer, CertificationAssignment])
def test_updated_at_is_never_before_created_at(model: Any) -> None:
    {Product: ProductFactory, Offer: OfferFactory}.get(model, CertificationAssignmentFactory)()
    earlier = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    with pytest.raises(IntegrityError, match="created_before_updated"), transaction.atomic():
        model.objects.update(updated_at=earlier)


@pytest.mark.parametrize(
    ("path", "factory", "change"),
    [
        ("offers", OfferFactory, {"sku": "N-1"}),
        ("certifications", CertificationAssignmentFactory, {"issuing_body": "Another"}),
    ],
)
def test_offers_and_certifications_have_timestamps_in_the_api(
    path: str, factory: Any, change: dict[str, str]
) -> None:
    organization = OrganizationFactory()
    client = client_of(organization, role="editor")
    factory(product=ProductFactory(organization=organization))
    (before,) = client.get(f"{API}/{path}/{organization.pk}").json()["data"]
    assert before["created_at"] == before["updated_at"]
    address = f"{API}/{path}/{organization.pk}/{before['id']}"
    after = client.patch(address, change, content_type="application/json").json()
    assert after["created_at"] == before["created_at"]
    assert after["updated_at"] > before["updated_at"]
    assert client.get(address).json() == after
    # Read-only.
    rejected = client.patch(
        address, {"created_at": "2020-01-01T00:00:00Z"}, content_type="application/json"
    )
    assert client.get(address).json() == after, rejected.json()
