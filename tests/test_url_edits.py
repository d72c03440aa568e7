"""Edits win: a changed URL is unchecked and due now, whatever changes it."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client
from django.urls import reverse

from closient.db.ids import format_id
from offers.editing import change_offer, create_offer, set_status_manually
from offers.models import Offer
from offers.url_checks.verdict import STATE_COLUMNS
from tests.clients import API, client_of
from tests.counting import assert_exact
from tests.factories import OfferFactory, ProductFactory
from tests.sessions import query

pytestmark = pytest.mark.django_db

NEW = "https://new.example.com/oat-drink"
LONG_AGO = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)
NEXT_YEAR = datetime.datetime(2096, 1, 1, tzinfo=datetime.UTC)
# All columns of a check, long after the first failure.
FOUND: dict[str, Any] = {
    "url_status": "broken",
    "http_status": 404,
    "url_checked_at": LONG_AGO,
    "url_failing_since": LONG_AGO,
    "url_detail": "The shop returned 404 Not Found.",
    "url_check_at": NEXT_YEAR,
    "url_strikes": 6,
    "url_struck_first_at": LONG_AGO,
    "url_struck_last_at": LONG_AGO,
}
NOTHING: dict[str, Any] = {
    "url_status": "unchecked",
    "http_status": None,
    "url_checked_at": None,
    "url_failing_since": None,
    "url_detail": "",
    "url_strikes": 0,
    "url_struck_first_at": None,
    "url_struck_last_at": None,
}


def stored(offer: Offer) -> dict[str, Any]:
    """Return the columns of a check, except when the next one is due."""
    columns = [*STATE_COLUMNS, "http_status", "url_detail"]
    return Offer.objects.values(*columns).get(pk=offer.pk)


def due_at(offer: Offer) -> datetime.datetime | None:
    due: datetime.datetime | None = Offer.objects.values_list("url_check_at", flat=True).get(
        pk=offer.pk
    )
    return due


def is_due(offer: Offer) -> bool:
    due = due_at(offer)
    return due is not None and bool(due <= query("SELECT clock_timestamp()"))


def by_save(offer: Offer, browser: Client) -> None:
    offer.url = NEW
    offer.save()


def by_bulk_update(offer: Offer, browser: Client) -> None:
    offer.url = NEW
    Offer.objects.bulk_update([offer], ["url"])


def by_upsert(offer: Offer, browser: Client) -> None:
    offer.url, offer.url_status = NEW, "ok"
    Offer.objects.bulk_create(
        [offer], update_conflicts=True, unique_fields=["id"], update_fields=["url", "url_status"]
    )


def by_sql(offer: Offer, browser: Client) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE offers_offer SET url = %s, url_status = 'ok'", [NEW])


def by_merge(offer: Offer, browser: Client) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """MERGE INTO offers_offer o USING (SELECT %s::uuid AS id) s ON o.id = s.id
            WHEN MATCHED THEN UPDATE SET url = %s""",
            [offer.pk, NEW],
        )


def by_api(offer: Offer, browser: Client) -> None:
    client = client_of(offer.organization, role="editor")
    path = f"{API}/offers/{format_id(offer.organization_id)}/{format_id(offer.pk)}"
    response = client.patch(path, {"url": NEW}, content_type="application/json")
    assert response.json()["url_status"] == "unchecked"
    assert response.json() == client.get(path).json()


def by_editing(offer: Offer, browser: Client) -> None:
    assert change_offer(offer, {"url": NEW})


def by_admin(offer: Offer, browser: Client) -> None:
    assert post_to_admin(browser, offer, url=NEW).status_code == 302


PATHS: list[Callable[[Offer, Client], None]] = [
    by_save, by_bulk_update, by_upsert, by_sql, by_merge, by_api, by_editing, by_admin,
]  # fmt: skip


def post_to_admin(
    browser: Client, offer: Offer, *, shown: dict[str, Any] | None = None, **changed: Any
) -> Any:
    """Post the form of an offer with some fields changed."""
    form = shown or form_of(browser, offer)
    return browser.post(reverse("admin:offers_offer_change", args=[offer.pk]), form | changed)


def form_of(browser: Client, offer: Offer) -> dict[str, Any]:
    """Return what the form of an offer would post, as a browser reads it from the page."""
    page = browser.get(reverse("admin:offers_offer_change", args=[offer.pk]))
    form = page.context["adminform"].form
    values = {bound.html_name: bound.value() for bound in form}
    hidden = re.findall(
        r'<input type="hidden" name="(initial-[a-z_]+)" value="([^"]*)"', page.content.decode()
    )
    filled = {name: value for name, value in values.items() if value is not None}
    return {**filled, **dict(hidden)}


@pytest.mark.parametrize("path", PATHS)
def test_changed_url_is_unchecked_and_due_now(
    path: Callable[[Offer, Client], None], staff: Client
) -> None:
    offer = OfferFactory(**FOUND)
    assert stored(offer) == {name: FOUND[name] for name in NOTHING}
    assert not is_due(offer)
    path(offer, staff)
    assert Offer.objects.get().url == NEW
    assert stored(offer) == NOTHING
    assert is_due(offer)
    assert assert_exact(offer.organization).broken_offers == 0


def test_unchanged_url_keeps_the_result() -> None:
    offer = OfferFactory(**FOUND)
    offer.retailer = "New"
    offer.save()
    Offer.objects.update(url=offer.url, price="1.00")
    assert not change_offer(offer, {"url": offer.url})
    assert stored(offer) == {name: FOUND[name] for name in NOTHING}
    assert due_at(offer) == NEXT_YEAR
    assert assert_exact(offer.organization).broken_offers == 1


def test_offer_in_a_store_is_never_due() -> None:
    offer = OfferFactory(in_store=True)
    made = create_offer(offer.product, {"channel": "in_store", "store": "Main Street"})
    with connection.cursor() as cursor:
        cursor.execute("UPDATE offers_offer SET price = 1")
    assert due_at(offer) is None
    assert due_at(made) is None
    moved = OfferFactory(product=offer.product, **FOUND)
    Offer.objects.filter(pk=moved.pk).update(channel="in_store")
    assert stored(moved) == NOTHING | {"url_status": None}
    assert due_at(moved) is None
    assert assert_exact(offer.organization).broken_offers == 0
    Offer.objects.filter(pk=moved.pk).update(channel="online")
    assert stored(moved) == NOTHING
    assert is_due(moved)
    assert_exact(offer.organization)


def test_new_offer_is_due_now() -> None:
    offer = OfferFactory()
    assert is_due(offer)
    assert is_due(create_offer(ProductFactory(), {"url": NEW}))


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://shop.example.com/1", "shop.example.com"),
        ("HTTPS://Shop.EXAMPLE.com./1", "shop.example.com"),
        ("http://shop.example.com:8080", "shop.example.com"),
        ("https://me:secret@shop.example.com/a@b", "shop.example.com"),
        ("https://shop.example.com?at=https://other.example.com/", "shop.example.com"),
        ("https://[2001:DB8::1]:8443/1", "[2001:db8::1]"),
        ("https://b\u00fccher.example/", "b\u00fccher.example"),
        ("no address", ""),
        ("https://", ""),
        ("https://" + "a" * 900, "a" * 253),
    ],
)
def test_offers_are_grouped_by_host(url: str, host: str) -> None:
    assert OfferFactory(url=url).url_host == host
    Offer.objects.update(url="https://other.example.com/")
    Offer.objects.update(url=url)
    assert Offer.objects.get().url_host == host


# --- People ------------------------------------------------------------------------------------


def test_stale_form_keeps_the_result_of_a_check(staff: Client) -> None:
    offer = OfferFactory(url_status="ok")
    shown = form_of(staff, offer)
    assert shown["url_status"] == shown["initial-url_status"] == "ok"
    Offer.objects.update(**FOUND)
    assert post_to_admin(staff, offer, shown=shown, retailer="Kaufladen").status_code == 302
    assert Offer.objects.get().retailer == "Kaufladen"
    assert stored(offer) == {name: FOUND[name] for name in NOTHING}
    assert due_at(offer) == NEXT_YEAR
    assert assert_exact(offer.organization).broken_offers == 1


def test_unchanged_form_writes_nothing(staff: Client) -> None:
    offer = OfferFactory(**FOUND)
    before = Offer.objects.values().get()
    assert post_to_admin(staff, offer).status_code == 302
    assert Offer.objects.values().get() == before


@pytest.mark.parametrize("word", ["ok", "blocked", "timeout"])
def test_manual_status_stays_for_a_day(staff: Client, word: str) -> None:
    offer = OfferFactory(**FOUND)
    assert post_to_admin(staff, offer, url_status=word).status_code == 302
    since = stored(offer)["url_failing_since"]
    now = query("SELECT clock_timestamp()")
    assert stored(offer) == NOTHING | {
        "url_status": word,
        "url_checked_at": LONG_AGO,
        "url_detail": "A person has set this status.",
        "url_failing_since": since,
    }
    if word == "timeout":
        assert now - datetime.timedelta(minutes=1) < since <= now
    else:
        assert since is None
    due = due_at(offer)
    assert due is not None
    assert datetime.timedelta(hours=23) < due - now <= datetime.timedelta(days=1)
    assert assert_exact(offer.organization).broken_offers == (word == "timeout")


def test_manual_unchecked_makes_a_check_due(staff: Client) -> None:
    offer = OfferFactory(**FOUND)
    assert post_to_admin(staff, offer, url_status="unchecked").status_code == 302
    assert stored(offer) == NOTHING | {"url_checked_at": LONG_AGO}
    assert is_due(offer)
    assert_exact(offer.organization)


def test_manual_status_with_a_changed_url_is_ignored(staff: Client) -> None:
    offer = OfferFactory(**FOUND)
    assert post_to_admin(staff, offer, url_status="ok", url=NEW).status_code == 302
    assert stored(offer) == NOTHING
    assert is_due(offer)


def test_setting_a_status_manually_does_not_save() -> None:
    offer = OfferFactory(**FOUND)
    changed = set_status_manually(offer, "ok")
    assert stored(offer) == {name: FOUND[name] for name in NOTHING}
    with transaction.atomic():
        offer.save(update_fields=changed)
    assert stored(offer)["url_status"] == "ok"
