"""Claims: every due offer is claimed once, host by host, by one worker."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from closient.tally.models import TallyEntry
from offers.models import Offer
from offers.url_checks.fetch.responses import FetchResult
from offers.url_checks.schedule import host_limits
from offers.url_checks.schedule.claims import LEASE, ClaimedUrl, ScanResult, claim_due, claim_one
from offers.url_checks.schedule.host_limits import HostLimits
from offers.url_checks.schedule.results import CheckedClaim, save
from tests.counting import assert_exact
from tests.factories import OfferFactory, OrganizationFactory, ProductFactory
from tests.sessions import query, sessions

pytestmark = pytest.mark.django_db

HOUR = datetime.timedelta(hours=1)
# A host has two slots.
AT_ONCE = HostLimits(interval=datetime.timedelta(0))
GOOD = FetchResult(url="https://shop.test/", status=200, detail="The shop returned 200 OK.")


def offer(url: str, *, due_in: datetime.timedelta | None = -HOUR, **fields: Any) -> Offer:
    """Return an offer with a URL that is due after a time; by default since an hour."""
    made: Offer = OfferFactory(url=url, **fields)
    due_at = None if due_in is None else Now() + due_in
    Offer.objects.filter(pk=made.pk).update(url_check_at=due_at)
    return made


def many_offers(urls: Iterable[str]) -> list[Offer]:
    """Return due offers of one product."""
    product = ProductFactory()
    Offer.objects.bulk_create(
        Offer(
            organization_id=product.organization_id,
            product=product,
            sku=str(number),
            url=url,
            url_status="unchecked",
        )
        for number, url in enumerate(urls)
    )
    return list(product.offers.all())


def urls_of(found: ScanResult) -> list[str]:
    return sorted(claimed_url.url for claimed_url in found.claimed)


def ids_of(claimed: Iterable[ClaimedUrl]) -> list[Any]:
    return [claim.offer_id for claimed_url in claimed for claim in claimed_url.claims]


def is_due(offer: Offer) -> bool:
    return Offer.objects.filter(pk=offer.pk, url_check_at__lte=Now()).exists()


def test_claim_takes_only_due_online_offers() -> None:
    offer("https://due.test/1")
    offer("https://later.test/1", due_in=HOUR)
    offer("https://never.test/1", due_in=None)
    OfferFactory(in_store=True, url="https://store.test/1")
    found = claim_due(100)
    assert urls_of(found) == ["https://due.test/1"]
    assert (found.after, found.busy, found.paused) == (None, 0, 0)
    assert claim_due(100).claimed == []


def test_claim_is_a_lease() -> None:
    made = offer("https://shop.test/1", url_status="ok", url_strikes=2)
    (claimed_url,) = claim_due(100).claimed
    (claim,) = claimed_url.claims
    assert (claim.offer_id, claim.url) == (made.pk, "https://shop.test/1")
    assert (claim.state.url_status, claim.state.url_strikes) == ("ok", 2)
    assert claim.token == Offer.objects.get(pk=made.pk).url_check_at
    left = query("SELECT extract(epoch FROM url_check_at - now()) FROM offers_offer")
    assert float(left) == pytest.approx(LEASE.total_seconds(), abs=5)
    # The worker has died.
    Offer.objects.update(url_check_at=Now())
    host_limits.release([claimed_url.slot])
    assert ids_of(claim_due(100, limits=AT_ONCE).claimed) == []
    query("UPDATE offers_checkedhost SET next_start_at = now() RETURNING 1")
    assert ids_of(claim_due(100).claimed) == [made.pk]


def test_claim_takes_the_longest_due_offer_of_a_host_first() -> None:
    offer("https://shop.test/new", due_in=-HOUR)
    offer("https://shop.test/old", due_in=-3 * HOUR)
    offer("https://shop.test/middle", due_in=-2 * HOUR)
    order = [urls_of(claim_due(100, limits=AT_ONCE)) for _ in range(2)]
    assert order == [["https://shop.test/old"], ["https://shop.test/middle"]]
    # Both of the host's slots are in use.
    found = claim_due(100, limits=AT_ONCE)
    assert (found.claimed, found.busy) == ([], 1)


def test_claim_takes_one_url_of_a_huge_shop() -> None:
    many_offers(f"https://huge.test/{number}" for number in range(2000))
    for host in ("a.test", "m.test", "z.test"):
        offer(f"https://{host}/1", due_in=datetime.timedelta(seconds=-1))
    hosts_visited = [claimed_url.slot.host for claimed_url in claim_due(100).claimed]
    assert sorted(hosts_visited) == ["a.test", "huge.test", "m.test", "z.test"]


def test_large_organization_delays_others_by_one_request_per_host() -> None:
    """It has ten offers at each of forty hosts, all due long before the offer of the other one."""
    many_offers(f"https://shop{n % 40:02}.test/{n}" for n in range(400))
    long_ago = Now() - datetime.timedelta(days=5)
    Offer.objects.update(url_check_at=long_ago)
    offer("https://shop20x.test/", due_in=datetime.timedelta(seconds=-1))
    visited: list[str] = []
    after, scans = None, 0
    while scans == 0 or after:
        found = claim_due(5, after=after, limits=AT_ONCE)
        visited += [claimed_url.slot.host for claimed_url in found.claimed]
        after = found.after
        scans += 1
    assert sorted(visited) == sorted(["shop20x.test", *(f"shop{n:02}.test" for n in range(40))])


def test_offers_of_one_url_are_claimed_together_across_organizations() -> None:
    url = "https://shop.test/1"
    along = [
        offer(url),
        offer(url),
        # Due soon.
        offer(url, due_in=5 * HOUR),
    ]
    # Maybe claimed; due later; never due.
    for due_in in (datetime.timedelta(minutes=1), 7 * HOUR, None):
        offer(url, due_in=due_in)
    offer("https://shop.test/2", due_in=5 * HOUR)
    (claimed_url,) = claim_due(100).claimed
    assert sorted(ids_of([claimed_url])) == sorted(made.pk for made in along)
    assert {claim.url for claim in claimed_url.claims} == {url}
    assert len({made.organization_id for made in along}) == 3


def test_scan_resumes_where_the_last_one_ended() -> None:
    many_offers(f"https://shop{number}.test/" for number in range(7))
    host_limits.register(["shop6.test", "shop1.test", "shop4.test"])
    seen, after, scans = [], None, 0
    while scans == 0 or after:
        found = claim_due(2, after=after, max_hosts=3)
        assert len(found.claimed) <= 2
        seen += urls_of(found)
        after = found.after
        scans += 1
    assert sorted(seen) == [f"https://shop{number}.test/" for number in range(7)]


def test_scan_skips_hosts_without_due_offers() -> None:
    for number in range(10):
        offer(f"https://a{number}.test/", due_in=HOUR)
    offer("https://z.test/")
    first = claim_due(5, max_hosts=4)
    assert (first.claimed, first.after) == ([], "a3.test")
    second = claim_due(5, after=first.after, max_hosts=100)
    assert (urls_of(second), second.after) == (["https://z.test/"], None)


def test_paused_host_is_skipped_and_its_offers_stay_due() -> None:
    made = offer("https://shop.test/1")
    host_limits.register(["shop.test"])
    host_limits.back_off({"shop.test": None})
    found = claim_due(100)
    assert (found.claimed, found.busy, found.paused) == ([], 0, 1)
    assert is_due(made)


def test_claim_takes_five_statements_and_writes_no_tally_entry() -> None:
    organization = OrganizationFactory()
    product = ProductFactory(organization=organization)
    for number in range(20):
        offer(f"https://shop{number}.test/1", product=product, sku=str(number))
    before = TallyEntry.objects.count()
    with CaptureQueriesContext(connection) as captured:
        found = claim_due(100)
    # 1. planner settings, 2. the scan, 3. rows of new hosts, 4. slots, 5. claims; and the savepoint
    # inside the transaction of the test, with its release.
    assert len(captured) == 7
    assert len(found.claimed) == 20
    assert TallyEntry.objects.count() == before
    assert_exact(organization)


def test_claim_of_a_person_replaces_that_of_a_worker() -> None:
    made = offer("https://shop.test/1")
    (claimed_url,) = claim_due(100).claimed
    claim = claim_one(made)
    assert save([CheckedClaim(claimed_url.claims[0], GOOD)]) == 0
    assert save([CheckedClaim(claim, GOOD)]) == 1
    assert Offer.objects.get(pk=made.pk).url_status == "ok"


def test_claim_fails_for_a_deleted_offer_or_one_in_a_store() -> None:
    gone = offer("https://shop.test/1")
    Offer.objects.filter(pk=gone.pk).delete()
    for one in (gone, OfferFactory(in_store=True)):
        with pytest.raises(Offer.DoesNotExist):
            claim_one(one)


@pytest.mark.django_db(transaction=True)
def test_claim_skips_locked_offers() -> None:
    edited = offer("https://shop.test/edited", due_in=-2 * HOUR)
    offer("https://shop.test/other")
    with sessions(1) as (editor,):
        editor.begin()
        editor.run(lambda: Offer.objects.select_for_update().get(pk=edited.pk))
        assert urls_of(claim_due(100)) == ["https://shop.test/other"]
        editor.end()
    assert is_due(edited)


@pytest.mark.django_db(transaction=True)
def test_concurrent_workers_claim_every_offer_once() -> None:
    made = many_offers(f"https://shop{number % 50}.test/{number}" for number in range(300))

    def work() -> list[Any]:
        mine: list[Any] = []
        while True:
            found = claim_due(7, limits=AT_ONCE, max_hosts=20, after=None)
            while found.claimed or found.after:
                mine += ids_of(found.claimed)
                host_limits.release([claimed_url.slot for claimed_url in found.claimed])
                found = claim_due(7, limits=AT_ONCE, max_hosts=20, after=found.after)
            if not Offer.objects.filter(url_check_at__lte=Now()).exists():
                return mine

    with sessions(4) as workers:
        shares = [each.result(timeout=120) for each in [w.start(work) for w in workers]]
    claimed = [offer_id for share in shares for offer_id in share]
    assert sorted(claimed) == sorted(one.pk for one in made)
    # They worked at the same time.
    assert sum(bool(share) for share in shares) > 1
