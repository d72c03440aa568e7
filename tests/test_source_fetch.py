"""Fetching a file of a source from real servers that are slow, endless, hostile or wrong."""

from __future__ import annotations

import gzip
import hashlib
import io
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from dashboard.imports.sources import fetch
from dashboard.imports.sources.fetch import (
    FetchedFile,
    FetchFailed,
    FetchStopped,
    FileLimits,
    FileRequest,
    fetch_file,
)
from tests.feed_server import FeedServer, allow_loopback, feed_server, status
from tests.hostile_server import loopback_policy

FEED = b"gtin,name\n4006381333931,Oats\n"
LIMITS = FileLimits(total=2.0, connect=1.0, size=1000, slow_seconds=1, redirects=3)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FeedServer]:
    """A server that fetches may connect to."""
    allow_loopback(monkeypatch)
    with feed_server() as served:
        yield served


def get(url: str, limits: FileLimits = LIMITS, **request: str) -> tuple[FetchedFile | None, bytes]:
    """Fetch a file and return it with its content."""
    file = io.BytesIO()
    found = fetch_file(FileRequest(url=url, **request), file, threading.Event(), limits)
    return found, file.getvalue()


def failure(url: str, limits: FileLimits = LIMITS, **request: str) -> str:
    """Fetch a file and return why that fails."""
    with pytest.raises(FetchFailed) as failed:
        get(url, limits, **request)
    return str(failed.value)


def redirect(target: str, number: int = 302) -> Any:
    return status(number, Location=target)


def test_file_is_fetched_with_what_identifies_it(server: FeedServer) -> None:
    modified = "Sat, 28 Nov 2026 09:00:00 GMT"
    server.serve(FEED, ETag='"v1"', Last_Modified=modified)
    found, content = get(server.url())
    assert content == FEED
    assert found == FetchedFile(
        size=len(FEED),
        sha256=hashlib.sha256(FEED).hexdigest(),
        etag='"v1"',
        last_modified=modified,
    )
    sent = server.requests[0].headers
    assert sent["user-agent"].startswith("ClosientDashboard/1.0 (product feed")
    assert not {"authorization", "if-none-match", "if-modified-since", "cookie"} & set(sent)


def test_unchanged_file_is_not_sent_again(server: FeedServer) -> None:
    server.serve(FEED, ETag='"v1"')
    assert get(server.url(), etag='"v1"', last_modified="x") == (None, b"")
    sent = server.requests[0].headers
    assert (sent["if-none-match"], sent["if-modified-since"]) == ('"v1"', "x")
    # A server that says so without having been asked has no file.
    server.answers["/feed.csv"] = status(304)
    assert failure(server.url()) == "The server returned 304 Not Modified."


def test_compressed_file_is_stored_as_it_arrives(server: FeedServer) -> None:
    packed = gzip.compress(FEED)
    server.serve(packed, Content_Encoding="gzip")
    assert get(server.url())[1] == packed
    assert server.requests[0].headers["accept-encoding"] == "gzip"
    server.serve(packed, Content_Encoding="br")
    assert failure(server.url()) == (
        "The server sends a compression that was not asked for; use gzip."
    )


@pytest.mark.parametrize(
    "page",
    [
        b"<!DOCTYPE html><html><body>Log in</body></html>",
        b"\xef\xbb\xbf\n <HTML>",
        b"<?xml version='1.0'?><html xmlns='http://www.w3.org/1999/xhtml'>",
        gzip.compress(b"<!doctype html><title>Log in</title>", mtime=0),
    ],
    ids=["html", "upper case after a byte order mark", "xhtml", "compressed"],
)
def test_web_page_is_not_a_file(server: FeedServer, page: bytes) -> None:
    server.serve(page)
    assert failure(server.url()) == fetch.HTML


def test_login_is_sent_to_its_origin_only(server: FeedServer) -> None:
    login = {"username": "brand", "password": "pass:wörd"}
    basic = "Basic YnJhbmQ6cGFzczp3w7ZyZA=="
    server.serve(FEED, "/file.csv")
    server.answers["/feed.csv"] = redirect("/moved")
    server.answers["/moved"] = redirect(server.url("/file.csv", host="other.test"))
    assert get(server.url(), **login)[1] == FEED
    assert [(each.host, each.headers.get("authorization")) for each in server.requests] == [
        ("feeds.test", basic),
        ("feeds.test", basic),
        ("other.test", None),
    ]
    with feed_server() as elsewhere:
        # The same host at another port is another origin.
        elsewhere.serve(FEED, "/file.csv")
        server.answers["/feed.csv"] = redirect(elsewhere.url("/file.csv"))
        assert get(server.url(), **login)[1] == FEED
        assert "authorization" not in elsewhere.requests[0].headers


def test_login_is_asked_for_or_refused(server: FeedServer) -> None:
    server.answers["/feed.csv"] = status(401)
    assert failure(server.url()) == (
        "The server asks for a user and a password (401): add them to the source."
    )
    assert failure(server.url(), username="a", password="b") == (
        "The server does not accept the user and the password (401)."
    )


def test_server_that_asks_to_wait_says_how_long(server: FeedServer) -> None:
    server.answers["/feed.csv"] = status(503, Retry_After="7200")
    with pytest.raises(FetchFailed) as failed:
        get(server.url())
    assert str(failed.value) == "The server returned 503 Service Unavailable."
    assert failed.value.retry_after is not None
    assert failed.value.retry_after.total_seconds() == 7200


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("https://10.0.0.1/feed.csv", "The address leads to a network that is not public."),
        ("https://[::ffff:10.0.0.1]/", "The address leads to a network that is not public."),
        ("https://169.254.169.254/latest", "The address leads to a network that is not public."),
        ("https://rebound.test/feed.csv", "The address leads to a network that is not public."),
        (
            "http://feeds.test/feed.csv",
            "The server redirects to an address that cannot be used: only https addresses are "
            "fetched.",
        ),
        (
            "ftp://feeds.test/feed.csv",
            "The server redirects to an address that cannot be used: only URLs that start with "
            "http:// or https:// are checked.",
        ),
        (
            "https://user:secret@feeds.test/",
            "The server redirects to an address that cannot be used: the address contains a user "
            "name or password, which is not allowed.",
        ),
    ],
)
def test_redirect_cannot_leave_the_policy(
    server: FeedServer, monkeypatch: pytest.MonkeyPatch, target: str, reason: str
) -> None:
    allow_loopback(monkeypatch, names={"rebound.test": ["192.168.0.1"]})
    server.answers["/feed.csv"] = redirect(target)
    assert failure(server.url()) == reason
    assert len(server.requests) == 1


def test_address_itself_cannot_leave_the_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    not_public = "The address leads to a network that is not public."
    # The policy of production.
    assert failure("https://127.0.0.1/feed.csv") == not_public
    assert failure("https://[::1]/feed.csv") == not_public
    assert failure("http://feeds.example.com/") == "Only https addresses are fetched."
    monkeypatch.setattr(fetch, "POLICY", loopback_policy(names={"rebound.test": ["10.0.0.1"]}))
    assert failure("https://rebound.test/feed.csv") == not_public


def test_redirects_end(server: FeedServer) -> None:
    server.answers["/feed.csv"] = redirect("/feed.csv")
    assert failure(server.url()) == (
        "The server redirects more than 3 times before it sends a file."
    )
    assert len(server.requests) == 4


def test_certificate_of_another_authority_is_refused(
    server: FeedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.serve(FEED)
    monkeypatch.setattr(fetch, "POLICY", loopback_policy())
    assert "certificate" in failure(server.url())
    assert server.requests == []


def test_large_file_ends_at_the_limit(server: FeedServer) -> None:
    too_large = "The file is larger than 0 MB: serve it compressed with gzip, or split it."
    # Announced, and not.
    server.serve(b"x" * 1001)
    assert failure(server.url()) == too_large

    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not server.ended.is_set():
            handler.wfile.write(b"x" * 100)

    server.answers["/feed.csv"] = endless
    assert failure(server.url()) == too_large
    server.serve(b"x" * 1000)
    assert get(server.url())[1] == b"x" * 1000


def dripping(server: FeedServer, piece: bytes, seconds: float) -> Any:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not server.ended.wait(seconds):
            handler.wfile.write(piece)

    return answer


def test_slow_file_ends_at_the_minimum_speed(server: FeedServer) -> None:
    server.answers["/feed.csv"] = dripping(server, b"x", 0.1)
    limits = FileLimits(total=20.0, slow_seconds=1)
    began = time.monotonic()
    assert failure(server.url(), limits) == (
        "The server sent less than 1,024 bytes a second for 1 seconds."
    )
    assert time.monotonic() - began < 10


def test_long_fetch_ends_at_the_time_limit(server: FeedServer) -> None:
    server.answers["/feed.csv"] = dripping(server, b"x" * 2000, 0.1)
    limits = FileLimits(total=1.2, size=10**9, slow_seconds=10)
    assert (
        failure(server.url(), limits) == "The file did not arrive completely within 0.02 minutes."
    )


def test_silent_server_is_given_up(server: FeedServer) -> None:
    server.answers["/feed.csv"] = lambda handler: server.ended.wait() and None
    assert failure(server.url(), FileLimits(total=20.0, slow_seconds=1)) == (
        "The server sent less than 1,024 bytes a second for 1 seconds."
    )


def test_incomplete_file_is_no_file(server: FeedServer) -> None:
    server.serve(FEED, Content_Length=str(len(FEED) + 5), Connection="close")
    assert failure(server.url()) == "The connection ended before the file was complete."
    server.serve(b"")
    assert failure(server.url()) == "The file is empty."
    server.answers["/feed.csv"] = status(204)
    assert failure(server.url()) == "The server returned 204 No Content."


def test_server_that_cannot_be_reached_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    allow_loopback(monkeypatch)
    with feed_server() as ended:
        url = ended.url()
    assert failure(url) == "The server refused the connection."
    assert failure("https://unknown.example/") == "The host name does not exist."


def test_fetch_ends_soon_after_the_stop(server: FeedServer) -> None:
    stop = threading.Event()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        stop.set()
        server.ended.wait()

    server.answers["/feed.csv"] = answer
    with pytest.raises(FetchStopped):
        fetch_file(FileRequest(url=server.url()), io.BytesIO(), stop, FileLimits(total=60))


def test_password_is_not_in_the_text_of_a_request() -> None:
    assert "secret" not in repr(FileRequest(url="https://a.example", password="secret"))
