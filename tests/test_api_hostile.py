"""What nobody sends by mistake, sent to a real server over real sockets: refused, and quickly."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urlencode

import psutil
import pytest
from django.db import connection

from tests.clients import GENEROUS, completeness_path, key_of, stats_path
from tests.factories import OrganizationFactory, ProductFactory

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 30.0
MEGABYTE = 1024 * 1024


class Server(NamedTuple):
    """A running gunicorn, and whom to ask it about."""

    port: int
    process: psutil.Process
    key: str
    paths: tuple[str, str]

    def memory(self) -> int:
        """Return the bytes of memory that its processes hold."""
        processes = [self.process, *self.process.children(recursive=True)]
        return sum(process.memory_info().rss for process in processes)


@pytest.fixture
def server(transactional_db: None) -> Iterator[Server]:
    """The project under gunicorn, with the test database."""
    organization = OrganizationFactory()
    product = ProductFactory(organization=organization)
    key = key_of(organization, limit_per_minute=GENEROUS, limit_per_day=GENEROUS)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "--bind", f"fd://{listener.fileno()}"],
            cwd=ROOT,
            env=environment(),
            pass_fds=[listener.fileno()],
            stderr=subprocess.PIPE,
        )
        try:
            paths = (stats_path(organization), completeness_path(organization, product.gtin))
            running = Server(port, psutil.Process(process.pid), key, paths)
            # The first request waits until the server has started.
            assert exchange(running, request(running, "GET", paths[0])).status == 200
            yield running
        finally:
            process.terminate()
            process.communicate(timeout=PATIENCE)


def environment() -> dict[str, str]:
    """Return the environment in which the server finds the test database."""
    settings = connection.settings_dict
    where = urlencode({"host": settings["HOST"], "port": settings["PORT"] or 5432})
    user = f"{quote(settings['USER'], '')}:{quote(settings.get('PASSWORD') or '', '')}"
    return {
        **os.environ,
        "DATABASE_URL": f"postgres://{user}@/{settings['NAME']}?{where}",
        "DEBUG": "0",
        "ALLOWED_HOSTS": "localhost",
        "API_LIMIT_ADDRESS_PER_MINUTE": str(GENEROUS),
        "WEB_CONCURRENCY": "1",
    }


class Answer(NamedTuple):
    """What came back, and after how many seconds."""

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
    """Return a request's bytes, as they are and not as a library would mend them."""
    sent = {"Host": "localhost", "X-API-Key": server.key, "Connection": "close", **(headers or {})}
    if body:
        sent.setdefault("Content-Length", str(len(body)))
    lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    return f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + body


def exchange(server: Server, sent: bytes) -> Answer:
    """Send bytes and return the answer, read to its end."""
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as peer:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            peer.sendall(sent)
        received = bytearray()
        while piece := peer.recv(65_536):
            received += piece
    head, _, body = bytes(received).partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    return Answer(int(first.split()[1]), headers, body, time.monotonic() - started)


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


def refused(answer: Answer, *statuses: int) -> bool:
    """Return whether an answer is one of these problems, told in full."""
    if answer.status not in statuses:
        return False
    assert answer.headers["content-type"] == "application/problem+json"
    body = json.loads(answer.body)
    assert body["status"] == answer.status
    assert not re.search(r"Traceback|\.py|SELECT|Error\(", answer.body.decode())
    return True


def test_hostile_requests_are_refused_quickly_and_in_flat_memory(server: Server) -> None:
    before = server.memory()
    slowest = 0.0
    for path in server.paths:
        for method in ("POST", "PUT", "PATCH", "DELETE", "GET"):
            for name, body in JSON_BODIES.items():
                for kind in ("application/json", "text/plain", "multipart/form-data", "\xff"):
                    sent = request(server, method, path, body, {"Content-Type": kind})
                    answer = exchange(server, sent)
                    slowest = max(slowest, answer.seconds)
                    if method == "GET" and name != "10 MB":
                        assert answer.status == 200, (path, method, name, kind)
                    elif name == "10 MB" and kind != "multipart/form-data":
                        assert refused(answer, 413), (path, method, name, kind)
                    elif method == "GET":
                        assert answer.status == 200
                    else:
                        assert refused(answer, 405), (path, method, name, kind)
        for name, query in QUERIES.items():
            answer = exchange(server, request(server, "GET", f"{path}?{query}"))
            slowest = max(slowest, answer.seconds)
            # Parameters that an endpoint does not ask for are ignored.
            asked = path == server.paths[0] and name != "page=10**30"
            is_fine = answer.status == 200 and not asked and len(query) < 100
            assert is_fine or refused(answer, 400, 414, 422), (path, name)
        for target in (f"{path}{'x' * 65_536}", f"{path}/%00", f"{path}/%FF", f"{path}%0A"):
            answer = exchange(server, request(server, "GET", target))
            assert refused(answer, 404, 414), target[:100]
    assert server.memory() - before < 32 * MEGABYTE
    # Quick means: no request comes near the patience of anybody; the machine may be busy.
    assert slowest < PATIENCE / 2


def test_server_answers_head_without_a_body(server: Server) -> None:
    answer = exchange(server, request(server, "HEAD", server.paths[0]))
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["etag"]
    assert answer.headers["ratelimit-remaining"]
    not_modified = exchange(
        server,
        request(server, "GET", server.paths[0], headers={"If-None-Match": answer.headers["etag"]}),
    )
    assert (not_modified.status, not_modified.body) == (304, b"")
    assert not_modified.headers["ratelimit-remaining"]
    assert not_modified.headers["x-request-id"]


def test_broken_requests_hurt_nobody(server: Server) -> None:
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
        answer = exchange(server, sent)
        assert 400 <= answer.status < 500, sent[:80]
        assert answer.seconds < PATIENCE / 2
    assert exchange(server, request(server, "GET", server.paths[0])).status == 200
