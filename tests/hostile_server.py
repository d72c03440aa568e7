"""A web server on loopback that can violate HTTP in many ways, and records its requests.

In asynchronous code::

    async with HostileServer() as server:
        client = Client(user_agent="test", policy=loopback_policy())
        ... server.url("/status/404") ... server.url("/ok", host="shop.test") ...

In synchronous code ``with hostile_server() as server:`` runs it in a separate thread.

The path of a request decides the response; its first part is a name in ``BEHAVIORS``::

    /ok                             a page
    /status/429?Retry-After=120     any status, with headers from the query
    /redirect/3                     as many redirects, then a page
    /to?http://other.test/page      a redirect to the query
    /hops/2?http://other.test/page  the same behind two redirects to this server
    /after/0.2/status/404           any other path, after a delay in seconds
    /body?<b>text</b>               a page with this text
    /hang /loop /reset /drip ...    see below

Or its host does, over time: after ``server.script("shop.test", "/status/404", "/ok")`` each next
request to that host gets the next of these, whatever its path; the last one stays.

``server.requests`` has a :class:`Request` for each, with its start and end (``time.monotonic``,
which all processes of one machine share), ``server.connections`` counts TCP connections.
:func:`loopback_policy` lets a client connect here: names in ``.test`` resolve to 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import atexit
import datetime
import gzip
import os
import re
import socket
import ssl
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from tempfile import NamedTemporaryFile
from time import monotonic
from typing import Any, Self
from urllib.parse import parse_qsl, unquote

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from offers.url_checks.fetch.policy import Authorities, Policy
from offers.url_checks.fetch.resolver import LookupFailed

PAGE = b"<html><title>Shop</title><h1>Trade item</h1></html>"
TIMEOUT_SECONDS = 60.0


@dataclass
class Request:
    """A request; ``ended`` is set when its response was sent or its connection was lost."""

    started: float
    host: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    ended: float | None = None


Behavior = Callable[[str, asyncio.StreamWriter], Awaitable[None]]
BEHAVIORS: dict[str, Behavior] = {}


def behavior(name: str) -> Callable[[Behavior], Behavior]:
    """Register the behavior of paths whose first part is ``name``; called with the rest."""

    def register(function: Behavior) -> Behavior:
        BEHAVIORS[name] = function
        return function

    return register


class HostileServer:
    """The server; an asynchronous context manager.

    With ``tls`` it serves https; a ``greeting`` is sent at the start of each connection.
    """

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        address: str = "127.0.0.1",
        greeting: bytes = b"",
    ) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        self._tls = tls
        self._address = address
        self._greeting = greeting
        self._scripts: dict[str, list[str | bytes]] = {}
        self._talks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._talk, self._address, 0, ssl=self._tls, backlog=1000
        )
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for talk in list(self._talks):
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)
        await self._server.wait_closed()

    def url(self, path: str = "/ok", *, host: str = "shop.test") -> str:
        """Return the URL of a path, with any host that the policy resolves to this server."""
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}{path}"

    def script(self, host: str, *steps: str | bytes) -> None:
        """Respond to the next requests of a host as these paths do; the last one stays.

        Bytes instead of a path are sent as they are, and the connection is closed.
        """
        self._scripts[host] = list(steps)

    def paths(self, host: str | None = None) -> list[str]:
        """Return the requested paths in order, of one host or of all."""
        return [each.path for each in self.requests if host in {None, each.host}]

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task
        self._talks.add(task)
        # A cancelled task would make asyncio complain (fixed in Python 3.12).
        gone = (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError, asyncio.CancelledError)
        try:
            with suppress(*gone):
                writer.write(self._greeting)
                await self._answer((await reader.readuntil(b"\r\n\r\n")).decode("latin-1"), writer)
        finally:
            self._talks.discard(task)
            writer.close()

    async def _answer(self, head: str, writer: asyncio.StreamWriter) -> None:
        started = monotonic()
        first, *lines = head.rstrip("\r\n").split("\r\n")
        headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in lines)
        }
        host = headers["host"].rsplit(":", 1)[0]
        request = Request(started, host, first.split(" ")[1], headers)
        self.requests.append(request)
        step: str | bytes = request.path
        if script := self._scripts.get(host):
            step = script.pop(0) if len(script) > 1 else script[0]
        try:
            if isinstance(step, bytes):
                await send(writer, step)
            else:
                await behave(step, writer)
        finally:
            request.ended = monotonic()


async def behave(path: str, writer: asyncio.StreamWriter) -> None:
    """Respond as a path says."""
    found = re.match(r"/([a-z-]*)[/?]?(.*)", path)
    name, rest = found.groups() if found else ("", "")
    await BEHAVIORS.get(name, _not_found)(rest, writer)


async def _not_found(_: str, writer: asyncio.StreamWriter) -> None:
    await respond(writer, 404)


async def respond(
    writer: asyncio.StreamWriter, status: int, body: bytes = PAGE, **headers: str
) -> None:
    """Send a complete response, with its length."""
    fields = {"Content-Type": "text/html; charset=utf-8", "Content-Length": str(len(body))}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in fields.items())]
    writer.write("\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + body)
    await writer.drain()


async def send(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


async def until_gone(writer: asyncio.StreamWriter) -> None:
    """Wait until the other side closes the connection, or the server ends."""
    with suppress(ConnectionError):
        await writer.wait_closed()


async def send_forever(writer: asyncio.StreamWriter, data: bytes, *, every: float = 0) -> None:
    """Send the same bytes until the client closes the connection."""
    while not writer.is_closing():
        await send(writer, data)
        await asyncio.sleep(every)


@behavior("ok")
async def ok(_: str, writer: asyncio.StreamWriter) -> None:
    await respond(writer, 200)


@behavior("body")
async def body(text: str, writer: asyncio.StreamWriter) -> None:
    await respond(writer, 200, unquote(text).encode())


@behavior("status")
async def status(rest: str, writer: asyncio.StreamWriter) -> None:
    code, _, query = rest.partition("?")
    await respond(
        writer, int(code), b"" if code in {"204", "304"} else PAGE, **dict(parse_qsl(query))
    )


@behavior("redirect")
async def redirect(rest: str, writer: asyncio.StreamWriter) -> None:
    left = int(rest)
    await respond(writer, 302, Location=f"/redirect/{left - 1}" if left > 1 else "/ok")


@behavior("to")
async def to(location: str, writer: asyncio.StreamWriter) -> None:
    await respond(writer, 301, Location=location)


@behavior("hops")
async def hops(rest: str, writer: asyncio.StreamWriter) -> None:
    """Redirect a number of times to this server, and then to the query."""
    left, _, location = rest.partition("?")
    onward = f"/hops/{int(left) - 1}?{location}" if int(left) else location
    await respond(writer, 302, Location=onward)


@behavior("raw-location")
async def raw_location(hexadecimal: str, writer: asyncio.StreamWriter) -> None:
    await respond(
        writer, 301, Location=bytes.fromhex(hexadecimal).decode("utf-8", "surrogateescape")
    )


@behavior("loop")
async def loop(_: str, writer: asyncio.StreamWriter) -> None:
    await respond(writer, 302, Location="/loop")


@behavior("after")
async def after(rest: str, writer: asyncio.StreamWriter) -> None:
    seconds, _, path = rest.partition("/")
    await asyncio.sleep(float(seconds))
    await behave(f"/{path or 'ok'}", writer)


@behavior("hang")
async def hang(_: str, writer: asyncio.StreamWriter) -> None:
    await until_gone(writer)


@behavior("open")
async def open_end(_: str, writer: asyncio.StreamWriter) -> None:
    """Send a complete page without its length, and keep the connection open."""
    await send(writer, b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + PAGE)
    await until_gone(writer)


@behavior("close")
async def close(_: str, writer: asyncio.StreamWriter) -> None:
    writer.close()


@behavior("reset")
async def reset(when: str, writer: asyncio.StreamWriter) -> None:
    """Reset the connection: at once, within the ``head`` or within the ``body``."""
    if when == "head":
        await send(writer, b"HTTP/1.1 200 OK\r\nContent-Ty")
    if when == "body":
        await send(writer, b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n<html>")
    # What has been sent may still be on its way: a reset throws away what is not read.
    await asyncio.sleep(0.02)
    where: socket.socket = writer.get_extra_info("socket")
    where.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@behavior("drip")
async def drip(part: str, writer: asyncio.StreamWriter) -> None:
    """Send a byte now and then: of the status line, of a header, or of the body."""
    start = {
        "status": b"",
        "head": b"HTTP/1.1 200 OK\r\nX-Slow: ",
        "body": b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n",
        "error": b"HTTP/1.1 404 Not Found\r\nContent-Length: 100000\r\n\r\n",
    }[part]
    await send(writer, start)
    await send_forever(writer, b"a", every=0.01)


@behavior("endless")
async def endless(part: str, writer: asyncio.StreamWriter) -> None:
    """Never stop, at full speed: a line, headers, interim responses, a body, chunks, ..."""
    start, again = {
        "status": (b"HTTP/1.1 200 ", b"a" * 4096),
        "header": (b"HTTP/1.1 200 OK\r\nX-Long: ", b"a" * 4096),
        "headers": (b"HTTP/1.1 200 OK\r\n", b"X-More: aaaaaaaaaaaaaaaaaaaaaaaa\r\n" * 100),
        "interim": (b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" * 100),
        "body": (b"HTTP/1.1 200 OK\r\n\r\n", b"a" * 65536),
        "chunks": (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"10\r\naaaaaaaaaaaaaaaa\r\n" * 1000,
        ),
        "extension": (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;",
            b"a" * 65536,
        ),
        "trailers": (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n",
            b"X-More: aaaaaaaaaaaaaaaaaaaaaaaa\r\n" * 100,
        ),
        "junk": (b"", bytes(range(256)) * 256),
    }[part]
    await send(writer, start)
    await send_forever(writer, again)


@behavior("gzip-bomb")
async def gzip_bomb(_: str, writer: asyncio.StreamWriter) -> None:
    """Send 200 MB of zeros in 200 KB."""
    await respond(writer, 200, _bomb(), Content_Encoding="gzip")


def _bomb() -> bytes:
    megabyte = gzip.compress(bytes(1_000_000))
    return megabyte * 200


Names = Mapping[str, Sequence[str] | Callable[[], Sequence[str]]]


def loopback_policy(*, names: Names | None = None, **more: Any) -> Policy:
    """Return a policy that allows loopback only, and any port.

    Names ending in ``.test`` resolve to 127.0.0.1, others fail; ``names`` overrides this by host:
    addresses, or a function that returns them for each lookup. ``more`` as of :class:`Policy`.
    """

    async def lookup(host: str) -> Sequence[str]:
        found = (names or {}).get(host, ["127.0.0.1"] if host.endswith(".test") else [])
        if addresses := found() if callable(found) else found:
            return addresses
        raise LookupFailed("The host name does not exist.")

    rules: dict[str, Any] = {
        "allows": lambda address: address.is_loopback,
        "ports": range(65536),
        "lookup": lookup,
        # Trusts an authority without certificates.
        "authorities": _UNUSED.trust,
    }
    return Policy(**{**rules, **more})


class Authority:
    """An authority that tests trust: ``Policy(authorities=authority.trust)``."""

    def __init__(self) -> None:
        self._ca = trustme.CA()

    @cached_property
    def _file(self) -> str:
        """The certificate in a file, which is deleted at the end of the process."""
        with NamedTemporaryFile(suffix=".pem", delete=False) as file:
            file.write(self._ca.cert_pem.bytes())
        atexit.register(os.remove, file.name)
        return file.name

    def trust(self) -> Authorities:
        return Authorities(file=self._file)

    def of_common_name(self, host: str) -> ssl.SSLContext:
        """Return the settings of a server whose valid certificate has only a common name."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        issuer = x509.load_pem_x509_certificate(self._ca.cert_pem.bytes())
        signing = load_pem_private_key(self._ca.private_key_pem.bytes(), password=None)
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder(
                issuer.subject,
                x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)]),
                key.public_key(),
                x509.random_serial_number(),
            )
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .sign(signing, hashes.SHA256())  # type: ignore[arg-type]
        )
        private = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        pem = trustme.Blob(private + certificate.public_bytes(Encoding.PEM))
        with pem.tempfile() as path:
            context.load_cert_chain(path)
        return context

    @staticmethod
    def self_signed(host: str) -> ssl.SSLContext:
        """Return the settings of a server whose certificate is its own authority."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
            .sign(key, hashes.SHA256())
        )
        private = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        pem = trustme.Blob(private + certificate.public_bytes(Encoding.PEM))
        with pem.tempfile() as path:
            context.load_cert_chain(path)
        return context

    def server(self, *hosts: str, days: tuple[int, int] = (-10, 10)) -> ssl.SSLContext:
        """Return the settings of a server for some hosts; ``days`` are its validity from today."""
        now = datetime.datetime.now(datetime.UTC)
        first, last = (now + datetime.timedelta(days=each) for each in days)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate = self._ca.issue_cert(*hosts, not_before=first, not_after=last)
        certificate.configure_cert(context)
        return context


_UNUSED = Authority()


@contextmanager
def http2_server(tls: ssl.SSLContext) -> Iterator[int]:
    """Serve one request with a page for a block that gets the port, by HTTP/2 and nothing else."""
    tls.set_alpn_protocols(["h2"])

    def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
        return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload

    def serve() -> None:
        connection, _ = listener.accept()
        with tls.wrap_socket(connection, server_side=True) as talk:
            if talk.selected_alpn_protocol() != "h2":
                return
            received = b""
            # The request's header frame (type 1) on the first stream.
            while not re.search(rb"\x01.\x00\x00\x00\x01", received, re.DOTALL):
                piece = talk.recv(65536)
                if not piece:
                    return
                received += piece
            # ":status: 200" and "content-type" by their numbers in the static table (RFC 7541).
            fields = b"\x88\x5f\x09text/html"
            talk.sendall(
                frame(4, 0, 0) + frame(4, 1, 0) + frame(1, 4, 1, fields) + frame(0, 1, 1, PAGE)
            )
            while talk.recv(65536):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(TIMEOUT_SECONDS)
        thread = threading.Thread(target=serve, name="http2 server")
        thread.start()
        yield listener.getsockname()[1]
        thread.join(TIMEOUT_SECONDS)


@contextmanager
def hostile_server(**more: Any) -> Iterator[HostileServer]:
    """Run a server in a thread with its own event loop, for a block."""
    server = HostileServer(**more)
    ready = threading.Event()
    stops: list[Callable[[], object]] = []

    async def serve() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        stops.append(lambda: loop.call_soon_threadsafe(stop.set))
        async with server:
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), name="hostile server")
    thread.start()
    try:
        assert ready.wait(TIMEOUT_SECONDS)
        yield server
    finally:
        stops[0]()
        thread.join(TIMEOUT_SECONDS)
