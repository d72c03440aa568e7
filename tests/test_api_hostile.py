"""Hostile requests to a real server over sockets: rejected, and quickly."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
from pytest_django import Settings

from tests.clients import (
    NO_LIMIT,
    client_of,
    completeness_path,
    key_of,
    problem,
    stats_path,
)
from tests.operations import OPERATIONS, call_path, fields, sample_data
from tests.servers import TIMEOUT_SECONDS, serving

MEGABYTE = 1024 * 1024


class Server(NamedTuple):
    """A running gunicorn, with a key and paths to request."""

    port: int
    process: psutil.Process
    key: str
    paths: tuple[str, str]
    ids: dict[str, str]

    def memory(self) -> int:
        """Return the memory of its processes in bytes."""
        processes = [self.process, *self.process.children(recursive=True)]
        return sum(process.memory_info().rss for process in processes)


@pytest.fixture
def server(transactional_db: None, tmp_path: Path) -> Iterator[Server]:
    """The project under gunicorn, with the test database."""
    sample = sample_data()
    organization, product = sample.organization, sample.product
    limits = {"limit_per_minute": NO_LIMIT, "limit_per_day": NO_LIMIT}
    key = key_of(organization, role="manager", **limits)
    paths = (stats_path(organization), completeness_path(organization, product.gtin))
    with serving(ALLOWED_HOSTS="localhost", MEDIA_ROOT=str(tmp_path)) as (port, process):
        running = Server(port, process, key, paths, sample.ids)
        assert exchange(running, request(running, "GET", paths[0])).status == 200
        yield running


class TimedResponse(NamedTuple):
    """A response, and the seconds it took."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float


def request(
    server: Server,
    method: str,
    target: str,
    body: bytes = b"",
    headers: dict[str, str] | None = None,
) -> bytes:
    """Return the bytes of a request, which no library corrects."""
    sent = {"Host": "localhost", "X-API-Key": server.key, "Connection": "close", **(headers or {})}
    if body:
        sent.setdefault("Content-Length", str(len(body)))
    lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    return f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + body


def exchange(server: Server, sent: bytes) -> TimedResponse:
    """Send bytes and return the complete response."""
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT_SECONDS) as peer:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            peer.sendall(sent)
        received = bytearray()
        while piece := peer.recv(65_536):
            received += piece
    head, _, body = bytes(received).partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    return TimedResponse(int(first.split()[1]), headers, body, time.monotonic() - started)


DEEP = b"[" * 100_000 + b"]" * 100_000
JSON_BODIES = {
    "100,000 levels": DEEP,
    "NaN": b'{"total_products": NaN}',
    "1e999": b'{"total_products": 1e999}',
    "5,000 digits": b"9" * 5000,
    "lone surrogate": b'"\\ud800"',
    "NUL": b'"\\u0000"',
    "not UTF-8": b'"\xff"',
    "10 MB": b" " * (10 * MEGABYTE),
}
QUERIES = {
    "page=10**30": f"page={10**30}",
    "as_of=10**30": f"as_of={10**30}",
    "complete_at=10**30": f"complete_at={10**30}",
    "NUL": "as_of=%00",
    "lone surrogate": "as_of=%ED%A0%80",
    "10,000 parameters": "&".join(f"p{n}=1" for n in range(10_000)),
    "2,000 short parameters": "a&" * 2000,
    "64 KB": "x" * 65_536,
}


def is_problem(response: TimedResponse, *statuses: int) -> bool:
    """Return whether a response is a complete problem with one of the statuses."""
    if response.status not in statuses:
        return False
    assert response.headers["content-type"] == "application/problem+json"
    body = json.loads(response.body)
    assert body["status"] == response.status
    assert not re.search(r"Traceback|\.py|SELECT|Error\(", response.body.decode())
    return True


@pytest.mark.slow
def test_hostile_requests_are_rejected_quickly_in_constant_memory(server: Server) -> None:
    before = server.memory()
    slowest = 0.0
    for path in server.paths:
        for method in ("POST", "PUT", "PATCH", "DELETE", "GET"):
            for name, body in JSON_BODIES.items():
                for kind in ("application/json", "text/plain", "multipart/form-data", "\xff"):
                    sent = request(server, method, path, body, {"Content-Type": kind})
                    response = exchange(server, sent)
                    slowest = max(slowest, response.seconds)
                    if method == "GET" and name != "10 MB":
                        assert response.status == 200, (path, method, name, kind)
                    elif name == "10 MB" and kind != "multipart/form-data":
                        assert is_problem(response, 413), (path, method, name, kind)
                    elif method == "GET":
                        assert response.status == 200
                    else:
                        assert is_problem(response, 405), (path, method, name, kind)
        for name, query in QUERIES.items():
            response = exchange(server, request(server, "GET", f"{path}?{query}"))
            slowest = max(slowest, response.seconds)
            assert is_problem(response, 400, 414, 422), (path, name)
        for target in (f"{path}{'x' * 65_536}", f"{path}/%00", f"{path}/%FF", f"{path}%0A"):
            response = exchange(server, request(server, "GET", target))
            assert is_problem(response, 404, 414), target[:100]
    assert server.memory() - before < 32 * MEGABYTE
    # Quickly: far below the timeout, even on a busy machine.
    assert slowest < TIMEOUT_SECONDS / 2


# Values that no field accepts; each is sent in every field.
INVALID_VALUES: dict[str, bytes] = {
    "NaN": b"NaN",
    "-Infinity": b"-Infinity",
    "1e999": b"1e999",
    "-1e999": b"-1e999",
    "5,000 digits": b"9" * 5000,
    "lone surrogate": b'"\\ud800"',
    "NUL": b'"a\\u0000b"',
    "raw NUL": b'"a\x00b"',
    "not UTF-8": b'"\xff"',
    "100,000 levels": DEEP,
    "deep object": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "a name twice": b'{"a": 1, "a": 2}',
}
# Each is invalid in some fields and valid or ignored in others, and never crashes.
UNUSUAL_VALUES: dict[str, bytes] = {
    "null": b"null",
    "true": b"true",
    "number": b"-0.5e-3",
    "large integer": b"9223372036854775807",
    "list": b"[]",
    "list of lists": b"[[[[]]]]",
    "object": b"{}",
    "object of null": b'{"": null}',
    "empty": b'""',
    "blanks": b'" \\t\\n\\u00a0\\u200b\\u202e"',
    "controls": b'"\\u0001\\u001b[31m\\u0085"',
    "full-width digits": '"\uff10\uff14\uff10\uff11\uff12\uff13"'.encode(),
    "markup": b'"<script>alert(1)</script>"',
    "SQL": b'"\'; DROP TABLE catalog_product; --"',
    "format": b'"%s %(a)s {0} ${jndi:ldap://127.0.0.1/a}"',
    "long": b'"' + b"x" * 200_000 + b'"',
    "many items": b"[" + b",".join([b'"a"'] * 50_000) + b"]",
    "many names": b"{" + b",".join(b'"%d": "a"' % n for n in range(20_000)) + b"}",
    "scheme": b'"javascript:alert(1)"',
    "year 0": b'"0000-00-00T00:00:00Z"',
    "far year": b'"9999-12-31T23:59:59-14:00"',
}
JSON_WRITES = {
    name: {*fields(name), "unknown"}
    for name, operation in OPERATIONS.items()
    if not operation.is_form and name.split(" ")[0] in ("POST", "PUT", "PATCH")
}


@pytest.mark.slow
def test_hostile_bodies_are_rejected_quickly_in_constant_memory(server: Server) -> None:
    bodies = [
        *JSON_BODIES.values(),
        *(b'{"name": %s}' % value for value in INVALID_VALUES.values()),
    ]
    sizes = []
    slowest = 0.0
    for _ in range(3):
        for name, members in JSON_WRITES.items():
            method, path = call_path(name, server.ids)
            for body in bodies:
                response = send_json(server, method, path, body)
                slowest = max(slowest, response.seconds)
                takes_a_body = members != {"unknown"}
                assert is_problem(response, 400, 413, 422) or not takes_a_body, (name, body[:50])
        sizes.append(server.memory())
    # The first round also loads modules and caches.
    assert sizes[2] - sizes[1] < 16 * MEGABYTE
    # Quickly: far below the timeout, even on a busy machine.
    assert slowest < TIMEOUT_SECONDS / 2


@pytest.mark.slow
@pytest.mark.django_db
@pytest.mark.parametrize("name", JSON_WRITES)
def test_unusual_values_in_any_field_cause_no_crash(
    name: str, settings: Settings, tmp_path: Path
) -> None:
    settings.MEDIA_ROOT = tmp_path
    sample = sample_data()
    limits = {"limit_per_minute": NO_LIMIT, "limit_per_day": NO_LIMIT}
    client = client_of(sample.organization, role="manager", **limits)
    method, path = call_path(name, sample.ids)
    valid = OPERATIONS[name].body(sample.ids) or {}
    for member in sorted(JSON_WRITES[name]):
        others = {key: value for key, value in valid.items() if key != member}
        head = json.dumps(others).encode()[:-1] + (b", " if others else b"")
        for label, value in UNUSUAL_VALUES.items():
            body = head + json.dumps(member).encode() + b": " + value + b"}"
            response = client.generic(method, path, body, content_type="application/json")
            is_fine = response.status_code in (200, 201, OPERATIONS[name].status)
            assert is_fine or problem(response)["status"] in (400, 409, 422), (member, label)
            assert len(response.content) < 300_000, (member, label)


def send_json(server: Server, method: str, path: str, body: bytes) -> TimedResponse:
    kind = {"Content-Type": "application/json"}
    return exchange(server, request(server, method, path, body, kind))


FORMS = {
    "no boundary": ("multipart/form-data", b"x"),
    "empty boundary": ("multipart/form-data; boundary=", b"----\r\n"),
    "long boundary": ("multipart/form-data; boundary=" + "x" * 5000, b"--"),
    "nothing inside": ("multipart/form-data; boundary=b", b"--b--\r\n"),
    "never closed": ("multipart/form-data; boundary=b", b"--b\r\n" + b"a" * 1000),
    "10,000 fields": (
        "multipart/form-data; boundary=b",
        b"".join(
            b'--b\r\nContent-Disposition: form-data; name="%d"\r\n\r\n1\r\n' % n
            for n in range(10_000)
        )
        + b"--b--\r\n",
    ),
    "1,000 files": (
        "multipart/form-data; boundary=b",
        b"".join(
            b'--b\r\nContent-Disposition: form-data; name="f%d"; filename="f"\r\n\r\n1\r\n' % n
            for n in range(1_000)
        )
        + b"--b--\r\n",
    ),
    "text for the file": (
        "multipart/form-data; boundary=b",
        b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\n1\r\n--b--\r\n',
    ),
    "path for a name": (
        "multipart/form-data; boundary=b",
        b'--b\r\nContent-Disposition: form-data; name="image"; '
        b'filename="../../../etc/passwd\x00.png"\r\n\r\n1\r\n--b--\r\n',
    ),
    "JSON": ("application/json", b'{"image": "x"}'),
    "unknown encoding": ("multipart/form-data; boundary=b; charset=rot-13", b"--b--\r\n"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in OPERATIONS if OPERATIONS[name].is_form])
def test_hostile_forms_are_rejected(server: Server, name: str) -> None:
    method, path = call_path(name, server.ids)
    for label, (kind, body) in FORMS.items():
        response = exchange(server, request(server, method, path, body, {"Content-Type": kind}))
        assert is_problem(response, 400, 413, 415, 422), label
        assert response.seconds < TIMEOUT_SECONDS / 2


def test_server_responds_to_head_without_a_body(server: Server) -> None:
    response = exchange(server, request(server, "HEAD", server.paths[0]))
    assert (response.status, response.body) == (200, b"")
    assert response.headers["etag"]
    assert response.headers["ratelimit-remaining"]
    not_modified = exchange(
        server,
        request(
            server, "GET", server.paths[0], headers={"If-None-Match": response.headers["etag"]}
        ),
    )
    assert (not_modified.status, not_modified.body) == (304, b"")
    assert not_modified.headers["ratelimit-remaining"]
    assert not_modified.headers["x-request-id"]


@pytest.mark.slow
def test_broken_requests_do_not_affect_other_clients(server: Server) -> None:
    broken = [
        b"\x00" * 1000 + b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        request(server, "GET", server.paths[0], headers={"Content-Length": "-1"}),
        request(server, "GET", server.paths[0], headers={"Content-Length": "9" * 5000}),
        request(server, "POST", server.paths[0], b"zz\r\n", {"Transfer-Encoding": "chunked"}),
        request(server, "GET", server.paths[0], headers={"X-Large": "x" * 70_000}),
        request(server, "GET", server.paths[0], headers={"Host": "evil.example"}),
        request(server, "GET", server.paths[0], headers={"X-API-Key": "\x80\xff" * 100}),
    ]
    for sent in broken:
        response = exchange(server, sent)
        assert 400 <= response.status < 500, sent[:80]
        assert response.seconds < TIMEOUT_SECONDS / 2
    assert exchange(server, request(server, "GET", server.paths[0])).status == 200
