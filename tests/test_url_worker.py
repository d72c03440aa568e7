"""The worker as a whole, with real requests, alone and together with other workers."""

from __future__ import annotations

import asyncio
import datetime
import itertools
import signal
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now
from pytest_django import Settings

from closient.accounts.models import Organization
from offers.models import CheckedHost, Offer
from offers.url_checks import worker
from offers.url_checks.schedule.host_limits import HostLimits
from offers.url_checks.worker import BATCH_SIZE, Worker
from tests import url_worker
from tests.counting import assert_exact
from tests.factories import OfferFactory, ProductFactory
from tests.hostile_server import HostileServer, Request, hostile_server, loopback_policy
from tests.sessions import TIMEOUT_SECONDS, query
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

# Makes tests fast.
SHORT_INTERVAL = HostLimits(interval=datetime.timedelta(seconds=0.01))


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with hostile_server() as running:
        yield running


def make_offers(urls: Iterable[str], **fields: Any) -> Organization:
    """Create due offers of one product; return their organization."""
    product = ProductFactory()
    fields.setdefault("url_status", "unchecked")
    Offer.objects.bulk_create(
        Offer(
            organization_id=product.organization_id,
            product=product,
            sku=str(number),
            url=url,
            **fields,
        )
        for number, url in enumerate(urls)
    )
    organization: Organization = product.organization
    return organization


def work_once(**options: Any) -> int:
    """Run a worker until nothing is due; return how many offers it checked."""
    options = {
        "policy": loopback_policy(),
        "host_limits": SHORT_INTERVAL,
        "concurrency": 20,
        **options,
    }
    return asyncio.run(Worker(once=True, **options).run(asyncio.Event()))


def statuses() -> dict[str, str | None]:
    return dict(Offer.objects.values_list("url", "url_status"))


@contextmanager
def workers(count: int, *options: str) -> Iterator[list[subprocess.Popen[str]]]:
    """Start workers as programs, and stop them at the end of the block."""
    started = [url_worker.start(*options) for _ in range(count)]
    try:
        for process in started:
            assert process.stdout
            assert process.stdout.readline() == "ready\n", process.communicate()[1]
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def checked_by(process: subprocess.Popen[str]) -> int:
    """Wait until a worker has succeeded; return how many offers it checked."""
    output, complaints = process.communicate(timeout=TIMEOUT_SECONDS * 4)
    assert process.returncode == 0, complaints
    return int(output.split()[-1])


def test_due_offers_get_a_status_and_numbers_follow(server: HostileServer) -> None:
    """After one check only results that decide at once have changed the status."""
    paths = {
        "ok.test": ("/ok", "ok"),
        "moved.test": ("/to?http://elsewhere.test:PORT/ok", "ok"),
        "gone.test": ("/status/404", "unchecked"),
        "down.test": ("/status/500", "unchecked"),
        "wall.test": ("/status/403", "blocked"),
        "nowhere.invalid": ("/ok", "unchecked"),
    }
    expected = {
        server.url(path.replace("PORT", str(server.port)), host=host): verdict
        for host, (path, verdict) in paths.items()
    }
    organization = make_offers(expected)
    assert work_once() == len(expected)
    assert statuses() == expected
    assert assert_exact(organization).broken_offers == 0
    assert not Offer.objects.filter(url_check_at__lte=Now()).exists()
    # All slots of the requested hosts are free again.
    hosts = {*paths, "elsewhere.test"}
    free = CheckedHost.objects.filter(first_busy_until=None, second_busy_until=None)
    assert set(free.values_list("host", flat=True)) == hosts


def test_full_batch_is_synced_at_once(
    server: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "SYNC_INTERVAL", 3600.0)
    make_offers(server.url("/ok", host=f"shop{number}.test") for number in range(BATCH_SIZE))

    async def work() -> int:
        recorded: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        works = Worker(
            concurrency=BATCH_SIZE,
            policy=loopback_policy(),
            host_limits=SHORT_INTERVAL,
            on_checked=recorded.set_result,
        )
        working = asyncio.create_task(works.run(asyncio.Event()))
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                return await recorded
        finally:
            working.cancel()
            with suppress(asyncio.CancelledError):
                await working

    assert asyncio.run(work()) == BATCH_SIZE
    assert set(statuses().values()) == {"ok"}


def test_missing_page_becomes_broken_and_recovers_at_once(
    server: HostileServer,
) -> None:
    server.script("shop.test", "/status/404", "/status/404", "/ok")
    organization = make_offers([server.url("/1")])
    history = []
    for _ in range(3):
        assert work_once() == 1
        history.append((*Offer.objects.values_list("url_status", flat=True),))
        assert_exact(organization)
        # 15 minutes pass.
        passed = datetime.timedelta(minutes=15)
        Offer.objects.update(
            url_check_at=Now(),
            url_checked_at=F("url_checked_at") - passed,
            url_struck_first_at=F("url_struck_first_at") - passed,
            url_struck_last_at=F("url_struck_last_at") - passed,
        )
    assert history == [("unchecked",), ("broken",), ("ok",)]


def test_offers_of_one_url_take_one_request(server: HostileServer) -> None:
    organizations = [make_offers([server.url("/ok"), server.url("/ok")]) for _ in range(2)]
    assert work_once() == 4
    assert server.paths() == ["/ok"]
    assert set(statuses().values()) == {"ok"}
    for organization in organizations:
        assert_exact(organization)


@pytest.mark.slow
def test_throttling_host_is_paused_and_once_ends(server: HostileServer) -> None:
    make_offers(
        [
            *(server.url(f"/status/429?n={n}", host="busy.test") for n in range(30)),
            *(server.url(f"/ok?n={n}", host="other.test") for n in range(10)),
        ]
    )
    work_once(host_limits=HostLimits(interval=datetime.timedelta(seconds=0.2)))
    requested = Counter(request.host for request in server.requests)
    assert requested["other.test"] == 10
    # At most two had begun before the first was throttled.
    assert requested["busy.test"] <= 2
    assert Offer.objects.filter(url_check_at__lte=Now()).count() == 30 - requested["busy.test"]


def test_redirect_after_a_pause_resets_the_backoff(server: HostileServer) -> None:
    make_offers([server.url(f"/to?{server.url('/close', host='target.test')}", host="from.test")])
    for host in ("from.test", "target.test"):
        CheckedHost.objects.create(host=host, objections=5)
    assert work_once() == 1
    counts = dict(CheckedHost.objects.values_list("host", "objections"))
    assert counts == {"from.test": 0, "target.test": 5}


@pytest.mark.slow
def test_redirect_waits_for_a_slot_of_its_target(server: HostileServer) -> None:
    make_offers(
        server.url(f"/to?{server.url(f'/ok?n={n}', host='target.test')}", host=f"from{n}.test")
        for n in range(8)
    )
    assert work_once(host_limits=HostLimits(interval=datetime.timedelta(seconds=0.3))) == 8
    assert set(statuses().values()) == {"ok"}
    assert_polite([r for r in server.requests if r.host == "target.test"], interval=0.3)


@pytest.mark.slow
def test_queued_check_survives_a_lost_connection(server: HostileServer) -> None:
    make_offers([server.url(f"/to?{server.url('/ok', host='target.test')}", host="from.test")])
    CheckedHost.objects.create(
        host="target.test", next_start_at=Now() + datetime.timedelta(seconds=3)
    )
    in_queue = CheckedHost.objects.filter(wanted_until__isnull=False)
    # The next sync has nothing to write, which it would retry.
    done = CheckedHost.objects.filter(host="from.test", first_busy_until=None)

    def cut() -> None:
        wait_until(lambda: server.requests and done.exists() and in_queue.exists())
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle' AND "
                "pid <> pg_backend_pid() AND query LIKE '%waiting AS MATERIALIZED%'"
            )
            assert cursor.rowcount == 1
        connection.close()

    async def work() -> int:
        # There is no other reason for a sync.
        worker = Worker(
            once=True, concurrency=1, policy=loopback_policy(), host_limits=SHORT_INTERVAL
        )
        async with asyncio.timeout(TIMEOUT_SECONDS / 2):
            return await worker.run(asyncio.Event())

    with ThreadPoolExecutor(1) as thread:
        cutting = thread.submit(cut)
        assert asyncio.run(work()) == 1
        cutting.result()
    assert set(statuses().values()) == {"ok"}


@pytest.mark.slow
def test_redirects_to_a_busy_host_do_not_delay_others(server: HostileServer) -> None:
    """Forty hosts redirect to one, as with a URL shortener."""
    busy = server.url("/ok", host="target.test")
    many = [server.url(f"/to?{busy}", host=f"a{n:02}.test") for n in range(40)]
    others = [server.url("/ok", host=f"z{n:02}.test") for n in range(40)]
    make_offers([*many, *others])
    interval = 0.5
    work_once(concurrency=6, host_limits=HostLimits(interval=datetime.timedelta(seconds=interval)))
    requested = [request.host for request in server.requests]
    last_of_others = max(index for index, host in enumerate(requested) if host.startswith("z"))
    # At most three of six checks are queued, and the others go on.
    assert requested[:last_of_others].count("target.test") < len(many) / 2
    assert (
        requested.count("target.test")
        == Offer.objects.filter(url__in=many, url_status="ok").count()
    )
    # Rejected checks are retried one by one, at the interval of the host.
    sent_away = Offer.objects.filter(url__in=many, url_status="unchecked")
    due = sorted(sent_away.values_list("url_check_at", flat=True))
    assert len(due) > len(many) / 2
    assert due[0] > query("SELECT now() + interval '30 s'")
    spread = datetime.timedelta(seconds=interval * (len(due) - 1))
    assert spread * 0.9 < due[-1] - due[0] < spread + datetime.timedelta(minutes=1)


SECRET = "token=d41d8cd9"


def test_check_with_an_internal_error_is_postponed(
    server: HostileServer, caplog: pytest.LogCaptureFixture
) -> None:
    make_offers([f"http://odd.test/?{SECRET}", server.url("/ok", host="shop.test")])
    known = loopback_policy()

    async def look_up(host: str) -> Sequence[str]:
        if host == "odd.test":
            raise RuntimeError(f"unexpected http://odd.test/?{SECRET}")
        return await known.lookup(host)

    assert work_once(policy=loopback_policy(lookup=look_up)) == 1
    odd = Offer.objects.get(url_host="odd.test")
    assert (odd.url_status, odd.url_checked_at) == ("unchecked", None)
    assert is_put_off_for_an_hour(odd)
    assert Offer.objects.get(url_host="shop.test").url_status == "ok"
    # The log says where, and quotes no URL.
    assert caplog.text.count("a check at odd.test failed; postponed for an hour") == 1
    assert "RuntimeError" in caplog.text
    assert "in look_up" in caplog.text
    assert SECRET not in caplog.text


def test_result_that_cannot_be_saved_is_postponed_alone(
    server: HostileServer, caplog: pytest.LogCaptureFixture
) -> None:
    make_offers(server.url(f"/ok?{SECRET}", host=f"shop{n}.test") for n in range(5))
    odd = Offer.objects.get(url_host="shop3.test")
    with connection.cursor() as cursor:
        cursor.execute(
            "ALTER TABLE offers_offer ADD CONSTRAINT odd CHECK "
            f"(url_host <> '{odd.url_host}' OR url_status <> 'ok')"
        )
        try:
            work_once()
        finally:
            cursor.execute("ALTER TABLE offers_offer DROP CONSTRAINT odd")
    assert Offer.objects.filter(url_status="ok").count() == 4
    odd.refresh_from_db()
    assert (odd.url_status, odd.url_checked_at) == ("unchecked", None)
    assert is_put_off_for_an_hour(odd)
    assert caplog.text.count(f"the result for offer {odd.pk} cannot be saved") == 1
    assert "CheckViolation" in caplog.text
    assert SECRET not in caplog.text


def is_put_off_for_an_hour(offer: Offer) -> bool:
    hour = query("SELECT now() + interval '1 hour'")
    return bool(abs(offer.url_check_at - hour) < datetime.timedelta(minutes=5))


def test_outage_decides_nothing(server: HostileServer) -> None:
    make_offers(f"http://shop{n}.invalid/" for n in range(60))
    work_once()
    # The first ones looked like shops that are down, and got a strike.
    assert Offer.objects.filter(url_strikes__gt=0).count() == 19
    assert not Offer.objects.exclude(url_status="unchecked").exists()
    # The others were postponed.
    unseen = Offer.objects.filter(url_checked_at=None)
    assert unseen.filter(url_check_at__gt=Now() + datetime.timedelta(seconds=30)).count() == 41


def test_probe_ends_the_suspicion_of_an_outage(
    server: HostileServer,
) -> None:
    make_offers(f"http://shop{n}.invalid/" for n in range(30))
    make_offers([server.url("/ok")], url_status="ok", http_status=200)
    tomorrow = Now() + datetime.timedelta(days=1)
    Offer.objects.filter(url_host="shop.test").update(url_check_at=tomorrow)
    CheckedHost.objects.create(host="shop.test")
    work_once(concurrency=5)
    assert server.paths() == ["/ok"]
    # The probe responds: all results that were not postponed before count.
    assert Offer.objects.filter(url_strikes__gt=0).count() >= 19
    assert Offer.objects.filter(url_host="shop.test", url_check_at__gt=Now()).count() == 1


def test_shops_that_are_down_fail_while_others_respond(server: HostileServer) -> None:
    make_offers(
        server.url("/ok", host=f"shop{n:02}.{'test' if n % 3 else 'invalid'}") for n in range(90)
    )
    work_once()
    assert Offer.objects.filter(url_strikes__gt=0).count() == 30
    assert Offer.objects.filter(url_status="ok").count() == 60


def test_once_ends_with_nothing_due(server: HostileServer) -> None:
    assert work_once() == 0
    OfferFactory(in_store=True)
    assert work_once() == 0


def test_offer_edited_during_its_check_is_checked_again(
    server: HostileServer,
) -> None:
    organization = make_offers([server.url("/after/1/status/404")])

    def edit() -> None:
        wait_until(lambda: server.requests)
        Offer.objects.update(url=server.url("/ok"))
        connection.close()

    with ThreadPoolExecutor(1) as thread:
        edited = thread.submit(edit)
        work_once()
        edited.result()
    assert statuses() == {server.url("/ok"): "ok"}
    assert_exact(organization)


@pytest.mark.slow
def test_sigterm_finishes_checks_in_progress_and_starts_none(server: HostileServer) -> None:
    make_offers(
        [
            *(server.url("/after/1/ok", host=f"slow{n}.test") for n in range(10)),
            *(server.url(f"/after/1/ok?n={n}", host="slow0.test") for n in range(10)),
        ]
    )
    with workers(1, "--forever") as (worker,):
        wait_until(lambda: len(server.requests) >= 10)
        worker.send_signal(signal.SIGTERM)
        in_flight = len(server.requests)
        assert checked_by(worker) == in_flight
    assert len(server.requests) == in_flight
    assert Offer.objects.filter(url_status="ok").count() == in_flight
    # The others are due, not leased.
    assert Offer.objects.filter(url_check_at__lte=Now()).count() == 20 - in_flight


def most_at_once(requests: list[Request]) -> int:
    """Return the most requests at a time, by the server's log."""
    moments: list[tuple[float, int]] = []
    for request in requests:
        assert request.ended
        moments += [(request.started, 1), (request.ended, -1)]
    return max(itertools.accumulate(change for _, change in sorted(moments)))


def assert_polite(requests: list[Request], *, interval: float) -> None:
    """Assert that a host's requests keep its limits, by the server's log."""
    assert most_at_once(requests) <= 2
    started = sorted(request.started for request in requests)
    # On a busy machine a request may reach the server later than it was started.
    delay = 0.5
    for many in (5, 40, 200, len(requests)):
        for first, last in zip(started, started[many - 1 :], strict=False):
            assert last - first >= (many - 1) * interval - delay


@pytest.mark.slow
@pytest.mark.campaign
def test_four_workers_share_the_limits_of_a_host(
    server: HostileServer,
) -> None:
    # Scaled down: 15 minutes in 15 seconds, syncs too.
    interval, on_one_host, hosts = 0.015, 1000, 200
    # At first responses are slow, so two at a time are the limit; then the interval is.
    seconds = itertools.chain(itertools.repeat(0.2, 20), itertools.repeat(0))
    make_offers(
        itertools.chain(
            (
                server.url(f"/after/{next(seconds)}/ok?n={n}", host="huge.test")
                for n in range(on_one_host)
            ),
            (server.url("/ok", host=f"shop{n}.test") for n in range(hosts)),
        )
    )
    with workers(4, f"--interval={interval}", "--gap=0.01") as running:
        shares = [checked_by(process) for process in running]
    assert sum(shares) == on_one_host + hosts
    assert all(shares)
    assert set(statuses().values()) == {"ok"}
    by_host = Counter(request.host for request in server.requests)
    assert by_host == {"huge.test": on_one_host, **{f"shop{n}.test": 1 for n in range(hosts)}}
    huge = [request for request in server.requests if request.host == "huge.test"]
    assert most_at_once(huge) == 2
    assert_polite(huge, interval=interval)
    # The others did not wait for it.
    last_of_others = max(r.started for r in server.requests if r.host != "huge.test")
    assert last_of_others < sorted(r.started for r in huge)[on_one_host // 2]


@pytest.mark.slow
def test_four_workers_keep_the_interval_of_a_host(server: HostileServer) -> None:
    """With an interval that even a busy machine would violate without limits."""
    interval, offers = 0.15, 40
    make_offers(server.url(f"/ok?n={n}") for n in range(offers))
    with workers(4, f"--interval={interval}", "--gap=0.02") as running:
        assert sum(checked_by(process) for process in running) == offers
    assert_polite(server.requests, interval=interval)


def test_command_contacts_only_public_addresses(server: HostileServer) -> None:
    organization = make_offers([f"http://127.0.0.1:{server.port}/ok", "http://[::1]/", "ftp://a/b"])
    call_command("check_urls", once=True)
    assert server.connections == 0
    assert set(statuses().values()) == {"unchecked"}
    assert not Offer.objects.filter(url_checked_at=None).exists()
    assert_exact(organization)


def test_command_rejects_a_concurrency_below_one() -> None:
    with pytest.raises(CommandError, match="--concurrency must be 1 or more"):
        call_command("check_urls", once=True, concurrency=0)


def test_user_agent_names_the_checker_and_its_contact(
    server: HostileServer, settings: Settings
) -> None:
    settings.URL_CHECK_CONTACT = "https://example.com/checks"
    make_offers([server.url("/ok")])
    work_once()
    (request,) = server.requests
    name = request.headers["user-agent"]
    assert name == (
        "ClosientDashboard/1.0 (product page availability; +https://example.com/checks)"
    )
    assert not any(word in name.lower() for word in ("link", "bot", "crawler", "spider"))
