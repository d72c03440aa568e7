"""Responses that violate HTTP: a page that browsers show is not broken."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Error

from offers.url_checks.fetch.responses import Failure, FetchResult
from offers.url_checks.verdict import NOT_WELCOME, WORKS, outcome_of
from tests.fetching import SHORT_TIMEOUTS, fetch, fetch_response
from tests.hostile_server import PAGE, HostileServer, hostile_server

HTML = b"Content-Type: text/html\r\n"
LENGTH = b"%d" % len(PAGE)
CHUNK = b"%x\r\n%s\r\n" % (len(PAGE), PAGE)


def of(*fields: bytes, first: bytes = b"HTTP/1.1 200 OK", body: bytes = PAGE) -> bytes:
    """Return a response with some headers; its content is HTML, and the connection closes."""
    return b"\r\n".join([first, *fields, HTML, body])


# Chromium shows the page for each of these.
SHOWN = {
    "more bytes than the length says": of(b"Content-Length: %d" % (len(PAGE) - 1)),
    "a byte order mark that was not counted": of(
        b"Content-Length: " + LENGTH, body=b"\xef\xbb\xbf" + PAGE
    ),
    "fewer bytes than the length says": of(b"Content-Length: 500"),
    "a negative length": of(b"Content-Length: -1"),
    "a length with a plus sign": of(b"Content-Length: +" + LENGTH),
    "a length that is no number": of(b"Content-Length: abc"),
    "an empty length": of(b"Content-Length:"),
    "a huge length": of(b"Content-Length: 99999999999999999999999"),
    "the same length twice": of(b"Content-Length: " + LENGTH, b"Content-Length: " + LENGTH),
    "the same length twice in one field": of(b"Content-Length: %s, %s" % (LENGTH, LENGTH)),
    "a length and chunks": of(
        b"Content-Length: " + LENGTH, b"Transfer-Encoding: chunked", body=CHUNK + b"0\r\n\r\n"
    ),
    "chunks without an end": of(b"Transfer-Encoding: chunked", body=CHUNK),
    "a chunk that breaks off": of(b"Transfer-Encoding: chunked", body=CHUNK[:-2]),
    "chunks with bare line feeds": of(
        b"Transfer-Encoding: chunked", body=CHUNK.replace(b"\r", b"") + b"0\n\n"
    ),
    "chunks with extensions": of(
        b"Transfer-Encoding: chunked", body=CHUNK.replace(b"\r\n", b";a=b\r\n", 1) + b"0\r\n\r\n"
    ),
    "chunks from HTTP/1.0": of(
        b"Transfer-Encoding: chunked", first=b"HTTP/1.0 200 OK", body=CHUNK + b"0\r\n\r\n"
    ),
    "chunks said twice": of(
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: chunked",
        body=CHUNK + b"0\r\n\r\n",
    ),
    "identity": of(b"Transfer-Encoding: identity", b"Content-Length: " + LENGTH),
    "an unknown transfer encoding": of(b"Transfer-Encoding: xchunked"),
    "an unknown content encoding": of(b"Content-Encoding: utf-8"),
    "a header line without colon": of(b"P3P"),
    "a header line that begins with a colon": of(b": x"),
    "a blank in a header name": of(b"Cache Control: no-cache"),
    "a blank before the colon": of(b"Cache-Control : no-cache"),
    "a header name that is not ASCII": of("X-Größe: 1".encode()),
    "control characters in a header": of(b"X: a\x01\x7fb"),
    "a folded header": of(b"X: a\r\n b"),
    "a fold at the beginning": of(b" X: a"),
    "40 KB of header": of(b"X: " + b"a" * 40_000),
    "110 KB in one header": of(b"X: " + b"a" * 110_000),
    "240 KB of headers": of(*[b"X: " + b"a" * 1000] * 238),
    "6,000 headers": of(*[b"X: a"] * 6000),
    "300 cookies": of(*[b"Set-Cookie: a%d=b" % number for number in range(300)]),
    "HTTP/2 in the first line": of(first=b"HTTP/2 200"),
    "no reason": of(first=b"HTTP/1.1 200"),
    "small letters": of(first=b"http/1.1 200 ok"),
    "tabs in the first line": of(first=b"HTTP/1.1\t200\tOK"),
    "blank lines first": b"\r\n\r\n" + of(),
    "a few letters first": b"abc " + of(),
    "ICY": of(first=b"ICY 200 OK"),
    "no status": of(first=b"HTTP/1.1 OK"),
    "a negative status": of(first=b"HTTP/1.1 -20 OK"),
    "a version from the future": of(first=b"HTTP/9.9 200 OK"),
    "no blank before the status": of(first=b"HTTP/1.1200 OK"),
    "blanks before the status": of(first=b"HTTP/1.1   200   OK"),
    "line feeds alone": of().replace(b"\r", b""),
    "other answers before": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" + of()
    ),
    "part of a page": of(first=b"HTTP/1.1 206 Partial Content"),
    "a location beside a page": of(b"Location: /elsewhere"),
    "a version that is not spoken": of(first=b"HTTP/2 200 OK"),
    "a carriage return in the first line": of(first=b"HTTP/1.1 200 O\rK"),
    "no chunks from HTTP/1.0": of(b"Transfer-Encoding: chunked", first=b"HTTP/1.0 200 OK"),
    "a redirect to nowhere with a page": of(first=b"HTTP/1.1 302 Found"),
    "an empty location with a page": of(b"Location:", first=b"HTTP/1.1 301 Moved"),
    "a choice of pages": of(first=b"HTTP/1.1 300 Multiple Choices"),
    "a proxy to use, with a page": of(b"Location: /ok", first=b"HTTP/1.1 305 Use Proxy"),
}
# libcurl cannot read the status or the page of these, so they decide nothing.
UNDECIDED = {
    "no status",
    "a negative status",
    "a version from the future",
    "no blank before the status",
    "blanks before the status",
    "a version that is not spoken",
    "a carriage return in the first line",
    "no chunks from HTTP/1.0",
    # Chromium shows the text of a response whose status says that it is not a page of the shop.
    "a redirect to nowhere with a page",
    "an empty location with a page",
    "a choice of pages",
    "a proxy to use, with a page",
}
# Chromium shows an error, or nothing.
NOT_SHOWN = {
    "nothing at all": b"",
    "no HTTP": PAGE,
    "no body": of(body=b""),
    "a body that never comes": of(b"Content-Length: 500", body=b""),
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "chunks that are none": of(b"Transfer-Encoding: chunked", body=b"zz\r\n" + PAGE),
}


@pytest.mark.parametrize("name", SHOWN)
def test_page_that_browsers_show_works(name: str) -> None:
    result = fetch_response(SHOWN[name])
    if name in UNDECIDED:
        assert (result.failure, outcome_of(result)) == (Failure.UNREADABLE, NOT_WELCOME)
    else:
        assert (result.failure, outcome_of(result)) == (None, WORKS)


@pytest.mark.parametrize("name", NOT_SHOWN)
def test_response_that_browsers_do_not_show_is_a_failure(name: str) -> None:
    result = fetch_response(NOT_SHOWN[name])
    assert result.failure in (Failure.PROTOCOL, Failure.CONNECTION)
    assert outcome_of(result).strikes


def test_missing_page_counts_despite_a_wrong_length() -> None:
    result = fetch_response(of(b"Content-Length: 5", first=b"HTTP/1.1 404 Not Found"))
    assert (result.status, result.failure) == (404, None)


def test_redirect_is_followed_despite_its_body() -> None:
    async def check() -> FetchResult:
        async with HostileServer() as server:
            redirect = of(b"Location: /ok", b"Content-Length: 0", first=b"HTTP/1.1 301 Moved")
            server.script("shop.test", redirect, "/ok")
            return await fetch(server.url("/"))

    result = asyncio.run(check())
    assert (result.status, result.failure) == (200, None)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 301 Moved\r\nLocation: /ok\r\n",
        b"HTTP/1.1 301 Moved\r\nLocation: /ok\r\nno field\r\n\r\n",
        b"HTTP/1.1 301 Moved\r\nLocation:\r\n /ok\r\nContent-Length: 99\r\n\r\nab",
    ],
)
def test_redirect_is_followed_despite_a_corrupt_head(head: bytes) -> None:
    async def check() -> FetchResult:
        async with HostileServer() as server:
            server.script("shop.test", head, "/ok")
            return await fetch(server.url("/"))

    result = asyncio.run(check())
    assert (result.status, result.failure) == (200, None)


def test_possible_redirect_in_a_corrupt_head_decides_nothing() -> None:
    result = fetch_response(b"HTTP/1.1 301 Moved\r\nno field\r\nLocation: /ok\r\n\r\n")
    assert (result.failure, outcome_of(result)) == (Failure.UNREADABLE, NOT_WELCOME)


def test_complete_page_counts_while_the_connection_stays_open() -> None:
    async def check() -> FetchResult:
        async with HostileServer() as server:
            return await fetch(server.url("/open"), limits=SHORT_TIMEOUTS)

    result = asyncio.run(check())
    assert (result.status, result.failure, result.body) == (200, None, PAGE)


def test_compressed_page_is_read_as_it_is() -> None:
    result = fetch_response(of(b"Content-Encoding: gzip", body=gzip.compress(PAGE)))
    assert (result.status, result.failure) == (200, None)


@contextmanager
def answering(data: bytes) -> Iterator[str]:
    """Serve the same bytes to each request, at a URL that browsers can look up."""
    with hostile_server() as server:
        server.script("127.0.0.1", data)
        yield server.url("/", host="127.0.0.1")


# Chromium opens spare connections, which are still open when the server's loop ends.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
@pytest.mark.parametrize("name", [*SHOWN, *NOT_SHOWN])
def test_chromium_shows_the_expected_pages(name: str, chromium: Browser) -> None:
    page = chromium.new_page()
    page.set_default_timeout(2_000)
    try:
        with answering(SHOWN.get(name, NOT_SHOWN.get(name, b""))) as url:
            # An incomplete page is shown, although loading it fails.
            page.goto(url, wait_until="commit")
            is_shown = "Trade item" in page.inner_text("body")
    except Error:
        is_shown = False
    finally:
        page.close()
    assert is_shown == (name in SHOWN)
