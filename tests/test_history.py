"""The history: causes, explanations and undo, whatever makes a change."""

from __future__ import annotations

import datetime
from decimal import Decimal

import pytest
from django.db import connection, transaction
from django.utils import timezone

from catalog.editing import change_status
from catalog.models import Product
from closient.accounts.actors import acting_as
from closient.changes.models import Cause, Change, CountChange, RowChange
from dashboard.history.explain import explain
from dashboard.history.undo import undo
from dashboard.numbers import current_numbers
from tests import factories

pytestmark = pytest.mark.django_db


def dated(change: Change, at: datetime.datetime) -> None:
    Change.objects.filter(pk=change.pk).update(made_at=at)


def parts_of(found):
    return {name: sum((part.numbers[name] for part in found.parts), 0) for name in found.before}


def assert_exact(found, organization):
    assert parts_of(found) == {n: found.after[n] - found.before[n] for n in found.before}
    now = current_numbers(organization)
    shown = {n: int(v + Decimal("0.5")) for n, v in found.after.items()}
    assert shown == now


def test_explanation_adds_up(organization):
    start = timezone.now() - datetime.timedelta(days=5)
    today = organization.today()
    with acting_as("Anna", Cause.PAGE):
        product = factories.ProductFactory(
            organization=organization, name="Tea", description="Green", category="Tea"
        )
    with acting_as("import of tea.csv", Cause.IMPORT):
        certificate = factories.CertificationAssignmentFactory(
            product=product,
            organization=organization,
            valid_from=today - datetime.timedelta(days=9),
            expiry_date=today - datetime.timedelta(days=2),
        )
    first, second = Change.objects.of(organization).order_by("made_at")
    assert (first.cause, first.actor) == ("page", "Anna")
    assert (second.cause, second.actor) == ("import", "import of tea.csv")
    dated(first, start + datetime.timedelta(hours=1))
    dated(second, start + datetime.timedelta(hours=2))
    with acting_as("key", Cause.API):
        factories.OfferFactory(product=product, organization=organization)
    found = explain(organization, start)
    assert found.before["total_products"] == 0
    assert [part.cause for part in found.parts] == ["page", "import", "day", "api"]
    assert found.parts[2].lost == 1
    assert_exact(found, organization)
    with connection.cursor() as cursor:
        cursor.execute("SELECT public.tally_fold(%s)", [[organization.pk]])
    assert explain(organization, start) == found
    certificate.delete()
    assert_exact(explain(organization, start), organization)


def test_undo_puts_back_what_is_as_the_change_left_it(organization):
    products = [factories.ProductFactory(organization=organization) for _ in range(3)]
    with transaction.atomic(), acting_as("Anna", Cause.PAGE) as origin:
        keys = [product.pk for product in products]
        assert change_status(organization.pk, keys, "discontinued") == 3
    Product.objects.filter(pk=products[0].pk).update(status="draft")
    with transaction.atomic():
        result = undo(organization, origin.id)
    assert (result.rows, result.kept_count) == (2, 1)
    assert [kept.gtin for kept in result.kept] == [products[0].gtin]
    statuses = [p.status for p in Product.objects.filter(pk__in=keys).order_by("pk")]
    assert statuses == ["draft", "active", "active"]
    with transaction.atomic():
        assert undo(organization, result.change_id).rows == 2
    assert Product.objects.filter(status="discontinued").count() == 2


def test_nothing_is_written_when_nothing_changes(organization):
    product = factories.ProductFactory(organization=organization)
    counts = [m.objects.count() for m in (Change, RowChange, CountChange)]
    with acting_as("Anna", Cause.PAGE):
        Product.objects.filter(pk=product.pk).update(name=product.name)
    assert [m.objects.count() for m in (Change, RowChange, CountChange)] == counts
