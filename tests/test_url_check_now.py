"""Checks for people who wait, from the API and the admin, of a real server on loopback."""

from __future__ import annotations

import datetime
import functools
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.db import connection
from django.db.models import F, Q
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from closient.db.ids import format_id, uuid7
from offers.models import CheckedHost, Offer
from offers.url_checks.check_now import HostThrottled, NoUrl, check_now, check_some_now
from offers.url_checks.fetch.client import FetchLimits
from offers.url_checks.fetch.policy import Policy
from offers.url_checks.schedule.due import make_due, overdue_count
from offers.url_checks.schedule.host_limits import HostLimits
from tests.clients import API, client_of, problem
from tests.counting import assert_exact
from tests.factories import OfferFactory, OrganizationFactory, ProductFactory
from tests.hostile_server import Authority, HostileServer, hostile_server, loopback_policy
from tests.sessions import query, sessions
from tests.test_url_hosts import watch_hosts
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db

PAUSE = datetime.timedelta(minutes=11)
FAILED = ("broken", "timeout", "dns_failure")


@pytest.fixture(scope="module")
def shop() -> Iterator[HostileServer]:
    """A shop that responds as the path of a URL says."""
    with hostile_server() as server:
        yield server


@pytest.fixture(autouse=True)
def _shops_are_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("offers.url_checks.check_now.POLICY", loopback_policy())
    # The interval between two requests has its own tests.
    monkeypatch.setattr(
        "offers.url_checks.check_now.HOST_LIMITS", HostLimits(interval=datetime.timedelta(0))
    )


hosts = (f"shop-{number}.test" for number in itertools.count())


def offer_at(shop: HostileServer, path: str = "/ok", **fields: Any) -> Offer:
    """Return an offer at a separate shop, so that no test waits for the slots of another one."""
    return OfferFactory(url=shop.url(path, host=next(hosts)), **fields)


def check_path(offer: Offer) -> str:
    return f"{API}/offers/{format_id(offer.organization_id)}/{format_id(offer.pk)}/check"


def check(offer: Offer, role: str = "editor") -> Any:
    return client_of(offer.organization, role=role).post(check_path(offer))


def later(pause: datetime.timedelta = PAUSE) -> None:
    """Let time pass: move the times of all checks back, and forget the hosts."""
    Offer.objects.update(
        **{
            column: F(column) - pause
            for column in (
                "url_checked_at",
                "url_check_at",
                "url_failing_since",
                "url_struck_first_at",
                "url_struck_last_at",
            )
        }
    )
    CheckedHost.objects.all().delete()


# --- The API -----------------------------------------------------------------------------------


def test_check_returns_the_updated_offer(shop: HostileServer) -> None:
    offer = offer_at(shop, "/ok", url_status="broken", http_status=404)
    client = client_of(offer.organization, role="editor")
    before = client.get(check_path(offer).removesuffix("/check")).json()
    response = client.post(check_path(offer))
    assert response.status_code == 200, response.content
    checked_at = datetime.datetime.fromisoformat(response.json()["url_checked_at"])
    assert abs(checked_at - query("SELECT clock_timestamp()")) < datetime.timedelta(minutes=1)
    assert response.json() == {
        **before,
        "url_status": "ok",
        "http_status": 200,
        "url_checked_at": response.json()["url_checked_at"],
        "url_failing_since": None,
        "url_detail": "",
    }
    assert client.get(check_path(offer).removesuffix("/check")).json() == response.json()
    assert assert_exact(offer.organization).broken_offers == 0


def test_numbers_follow_the_status(shop: HostileServer) -> None:
    offer = offer_at(shop, "/status/404", url_status="ok")
    first = check(offer).json()
    assert (first["url_status"], first["http_status"]) == ("ok", 404)
    assert first["url_detail"] == ("The shop returned 404 Not Found; confirming with more checks.")
    assert assert_exact(offer.organization).broken_offers == 0
    # A second check at once is not new evidence.
    CheckedHost.objects.all().delete()
    assert check(offer).json()["url_status"] == "ok"
    later()
    second = check(offer).json()
    assert (second["url_status"], second["url_detail"]) == (
        "broken",
        "The shop returned 404 Not Found.",
    )
    assert second["url_failing_since"] < second["url_checked_at"]
    assert assert_exact(offer.organization).broken_offers == 1


def test_check_requires_write_permission(shop: HostileServer) -> None:
    offer = offer_at(shop)
    foreign = offer_at(shop)
    mine = client_of(offer.organization, role="editor")
    path = check_path(foreign).replace(
        format_id(foreign.organization_id), format_id(offer.organization_id)
    )
    assert mine.post(path).status_code == 404
    assert mine.post(check_path(foreign)).status_code == 404
    assert mine.get(check_path(offer)).status_code == 405
    assert check(offer, role="readonly").status_code == 403
    assert Client().post(check_path(offer)).status_code == 401
    assert shop.paths(offer.url_host) == shop.paths(foreign.url_host) == []
    assert set(Offer.objects.values_list("url_checked_at", flat=True)) == {None}


def test_offer_in_a_store_is_a_conflict() -> None:
    offer = OfferFactory(in_store=True)
    assert problem(check(offer)) == {
        "type": "/docs/errors/conflict",
        "title": "Conflict",
        "status": 409,
        "detail": "This offer has no URL to check: it is in a store.",
        "error_code": "conflict",
        "retryable": False,
    }


def busy(host: str, **until: Any) -> None:
    """Fill both slots of a host with requests that take longer than a person waits."""
    minute = Now() + datetime.timedelta(minutes=1)
    CheckedHost.objects.create(
        host=host, **{"first_busy_until": minute, "second_busy_until": minute, **until}
    )


@pytest.mark.parametrize("paused", [False, True])
def test_busy_or_paused_shop_is_unavailable(
    shop: HostileServer, monkeypatch: pytest.MonkeyPatch, paused: bool
) -> None:
    monkeypatch.setattr("offers.url_checks.check_now.SLOT_TIMEOUT", datetime.timedelta(seconds=0.2))
    offer = offer_at(shop, url_status="ok")
    until = {"paused_until": Now() + datetime.timedelta(minutes=30)} if paused else {}
    busy(offer.url_host, **until)
    response = check(offer)
    body = problem(response)
    wait = body.pop("retry_after")
    assert response.headers["Retry-After"] == str(wait)
    assert wait in (range(1795, 1801) if paused else range(1, 11))
    assert body == {
        "type": "/docs/errors/unavailable",
        "title": "Service Unavailable",
        "status": 503,
        "detail": "The shop has reached its request limit or has requested a pause. "
        f"The URL will be checked as soon as possible. Try again in {wait} seconds.",
        "error_code": "unavailable",
        "retryable": True,
    }
    assert shop.paths(offer.url_host) == []
    # Queued for the workers.
    row = Offer.objects.get()
    assert (row.url_status, row.url_checked_at) == ("ok", None)
    assert row.url_check_at <= query("SELECT clock_timestamp()")


def test_throttling_shop_is_paused(shop: HostileServer) -> None:
    offer = offer_at(shop, "/status/429?Retry-After=1800")
    assert check(offer).json()["url_status"] == "blocked"
    wait = CheckedHost.objects.get(host=offer.url_host).paused_until - query(
        "SELECT clock_timestamp()"
    )
    assert datetime.timedelta(minutes=29) < wait <= datetime.timedelta(minutes=30)


def test_shop_is_paused_before_its_slot_is_released(shop: HostileServer) -> None:
    offer = offer_at(shop, "/to?/status/503")
    seen = watch_hosts()
    check_now(offer)
    # First the slot of the redirect, then that of its target.
    assert seen() == [
        (True, False),
        (False, False),
        (True, False),
        (True, True),
        (False, True),
    ]


@pytest.mark.parametrize(
    ("path", "objections"), [("/ok", 0), ("/status/404", 0), ("/close", 5), ("/status/503", 6)]
)
def test_only_a_response_resets_the_backoff(
    shop: HostileServer, path: str, objections: int
) -> None:
    offer = offer_at(shop, path)
    CheckedHost.objects.create(host=offer.url_host, objections=5)
    check(offer)
    assert CheckedHost.objects.get(host=offer.url_host).objections == objections


def test_redirect_resets_the_backoff_of_its_host(shop: HostileServer) -> None:
    offer, onward = offer_at(shop), shop.url("/close", host=next(hosts))
    offer.url = shop.url(f"/to?{onward}", host=offer.url_host)
    offer.save()
    target = OfferFactory(url=onward).url_host
    CheckedHost.objects.create(host=offer.url_host, objections=5)
    CheckedHost.objects.create(host=target, objections=5)
    check(offer)
    counts = dict(CheckedHost.objects.values_list("host", "objections"))
    assert counts == {offer.url_host: 0, target: 5}


@pytest.mark.django_db(transaction=True)
def test_edit_during_the_check_wins_and_is_returned(shop: HostileServer) -> None:
    offer = offer_at(shop, "/after/0.5/ok")
    client = client_of(offer.organization, role="editor")
    with sessions(1) as (session,):
        checking = session.start(lambda: client.post(check_path(offer)))
        wait_until(lambda: shop.paths(offer.url_host))
        # No transaction is open during the request, so this update does not wait.
        Offer.objects.filter(pk=offer.pk).update(url="https://new.test/")
        response = checking.result(timeout=30)
    body = response.json()
    assert response.status_code == 200
    assert (body["url"], body["url_status"], body["url_checked_at"]) == (
        "https://new.test/",
        "unchecked",
        None,
    )
    assert query("SELECT url_check_at <= clock_timestamp() FROM offers_offer")
    assert_exact(offer.organization)


@pytest.mark.django_db(transaction=True)
def test_offer_deleted_during_the_check_is_a_conflict(shop: HostileServer) -> None:
    offer = offer_at(shop, "/after/0.5/ok")
    client = client_of(offer.organization, role="editor")
    with sessions(1) as (session,):
        checking = session.start(lambda: client.post(check_path(offer)))
        wait_until(lambda: shop.paths(offer.url_host))
        offer.delete()
        response = checking.result(timeout=30)
    assert problem(response)["error_code"] == "conflict"


@pytest.mark.django_db(transaction=True)
def test_concurrent_checks_are_limited(shop: HostileServer) -> None:
    product = ProductFactory()
    slow = [offer_at(shop, "/after/0.5/ok", product=product) for _ in range(2)]
    third = offer_at(shop, product=product, url_check_at=None)
    client = client_of(product.organization, role="editor")
    with sessions(2) as waiting:
        checking = [
            session.start(functools.partial(client.post, check_path(offer)))
            for session, offer in zip(waiting, slow, strict=True)
        ]
        wait_until(lambda: all(shop.paths(offer.url_host) for offer in slow))
        rejected = client.post(check_path(third))
        assert [future.result(timeout=30).status_code for future in checking] == [200, 200]
    assert (rejected.status_code, rejected.headers["Retry-After"]) == (503, "10")
    assert problem(rejected)["detail"].startswith("Too many checks are waiting.")
    assert shop.paths(third.url_host) == []
    assert query("SELECT count(*) FROM offers_offer WHERE url_check_at <= clock_timestamp()") == 1
    assert client.post(check_path(third)).json()["url_status"] == "ok"


def test_check_takes_eleven_queries(shop: HostileServer) -> None:
    offer = offer_at(shop)
    CheckedHost.objects.create(host=offer.url_host)
    client = client_of(offer.organization, role="editor")
    with CaptureQueriesContext(connection) as captured:
        assert client.post(check_path(offer)).status_code == 200
    # The key with its organization and the rate limit, the offer; the claim; the host's slot,
    # acquired and released; the clock; a savepoint here for a transaction, its lock timeout, the
    # result, and the savepoint's end; the offer again.
    statements = [query["sql"] for query in captured.captured_queries]
    assert len(statements) == 11, "\n".join(s[:60] for s in statements)


# --- Every kind of response, over time ---------------------------------------------------------

OVER_TIME = {
    "/ok": "ok ok ok",
    "/redirect/5": "ok ok ok",
    "/redirect/11": "unchecked unchecked broken",
    "/loop": "unchecked unchecked broken",
    "/status/204": "unchecked unchecked broken",
    "/status/304": "unchecked unchecked broken",
    "/status/400": "unchecked unchecked broken",
    "/status/404": "unchecked broken broken",
    "/status/410": "unchecked broken broken",
    "/status/401": "blocked blocked blocked",
    "/status/403": "blocked blocked blocked",
    "/status/405": "blocked blocked blocked",
    "/status/429?Retry-After=120": "blocked blocked blocked",
    "/status/451": "blocked blocked blocked",
    "/status/500": "unchecked unchecked broken",
    "/status/503": "unchecked unchecked broken",
    "/status/503?Retry-After=120": "unchecked unchecked broken",
    "/status/999": "blocked blocked blocked",
    "/body?<title>Just a moment...</title>": "blocked blocked blocked",
    "/reset": "unchecked unchecked broken",
    "/close": "unchecked unchecked broken",
    "/endless/junk": "unchecked unchecked broken",
    "/endless/body": "ok ok ok",
    "/to?http://nowhere.invalid/": "unchecked unchecked dns_failure",
    "/to?http://10.0.0.1/": "unchecked unchecked broken",
    "/to?ftp://shop.test/": "unchecked unchecked broken",
}


def three_checks(offer: Offer) -> str:
    """Check an offer three times, some time apart; the numbers are exact each time."""
    statuses = []
    for _ in range(3):
        fresh = check_now(offer)
        statuses.append(str(fresh.url_status))
        assert assert_exact(offer.organization).broken_offers == (fresh.url_status in FAILED)
        assert bool(fresh.url_failing_since) == (fresh.url_status in FAILED)
        assert (fresh.url_detail == "") == (fresh.url_status == "ok")
        later()
    return " ".join(statuses)


@pytest.mark.parametrize("path", OVER_TIME)
def test_each_kind_of_response_becomes_its_status(shop: HostileServer, path: str) -> None:
    assert three_checks(offer_at(shop, path)) == OVER_TIME[path]


@pytest.mark.parametrize("path", ["/hang", "/drip/head", "/drip/body"])
def test_slow_shop_is_a_timeout(
    shop: HostileServer, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr("offers.url_checks.check_now.FETCH_LIMITS", FetchLimits(total=0.2))
    assert three_checks(offer_at(shop, path)) == "unchecked unchecked timeout"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://gone.invalid/", "unchecked unchecked dns_failure"),
        # Nothing listens on the discard port here.
        ("http://shop.test:9/", "unchecked unchecked broken"),
        ("https://me:secret@shop.test/", "unchecked unchecked broken"),
    ],
)
def test_url_without_a_shop_fails(url: str, expected: str) -> None:
    assert three_checks(OfferFactory(url=url)) == expected


@pytest.mark.parametrize(
    ("days", "host", "expected"),
    [
        ((-10, 10), "tls.test", "ok ok ok"),
        ((-10, -1), "tls.test", "unchecked unchecked broken"),
        ((-10, 10), "other.test", "unchecked unchecked broken"),
    ],
)
def test_certificate_decides_as_in_a_browser(
    monkeypatch: pytest.MonkeyPatch, days: tuple[int, int], host: str, expected: str
) -> None:
    authority = Authority()
    policy: Policy = loopback_policy(authorities=authority.trust)
    monkeypatch.setattr("offers.url_checks.check_now.POLICY", policy)
    with hostile_server(tls=authority.server("tls.test", days=days)) as server:
        assert three_checks(OfferFactory(url=server.url("/ok", host=host))) == expected


def test_status_follows_an_unreliable_shop(shop: HostileServer) -> None:
    offer = offer_at(shop)
    script = ["/status/500", "/status/403", "/status/404", "/status/500", "/ok", "/status/410"]
    shop.script(offer.url_host, *script)
    statuses = []
    for _ in script:
        statuses.append(check_now(offer).url_status)
        later()
    assert statuses == ["unchecked", "blocked", "blocked", "broken", "ok", "ok"]
    assert_exact(offer.organization)


# --- Many at once, in the admin ----------------------------------------------------------------


def act(staff: Client, offers: list[Offer]) -> list[str]:
    """Run the action for some offers, and return its messages."""
    response = staff.post(
        reverse("admin:offers_offer_changelist"),
        {"action": "check_now", "_selected_action": [offer.pk for offer in offers]},
    )
    assert response.status_code == 302, response.content
    return [str(message) for message in get_messages(response.wsgi_request)]


def test_action_checks_the_selected_offers(shop: HostileServer, staff: Client) -> None:
    good, bad = offer_at(shop, "/ok"), offer_at(shop, "/status/403")
    unasked = offer_at(shop)
    in_store = OfferFactory(in_store=True)
    assert act(staff, [good, bad, in_store]) == [
        "URLs checked: 2. In store, without a URL to check: 1."
    ]
    statuses = dict(Offer.objects.values_list("pk", "url_status"))
    assert statuses == {
        good.pk: "ok",
        bad.pk: "blocked",
        unasked.pk: "unchecked",
        in_store.pk: None,
    }
    assert_exact(good.organization)


def test_action_leaves_the_rest_to_the_workers(
    shop: HostileServer, staff: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("offers.url_checks.check_now.MAX_CHECKED_NOW", 3)
    year = datetime.datetime(2096, 1, 1, tzinfo=datetime.UTC)
    offers = [offer_at(shop, url_check_at=year) for _ in range(4)]
    # Never checked, so due anyway, and checked first.
    offers += [offer_at(shop) for _ in range(4)]
    [message] = act(staff, offers)
    assert message.startswith("URLs checked: 3. Queued for the workers: 5.")
    assert "In a store" not in message
    unchecked = Offer.objects.filter(url_status="unchecked", url_check_at__lte=Now())
    assert (Offer.objects.filter(url_status="ok").count(), unchecked.count()) == (3, 5)


def test_longest_retry_after_of_a_shop_counts(shop: HostileServer) -> None:
    host = next(hosts)
    for seconds in (1800, 60):
        OfferFactory(url=shop.url(f"/status/429?Retry-After={seconds}", host=host))
    check_some_now(Offer.objects.all())
    wait = CheckedHost.objects.get(host=host).paused_until - query("SELECT clock_timestamp()")
    assert wait > datetime.timedelta(minutes=29)


def test_offers_of_one_url_take_one_request_now(shop: HostileServer) -> None:
    product = ProductFactory()
    url = shop.url("/ok", host=next(hosts))
    offers = OfferFactory.create_batch(4, product=product, url=url)
    outcome = check_some_now(Offer.objects.all())
    assert (outcome.checked, outcome.made_due, outcome.skipped) == (4, 0, 0)
    assert shop.paths(offers[0].url_host) == ["/ok"]
    assert Offer.objects.filter(url_status="ok").count() == 4


def test_busy_shop_does_not_delay_others(
    shop: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("offers.url_checks.check_now.SLOT_TIMEOUT", datetime.timedelta(seconds=0.2))
    paused, free = offer_at(shop), offer_at(shop)
    busy(paused.url_host)
    outcome = check_some_now(Offer.objects.all())
    assert (outcome.checked, outcome.made_due, outcome.skipped) == (1, 1, 0)
    CheckedHost.objects.filter(host=free.url_host).delete()
    assert check_now(free).url_status == "ok"
    with pytest.raises(HostThrottled):
        check_now(paused)
    with pytest.raises(NoUrl):
        check_now(OfferFactory(in_store=True))


# --- What is due -------------------------------------------------------------------------------


def test_make_due_schedules_online_offers_now() -> None:
    year = datetime.datetime(2096, 1, 1, tzinfo=datetime.UTC)
    product = ProductFactory()
    later_on, never = (OfferFactory(product=product, url_check_at=at) for at in (year, None))
    waiting = OfferFactory(product=product, url_check_at=Now() - datetime.timedelta(minutes=5))
    OfferFactory(product=product, in_store=True)
    other = OfferFactory(url_check_at=year)
    since = Offer.objects.get(pk=waiting.pk).url_check_at
    # One was due already.
    assert make_due(Offer.objects.of(product.organization)) == 3
    due = Offer.objects.filter(Q(url_check_at__lte=Now()))
    assert set(due) == {later_on, never, waiting}
    # It keeps its position.
    assert due.get(pk=waiting.pk).url_check_at == since
    assert Offer.objects.get(pk=other.pk).url_check_at == year
    assert_exact(product.organization)


@pytest.mark.django_db(transaction=True)
def test_make_due_and_saving_do_not_deadlock() -> None:
    year = datetime.datetime(2096, 1, 1, tzinfo=datetime.UTC)
    # In the table the last one comes first.
    first, last = sorted([uuid7(), uuid7()])
    for key in (last, first):
        OfferFactory(pk=key, url_check_at=year)
    with sessions(2) as (one, other):
        one.begin()
        one.run(lambda: Offer.objects.filter(pk=first).update(url_strikes=1))
        made = other.start(lambda: make_due(Offer.objects.all()))
        other.wait_until_blocked()
        # It waits for the first row and holds no lock yet.
        one.run(lambda: Offer.objects.select_for_update(nowait=True).get(pk=last))
        one.end()
        assert made.result(timeout=30) == 2


def test_overdue_count_starts_after_ten_minutes() -> None:
    organization = OrganizationFactory()
    product = ProductFactory(organization=organization)
    for minutes in (-60, 0, 5, 9, 11, 60):
        due = Now() - datetime.timedelta(minutes=minutes)
        OfferFactory(product=product, url_check_at=due)
    OfferFactory(product=product, url_check_at=None)
    OfferFactory(product=product, in_store=True)
    OfferFactory(url_check_at=Now() - datetime.timedelta(minutes=60))
    assert overdue_count(organization) == overdue_count(organization.pk) == 2
