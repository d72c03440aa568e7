"""Requests over real connections: rejections and responses of the web server itself."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from closient.text import key_format
from tests.clients import NO_LIMIT, key_of, stats_path
from tests.factories import OrganizationFactory
from tests.servers import serving
from tests.wire import connect, exchange, parse, read_all

pytestmark = pytest.mark.django_db(transaction=True)

MEGABYTE = 1024 * 1024


class Server(NamedTuple):
    """A running server, a key, and a path that the key can read."""

    port: int
    key: str
    path: str


@pytest.fixture(scope="module")
def port(django_db_setup: None) -> Iterator[int]:
    """The project under gunicorn, with the test database."""
    with serving() as (port, _):
        yield port


@pytest.fixture
def server(transactional_db: None, port: int) -> Server:
    """The server, and a key without limits."""
    organization = OrganizationFactory()
    limits = {"limit_per_minute": NO_LIMIT, "limit_per_day": NO_LIMIT}
    key = key_of(organization, role="manager", **limits)
    return Server(port, key, stats_path(organization))


API = b"POST /dashboard/api/v1/stats/x HTTP/1.1\r\nHost: localhost\r\n"
MALFORMED = {
    "Content-Length beside Transfer-Encoding": API
    + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding beside Content-Length": API
    + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": API + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n123456",
    "the same length twice": API + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n12345",
    "a signed length": API + b"Content-Length: +5\r\n\r\n12345",
    "a negative length": API + b"Content-Length: -5\r\n\r\n",
    "a length of 5,000 digits": API + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
    "no length": API + b"Content-Length:\r\n\r\n",
    "chunked twice": API + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "two Transfer-Encodings": API
    + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "an unknown Transfer-Encoding": API + b"Transfer-Encoding: cow\r\n\r\n0\r\n\r\n",
    "a Transfer-Encoding with a blank before the colon": API
    + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "chunked in HTTP/1.0": b"POST /dashboard/api/v1/stats/x HTTP/1.0\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a chunk without a size": API + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a chunk size without an end": API + b"Transfer-Encoding: chunked\r\n\r\n" + b"0" * 100_000,
    "no host": b"GET /dashboard/api/v1/stats/x HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /dashboard/api/v1/stats/x HTTP/1.1\r\nHost: localhost\r\nHost: a\r\n\r\n",
    "no colon": API + b"what is this\r\n\r\n",
    "a folded line": API + b"X-A: 1\r\n 2\r\n\r\n",
    "a bare line feed": API + b"X-A: 1\nX-B: 2\r\n\r\n",
    "NUL in a value": API + b"X-A: 1\x002\r\n\r\n",
    "no method": b"\x00\x01\x02\r\n\r\n",
    "a method in lower case": b"get / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "no address": b"GET\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "an authority for an address": b"CONNECT localhost:443 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "an address that is no address": b"GET http://[/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "40 KB of headers": API + b"X-A: " + b"x" * 40_000 + b"\r\n\r\n",
}


def test_malformed_requests_are_problems_and_close_the_connection(server: Server) -> None:
    hidden = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for name, sent in MALFORMED.items():
        with connect(server.port) as peer:
            peer.sendall(sent + hidden)
            received = read_all(peer)
        reply = parse(received)
        # Bytes after an invalid request are not read as another request.
        assert received.count(b"HTTP/1.1 ") + received.count(b"HTTP/1.0 ") == 1, name
        assert reply.status == 400, name
        assert reply.headers["content-type"] == "application/problem+json", name
        assert reply.headers["connection"] == "close", name
        assert reply.json["error_code"] == "bad_request", name
        assert reply.json["request_id"] == reply.headers["x-request-id"], name
    assert exchange(server.port, hidden.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))


def test_rejection_repeats_nothing_of_the_request(server: Server) -> None:
    key = server.key.encode()
    for sent in (
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-API-Key " + key + b"\r\n\r\n",
        key.upper() + b" / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        key + b" / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET " + key + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n X-API-Key: " + key + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: " + key + b"\r\n\r\n",
        b"GET / HTTP/" + key + b"\r\n\r\n",
        b"GET /" + key + b"x" * 9000 + b" HTTP/1.1\r\n\r\n",
    ):
        reply = exchange(server.port, sent)
        assert reply.status in (400, 403, 414), sent
        assert key[4:36].lower() not in (reply.body + str(reply.headers).encode()).lower(), sent


def test_endless_request_line_is_414(server: Server) -> None:
    for sent in (b"GET /" + b"x" * 9000, b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n"):
        reply = exchange(server.port, sent)
        assert (reply.status, reply.json["error_code"]) == (414, "uri_too_long")


def test_requests_in_one_packet_are_answered_in_order(server: Server) -> None:
    one = f"GET {server.path} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {server.key}\r\n"
    with connect(server.port) as peer:
        sent = "".join(f"{one}X-Request-ID: number-{n}\r\n\r\n" for n in range(20))
        peer.sendall(sent.encode() + f"{one}Connection: close\r\n\r\n".encode())
        received = read_all(peer)
    assert received.count(b"HTTP/1.1 200 OK") == 21
    places = [received.index(b"number-%d\r\n" % n) for n in range(20)]
    assert places == sorted(places)


def test_http_1_0_is_served_without_a_host(server: Server) -> None:
    reply = exchange(server.port, b"GET /healthz HTTP/1.0\r\n\r\n")
    assert (reply.status, reply.body) == (200, b"ok\n")


def test_connection_stays_open_after_responses_without_a_body(server: Server) -> None:
    with connect(server.port) as peer:
        head = f"HEAD {server.path} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {server.key}\r\n"
        peer.sendall(f"{head}\r\n".encode())
        first = parse(_read_head(peer))
        etag = first.headers["etag"]
        get = head.replace("HEAD", "GET")
        peer.sendall(f"{get}If-None-Match: {etag}\r\n\r\n".encode())
        second = parse(_read_head(peer))
        peer.sendall(f"{get}Connection: close\r\n\r\n".encode())
        third = parse(read_all(peer))
    assert (first.status, second.status, third.status) == (200, 304, 200)
    assert int(first.headers["content-length"]) == len(third.body)


def _read_head(peer: socket.socket) -> bytes:
    received = b""
    while not received.endswith(b"\r\n\r\n"):
        received += peer.recv(1)
    return received


def test_headers_that_look_like_server_variables_are_ignored(server: Server) -> None:
    reply = exchange(
        server.port,
        f"GET {server.path} HTTP/1.1\r\nHost: localhost\r\nX_API_Key: {server.key}\r\n"
        "Script-Name: /x\r\nSCRIPT_NAME: /x\r\nPATH_INFO: /healthz\r\n"
        "Connection: close\r\n\r\n".encode(),
    )
    assert reply.status == 401
    assert reply.json["instance"] == server.path


def test_continue_is_sent_only_when_the_body_is_read(server: Server) -> None:
    with connect(server.port) as peer:
        peer.sendall(
            f"POST {server.path} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {server.key}\r\n"
            "Content-Type: application/json\r\nContent-Length: 100000\r\nConnection: close\r\n"
            "Expect: 100-continue\r\n\r\n".encode()
        )
        assert _read_head(peer) == b"HTTP/1.1 100 Continue\r\n\r\n"
        peer.sendall(b" " * 100_000)
        assert parse(read_all(peer)).status == 405
    for head, status in (
        (f"X-API-Key: {server.key}\r\nContent-Length: {2 * MEGABYTE}\r\n", 413),
        ("Content-Length: 100000\r\n", 401),
        (f"X-API-Key: {key_format.new_text('csb')}\r\n", 401),
    ):
        # Without waiting for the body, which is never sent.
        with connect(server.port) as peer:
            peer.sendall(
                f"POST {server.path} HTTP/1.1\r\nHost: localhost\r\n{head}Connection: close\r\n"
                "Expect: 100-continue\r\n\r\n".encode()
            )
            assert parse(read_all(peer)).status == status, head


def test_too_large_body_is_rejected_before_it_is_sent(server: Server) -> None:
    for path, kind, length, headers, status in (
        (server.path, "application/json", 2 * MEGABYTE, f"X-API-Key: {server.key}", 413),
        (server.path, "multipart/form-data", 12 * MEGABYTE, f"X-API-Key: {server.key}", 413),
        (server.path, "application/json", 50 * MEGABYTE, "X-A: b", 413),
        (server.path, "application/json", MEGABYTE, "X-A: b", 401),
        (server.path, "application/json", MEGABYTE, "X-API-Key: csb_x", 401),
        ("/dashboard/", "multipart/form-data", 65 * MEGABYTE, "X-A: b", 413),
        ("/dashboard/", "multipart/form-data", MEGABYTE, "X-A: b", 302),
        ("/account/login", "multipart/form-data", MEGABYTE, "Cookie: sessionid=x", 302),
        ("/nowhere/", "text/plain", 65 * MEGABYTE, "Cookie: sessionid=" + "a" * 32, 404),
    ):
        with connect(server.port) as peer:
            peer.sendall(
                f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
                f"Content-Length: {length}\r\n{headers}\r\n\r\n".encode()
            )
            reply = parse(read_all(peer))
        assert reply.status == status, (path, kind, length, headers)
        assert reply.headers["connection"] == "close"
        if path == server.path:
            assert reply.headers["content-type"] == "application/problem+json"
            assert reply.json["request_id"] == reply.headers["x-request-id"]


def test_client_that_sends_a_rejected_body_receives_the_response(server: Server) -> None:
    for body, headers, status in (
        (b" " * (20 * MEGABYTE), f"X-API-Key: {server.key}\r\n", 413),
        (b" " * (20 * MEGABYTE), "", 413),
        (b" " * MEGABYTE, "", 401),
    ):
        head = (
            f"POST {server.path} HTTP/1.1\r\nHost: localhost\r\n{headers}"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        with connect(server.port) as peer:
            # The whole body first, as Python's http.client does.
            peer.sendall(head.encode() + body)
            assert parse(read_all(peer)).status == status


@pytest.mark.slow
def test_chunks_are_counted_as_they_arrive(server: Server) -> None:
    chunk = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
    tiny = b"1\r\n \r\n" * 2000
    for headers, piece, status in (
        (f"X-API-Key: {server.key}\r\n", chunk, 413),
        ("", chunk, 401),
        ("", tiny, 401),
        (f"X-API-Key: {server.key}\r\n", tiny, 413),
    ):
        response: list[bytes] = []
        with connect(server.port) as peer:
            head = (
                f"POST {server.path} HTTP/1.1\r\nHost: localhost\r\n{headers}"
                "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            peer.sendall(head.encode())
            reader = threading.Thread(target=lambda p=peer, a=response: a.append(read_all(p)))
            reader.start()
            # The body never ends: the response arrives while it is sent.
            for _ in range(2000):
                if not reader.is_alive():
                    break
                try:
                    peer.sendall(piece)
                except OSError:
                    break
            reader.join()
        assert parse(response[0]).status == status, headers
    body = json.dumps({"name": "x" * 500_000}).encode()
    whole = b"".join(
        b"%x\r\n%b\r\n" % (len(piece), piece)
        for piece in (body[n : n + 7000] for n in range(0, len(body), 7000))
    )
    sent = (
        f"POST {server.path} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {server.key}\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    )
    assert exchange(server.port, sent.encode() + whole + b"0\r\n\r\n").status == 405
