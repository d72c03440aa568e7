"""An https server on loopback for files of sources, which records its requests.

``with feed_server() as server:`` the answer of a path is what ``server.answers[path]`` does with
the handler: :func:`file` for a file with an ETag, :func:`status` for an error, or any function.
``server.url(path)`` is an address that the policy of the fetch leads there; names in ``.test`` are
127.0.0.1.
"""

from __future__ import annotations

import dataclasses
import datetime
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import trustme

from tests.hostile_server import Authority, loopback_policy

Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclasses.dataclass(frozen=True)
class FeedRequest:
    """A request: its host, path and header fields in lower case."""

    host: str
    path: str
    headers: dict[str, str]


class FeedServer:
    """The server; used through :func:`feed_server`."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.answers: dict[str, Answer] = {}
        self.requests: list[FeedRequest] = []
        # Set at the end, so that endless answers end.
        self.ended = threading.Event()

    def url(self, path: str = "/feed.csv", *, host: str = "feeds.test") -> str:
        """Return the address of a path."""
        return f"https://{host}:{self.port}{path}"

    def serve(self, content: str | bytes, path: str = "/feed.csv", **headers: str) -> None:
        """Answer a path with a file."""
        self.answers[path] = file(content, **headers)


def file(content: str | bytes, **headers: str) -> Answer:
    """Return an answer with a file; with an ``ETag`` also 304."""
    body = content.encode() if isinstance(content, str) else content
    fields = {name.replace("_", "-"): value for name, value in headers.items()}

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if fields.get("ETag") and handler.headers["If-None-Match"] == fields["ETag"]:
            handler.send_response(304)
            handler.end_headers()
            return
        handler.send_response(200)
        for name, value in {"Content-Length": str(len(body)), **fields}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def status(number: int, **headers: str) -> Answer:
    """Return an answer without a body."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(number)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


@cache
def _authority() -> Authority:
    return Authority()


def ca_file() -> str:
    """Return the file with the authority of all servers of this process."""
    return str(_authority().trust().file)


@contextmanager
def feed_server() -> Iterator[FeedServer]:
    """Run a server in a thread."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority: trustme.CA = _authority()._ca
    authority.issue_cert("feeds.test", "other.test", "*.feeds.test").configure_cert(context)
    served: Any = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    served.socket = context.wrap_socket(served.socket, server_side=True)
    server = served.feeds = FeedServer(served.server_address[1])
    thread = threading.Thread(target=served.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.ended.set()
        served.shutdown()
        served.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server: FeedServer = self.server.feeds  # type: ignore[attr-defined]
        headers = {name.lower(): value for name, value in self.headers.items()}
        host = headers["host"].partition(":")[0]
        server.requests.append(FeedRequest(host, self.path, headers))
        answer = server.answers.get(self.path) or status(404)
        with suppress(ConnectionError, ssl.SSLError):
            answer(self)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def allow_loopback(patch: pytest.MonkeyPatch, **more: Any) -> None:
    """Let sources lead to servers of :func:`feed_server`, and be fetched again at once."""
    patch.setattr("dashboard.imports.sources.schedule.MIN_GAP", datetime.timedelta(0))
    policy = loopback_policy(authorities=_authority().trust, **more)
    patch.setattr("dashboard.imports.sources.fetch.POLICY", policy)
