"""Slow clients do not delay the requests of others.

``SLOW_CLIENTS`` is the number of connections of each kind (100 without it).
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from django.test import Client

from closient.accounts.models import User
from tests.clients import NO_LIMIT, key_of, stats_path
from tests.factories import MembershipFactory, OrganizationFactory, ProductFactory, UserFactory
from tests.servers import LARGE_STATIC_FILE, serving
from tests.wire import connect, exchange, parse, read_all

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

SLOW_CLIENTS = int(os.environ.get("SLOW_CLIENTS", "100"))
MEGABYTE = 1024 * 1024
# The second line is for the service behind nginx, and ignored without nginx.
HEAD = b"Host: localhost\r\nX-Forwarded-Proto: https\r\n"
STATIC_FILE = f"/static/{LARGE_STATIC_FILE}"
# Seconds within which others get a response.
MAX_SECONDS_BUSY = 1.0
# Seconds for a response that waits for no other request.
MAX_SECONDS_IDLE = 0.1
# Seconds for the service to serve the first requests of all slow clients.
TIMEOUT_SECONDS = 30.0


class Site(NamedTuple):
    """A running server with a key and paths."""

    port: int
    key: str
    stats: str
    session: str
    export: str

    def request(self, path: str) -> float:
        """Request a page with the key and return the seconds it took."""
        started = time.monotonic()
        sent = f"X-API-Key: {self.key}\r\nConnection: close\r\n\r\n".encode()
        reply = exchange(self.port, f"GET {path} HTTP/1.1\r\n".encode() + HEAD + sent)
        assert reply.status == 200, reply
        return time.monotonic() - started


@pytest.fixture
def site(transactional_db: None, static_files: Path) -> Iterator[Site]:
    """The project under gunicorn, with a catalog whose export takes several packets."""
    organization = OrganizationFactory()
    ProductFactory.create_batch(400, organization=organization, description="x" * 4000)
    user: User = UserFactory()
    MembershipFactory(user=user, organization=organization)
    client = Client()
    client.force_login(user)
    limits = {"limit_per_minute": NO_LIMIT, "limit_per_day": NO_LIMIT}
    key = key_of(organization, role="manager", **limits)
    stats = stats_path(organization)
    export = f"/dashboard/{stats.rpartition('/')[2]}/products/export"
    with serving(STATIC_ROOT=str(static_files), EXPORT_LIMIT_PER_MINUTE=str(NO_LIMIT)) as (port, _):
        yield Site(port, key, stats, client.cookies["sessionid"].value, export)


class Kind(NamedTuple):
    """What a slow client sends first, and what it keeps sending one byte at a time."""

    sent: Callable[[Site], bytes]
    dripped: bytes = b""
    receive_buffer: int | None = None


def _post(path: str, length: int, *headers: str) -> bytes:
    lines = "".join(f"{line}\r\n" for line in headers)
    head = f"POST {path} HTTP/1.1\r\n".encode() + HEAD
    return head + f"Content-Length: {length}\r\n{lines}\r\n".encode()


KINDS = {
    "idle": Kind(lambda site: b""),
    "first byte": Kind(lambda site: b"G"),
    "partial headers": Kind(lambda site: b"GET / HTTP/1.1\r\n" + HEAD),
    "dripped headers": Kind(lambda site: b"GET / HTTP/1.1\r\n" + HEAD + b"X-A: ", b"x"),
    "silent after headers": Kind(lambda site: _post("/account/login", 1000)),
    "dripped login form": Kind(lambda site: _post("/account/login", 1000) + b"username=", b"x"),
    "half a megabyte with a key": Kind(
        lambda site: _post(site.stats, MEGABYTE // 2, f"X-API-Key: {site.key}") + b" " * 9000, b" "
    ),
    "half a megabyte without a key": Kind(
        lambda site: _post(site.stats, MEGABYTE // 2) + b" " * 9000, b" "
    ),
    "50 MB with a key": Kind(
        lambda site: _post(site.stats, 50 * MEGABYTE, f"X-API-Key: {site.key}") + b" " * 9000, b" "
    ),
    "50 MB without a key": Kind(lambda site: _post(site.stats, 50 * MEGABYTE) + b" " * 9000, b" "),
    "50 MB with a session": Kind(
        lambda site: (
            _post("/dashboard/", 50 * MEGABYTE, f"Cookie: sessionid={site.session}") + b" " * 9000
        ),
        b" ",
    ),
    "chunked": Kind(
        lambda site: (
            f"POST {site.stats} HTTP/1.1\r\n".encode()
            + HEAD
            + f"X-API-Key: {site.key}\r\n".encode()
            + b"Transfer-Encoding: chunked\r\n\r\nfffff\r\n"
        ),
        b" ",
    ),
    "does not read a static file": Kind(
        lambda site: f"GET {STATIC_FILE} HTTP/1.1\r\n".encode() + HEAD + b"\r\n",
        receive_buffer=1024,
    ),
    "does not read an export": Kind(
        lambda site: (
            f"GET {site.export} HTTP/1.1\r\n".encode()
            + HEAD
            + f"Cookie: sessionid={site.session}\r\n\r\n".encode()
        ),
        receive_buffer=1024,
    ),
}


@contextlib.contextmanager
def slow_clients(site: Site, kind: Kind, count: int) -> Iterator[None]:
    """Keep connections of a kind open for a block, sending slowly."""
    peers: list[socket.socket] = []
    stop = threading.Event()

    def drip() -> None:
        while not stop.wait(0.2):
            for peer in peers:
                # The server may have closed it by now, which is allowed.
                with contextlib.suppress(OSError):
                    peer.send(kind.dripped)

    dripping = threading.Thread(target=drip) if kind.dripped else None
    try:
        for _ in range(count):
            peer = connect(site.port, receive_buffer=kind.receive_buffer)
            peers.append(peer)
            with contextlib.suppress(OSError):
                peer.sendall(kind.sent(site))
        if dripping:
            dripping.start()
        yield
    finally:
        stop.set()
        if dripping and dripping.ident:
            dripping.join()
        for peer in peers:
            peer.close()


def hold(site: Site, names: Collection[str], count: int, rounds: int) -> None:
    """Run slow clients of some kinds, and time the requests of others."""
    with contextlib.ExitStack() as stack:
        for name in names:
            stack.enter_context(slow_clients(site, KINDS[name], count))
        # Complete requests are served in order, so a fast response shows that they are done.
        # The measurement is of the delay by slow readers.
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while site.request("/healthz") >= MAX_SECONDS_IDLE:
            assert time.monotonic() < deadline, (names, count)
        for _ in range(rounds):
            for path in ("/healthz", site.stats, STATIC_FILE):
                seconds = site.request(path)
                assert seconds < MAX_SECONDS_BUSY, (names, count, path, seconds)


def test_many_slow_clients_of_each_kind_do_not_delay_others(site: Site) -> None:
    for name in KINDS:
        hold(site, [name], SLOW_CLIENTS, rounds=5)


def test_slow_clients_of_all_kinds_together_do_not_delay_others(site: Site) -> None:
    hold(site, KINDS, 20, rounds=3)


def seconds_until_end(peer: socket.socket, dripped: bytes = b"") -> float:
    """Return for how many seconds the server keeps a slow connection."""
    started = time.monotonic()
    stop = threading.Event()

    def drip() -> None:
        while not stop.wait(0.1):
            with contextlib.suppress(OSError):
                peer.send(dripped)

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        read_all(peer)
    finally:
        stop.set()
        thread.join()
    return time.monotonic() - started


DEADLINES = {
    "WEB_IDLE_TIMEOUT": "2",
    "WEB_HEADER_TIMEOUT": "2",
    "WEB_BODY_TIMEOUT": "2",
    "WEB_RESPONSE_TIMEOUT": "2",
}
LATEST = 8.0


def test_deadlines_end_slow_requests(transactional_db: None) -> None:
    organization = OrganizationFactory()
    key = key_of(organization, role="manager", limit_per_minute=NO_LIMIT, limit_per_day=NO_LIMIT)
    path = stats_path(organization)
    with serving(**DEADLINES) as (port, _):
        for sent, dripped in (
            (b"", b""),
            (b"GET / HTTP/1.1\r\nX-A: ", b"x"),
            (_post("/account/login", 10_000), b"x"),
            (_post(path, 500_000, f"X-API-Key: {key}"), b" "),
        ):
            with connect(port) as peer:
                peer.sendall(sent)
                assert seconds_until_end(peer, dripped) < LATEST, sent
        # A late request still gets a response.
        with connect(port) as peer:
            peer.sendall(_post(path, 500_000, f"X-API-Key: {key}"))
            reply = parse(read_all(peer))
        assert (reply.status, reply.json["error_code"]) == (400, "bad_request")
        assert reply.json["detail"] == "The request did not arrive in time."
        # A connection between two requests is idle.
        with connect(port) as peer:
            peer.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert seconds_until_end(peer) < LATEST


def test_client_that_does_not_read_loses_its_connection(transactional_db: None) -> None:
    with serving(**DEADLINES) as (port, process):
        peers = [connect(port, receive_buffer=1024) for _ in range(5)]
        for peer in peers:
            # More than the buffers of the kernel hold.
            request = b"GET /dashboard/api/v1/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
            peer.sendall(request * 60)
        deadline = time.monotonic() + 30
        while connections_of(process, port) and time.monotonic() < deadline:
            assert exchange(
                port, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            )
        assert connections_of(process, port) == 0
        for peer in peers:
            peer.close()


def connections_of(process: object, port: int) -> int:
    """Return how many connections of clients a server's workers hold."""
    return sum(
        connection.status == "ESTABLISHED" and connection.laddr.port == port
        for child in process.children()  # type: ignore[attr-defined]
        for connection in child.net_connections()
    )


def test_new_clients_are_accepted_when_idle_ones_fill_the_server(transactional_db: None) -> None:
    with serving(WEB_CONNECTIONS="50") as (port, _):
        peers = [connect(port) for _ in range(200)]
        for peer in peers[:100]:
            with contextlib.suppress(OSError):
                peer.sendall(b"GET / HTTP/1.1\r\n")
        reply = exchange(
            port, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        assert reply.status == 200
        for peer in peers:
            peer.close()
