"""Rate limits: exact under concurrency, honest headers, bad keys limited by address."""

from __future__ import annotations

import datetime
import ipaddress
import multiprocessing
from typing import Any

import pytest
from django.db import connection
from django.test import Client, RequestFactory
from pytest_django import DjangoAssertNumQueries, Settings

from closient.accounts import ratelimit
from closient.accounts.addresses import client_address
from closient.accounts.api_keys import create_api_key
from closient.accounts.authentication import find_key_and_count
from closient.accounts.models import ApiKey, ApiKeyKind, RateLimit
from closient.accounts.ratelimit import Limits, MemoryLimit, Verdict, Window
from closient.text import key_format
from tests.clients import client_of, problem, stats_path
from tests.factories import MembershipFactory, OrganizationFactory

SMALL_LIMITS = Limits(per_minute=2, per_day=3)


def take(limits: Limits = SMALL_LIMITS) -> Verdict:
    return ratelimit.take("key:1", limits)


def age(**since: datetime.timedelta) -> None:
    """Let windows have started earlier by so much."""
    row = RateLimit.objects.get()
    for window, delta in since.items():
        field = f"{window}_started_at"
        setattr(row, field, getattr(row, field) - delta)
    row.save()


@pytest.mark.django_db
def test_limit_counts_both_windows_from_the_first_request() -> None:
    assert take() == Verdict(True, (Window(2, 60, 1, 60), Window(3, 86_400, 2, 86_400)))
    age(minute=datetime.timedelta(seconds=20), day=datetime.timedelta(seconds=20))
    # The windows of the first request go on: they end 40 seconds from now, or a little less.
    verdict = take()
    assert verdict.is_allowed
    assert [w.remaining for w in verdict.windows] == [0, 1]
    assert [w.reset for w in verdict.windows] == [40, 86_380]


@pytest.mark.django_db
def test_limit_refuses_without_counting_until_the_minute_is_over() -> None:
    assert [take().is_allowed for _ in range(5)] == [True, True, False, False, False]
    row = RateLimit.objects.get()
    assert (row.minute_count, row.day_count) == (2, 2)
    age(minute=datetime.timedelta(seconds=60))
    verdict = take()
    assert verdict.is_allowed
    assert verdict.windows[0] == Window(2, 60, 1, 60)
    assert verdict.windows[1].remaining == 0


@pytest.mark.django_db
def test_limit_of_the_day_refuses_after_the_minute_is_over() -> None:
    take(), take()
    age(minute=datetime.timedelta(seconds=60), day=datetime.timedelta(seconds=60))
    assert take().is_allowed
    age(minute=datetime.timedelta(seconds=60), day=datetime.timedelta(seconds=60))
    verdict = take()
    assert not verdict.is_allowed
    # A refused request starts no window.
    assert verdict.windows == (Window(2, 60, 2, 60), Window(3, 86_400, 0, 86_280))
    assert verdict.retry_after == 86_280
    age(day=datetime.timedelta(days=1))
    assert take() == Verdict(True, (Window(2, 60, 1, 60), Window(3, 86_400, 2, 86_400)))


@pytest.mark.django_db
def test_windows_from_a_clock_that_was_ahead_are_over() -> None:
    """After a failover to a server whose clock is an hour behind."""
    take(), take()
    assert not take().is_allowed
    hour = datetime.timedelta(hours=1)
    age(minute=-hour, day=-hour)
    assert take() == Verdict(True, (Window(2, 60, 1, 60), Window(3, 86_400, 2, 86_400)))
    assert take().is_allowed
    # The limit holds from now on, by the clock there is.
    assert not take().is_allowed


@pytest.mark.django_db
def test_minute_from_a_clock_that_was_ahead_is_over_when_the_day_refuses() -> None:
    take(), take()
    age(minute=datetime.timedelta(seconds=60))
    take()
    age(minute=-datetime.timedelta(hours=1))
    verdict = take()
    assert not verdict.is_allowed
    assert verdict.windows[0] == Window(2, 60, 2, 60)


@pytest.mark.django_db
def test_limit_lowered_below_the_count_refuses() -> None:
    take(Limits(10, 10)), take(Limits(10, 10)), take(Limits(10, 10))
    verdict = take(SMALL_LIMITS)
    assert not verdict.is_allowed
    assert [w.remaining for w in verdict.windows] == [0, 0]


def test_headers_tell_the_window_with_the_fewest_left() -> None:
    verdict = Verdict(True, (Window(300, 60, 299, 60), Window(10_000, 86_400, 12, 5_000)))
    assert verdict.headers == {
        "RateLimit-Policy": "300;w=60, 10000;w=86400",
        "RateLimit-Limit": "10000",
        "RateLimit-Remaining": "12",
        "RateLimit-Reset": "5000",
    }


@pytest.mark.django_db
def test_key_of_its_own_limits_and_kinds_have_their_policy() -> None:
    organization = OrganizationFactory()
    path = stats_path(organization)

    def policy(**fields: Any) -> str:
        return client_of(organization, **fields).get(path).headers["RateLimit-Policy"]

    assert policy() == "300;w=60, 10000;w=86400"
    assert policy(kind=ApiKeyKind.PUBLISHABLE) == "100;w=60, 10000;w=86400"
    assert policy(limit_per_minute=7, limit_per_day=9) == "7;w=60, 9;w=86400"


@pytest.mark.django_db
def test_last_used_at_is_stamped_at_most_once_a_minute() -> None:
    organization = OrganizationFactory()
    key, text = create_api_key(name="x", organization=organization)
    client = Client(headers={"X-API-Key": text})

    def used_at() -> Any:
        client.get(stats_path(organization))
        return ApiKey.objects.get(id=key.id).last_used_at

    first = used_at()
    assert first is not None
    recent = first - datetime.timedelta(seconds=30)
    ApiKey.objects.filter(id=key.id).update(last_used_at=recent)
    assert used_at() == recent
    ApiKey.objects.filter(id=key.id).update(last_used_at=first - datetime.timedelta(seconds=61))
    assert used_at() >= first


@pytest.mark.django_db
def test_request_over_the_limit_gets_retry_after() -> None:
    organization = OrganizationFactory()
    client = client_of(organization, limit_per_minute=1)
    path = stats_path(organization)
    assert client.get(path).status_code == 200
    response = client.get(path)
    assert response.status_code == 429
    assert problem(response) == {
        "type": "/docs/errors/rate_limited",
        "title": "Too Many Requests",
        "status": 429,
        "detail": "The limit of requests per minute (1) is used up. Try again in 60 seconds.",
        "error_code": "rate_limited",
        "retryable": True,
        "retry_after": 60,
        "window": "minute",
    }
    assert response.headers["Retry-After"] == "60"
    assert response.headers["RateLimit-Limit"] == "1"
    assert response.headers["RateLimit-Remaining"] == "0"
    # The limit comes before the organization is looked at: a stranger's is refused alike.
    assert client.get(stats_path(OrganizationFactory())).status_code == 429
    # Another key of the organization has a limit of its own.
    assert client_of(organization).get(path).status_code == 200


@pytest.mark.django_db
def test_request_over_the_limit_of_the_day_names_the_day() -> None:
    organization = OrganizationFactory()
    client = client_of(organization, limit_per_minute=5, limit_per_day=1)
    path = stats_path(organization)
    assert client.get(path).status_code == 200
    told = problem(client.get(path))
    assert (told["window"], told["retry_after"]) == ("day", 86_400)
    assert told["detail"] == (
        "The limit of requests per day (1) is used up. Try again in 86400 seconds."
    )


@pytest.mark.django_db
def test_not_modified_responses_do_not_count() -> None:
    organization = OrganizationFactory()
    client = client_of(organization, limit_per_minute=3)
    path = stats_path(organization)
    first = client.get(path)
    assert first.headers["RateLimit-Remaining"] == "2"
    for _ in range(10):
        again = client.get(path, headers={"If-None-Match": first.headers["ETag"]})
        assert (again.status_code, again.headers["RateLimit-Remaining"]) == (304, "2")
    row = RateLimit.objects.get()
    assert (row.minute_count, row.day_count) == (1, 1)
    assert [client.get(path).status_code for _ in range(3)] == [200, 200, 429]
    # Whoever has used up the limit is not asked what changed.
    again = client.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 429


@pytest.mark.django_db
def test_not_modified_responses_do_not_count_for_a_session(settings: Settings) -> None:
    settings.API_LIMIT_PER_MINUTE = 2
    membership = MembershipFactory(role="owner")
    client = Client()
    client.force_login(membership.user)
    path = stats_path(membership.organization)
    etag = client.get(path).headers["ETag"]
    for _ in range(5):
        assert client.get(path, headers={"If-None-Match": etag}).status_code == 304
    assert [client.get(path).status_code for _ in range(2)] == [200, 429]


@pytest.mark.django_db
def test_what_is_given_back_is_of_the_window_that_counted_it() -> None:
    verdict = take()
    row = RateLimit.objects.get()
    age(minute=datetime.timedelta(seconds=60), day=datetime.timedelta(seconds=60))
    # Another request starts a new minute; the first one is still in the day.
    take()
    after = ratelimit.give_back(row.subject, verdict, elapsed=60.0)
    assert [window.remaining for window in after.windows] == [1, 2]
    row.refresh_from_db()
    assert (row.minute_count, row.day_count) == (1, 1)


@pytest.mark.django_db
def test_giving_back_after_the_limit_was_forgotten_changes_nothing() -> None:
    verdict = take()
    subject = RateLimit.objects.get().subject
    RateLimit.objects.all().delete()
    assert ratelimit.give_back(subject, verdict, elapsed=0.0) == verdict
    assert not RateLimit.objects.exists()


@pytest.mark.django_db
def test_sessions_share_one_limit_per_user(settings: Settings) -> None:
    settings.API_LIMIT_PER_MINUTE = 2
    membership = MembershipFactory(role="owner")
    clients = [Client(), Client()]
    for client in clients:
        client.force_login(membership.user)
    path = stats_path(membership.organization)
    statuses = [clients[turn % 2].get(path).status_code for turn in range(4)]
    assert statuses == [200, 200, 429, 429]


def admit_hundred(text: str, start: Any, passed: Any) -> None:
    """Ask with a key as one of several processes, on a connection of its own."""
    start.wait()
    digest = key_format.digest(text)
    results = [find_key_and_count(digest) for _ in range(100)]
    passed.put(sum(verdict.is_allowed for _, verdict in filter(None, results)))


@pytest.mark.django_db(transaction=True)
def test_limit_is_exact_for_eight_processes() -> None:
    _, text = create_api_key(name="Busy", organization=OrganizationFactory())
    # What a forked process inherits must not be a connection that another one uses.
    connection.close()
    fork = multiprocessing.get_context("fork")
    start, passed = fork.Barrier(8), fork.Queue()
    processes = [
        fork.Process(target=admit_hundred, args=(text, start, passed), daemon=True)
        for _ in range(8)
    ]
    for process in processes:
        process.start()
    counts = [passed.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(timeout=60)
    assert sum(counts) == 300
    row = RateLimit.objects.get()
    assert (row.minute_count, row.day_count) == (300, 300)


@pytest.mark.django_db
@pytest.mark.parametrize("headers", [{}, {"X-API-Key": "csb_nonsense"}])
def test_requests_without_a_key_are_limited_by_address_without_a_query(
    settings: Settings,
    headers: dict[str, str],
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    settings.API_LIMIT_ADDRESS_PER_MINUTE = 3
    organization = OrganizationFactory()
    path = stats_path(organization)
    with django_assert_num_queries(0):
        responses = [Client().get(path, headers=headers) for _ in range(5)]
        elsewhere = Client(REMOTE_ADDR="192.0.2.7").get(path, headers=headers)
    assert [r.status_code for r in responses] == [401, 401, 401, 429, 429]
    assert responses[-1].headers["Retry-After"] == "60"
    assert elsewhere.status_code == 401
    # Whoever has a valid key is not held up by a neighbour at the same address.
    assert client_of(organization).get(path).status_code == 200


@pytest.mark.django_db
def test_unknown_keys_are_limited_by_address_in_the_database(settings: Settings) -> None:
    settings.API_LIMIT_ADDRESS_PER_MINUTE = 3
    organization = OrganizationFactory()
    path = stats_path(organization)
    statuses = [
        Client().get(path, headers={"X-API-Key": key_format.new_text("csb")}).status_code
        for _ in range(5)
    ]
    assert statuses == [401, 401, 401, 429, 429]
    # So that another process knows of it too.
    assert RateLimit.objects.get(subject="address:127.0.0.1").minute_count == 3
    assert client_of(organization).get(path).status_code == 200


@pytest.mark.django_db
def test_forgotten_addresses_are_swept_away_by_the_next_ones() -> None:
    for number in range(5):
        ratelimit.take_for_address(f"192.0.2.{number}")
    RateLimit.objects.update(
        day_started_at=RateLimit.objects.values("day_started_at")[:1].get()["day_started_at"]
        - datetime.timedelta(days=1)
    )
    ratelimit.take_for_address("192.0.2.0")
    assert RateLimit.objects.count() == 3
    ratelimit.take_for_address("198.51.100.1")
    # Two more are gone, and so is nobody whose day goes on.
    assert set(RateLimit.objects.values_list("subject", flat=True)) == {
        "address:192.0.2.0",
        "address:198.51.100.1",
    }


def test_memory_limit_resets_after_a_minute_and_evicts_the_least_recent() -> None:
    now = 1000.0
    limit = MemoryLimit(most_subjects=2, clock=lambda: now)
    assert [limit.take("a", 1).is_allowed for _ in range(2)] == [True, False]
    now += 59
    verdict = limit.take("a", 1)
    assert (verdict.is_allowed, verdict.retry_after) == (False, 1)
    now += 1
    assert limit.take("a", 1).is_allowed
    assert not limit.take("a", 1).is_allowed
    limit.take("b", 1), limit.take("c", 1)
    assert limit.take("a", 1).is_allowed


PROXIES = [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("2001:db8:1::/48")]


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("203.0.113.5", "", "203.0.113.5"),
        ("203.0.113.5", "198.51.100.9", "203.0.113.5"),
        ("10.1.2.3", "198.51.100.9", "198.51.100.9"),
        ("10.1.2.3", "1.1.1.1, 198.51.100.9", "198.51.100.9"),
        ("10.1.2.3", "1.1.1.1, 198.51.100.9, 10.9.9.9", "198.51.100.9"),
        ("10.1.2.3", "10.9.9.9", "10.9.9.9"),
        ("10.1.2.3", "nonsense", "10.1.2.3"),
        ("10.1.2.3", "1.1.1.1, nonsense", "10.1.2.3"),
        ("10.1.2.3", "", "10.1.2.3"),
        ("10.1.2.3", "1.1.1.1," * 1000 + "198.51.100.9", "198.51.100.9"),
        ("::ffff:203.0.113.5", "", "203.0.113.5"),
        ("2001:db8:1::1", "2001:db8:2:3:4:5:6:7", "2001:db8:2:3::/64"),
        ("2001:db8:2:3::9", "1.1.1.1", "2001:db8:2:3::/64"),
        ("", "1.1.1.1", ""),
    ],
)
def test_client_address_believes_trusted_proxies_only(
    settings: Settings, peer: str, forwarded: str, expected: str
) -> None:
    settings.TRUSTED_PROXIES = PROXIES
    request = RequestFactory().get("/", REMOTE_ADDR=peer, headers={"X-Forwarded-For": forwarded})
    assert client_address(request) == expected


@pytest.mark.django_db
def test_every_answer_to_a_key_carries_the_rate_limit() -> None:
    organization, stranger = OrganizationFactory(), OrganizationFactory()
    client = client_of(organization)
    path = stats_path(organization)
    etag = client.get(path).headers["ETag"]
    answers = {
        200: client.get(path),
        204: client.options(path),
        304: client.get(path, headers={"If-None-Match": etag}),
        400: client.get(path + "?" + "&".join(f"a={n}" for n in range(1001))),
        403: client_of(organization, kind=ApiKeyKind.PUBLISHABLE).get(path),
        404: client.get(stats_path(stranger)),
        405: client.post(path),
        406: client.get(path, headers={"Accept": "text/html"}),
        422: client.get(path + "?complete_at=0"),
        429: None,
    }
    limited = client_of(organization, limit_per_minute=1)
    limited.get(path)
    answers[429] = limited.get(path)
    for status, answer in answers.items():
        assert answer.status_code == status
        names = {name for name in answer.headers if name.startswith("RateLimit-")}
        assert names == {
            "RateLimit-Policy",
            "RateLimit-Limit",
            "RateLimit-Remaining",
            "RateLimit-Reset",
        }
        assert answer.headers["X-Request-ID"]
    remaining = [int(answers[s].headers["RateLimit-Remaining"]) for s in (200, 204, 304, 400, 404)]
    assert remaining == [298, 297, 297, 296, 295]
