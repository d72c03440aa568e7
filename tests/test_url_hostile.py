"""The URL checker under attack: forbidden addresses and hostile servers."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from time import monotonic

import pycurl
import pytest

from offers.url_checks.fetch.addresses import is_public
from offers.url_checks.fetch.client import Client
from offers.url_checks.fetch.policy import Policy
from offers.url_checks.fetch.responses import Failure, FetchResult
from tests.fetching import (
    LONG_TIMEOUTS,
    SHORT_TIMEOUTS,
    fetch,
    fetch_response,
    free_slot,
    with_server,
)
from tests.hostile_server import Authority, HostileServer, Names, hostile_server, loopback_policy

ROOT = Path(__file__).resolve().parent.parent

# Many ways to write an address that is not a shop. A port is added to each.
SPELLINGS = [
    # Loopback, in all kinds of numbers
    "127.0.0.1", "127.0.0.1.", "127.1", "127.0.1", "127.255.255.254", "2130706433", "2130706433.",
    "0x7f000001", "0X7F000001", "0x7f.0.0.1", "0x7f.1", "0x7f.0x0.0x0.0x1", "017700000001",
    "0177.0.0.1", "0177.0.0.01", "0177.1", "00000177.0.0.1", "127.0.0.0x1", "127.0x0.1",
    "4294967296", "6425673729", "383.0.0.1", "127.0.0.257", "0x", "0x.0x.0",
    # ... in other alphabets, which browsers and IDNA turn into numbers
    "\uff11\uff12\uff17.0.0.1", "127\u30020\u30020\u30021", "127\uff0e0\uff0e0\uff0e1",
    "\u2460\u2461\u2466.\u24ea.\u24ea.\u2460", "\U0001d7cf\U0001d7d0\U0001d7d5.0.0.1",
    "127.0.0.\u00b9", "0\uff587f.1", "\uff10\uff58\uff17\uff46.0.0.1", "127\u00ad.0.0.1",
    # ... hidden behind percent signs, users, white space and other hosts
    "%31%32%37.0.0.1", "127%2e0%2e0%2e1", "shop.test@127.0.0.1", "shop.test%40127.0.0.1",
    "me:secret@127.0.0.1", "@127.0.0.1", "127.0.0.1\t", "127\n.0.0.1", "127.0.0.1%00.shop.test",
    "127.0.0.1\\@shop.test", "127.0.0.1\u2044.shop.test", "127.0.0.1#@shop.test",
    # ... in version 6, bare and with an IPv4 address inside
    "[::1]", "[0:0:0:0:0:0:0:1]", "[0000::0001]", "[::]", "[::127.0.0.1]", "[::7f00:1]",
    "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::FFFF:127.0.0.1]", "[0:0:0:0:0:ffff:127.0.0.1]",
    "[::ffff:0:127.0.0.1]", "[64:ff9b::127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::127.0.0.1]",
    "[2002:7f00:1::]", "[2002:7f00:1::1]", "[2001:0:7f00:1::]", "[2001::80ff:fffe]",
    "[::1%25lo]", "[::1%lo]", "[fe80::1%25eth0]", "[fe80::1]", "[fec0::1]", "[fc00::1]",
    "[fd00:ec2::254]", "[ff02::1]", "[ff0e::1]", "[2001:db8::1]", "[3fff::1]", "[5f00::1]",
    "[100::1]", "[2001:10::1]", "[2001:20::1]", "[2001:2::1]", "[4000::1]", "[::1", "::1", "[::1]]",
    # Internal networks: private, shared, link-local with cloud metadata, special
    "0", "0.0.0.0", "0.0.0.1", "10.0.0.1", "10.1", "0xa000001", "167772161",  # noqa: S104
    "012.0.0.1",
    "172.16.0.1", "172.31.255.254", "192.168.0.1", "192.168.257", "3232235521", "100.64.0.1",
    "100.100.100.200", "169.254.169.254", "169.254.43518", "2852039166", "0xa9fea9fe",
    "0251.0376.0251.0376", "[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]",
    "[64:ff9b::169.254.169.254]", "[2002:a9fe:a9fe::]", "168.63.129.16", "192.0.0.192", "192.0.0.1",
    "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1",
    "239.255.255.250", "240.0.0.1", "255.255.255.255",
    # Names that resolve to them
    "localhost", "LOCALHOST.", "inside.test", "metadata.test", "inside6.test", "mapped.test",
    "both.test", "local\u00adhost", "\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3",
]  # fmt: skip
NAMES: Names = {
    "localhost": ["::1", "127.0.0.1"],
    "inside.test": ["10.0.0.1"],
    "metadata.test": ["169.254.169.254"],
    "inside6.test": ["fd00::1"],
    "mapped.test": ["::ffff:127.0.0.1"],
    "both.test": ["127.0.0.1", "::1", "192.168.0.1", "fe80::1"],
    # The only address that the policy of the tests takes for public.
    "shop.test": ["127.0.0.2"],
}
SHOP = IPv4Address("127.0.0.2")

# Every address to which this process tries to connect. An audit hook cannot be removed.
connected: list[str] = []


@pytest.fixture(scope="module", autouse=True)
def _connection_log() -> None:
    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "socket.connect":
            _, address = arguments
            if isinstance(address, tuple):
                connected.append(address[0])

    sys.addaudithook(hook)


# libcurl's own log of its attempts to connect.
tried: list[str] = []


class Watched(pycurl.Curl):
    """A handle of libcurl that logs its attempts to connect, whatever the guard does."""

    def __init__(self) -> None:
        super().__init__()
        self.setopt(pycurl.VERBOSE, 1)
        self.setopt(pycurl.DEBUGFUNCTION, self._note)

    @staticmethod
    def _note(kind: int, text: bytes) -> None:
        found = re.match(rb"\s*Trying (\S+):\d+\.\.\.", text)
        if kind == pycurl.INFOTYPE_TEXT and found:
            tried.append(found[1].decode().strip("[]"))


@pytest.fixture(autouse=True)
def _log_of_libcurl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pycurl, "Curl", Watched)


class Canary:
    """Listens on every address of this machine; must not be contacted."""

    def __init__(self) -> None:
        self._listener = socket.create_server(
            ("::", 0), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1000
        )
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]

    def has_sung(self) -> bool:
        try:
            self._listener.accept()[0].close()
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def canary() -> Iterator[Canary]:
    canary = Canary()
    yield canary
    canary.close()


@contextmanager
def connecting_only_to(*addresses: str) -> Iterator[None]:
    connected.clear()
    tried.clear()
    yield
    assert set(connected) <= set(addresses)
    assert set(tried) <= set(addresses)


def strict(names: Names = NAMES) -> Policy:
    """Return the real policy, but with any port, and one more public address."""

    def allows(address: IPv4Address | IPv6Address) -> bool:
        return address == SHOP or is_public(address)

    return loopback_policy(names=names, allows=allows)


@pytest.mark.slow
def test_canary_and_connection_log_record_a_connection(canary: Canary) -> None:
    for url, address in (
        (f"http://127.0.0.1:{canary.port}/", "127.0.0.1"),
        (f"http://127.0.0.9:{canary.port}/", "127.0.0.9"),
        (f"http://[::1]:{canary.port}/", "::1"),
    ):
        connected.clear()
        tried.clear()
        asyncio.run(fetch(url, limits=SHORT_TIMEOUTS))
        assert connected == tried == [address]
        assert canary.has_sung()


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_forbidden_address_is_not_connected(canary: Canary, spelling: str) -> None:
    with connecting_only_to():
        result = asyncio.run(fetch(f"http://{spelling}:{canary.port}/", policy=strict()))
    assert_refused(result)
    # With the policy of production, too.
    with connecting_only_to():
        policy = Policy(lookup=strict().lookup, authorities=strict().authorities)
        assert_refused(asyncio.run(fetch(f"http://{spelling}/", policy=policy)))
    # With that of the demo, whose shop has another address.
    with connecting_only_to():
        policy = dataclasses.replace(policy, demo_shop=("127.0.0.77", canary.port))
        result = asyncio.run(fetch(f"http://{spelling}:{canary.port}/", policy=policy))
        assert_refused(result)
    assert not canary.has_sung()


def test_redirect_to_a_forbidden_address_is_not_connected(canary: Canary) -> None:
    async def check(server: HostileServer) -> None:
        async with Client(user_agent="t", policy=strict()) as client:
            for number, spelling in enumerate(SPELLINGS):
                hops = number % 5
                location = f"http://{spelling}:{canary.port}/"
                server.script("shop.test", *redirects(hops, location))
                result = await client.fetch(server.url("/0"), hold_slot=free_slot)
                assert_refused(result)
                assert result.detail.startswith("The shop redirects to a URL that cannot be")
                assert len(server.requests) == hops + 1
                server.requests.clear()

    with connecting_only_to(str(SHOP)):
        with_server(check, address=str(SHOP))
    assert not canary.has_sung()


def redirects(count: int, last: str) -> list[bytes]:
    """Return raw responses: a number of redirects, and one to a URL of any bytes."""
    locations = [f"/{number + 1}" for number in range(count)]
    locations.append(last.replace("\n", "").replace("\t", ""))
    return [
        f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()
        for location in locations
    ]


def assert_refused(result: FetchResult) -> None:
    assert result.failure is Failure.NOT_ALLOWED
    assert result.body == b""
    # Reveals nothing about our network.
    sentence = result.detail
    for secret in ("127.", "10.0", "192.168", "169.254", "::", "[", "Errno", "forbidden"):
        assert secret not in sentence


def test_dns_rebinding_does_not_reach_a_forbidden_address(canary: Canary) -> None:
    given = [["127.0.0.2"], ["127.0.0.1"]]
    names = {**NAMES, "rebind.test": lambda: given.pop(0)}

    async def check(server: HostileServer) -> None:
        server.script("rebind.test", f"/to?http://rebind.test:{canary.port}/")
        policy = strict(names)
        result = await fetch(server.url(host="rebind.test"), policy=policy)
        assert_refused(result)
        assert len(server.requests) == 1
        assert given == []

    with connecting_only_to(str(SHOP)):
        with_server(check, address=str(SHOP))
    assert not canary.has_sung()


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.2", "127.0.0.1"],
        ["127.0.0.1", "127.0.0.2"],
        ["::1", "127.0.0.2"],
        ["::1", "::ffff:127.0.0.2", "127.0.0.1", "127.0.0.2"],
        # Nothing listens on the first allowed address.
        ["127.0.0.3", "127.0.0.2", "127.0.0.1"],
    ],
)
def test_only_public_addresses_of_a_name_are_connected(addresses: list[str]) -> None:
    allowed = {IPv4Address("127.0.0.2"), IPv4Address("127.0.0.3")}
    policy = loopback_policy(names={"mixed.test": addresses}, allows=lambda each: each in allowed)

    async def check(server: HostileServer) -> None:
        assert (await fetch(server.url(host="mixed.test"), policy=policy)).status == 200

    with connecting_only_to("127.0.0.2", "127.0.0.3"):
        with_server(check, address="127.0.0.2")


@pytest.mark.slow
def test_first_four_addresses_of_each_family_are_tried_once() -> None:
    four = [f"127.0.0.{number}" for number in range(10, 17)]
    six = ["::1", "::2", "::3", "::4", "::5"]
    policy = loopback_policy(names={"dead.test": six + four}, allows=lambda _: True)
    connected.clear()
    result = asyncio.run(fetch("http://dead.test:9/", policy=policy))
    assert result.failure == Failure.CONNECTION
    assert sorted(connected) == [*four[:4], *six[:4]]


def test_fourth_address_is_connected_when_the_others_time_out() -> None:
    silent = ["127.0.0.20", "127.0.0.21", "127.0.0.22"]

    async def check(server: HostileServer) -> None:
        with ExitStack() as stack:
            for address in silent:
                stack.enter_context(unanswered(address, server.port))
            policy = loopback_policy(names={"shop.test": [*silent, "127.0.0.23"]})
            assert (await fetch(server.url(), policy=policy)).status == 200

    with connecting_only_to(*silent, "127.0.0.23"):
        with_server(check, address="127.0.0.23")
    assert tried == [*silent, "127.0.0.23"]


@contextmanager
def unanswered(address: str, port: int) -> Iterator[None]:
    """Make attempts to connect to an address hang: its queue is full."""
    with socket.create_server((address, port), backlog=0), ExitStack() as stack:
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex((address, port))
        yield


def test_refused_connection_says_so() -> None:
    result = asyncio.run(fetch("http://dead.test:9/"))
    assert (result.failure, result.status) == (Failure.CONNECTION, None)
    assert result.detail == "The shop's server refused the connection."


def test_host_with_one_forbidden_address_is_not_forbidden() -> None:
    policy = loopback_policy(names={"mixed.test": ["10.0.0.1", "127.0.0.3"]})
    with connecting_only_to("127.0.0.3"):
        result = asyncio.run(fetch("http://mixed.test:9/", policy=policy))
    assert result.failure == Failure.CONNECTION


def test_address_with_a_scope_is_not_connected() -> None:
    policy = loopback_policy(names={"scoped.test": ["fe80::1%1"]}, allows=lambda _: True)
    with connecting_only_to():
        assert asyncio.run(fetch("http://scoped.test:9/", policy=policy)).failure is not None


def test_forbidden_port_is_not_connected(canary: Canary) -> None:
    class Changing:
        """Allows a port when the URL is parsed, but not when it is connected."""

        asked = 0

        def __contains__(self, port: object) -> bool:
            self.asked += 1
            return self.asked == 1

    with connecting_only_to():
        policy = loopback_policy(ports=Changing())
        result = asyncio.run(fetch(f"http://shop.test:{canary.port}/", policy=policy))
    assert_refused(result)
    assert not canary.has_sung()


# Hostile servers

NOT_HTTP = "The shop's server sent a response that is not valid HTTP."
UNREADABLE = "The shop's server sent a first line that the checker cannot read."
EMPTY = "The shop returned 200 OK with an empty page."
NO_ANSWER = "The shop's server closed the connection without a response."
GARBLED = "The shop's page is incomplete or corrupt."
TOO_SLOW = "The shop did not respond within 1.2 seconds."
NEVER_ENDS = "The shop's page did not end within 1.2 seconds."


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "status", "failure", "detail"),
    [
        ("/hang", None, Failure.TIMEOUT, TOO_SLOW),
        ("/drip/head", None, Failure.TIMEOUT, TOO_SLOW),
        ("/drip/body", 200, Failure.TIMEOUT, NEVER_ENDS),
        ("/drip/error", 404, None, "The shop returned 404 Not Found."),
        ("/endless/interim", None, Failure.PROTOCOL, NOT_HTTP),
        ("/endless/extension", 200, Failure.TIMEOUT, NEVER_ENDS),
        ("/endless/body", 200, None, "The shop returned 200 OK."),
        ("/endless/chunks", 200, None, "The shop returned 200 OK."),
        ("/endless/status", None, Failure.PROTOCOL, NOT_HTTP),
        ("/endless/header", 200, None, "The shop returned 200 OK."),
        ("/endless/headers", 200, None, "The shop returned 200 OK."),
        ("/endless/junk", None, Failure.PROTOCOL, NOT_HTTP),
        ("/gzip-bomb", 200, None, "The shop returned 200 OK."),
        ("/close", None, Failure.CONNECTION, NO_ANSWER),
        ("/reset", None, Failure.CONNECTION, NO_ANSWER),
        ("/reset/head", None, Failure.CONNECTION, NO_ANSWER),
        ("/reset/body", 200, None, "The shop returned 200 OK."),
        (b"", None, Failure.CONNECTION, NO_ANSWER),
        (b"<html>HTTP/0.9</html>", None, Failure.PROTOCOL, NOT_HTTP),
        (b"SSH-2.0-OpenSSH_9.2\r\n", None, Failure.PROTOCOL, NOT_HTTP),
        (b"HTTP/1.1 OK\r\n\r\n", None, Failure.UNREADABLE, UNREADABLE),
        (b"HTTP/1.1 2000 OK\r\n\r\n", 200, Failure.PROTOCOL, EMPTY),
        (b"HTTP/1.1 -20 OK\r\n\r\n", None, Failure.UNREADABLE, UNREADABLE),
        (b"HTTP/1.1 000 OK\r\n\r\n", None, Failure.UNREADABLE, UNREADABLE),
        (b"HTTP/9.9 200 OK\r\n\r\n", None, Failure.UNREADABLE, UNREADABLE),
        (b"HTTP/1.1 200 OK\r\nA\x00b: c\r\n\r\n", 200, None, "The shop returned 200 OK."),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nab",
            200,
            None,
            "The shop returned 200 OK.",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", 200, None, "The shop returned 200 OK."),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", 200, Failure.PROTOCOL, GARBLED),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
            200,
            None,
            "The shop returned 200 OK.",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab",
            200,
            Failure.PROTOCOL,
            GARBLED,
        ),
        (b"HTTP/1.0 200 OK\r\n\r\nab", 200, None, "The shop returned 200 OK."),
        (b"HTTP/1.1 200 \xff\x1b[31m<b>\r\n\r\nab", 200, None, "The shop returned 200 OK."),
        (
            b"HTTP/1.1 404 " + b"x" * 9000 + b"\r\n\r\n",
            404,
            None,
            "The shop returned 404 Not Found.",
        ),
        (b"HTTP/1.1 500 No\r\nContent-Length: 9\r\n\r\nab", 500, None, None),
    ],
)
def test_hostile_response_ends_within_the_limits(
    step: str | bytes, status: int | None, failure: Failure | None, detail: str | None
) -> None:
    ends_by_time = failure is Failure.TIMEOUT or step == "/drip/error"
    began = monotonic()
    result = fetch_response(step, limits=SHORT_TIMEOUTS if ends_by_time else LONG_TIMEOUTS)
    assert (result.status, result.failure) == (status, failure)
    assert result.detail == (detail or "The shop returned 500 Internal Server Error.")
    assert len(result.body) <= 65536
    # Not a speed limit: the check must end.
    assert monotonic() - began < 30


def test_server_that_does_not_close_tls_loses_the_connection() -> None:
    authority = Authority()
    context = authority.server("shop.test")

    def serve(listener: socket.socket) -> bool:
        """Answer one request, ignore the end of TLS; return whether the connection closes."""
        connection, _ = listener.accept()
        tls = context.wrap_socket(connection, server_side=True)
        tls.recv(65536)
        tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"a" * 70000)
        with socket.socket(fileno=tls.detach()) as raw:
            raw.settimeout(10)
            try:
                while raw.recv(65536):
                    pass
            except TimeoutError:
                return False
            except ConnectionError:
                return True
        return True

    async def check(listener: socket.socket) -> None:
        serving = asyncio.create_task(asyncio.to_thread(serve, listener))
        policy = loopback_policy(authorities=authority.trust)
        async with Client(user_agent="t", policy=policy) as client:
            url = f"https://shop.test:{listener.getsockname()[1]}/"
            assert (await client.fetch(url, hold_slot=free_slot)).status == 200
            assert await serving

    with socket.create_server(("127.0.0.1", 0)) as listener:
        asyncio.run(check(listener))


def test_hostile_servers_do_not_delay_other_checks() -> None:
    wild = ("extension", "extension")

    async def check(server: HostileServer) -> None:
        async with Client(user_agent="t", policy=loopback_policy()) as client:
            attacks = [
                asyncio.create_task(
                    client.fetch(server.url(f"/endless/{each}"), hold_slot=free_slot)
                )
                for each in wild
            ]
            deadline = monotonic() + 10
            while len(server.requests) < len(wild):
                assert monotonic() < deadline
                await asyncio.sleep(0.01)
            for _ in range(3):
                result = await client.fetch(
                    server.url("/ok", host="good.test"), hold_slot=free_slot
                )
                assert result.status == 200
            assert not any(task.done() for task in attacks)
            for task in attacks:
                task.cancel()
            await asyncio.gather(*attacks, return_exceptions=True)

    with hostile_server() as apart:
        asyncio.run(check(apart))


CHILD = """
import asyncio, json, sys
from offers.url_checks.fetch.client import Client
from tests.fetching import SHORT_TIMEOUTS, free_slot
from tests.hostile_server import loopback_policy

def peak(reset=False):
    if reset:
        open("/proc/self/clear_refs", "w").write("5")
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

async def main(good, *urls):
    async with Client(user_agent="t", policy=loopback_policy(), limits=SHORT_TIMEOUTS) as client:
        for _ in range(20):
            await client.fetch(good, hold_slot=free_slot)
        grown = {}
        for url in urls:
            before = peak(reset=True)
            await client.fetch(url, hold_slot=free_slot)
            grown[url] = peak() - before
        print(json.dumps(grown))

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
def test_one_check_takes_less_than_20_megabytes() -> None:
    parts = ("status", "header", "headers", "interim", "body", "chunks", "extension", "trailers")
    with hostile_server() as server:
        urls = [server.url(f"/endless/{part}") for part in (*parts, "junk")]
        child = subprocess.run(
            [sys.executable, "-c", CHILD, server.url(), *urls, server.url("/gzip-bomb")],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        )
    grown = json.loads(child.stdout)
    assert len(grown) == len(parts) + 2
    assert {url: megabytes for url, megabytes in grown.items() if megabytes > 20} == {}
