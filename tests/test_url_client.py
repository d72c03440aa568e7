"""The URL checker's client: its requests, results and timing."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from time import monotonic

import pytest

from offers.url_checks.fetch import resolver
from offers.url_checks.fetch.client import CannotFetch, Client, FetchLimits
from offers.url_checks.fetch.policy import Policy
from offers.url_checks.fetch.resolver import LookupFailed, look_up
from offers.url_checks.fetch.responses import Failure, FetchResult
from tests.fetching import SHORT_TIMEOUTS, fetch, fetch_response, free_slot, with_server
from tests.hostile_server import PAGE, Authority, HostileServer, http2_server, loopback_policy


def test_fetch_returns_a_page() -> None:
    async def check(server: HostileServer) -> None:
        result = await fetch(server.url("/ok?a=%41&b=c d#fragment", host="Shop.TEST."))
        assert result == FetchResult(
            url=server.url("/ok?a=%41&b=c%20d"),
            host="shop.test",
            status=200,
            detail="The shop returned 200 OK.",
            headers={"content-type": "text/html; charset=utf-8", "content-length": "51"},
            body=PAGE,
        )
        (request,) = server.requests
        assert (request.host, request.path) == ("shop.test", "/ok?a=%41&b=c%20d")
        assert request.headers == {
            "host": f"shop.test:{server.port}",
            "user-agent": "Test/1.0",
            "accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "accept-language": "en-US,en;q=0.9,*;q=0.5",
            "accept-encoding": "identity",
            "connection": "close",
        }

    with_server(check)


@pytest.mark.parametrize(
    ("status", "detail"),
    [
        (401, "The shop returned 401 Unauthorized."),
        (404, "The shop returned 404 Not Found."),
        (429, "The shop returned 429 Too Many Requests."),
        (503, "The shop returned 503 Service Unavailable."),
        (599, "The shop returned 599."),
        (999, "The shop returned 999."),
    ],
)
def test_detail_uses_the_standard_phrase_of_a_status(status: int, detail: str) -> None:
    result = fetch_response(f"/status/{status}")
    assert (result.status, result.failure, result.detail) == (status, None, detail)


@pytest.mark.parametrize(
    ("status", "detail"),
    [
        (304, "The shop returned 304 Not Modified, which is not a page."),
        (300, "The shop returned 300 Multiple Choices, which is not a page."),
        (204, "The shop returned 204 No Content, which is not a page."),
        (101, "The shop returned 101 Switching Protocols, which is not a page."),
        (302, "The shop returned 302 Found without a redirect target."),
    ],
)
def test_status_without_a_page_is_a_failure(status: int, detail: str) -> None:
    result = fetch_response(f"HTTP/1.1 {status} Whatever\r\nContent-Length: 0\r\n\r\n".encode())
    assert (result.status, result.failure, result.detail) == (status, Failure.PROTOCOL, detail)


def test_headers_and_body_are_limited() -> None:
    fields = [f"X-{number}: {number}" for number in range(200)]
    head = [
        "HTTP/1.1 403 No",
        "Set-Cookie: a=1",
        "set-cookie: b=2",
        "X-Long: " + "x" * 9000,
        *fields,
    ]
    result = fetch_response("\r\n".join([*head, "", ""]).encode() + b"y" * 100_000)
    assert result.headers["set-cookie"] == "a=1, b=2"
    assert result.headers["x-long"] == "x" * 512
    assert len(result.headers) == 63
    assert result.body == b"y" * 65536


def test_compressed_page_is_not_decompressed() -> None:
    result = fetch_response("/gzip-bomb")
    assert (result.status, result.headers["content-encoding"]) == (200, "gzip")
    assert result.body.startswith(b"\x1f\x8b")


# Redirects


def test_redirects_are_followed_ten_times() -> None:
    async def check(server: HostileServer) -> None:
        result = await fetch(server.url("/redirect/10"))
        assert (result.status, result.failure, result.url) == (200, None, server.url("/ok"))
        assert len(server.requests) == 11

        result = await fetch(server.url("/redirect/11"))
        assert (result.status, result.failure) == (302, Failure.REDIRECTS)
        assert result.detail == "The shop redirects more than 10 times before it shows a page."
        assert len(server.requests) == 22

    with_server(check)


def test_redirect_loop_ends_at_once() -> None:
    async def check(server: HostileServer) -> None:
        result = await fetch(server.url("/loop"))
        assert (result.failure, result.sets_cookies) == (Failure.REDIRECTS, False)
        assert result.detail == "The shop redirects in a loop."
        assert server.paths() == ["/loop"]

    with_server(check)


def set_cookie(location: str) -> str:
    """Return a path that sets a cookie and redirects."""
    return f"/status/302?Location={location}&Set-Cookie=visitor%3D1"


def test_gate_with_a_cookie_is_passed() -> None:
    async def check(server: HostileServer) -> None:
        # Back to the start, and on to a URL that is new each time.
        steps = [set_cookie("/set"), "/to?/page", set_cookie("/c/1"), set_cookie("/c/2"), "/ok"]
        server.script("shop.test", *steps)
        result = await fetch(server.url("/page"))
        assert (result.status, result.failure) == (200, None)
        first, *others = [request.headers.get("cookie") for request in server.requests]
        assert first is None
        assert len(others) == 4
        assert all("visitor=1" in str(cookie) for cookie in others)

    with_server(check)


def test_cookies_last_for_one_check() -> None:
    async def check(server: HostileServer) -> None:
        server.script("shop.test", set_cookie("/a"), "/ok", "/ok")
        async with Client(user_agent="t", policy=loopback_policy()) as client:
            for _ in range(2):
                assert (await client.fetch(server.url(), hold_slot=free_slot)).status == 200
        cookies = [request.headers.get("cookie") for request in server.requests]
        assert cookies == [None, "visitor=1", None]

    with_server(check)


def test_gate_that_never_opens_is_recognized_by_cookies() -> None:
    async def check(server: HostileServer) -> None:
        server.script("shop.test", *[set_cookie(f"/c?try={n}") for n in range(11)])
        result = await fetch(server.url("/page"))
        assert (result.failure, result.sets_cookies) == (Failure.REDIRECTS, True)

    with_server(check)


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("/ok", "/ok"),
        ("ok", "/to/ok"),
        ("./../ok?a=b#c", "/ok?a=b"),
        ("?/body?x", "/to/?/body?x"),
        ("/body?ü", "/body?%C3%BC"),
    ],
)
def test_relative_redirect_is_followed(location: str, path: str) -> None:
    async def check(server: HostileServer) -> None:
        server.script("shop.test", f"/to?{location}", "/ok")
        result = await fetch(server.url("/to/"))
        assert (result.url, result.status) == (server.url(path), 200)
        assert server.paths() == ["/to/", path]

    with_server(check)


def test_redirect_that_is_not_utf_8_keeps_its_bytes() -> None:
    async def check(server: HostileServer) -> None:
        latin = "/café".encode("latin-1").hex()
        server.script("shop.test", f"/raw-location/{latin}", "/ok")
        assert (await fetch(server.url("/"))).status == 200
        assert server.paths() == ["/", "/caf%E9"]

    with_server(check)


def test_redirect_from_https_to_http_is_followed() -> None:
    async def check(plain: HostileServer) -> None:
        authority = Authority()
        async with HostileServer(tls=authority.server("shop.test")) as secure:
            result = await fetch(
                secure.url(f"/to?{plain.url('/ok')}"),
                policy=loopback_policy(authorities=authority.trust),
            )
        assert (result.url, result.status) == (plain.url("/ok"), 200)

    with_server(check)


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("mailto:a@shop.test", "only URLs that start with http:// or https:// are checked."),
        (
            "//me@shop.test/",
            "the URL contains a user name or password, which is not allowed.",
        ),
        ("http://1.2.3.4.5/", "the URL is not valid."),
        ("http://10.0.0.1/", "the URL leads to a network that is not public."),
    ],
)
def test_redirect_to_a_forbidden_url_says_why(location: str, reason: str) -> None:
    result = fetch_response(f"/to?{location}")
    assert result.failure == Failure.NOT_ALLOWED
    assert result.detail == f"The shop redirects to a URL that cannot be checked: {reason}"


# Retry-After


@pytest.mark.parametrize(
    ("text", "wait"),
    [
        ("0", timedelta(0)),
        ("120", timedelta(minutes=2)),
        ("999999999", timedelta(days=7)),
        ("9" * 5000, None),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("Mon, 99 Jan 2096 00:00:00 GMT", None),
        ("Mon, 01 Jan 99999 00:00:00 GMT", None),
        ("Mon, 01 Jan 2096 00:00:00 -99999999999999", None),
        ("Wed, 01 Jan 1000 00:00:00 GMT", timedelta(0)),
    ],
)
def test_retry_after_is_parsed_or_ignored(text: str, wait: timedelta | None) -> None:
    assert fetch_response(f"/status/429?Retry-After={text.replace(' ', '+')}").retry_after == wait


def test_retry_after_date_uses_the_clock_of_the_server() -> None:
    now = datetime.now(UTC)

    def at(moment: datetime) -> str:
        return format_datetime(moment, usegmt=True).replace(" ", "+")

    later = at(now + timedelta(hours=2))
    slow = at(now - timedelta(hours=1))
    by_its_clock = fetch_response(f"/status/503?Retry-After={later}&Date={slow}").retry_after
    by_ours = fetch_response(f"/status/503?Retry-After={later}").retry_after
    assert by_its_clock == timedelta(hours=3)
    assert by_ours is not None
    assert timedelta(hours=2) - by_ours < timedelta(minutes=1)


# Slots


def test_each_request_holds_a_slot_of_its_host() -> None:
    async def check(server: HostileServer) -> None:
        log: list[str] = []

        @asynccontextmanager
        async def hold(host: str) -> AsyncIterator[None]:
            log.append(f"enter {host} after {len(server.requests)}")
            yield
            log.append(f"leave {host} after {len(server.requests)}")

        await fetch(
            server.url(f"/to?{server.url('/redirect/1', host='other.test')}"),
            hold_slot=hold,
        )
        assert log == [
            "enter shop.test after 0",
            "leave shop.test after 1",
            "enter other.test after 1",
            "leave other.test after 2",
            "enter other.test after 2",
            "leave other.test after 3",
        ]

    with_server(check)


def test_time_limit_excludes_waiting_for_slots() -> None:
    @asynccontextmanager
    async def late(_: str) -> AsyncIterator[None]:
        await asyncio.sleep(0.5)
        yield

    async def check(server: HostileServer) -> None:
        limits = FetchLimits(total=1.0)
        assert (await fetch(server.url("/redirect/2"), limits=limits, hold_slot=late)).status == 200

    with_server(check)


def test_time_limit_covers_all_requests_of_a_check() -> None:
    async def check(server: HostileServer) -> None:
        server.script("shop.test", "/after/0.2/to?/a", "/after/0.2/to?/b", "/after/0.2/ok")
        result = await fetch(server.url(), limits=FetchLimits(total=0.5))
        assert (result.status, result.failure) == (None, Failure.TIMEOUT)
        assert result.detail == "The shop did not respond within 0.5 seconds."

    with_server(check)


def test_no_request_without_a_slot() -> None:
    @asynccontextmanager
    async def never(_: str) -> AsyncIterator[None]:
        raise CannotFetch("not today")
        yield

    async def check(server: HostileServer) -> None:
        with pytest.raises(CannotFetch, match="not today"):
            await fetch(server.url(), hold_slot=never)
        assert server.connections == 0

    with_server(check)


def test_canceled_check_releases_its_slot() -> None:
    left = []

    @asynccontextmanager
    async def hold(_: str) -> AsyncIterator[None]:
        try:
            yield
        finally:
            left.append(True)

    async def check(server: HostileServer) -> None:
        task = asyncio.create_task(fetch(server.url("/hang"), hold_slot=hold))
        while not server.requests:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert left == [True]

    with_server(check)


def test_closing_the_client_ends_its_checks() -> None:
    async def check(server: HostileServer) -> None:
        async with Client(user_agent="t", policy=loopback_policy()) as client:
            tasks = [
                asyncio.create_task(client.fetch(server.url("/hang"), hold_slot=free_slot))
                for _ in range(3)
            ]
            while len(server.requests) < len(tasks):
                await asyncio.sleep(0)
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(end) for end in ends] == [asyncio.CancelledError] * 3

    with_server(check)


# TLS


def over_tls(tls: HostileServer, authority: Authority, path: str = "/ok") -> FetchResult:
    return asyncio.run(_over_tls(tls, authority, path))


async def _over_tls(tls: HostileServer, authority: Authority, path: str) -> FetchResult:
    async with tls as server:
        return await fetch(server.url(path), policy=loopback_policy(authorities=authority.trust))


def test_certificate_of_a_trusted_authority_is_valid() -> None:
    authority = Authority()
    result = over_tls(HostileServer(tls=authority.server("shop.test")), authority)
    assert (result.status, result.failure, result.body) == (200, None, PAGE)


def test_invalid_certificate_says_why() -> None:
    authority = Authority()
    for tls, detail in (
        (authority.server("shop.test", days=(-20, -1)), "The shop's certificate has expired."),
        (authority.server("shop.test", days=(1, 20)), "The shop's certificate is not valid yet."),
        (authority.server("a.test"), "The shop's certificate is for another host name."),
        (
            Authority().server("shop.test"),
            "The shop's certificate is from an unknown authority, or its chain is incomplete.",
        ),
        (
            Authority.self_signed("shop.test"),
            "The shop's certificate is self-signed.",
        ),
    ):
        result = over_tls(HostileServer(tls=tls), authority)
        assert (result.status, result.failure, result.detail) == (None, Failure.TLS, detail)


def test_certificate_with_only_a_common_name_is_invalid() -> None:
    authority = Authority()
    tls = HostileServer(tls=authority.of_common_name("shop.test"))
    result = over_tls(tls, authority)
    assert (result.status, result.failure, result.body) == (None, Failure.TLS, b"")
    assert result.detail == "The shop's certificate has no host name (no subjectAltName)."


def test_wildcard_certificate_covers_a_host_with_an_underscore() -> None:
    async def check() -> FetchResult:
        authority = Authority()
        async with HostileServer(tls=authority.server("*.wild.test")) as server:
            return await fetch(
                server.url("/ok", host="a_b.wild.test"),
                policy=loopback_policy(authorities=authority.trust),
            )

    result = asyncio.run(check())
    assert (result.status, result.failure) == (200, None)


def test_http_2_server_is_supported() -> None:
    authority = Authority()
    with http2_server(authority.server("shop.test")) as port:
        policy = loopback_policy(authorities=authority.trust)
        result = asyncio.run(fetch(f"https://shop.test:{port}/ok", policy=policy))
    assert (result.status, result.failure, result.body) == (200, None, PAGE)
    assert result.headers["content-type"] == "text/html"


def test_server_without_tls_is_a_tls_failure() -> None:
    async def check(server: HostileServer) -> None:
        result = await fetch(server.url().replace("http:", "https:"))
        assert (result.status, result.failure) == (None, Failure.TLS)
        assert result.detail == ("The shop's server cannot make a secure (TLS) connection.")

    with_server(check, greeting=b"220 mail.shop.test ESMTP\r\n")


def test_missing_certificate_authorities_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    with pytest.raises(RuntimeError, match="ca-certificates"):
        asyncio.run(fetch("http://shop.test/", policy=Policy()))


# Names


def test_name_without_an_address_is_a_dns_failure() -> None:
    result = asyncio.run(fetch("http://gone.example/"))
    assert (result.failure, result.host) == (Failure.DNS, "gone.example")
    assert result.detail == "The host name does not exist."


def test_slow_lookup_times_out() -> None:
    async def never(_: str) -> list[str]:
        await asyncio.Event().wait()
        return []

    policy = loopback_policy(lookup=never)
    result = asyncio.run(fetch("http://slow.test/", policy=policy, limits=SHORT_TIMEOUTS))
    assert (result.failure, result.status) == (Failure.DNS, None)
    assert result.detail == "The host name could not be looked up within 0.3 seconds."


class System:
    """Replaces the system's resolver: some names hang until they are released."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        self.let_go = threading.Event()
        monkeypatch.setattr(socket, "getaddrinfo", self._answer)

    def _answer(self, name: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        self.names.append(name)
        if name.startswith("hangs"):
            self.let_go.wait(60)
        if name.startswith("exhausted"):
            raise OSError(errno.EMFILE, "Too many open files")
        if not name.startswith("good"):
            code = socket.EAI_AGAIN if name.startswith("broken") else socket.EAI_NONAME
            raise socket.gaierror(code, "?")
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2600::1", 0, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.215.14", 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 17, "", ("93.184.215.14", 0)),
        ]


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> System:
    return System(monkeypatch)


def test_name_is_looked_up_as_absolute(system: System) -> None:
    assert asyncio.run(look_up("good.example")) == ["2600::1", "93.184.215.14"]
    assert system.names == ["good.example."]


@pytest.mark.parametrize(
    ("name", "detail"),
    [
        ("gone.example", "The host name does not exist."),
        ("broken.example", "The host name cannot be looked up: DNS did not respond."),
    ],
)
def test_failed_lookup_says_why(system: System, name: str, detail: str) -> None:
    with pytest.raises(LookupFailed) as failure:
        asyncio.run(look_up(name))
    assert failure.value.detail == detail


def test_lookup_without_file_descriptors_is_no_result(system: System) -> None:
    policy = Policy(authorities=Authority().trust)
    with pytest.raises(CannotFetch):
        asyncio.run(fetch("http://exhausted.example/", policy=policy))
    assert system.names == ["exhausted.example."]


def test_hanging_lookups_do_not_delay_others(system: System) -> None:
    async def check() -> None:
        hanging = [asyncio.create_task(look_up(f"hangs{i}.example")) for i in range(100)]
        assert await asyncio.wait_for(look_up("good.example"), 30)
        assert not any(task.done() for task in hanging)
        system.let_go.set()
        found = await asyncio.gather(*hanging, return_exceptions=True)
        assert all(isinstance(each, LookupFailed) for each in found)

    asyncio.run(check())


def test_too_many_hanging_lookups_are_no_result(system: System) -> None:
    policy = Policy(authorities=Authority().trust)

    async def check() -> None:
        async with Client(user_agent="t", policy=policy, limits=FetchLimits(lookup=0.2)) as client:
            urls = [f"http://hangs{number}.example/" for number in range(resolver.MAX_LOOKUPS)]
            fetching = asyncio.gather(*(client.fetch(url, hold_slot=free_slot) for url in urls))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            with pytest.raises(CannotFetch):
                await client.fetch("http://good.example/", hold_slot=free_slot)
            results = await fetching
            assert {result.failure for result in results} == {Failure.DNS}
            # The thread lasts as long as the lookup of the system.
            with pytest.raises(CannotFetch):
                await client.fetch("http://good.example/", hold_slot=free_slot)

    try:
        asyncio.run(check())
    finally:
        system.let_go.set()
    deadline = monotonic() + 30
    while any(thread.name == "lookup" for thread in threading.enumerate()):
        assert monotonic() < deadline
        threading.Event().wait(0.01)
    assert asyncio.run(look_up("good.example"))


# Failures of this machine


def test_environment_sets_no_proxy_and_no_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passwords = tmp_path / "netrc"
    passwords.write_text("machine shop.test login me password secret\n")
    monkeypatch.setenv("NETRC", str(passwords))

    async def check(server: HostileServer) -> None:
        async with HostileServer() as proxy:
            for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
                monkeypatch.setenv(name, proxy.url(host="127.0.0.1"))
            assert (await fetch(server.url())).status == 200
            assert proxy.connections == 0
            assert "authorization" not in server.requests[0].headers

    with_server(check)


def test_machine_without_file_descriptors_is_no_result() -> None:
    async def check(server: HostileServer) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        async with Client(user_agent="t", policy=loopback_policy()) as client:
            assert (await client.fetch(server.url(), hold_slot=free_slot)).status == 200
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
            try:
                with pytest.raises(CannotFetch):
                    await client.fetch(server.url(), hold_slot=free_slot)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert (await client.fetch(server.url(), hold_slot=free_slot)).status == 200

    with_server(check)


def test_connections_are_not_reused() -> None:
    async def check(server: HostileServer) -> None:
        async with Client(user_agent="t", policy=loopback_policy()) as client:
            before = len(os.listdir("/dev/fd"))
            for _ in range(20):
                assert (await client.fetch(server.url(), hold_slot=free_slot)).status == 200
            assert server.connections == 20
            deadline = monotonic() + 30
            while len(os.listdir("/dev/fd")) > before:
                assert monotonic() < deadline
                await asyncio.sleep(0.01)

    with_server(check)
