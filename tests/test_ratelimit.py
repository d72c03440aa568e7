"""Rate limits: exact under concurrency, exact headers, invalid keys limited by address."""

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
from closient.accounts.api_keys import create_api_key
from closient.accounts.authentication import find_key_and_count
from closient.accounts.models import ApiKey, ApiKeyKind, RateLimit
from closient.accounts.ratelimit import Limits, MemoryLimit, RateLimitResult, Window
from closient.http.proxies import client_address
from closient.text import key_format
from tests.clients import client_of, problem, stats_path
from tests.factories import MembershipFactory, OrganizationFactory

SMALL_LIMITS = Limits(per_minute=2, per_day=3)


def count_request(limits: Limits = SMALL_LIMITS) -> RateLimitResult:
    return ratelimit.count_request("key:1", limits)


def age(**since: datetime.timedelta) -> None:
    """Move the start of windows back in time."""
    row = RateLimit.objects.get()
    for window, delta in since.items():
        field = f"{window}_started_at"
        setattr(row, field, getattr(row, field) - delta)
    row.save()


@pytest.mark.django_db
def test_limit_counts_both_windows_from_the_first_request() -> None:
    assert count_request() == RateLimitResult(
        True, (Window(2, 60, 1, 60), Window(3, 86_400, 2, 86_400))
    )
    age(minute=datetime.timedelta(seconds=20), day=datetime.timedelta(seconds=20))
    # The windows of the first request end 40 seconds from now, or a little less.
    result = count_request()
    assert result.is_allowed
    assert [w.remaining for w in result.windows] == [0, 1]
    assert [w.reset for w in result.windows] == [40, 86_380]


@pytest.mark.django_db
def test_limit_rejects_without_counting_until_the_minute_ends() -> None:
    assert [count_request().is_allowed for _ in range(5)] == [True, True, False, False, False]
    row = RateLimit.objects.get()
    assert (row.minute_count, row.day_count) == (2, 2)
    age(minute=datetime.timedelta(seconds=60))
    result = count_request()
    assert result.is_allowed
    assert result.windows[0] == Window(2, 60, 1, 60)
    assert result.windows[1].remaining == 0


@pytest.mark.django_db
def test_daily_limit_rejects_after_the_minute_ends() -> None:
    count_request(), count_request()
    age(minute=datetime.timedelta(seconds=60), day=datetime.timedelta(seconds=60))
    assert count_request().is_allowed
    age(minute=datetime.timedelta(seconds=60), day=datetime.timedelta(seconds=60))
    result = count_request()
    assert not result.is_allowed
    # A rejected request starts no window.
    assert result.windows == (Window(2, 60, 2, 60), Window(3, 86_400, 0, 86_280))
    assert result.retry_after == 86_280
    age(day=datetime.timedelta(days=1))
    assert count_request() == RateLimitResult(
        True, (Window(2, 60, 1, 60), Window(3, 86_400, 2, 86_400))
    )


@pytest.mark.django_db
def test_window_that_starts_in_the_future_has_ended() -> None:
    """After a failover to a server whose clock is an hour behind."""
    count_request(), count_request()
    assert not count_request().is_allowed
    hour = datetime.timedelta(hours=1)
    age(minute=-hour, day=-hour)
    assert count_request() == RateLimitResult(
        True, (Window(2, 60, 1, 60), Window(3, 86_400, 2, 86_400))
    )
    assert count_request().is_allowed
    # The limit holds from now on, by the current clock.
    assert not count_request().is_allowed


@pytest.mark.django_db
def test_minute_that_starts_in_the_future_has_ended_when_the_day_rejects() -> None:
    count_request(), count_request()
    age(minute=datetime.timedelta(seconds=60))
    count_request()
    age(minute=-datetime.timedelta(hours=1))
    result = count_request()
    assert not result.is_allowed
    assert result.windows[0] == Window(2, 60, 2, 60)


@pytest.mark.django_db
def test_limit_lowered_below_the_count_rejects() -> None:
    count_request(Limits(10, 10)), count_request(Limits(10, 10)), count_request(Limits(10, 10))
    result = count_request(SMALL_LIMITS)
    assert not result.is_allowed
    assert [w.remaining for w in result.windows] == [0, 0]


def test_headers_describe_the_window_with_the_fewest_requests_remaining() -> None:
    result = RateLimitResult(True, (Window(300, 60, 299, 60), Window(10_000, 86_400, 12, 5_000)))
    assert result.headers == {
        "RateLimit-Policy": "300;w=60, 10000;w=86400",
        "RateLimit-Limit": "10000",
        "RateLimit-Remaining": "12",
        "RateLimit-Reset": "5000",
    }


@pytest.mark.django_db
def test_policy_header_has_the_limits_of_the_key_or_of_its_kind() -> None:
    organization = OrganizationFactory()
    path = stats_path(organization)

    def policy(**fields: Any) -> str:
        return client_of(organization, **fields).get(path).headers["RateLimit-Policy"]

    assert policy() == "300;w=60, 10000;w=86400"
    assert policy(kind=ApiKeyKind.PUBLISHABLE) == "100;w=60, 10000;w=86400"
    assert policy(limit_per_minute=7, limit_per_day=9) == "7;w=60, 9;w=86400"


@pytest.mark.django_db
def test_last_used_at_is_set_at_most_once_a_minute() -> None:
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
    # The limit is checked before the organization: another organization's URL also gets 429.
    assert client.get(stats_path(OrganizationFactory())).status_code == 429
    # Another key of the organization has its own limit.
    assert client_of(organization).get(path).status_code == 200


@pytest.mark.django_db
def test_request_over_the_daily_limit_names_the_day() -> None:
    organization = OrganizationFactory()
    client = client_of(organization, limit_per_minute=5, limit_per_day=1)
    path = stats_path(organization)
    assert client.get(path).status_code == 200
    limited = problem(client.get(path))
    assert (limited["window"], limited["retry_after"]) == ("day", 86_400)
    assert limited["detail"] == (
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
    # Above the limit, the response is 429 even if nothing changed.
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
def test_refund_changes_only_the_windows_that_counted_the_request() -> None:
    result = count_request()
    row = RateLimit.objects.get()
    age(minute=datetime.timedelta(seconds=60), day=datetime.timedelta(seconds=60))
    # Another request starts a new minute; the first one is still in the day.
    count_request()
    after = ratelimit.refund(row.subject, result, elapsed=60.0)
    assert [window.remaining for window in after.windows] == [1, 2]
    row.refresh_from_db()
    assert (row.minute_count, row.day_count) == (1, 1)


@pytest.mark.django_db
def test_refund_after_the_row_was_deleted_changes_nothing() -> None:
    result = count_request()
    subject = RateLimit.objects.get().subject
    RateLimit.objects.all().delete()
    assert ratelimit.refund(subject, result, elapsed=0.0) == result
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


def send_hundred_requests(text: str, start: Any, passed: Any) -> None:
    """Use a key 100 times, in one of several processes with its own connection."""
    start.wait()
    digest = key_format.digest(text)
    results = [find_key_and_count(digest) for _ in range(100)]
    passed.put(sum(result.is_allowed for _, result in filter(None, results)))


@pytest.mark.django_db(transaction=True)
def test_limit_is_exact_for_eight_processes() -> None:
    _, text = create_api_key(name="Busy", organization=OrganizationFactory())
    # Forked processes must not share a connection.
    connection.close()
    fork = multiprocessing.get_context("fork")
    start, passed = fork.Barrier(8), fork.Queue()
    processes = [
        fork.Process(target=send_hundred_requests, args=(text, start, passed), daemon=True)
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
    # A valid key works from the same address.
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
    # In the database, so other processes see it.
    assert RateLimit.objects.get(subject="address:127.0.0.1").minute_count == 3
    assert client_of(organization).get(path).status_code == 200


@pytest.mark.django_db
def test_requests_of_addresses_delete_two_expired_rows_each() -> None:
    for number in range(5):
        ratelimit.count_invalid_key(f"192.0.2.{number}")
    RateLimit.objects.update(
        day_started_at=RateLimit.objects.values("day_started_at")[:1].get()["day_started_at"]
        - datetime.timedelta(days=1)
    )
    ratelimit.count_invalid_key("192.0.2.0")
    assert RateLimit.objects.count() == 3
    ratelimit.count_invalid_key("198.51.100.1")
    # Two more rows are deleted, and no row whose day has not ended.
    assert set(RateLimit.objects.values_list("subject", flat=True)) == {
        "address:192.0.2.0",
        "address:198.51.100.1",
    }


def test_memory_limit_resets_after_a_minute_and_evicts_the_least_recent() -> None:
    now = 1000.0
    limit = MemoryLimit(max_subjects=2, clock=lambda: now)
    assert [limit.count_request("a", 1).is_allowed for _ in range(2)] == [True, False]
    now += 59
    result = limit.count_request("a", 1)
    assert (result.is_allowed, result.retry_after) == (False, 1)
    now += 1
    assert limit.count_request("a", 1).is_allowed
    assert not limit.count_request("a", 1).is_allowed
    limit.count_request("b", 1), limit.count_request("c", 1)
    assert limit.count_request("a", 1).is_allowed


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
def test_client_address_reads_headers_of_trusted_proxies_only(
    settings: Settings, peer: str, forwarded: str, expected: str
) -> None:
    settings.TRUSTED_PROXIES = PROXIES
    request = RequestFactory().get("/", REMOTE_ADDR=peer, headers={"X-Forwarded-For": forwarded})
    assert client_address(request) == expected


@pytest.mark.django_db
def test_every_response_to_a_key_has_rate_limit_headers() -> None:
    organization, stranger = OrganizationFactory(), OrganizationFactory()
    client = client_of(organization)
    path = stats_path(organization)
    etag = client.get(path).headers["ETag"]
    responses = {
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
    responses[429] = limited.get(path)
    for status, response in responses.items():
        assert response.status_code == status
        names = {name for name in response.headers if name.startswith("RateLimit-")}
        assert names == {
            "RateLimit-Policy",
            "RateLimit-Limit",
            "RateLimit-Remaining",
            "RateLimit-Reset",
        }
        assert response.headers["X-Request-ID"]
    remaining = [
        int(responses[s].headers["RateLimit-Remaining"]) for s in (200, 204, 304, 400, 404)
    ]
    assert remaining == [298, 297, 297, 296, 295]
