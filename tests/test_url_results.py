"""Results of checks are saved unless the offer has changed in the meantime."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

import pytest
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from closient.tally.models import TallyEntry
from offers.models import Offer
from offers.url_checks.fetch.responses import Failure, FetchResult
from offers.url_checks.schedule.claims import Claim, claim_one
from offers.url_checks.schedule.results import CheckedClaim, release, save
from offers.url_checks.verdict import STATE_COLUMNS, STRIKES_FOR_VERDICT
from tests.counting import assert_exact
from tests.factories import OfferFactory, OrganizationFactory, ProductFactory
from tests.sessions import query, sessions

pytestmark = pytest.mark.django_db

DAY = datetime.timedelta(days=1)
# The URL has failed twice, long enough ago: one more failure decides.
SUSPECTED = {
    "url_status": "ok",
    "url_strikes": STRIKES_FOR_VERDICT * 2 // 3,
    "url_struck_first_at": Now() - datetime.timedelta(minutes=30),
    "url_struck_last_at": Now() - datetime.timedelta(minutes=15),
}
GOOD = FetchResult(url="https://shop.example.com/", status=200, detail="The shop returned 200 OK.")
BAD = FetchResult(
    url="https://shop.example.com/",
    failure=Failure.CONNECTION,
    detail="The shop's server refused the connection.",
)


def claimed(offer: Offer, **stored: Any) -> Claim:
    """Set columns of an offer, and claim it."""
    if stored:
        Offer.objects.filter(pk=offer.pk).update(**stored)
    return claim_one(offer)


def check_of(offer: Offer) -> dict[str, Any]:
    """Return the columns of an offer's check."""
    columns = (*STATE_COLUMNS, "http_status", "url_detail", "url_check_at")
    return Offer.objects.values(*columns).get(pk=offer.pk)


def tally() -> int:
    return TallyEntry.objects.count()


def test_save_writes_all_columns_of_the_check() -> None:
    offer = OfferFactory()
    struck = claimed(offer, **SUSPECTED)
    before = Offer.objects.values().get()
    earlier = query("SELECT clock_timestamp()")
    assert save([CheckedClaim(struck, BAD)]) == 1
    later = query("SELECT clock_timestamp()")
    row = Offer.objects.values().get()
    changed = {name for name, value in row.items() if value != before[name]}
    assert changed == {
        "url_status", "url_checked_at", "url_failing_since", "url_detail", "url_check_at",
        "url_strikes", "url_struck_last_at",
    }  # fmt: skip
    assert earlier <= row["url_checked_at"] <= later
    assert row["url_struck_last_at"] == row["url_checked_at"]
    assert row["url_failing_since"] == row["url_struck_first_at"] == before["url_struck_first_at"]
    assert (row["url_status"], row["http_status"], row["url_detail"]) == (
        "broken",
        None,
        "The shop's server refused the connection.",
    )
    assert row["url_check_at"] > row["url_checked_at"]
    assert assert_exact(offer.organization).broken_offers == 1

    assert save([CheckedClaim(claimed(offer), GOOD)]) == 1
    healed = check_of(offer)
    assert healed["url_check_at"] > later + 0.85 * DAY
    assert {**healed, "url_check_at": None, "url_checked_at": None} == {
        "url_status": "ok",
        "url_checked_at": None,
        "url_failing_since": None,
        "url_strikes": 0,
        "url_struck_first_at": None,
        "url_struck_last_at": None,
        "http_status": 200,
        "url_detail": "",
        "url_check_at": None,
    }
    assert assert_exact(offer.organization).broken_offers == 0


def test_unchanged_status_writes_no_tally_entry() -> None:
    product = ProductFactory()
    offers = OfferFactory.create_batch(5, product=product, url_status="ok")
    entries = tally()
    for response in (GOOD, BAD, GOOD):
        assert save([CheckedClaim(claimed(offer), response) for offer in offers]) == 5
        assert tally() == entries
    for offer in offers:
        Offer.objects.filter(pk=offer.pk).update(**SUSPECTED)
    assert tally() == entries
    assert save([CheckedClaim(claimed(offer), BAD) for offer in offers]) == 5
    # All five moved from one bucket to another: one entry per bucket.
    assert tally() == entries + 2
    assert assert_exact(product.organization).broken_offers == 5


def test_many_results_are_saved_by_one_statement() -> None:
    organization = OrganizationFactory()
    offers = [
        OfferFactory(product=ProductFactory(organization=organization), **SUSPECTED)
        for _ in range(12)
    ]
    Offer.objects.update(**SUSPECTED)
    claims = [claim_one(offer) for offer in offers]
    responses = [BAD, GOOD, dataclasses.replace(GOOD, status=403)] * 4
    with CaptureQueriesContext(connection) as captured:
        written = save([CheckedClaim(c, a) for c, a in zip(claims, responses, strict=True)])
    assert written == 12
    # The clock; a transaction, its lock timeout, and one update.
    updates = [q["sql"] for q in captured.captured_queries if "UPDATE public" in q["sql"]]
    assert len(updates) == 1
    assert len(captured) <= 5, captured.captured_queries
    statuses = [Offer.objects.get(pk=offer.pk).url_status for offer in offers]
    assert statuses == ["broken", "ok", "ok"] * 4
    assert assert_exact(organization).broken_offers == 4


def test_saving_nothing_writes_nothing() -> None:
    assert save([]) == 0
    assert release([], datetime.datetime.now(datetime.UTC)) == 0


# --- Concurrent changes ------------------------------------------------------------------------

MEANWHILE: dict[str, dict[str, Any]] = {
    "another address": {"url": "https://shop.example.com/new"},
    "another address and back": {},
    "into a store": {"channel": "in_store", "url_status": None},
    "verdict of a person": {"url_status": "ok"},
    "another claim": {"url_check_at": F("url_check_at") + datetime.timedelta(seconds=1)},
    "made due": {"url_check_at": Now()},
    "checked since": {"url_checked_at": Now()},
}


@pytest.mark.parametrize("meanwhile", MEANWHILE)
def test_result_is_dropped_when_the_offer_has_changed(meanwhile: str) -> None:
    offer = OfferFactory()
    claim = claimed(offer, **{**SUSPECTED, "url_status": "blocked"})
    rows = Offer.objects.filter(pk=offer.pk)
    if meanwhile == "another address and back":
        rows.update(url="https://shop.example.com/new")
        rows.update(url=offer.url)
    else:
        rows.update(**MEANWHILE[meanwhile])
    before = rows.values().get()
    assert save([CheckedClaim(claim, BAD)]) == 0
    assert rows.values().get() == before
    assert_exact(offer.organization)


def test_edit_of_other_fields_keeps_the_result() -> None:
    offer = OfferFactory()
    claim = claimed(offer, **SUSPECTED)
    Offer.objects.filter(pk=offer.pk).update(price="9.99", retailer="New", status="seasonal")
    assert save([CheckedClaim(claim, BAD)]) == 1
    assert assert_exact(offer.organization).broken_offers == 1


def test_deleted_offer_does_not_affect_other_results() -> None:
    gone, kept = OfferFactory(), OfferFactory()
    claims = [claimed(gone), claimed(kept)]
    gone.delete()
    assert save([CheckedClaim(claim, GOOD) for claim in claims]) == 1
    assert check_of(kept)["url_status"] == "ok"


@pytest.mark.parametrize("first", [0, 1])
def test_later_of_two_overlapping_checks_counts(first: int) -> None:
    offer = OfferFactory()
    older, newer = claimed(offer), claimed(offer)
    results = [
        CheckedClaim(older, dataclasses.replace(GOOD, status=403)),
        CheckedClaim(newer, GOOD),
    ]
    written = [save([results[i]]) for i in (first, 1 - first)]
    assert written[first] == 0
    assert sum(written) == 1
    assert check_of(offer)["url_status"] == "ok"


def test_claim_is_released_unless_it_was_replaced() -> None:
    mine, taken = OfferFactory(), OfferFactory()
    claims = [claimed(mine), claimed(taken)]
    other = claimed(taken)
    at = datetime.datetime(2096, 1, 1, tzinfo=datetime.UTC)
    assert release(claims, at) == 1
    assert check_of(mine)["url_check_at"] == at
    assert check_of(taken)["url_check_at"] == other.token


@pytest.mark.django_db(transaction=True)
def test_edit_that_commits_while_the_result_waits_wins() -> None:
    offer, other = OfferFactory(), OfferFactory()
    claims = [claimed(row, **SUSPECTED) for row in (offer, other)]
    with sessions(2) as (editor, worker):
        editor.begin()
        editor.run(
            lambda: Offer.objects.filter(pk=offer.pk).update(url="https://shop.example.com/new")
        )
        recorded = worker.start(lambda: save([CheckedClaim(claim, BAD) for claim in claims]))
        worker.wait_until_blocked()
        editor.end()
        assert recorded.result(timeout=30) == 1
    edited = check_of(offer)
    assert (edited["url_status"], edited["url_checked_at"]) == ("unchecked", None)
    assert edited["url_check_at"] <= query("SELECT clock_timestamp()")
    assert check_of(other)["url_status"] == "broken"
    assert_exact(offer.organization)
    assert_exact(other.organization)


@pytest.mark.django_db(transaction=True)
def test_locked_rows_do_not_affect_other_results(monkeypatch: Any) -> None:
    monkeypatch.setattr("closient.db.transactions.LOCK_TIMEOUT", "100ms")
    locked, free = OfferFactory(), OfferFactory()
    claims = [claimed(locked), claimed(free)]
    with sessions(2) as (editor, worker):
        editor.begin()
        editor.run(lambda: Offer.objects.filter(pk=locked.pk).update(price="1.00"))
        assert worker.run(lambda: save([CheckedClaim(claim, GOOD) for claim in claims])) == 1
        editor.end()
    assert check_of(free)["url_status"] == "ok"
    assert check_of(locked)["url_status"] == "unchecked"


@pytest.mark.django_db(transaction=True)
def test_batches_of_the_same_offers_never_deadlock() -> None:
    product = ProductFactory()
    offers = OfferFactory.create_batch(40, product=product)
    with sessions(4) as workers:
        for _ in range(5):
            claims = [claim_one(offer) for offer in offers]
            batches = [claims, claims[::-1], claims[20:] + claims[:20], claims[::2] + claims[1::2]]
            started = [
                worker.start(lambda batch=batch: save([CheckedClaim(c, GOOD) for c in batch]))  # type: ignore[misc]
                for worker, batch in zip(workers, batches, strict=True)
            ]
            assert sum(future.result(timeout=30) for future in started) == 40
    assert query("SELECT count(*) FROM offers_offer WHERE url_status = 'ok'") == 40
    assert_exact(product.organization)
