"""The history: causes, explanations and undo, whatever makes a change."""

from __future__ import annotations

import datetime
import random
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from catalog.editing import change_status
from catalog.models import CompletenessRule, Product
from certifications.models import CertificationAssignment
from closient.accounts.actors import acting_as
from closient.accounts.models import Organization
from closient.changes.models import Cause, Change, CountChange, RowChange
from closient.db.ids import format_id
from dashboard.history.explain import explain
from dashboard.history.undo import undo
from dashboard.numbers import current_numbers
from offers.models import Offer
from tests import factories
from tests.clients import editor_of

pytestmark = pytest.mark.django_db


class Api:
    """The API with an editor's key."""

    def __init__(self, organization: Organization) -> None:
        self._client = editor_of(organization)
        self.org = format_id(organization.pk)

    def get(self, path: str) -> Any:
        return self._client.get(f"/dashboard/api/v1/{path}")

    def post(self, path: str, body: Any) -> Any:
        return self._client.post(f"/dashboard/api/v1/{path}", body, content_type="application/json")


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
    with transaction.atomic(), acting_as("Anna", Cause.UNDO, origin.id) as undoing:
        result = undo(organization, origin.id)
    assert (result.rows, result.kept_count) == (2, 1)
    assert [kept.gtin for kept in result.kept] == [products[0].gtin]
    statuses = [p.status for p in Product.objects.filter(pk__in=keys).order_by("pk")]
    assert statuses == ["draft", "active", "active"]
    with transaction.atomic(), acting_as("Anna", Cause.UNDO, undoing.id):
        assert undo(organization, undoing.id).rows == 2
    assert Product.objects.filter(status="discontinued").count() == 2


def test_nothing_is_written_when_nothing_changes(organization):
    product = factories.ProductFactory(organization=organization)
    counts = [m.objects.count() for m in (Change, RowChange, CountChange)]
    with acting_as("Anna", Cause.PAGE):
        Product.objects.filter(pk=product.pk).update(name=product.name)
    assert [m.objects.count() for m in (Change, RowChange, CountChange)] == counts


def test_api_bulk_edit_preview_undo_and_history(organization):
    api = Api(organization)
    products = [factories.ProductFactory(organization=organization) for _ in range(3)]
    body = {"filter": {"missing": "country"}, "set": {"country_of_origin": "Germany"}}
    preview = api.post(f"trade-items/{api.org}/bulk", {**body, "dry_run": True})
    assert preview.status_code == 200, preview.content
    assert preview.json() == {
        "id": None,
        "kind": "trade-items",
        "undoes": None,
        "status": "preview",
        "detail": "",
        "matched": 3,
        "done": 0,
        "changed": 3,
        "completes": 0,
        "average_gain": 10.0,
        "created_at": None,
        "ended_at": None,
    }
    answer = api.post(f"trade-items/{api.org}/bulk", body)
    edit = answer.json()
    assert answer.status_code == 200, edit
    assert (edit["status"], edit["matched"], edit["changed"]) == ("done", 3, 3)
    assert api.get(f"bulk-edits/{api.org}/{edit['id']}").json() == edit
    assert set(Product.objects.values_list("country_of_origin", flat=True)) == {"DE"}
    numbers = current_numbers(organization)
    assert api.post(f"trade-items/{api.org}/bulk", body).json()["matched"] == 0
    activity = api.get(f"activity/{api.org}?cause=bulk_edit").json()["data"]
    assert [(a["id"], a["rows"], a["can_undo"]) for a in activity] == [
        (edit["id"], {"trade_item": {"created": 0, "changed": 3, "deleted": 0}}, True)
    ]
    history = api.get(f"trade-items/{api.org}/{products[0].gtin}/history").json()["data"]
    assert [entry["cause"] for entry in history] == ["bulk_edit", "database"]
    assert history[0]["percentage_after"] - history[0]["percentage_before"] == 10
    assert [(c["field"], c["before"], c["after"]) for c in history[0]["fields_changed"]] == [
        ("country_of_origin", "", "DE")
    ]
    explained = api.get(f"stats/{api.org}/explain").json()
    assert explained["after"]["avg_completeness"] == numbers["avg_completeness"]
    assert [part["cause"] for part in explained["parts"]] == ["database", "bulk_edit"]
    undone = api.post(f"changes/{api.org}/{edit['id']}/undo", None).json()
    assert (undone["status"], undone["changed"], undone["undoes"]) == ("done", 3, edit["id"])
    assert set(Product.objects.values_list("country_of_origin", flat=True)) == {""}
    again = api.post(f"changes/{api.org}/{undone['id']}/undo", None).json()
    assert (again["status"], again["changed"]) == ("done", 3)
    assert set(Product.objects.values_list("country_of_origin", flat=True)) == {"DE"}


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({"set": {"name": "x"}}, "#", "filter_or_ids"),
        ({"filter": {}, "set": {}}, "#/set", "required"),
        ({"filter": {}, "set": {"gtin": "1"}}, "#/set/gtin", "not_settable"),
        ({"filter": {}, "set": {"status": "lost"}}, "#/set/status", "invalid_choice"),
        ({"filter": {"statsu": "x"}, "set": {"name": "x"}}, "#/filter/statsu", "unknown_parameter"),
        ({"filter": {"q": {}}, "set": {"name": "x"}}, "#/filter/q", "type"),
    ],
)
def test_api_rejects_bulk_edits(organization, body, pointer, code):
    api = Api(organization)
    answer = api.post(f"trade-items/{api.org}/bulk", body)
    assert answer.status_code == 422
    assert [(e["pointer"], e["code"]) for e in answer.json()["errors"]] == [(pointer, code)]


def test_addresses_and_certificates_change_in_bulk(organization):
    api = Api(organization)
    product = factories.ProductFactory(organization=organization)
    for number in range(3):
        factories.OfferFactory(
            organization=organization,
            product=product,
            sku=str(number),
            url=f"https://old.example.com/{number}",
        )
    certificate = factories.CertificationAssignmentFactory(
        organization=organization, product=product, valid_from=None, expiry_date="2020-01-01"
    )
    replace = {"replace_in_url": {"old": "//old.example.com/", "new": "//new.example.com/p/"}}
    edit = api.post(f"offers/{api.org}/bulk", {"filter": {}, "set": replace}).json()
    assert edit["changed"] == 3, edit
    assert sorted(Offer.objects.values_list("url", flat=True)) == [
        f"https://new.example.com/p/{n}" for n in range(3)
    ]
    bad = {"replace_in_url": {"old": "https:", "new": "ftp:"}}
    answer = api.post(f"offers/{api.org}/bulk", {"filter": {}, "set": bad})
    assert answer.status_code == 409
    assert "would become ftp://new.example.com/p/" in answer.json()["detail"]
    api.post(f"changes/{api.org}/{edit['id']}/undo", None)
    assert Offer.objects.filter(url__contains="old.example.com").count() == 3
    today = organization.today()
    renewal = {
        "certificate_number": "NEW-1",
        "valid_from": today.isoformat(),
        "expiry_date": (today + datetime.timedelta(days=365)).isoformat(),
    }
    ids = [format_id(certificate.pk)]
    preview = api.post(
        f"certifications/{api.org}/bulk", {"ids": ids, "set": renewal, "dry_run": True}
    ).json()
    assert (preview["matched"], preview["changed"], preview["average_gain"]) == (1, 1, 5.0)
    assert (
        api.post(f"certifications/{api.org}/bulk", {"ids": ids, "set": renewal}).json()["changed"]
        == 1
    )
    certificate.refresh_from_db()
    assert certificate.certificate_number == "NEW-1"


def test_worker_makes_large_bulk_edits(organization):
    api = Api(organization)
    Product.objects.bulk_create(
        [
            Product(organization=organization, gtin=factories.gtin(n), name=f"Tea {n}")
            for n in range(1200)
        ]
    )
    answer = api.post(
        f"trade-items/{api.org}/bulk", {"filter": {"q": "tea"}, "set": {"brand": "Haferhof"}}
    )
    assert (answer.status_code, answer.json()["status"]) == (202, "waiting")
    assert Product.objects.filter(brand=None).count() == 1200


def test_explanation_begins_with_the_numbers_of_then_after_any_history(organization):
    generator = random.Random(7)
    today = organization.today()
    checkpoints = []

    def product():
        return generator.choice(list(Product.objects.order_by("pk")) or [create()])

    def create():
        described = generator.random() < 0.5
        return factories.ProductFactory(organization=organization, described=described)

    def add_certificate():
        days = sorted(generator.sample(range(-90, 120), 2))
        factories.CertificationAssignmentFactory(
            organization=organization,
            product=product(),
            valid_from=today + datetime.timedelta(days=days[0]),
            expiry_date=today + datetime.timedelta(days=days[1]),
        )

    def change_rule():
        CompletenessRule.objects.update_or_create(
            organization=organization,
            defaults={"threshold": generator.randint(20, 90), "offers": generator.randint(0, 40)},
        )

    def fold():
        with connection.cursor() as cursor:
            cursor.execute("SELECT public.tally_fold(%s)", [[organization.pk]])

    operations = [
        create,
        create,
        lambda: Product.objects.filter(pk=product().pk).update(category="Tea"),
        lambda: Product.objects.filter(pk=product().pk).update(name=""),
        lambda: product().delete(),
        lambda: factories.ProductImageFactory(product=product(), is_primary=False),
        lambda: factories.OfferFactory(organization=organization, product=product()),
        lambda: Offer.objects.order_by("?").update(url_status="broken"),
        lambda: Offer.objects.update(status="discontinued"),
        add_certificate,
        add_certificate,
        lambda: CertificationAssignment.objects.filter(product=product()).delete(),
        change_rule,
        lambda: CompletenessRule.objects.filter(organization=organization).delete(),
        fold,
    ]
    for number in range(120):
        with acting_as("Anna", generator.choice(list(Cause))):
            generator.choice(operations)()
        if number % 30 == 5:
            organization = Organization.objects.get(pk=organization.pk)
            checkpoints.append((timezone.now(), current_numbers(organization)))
    organization = Organization.objects.get(pk=organization.pk)
    for since, numbers in checkpoints:
        found = explain(organization, since)
        assert {n: int(v + Decimal("0.5")) for n, v in found.before.items()} == numbers
        assert_exact(found, organization)
        assert {part.cause for part in found.parts} <= {*Cause.values, "rule"}
