"""Fetches a file from an address that a person has given, within the policy of the URL checker.

A product feed is fetched with https only, also after redirects. The user and the password go to
the origin of the address and to no other. The body is stored as it arrives: the import unpacks
gzip, and refuses bombs.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import IO, Any

import pycurl
from asgiref.sync import async_to_sync
from django.conf import settings

from offers.url_checks.fetch.client import HoldSlot, user_agent
from offers.url_checks.fetch.connections import TransferResult, Transfers, no_response
from offers.url_checks.fetch.hardening import (
    Attempts,
    ResponseHead,
    aim,
    harden,
    is_exhausted,
    lacks_host_names,
)
from offers.url_checks.fetch.policy import SERVICE, Policy
from offers.url_checks.fetch.resolver import CannotLookUp, LookupFailed
from offers.url_checks.fetch.responses import detail_of_status, kept_headers, retry_after_of
from offers.url_checks.fetch.urls import NotAllowed, Target, redirected, target_of

# Where fetches may go. Tests replace it.
POLICY = SERVICE
# The longest values of headers that are kept to be sent again.
MAX_ETAG_LENGTH = 500
MAX_DATE_LENGTH = 100
HTML = (
    "The address returns a web page (HTML), not a file. It may be the page of a login, or a link "
    "to a preview: use the address of the file itself."
)
_STOP_POLL_SECONDS = 0.2
_HEAD_LENGTH = 4096
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, kw_only=True)
class FileKind:
    """What is fetched: how it is asked for, and what the sentences about it say."""

    purpose: str
    headers: tuple[str, ...]
    encodings: frozenset[str] = frozenset({"", "identity"})
    is_https_only: bool = False
    # What to do about a file that is too large, about a login, and about a web page.
    too_large: str
    login: str
    html: str


FEED = FileKind(
    purpose="product feed",
    headers=("Accept: */*", "Accept-Encoding: gzip", "Connection: close"),
    encodings=frozenset({"", "identity", "gzip", "x-gzip"}),
    is_https_only=True,
    too_large="serve it compressed with gzip, or split it.",
    login="add them to the source.",
    html=HTML,
)


@asynccontextmanager
async def no_slot(_: str) -> AsyncIterator[None]:
    """Hold no slot: feeds are fetched too rarely to need one."""
    yield


class FetchFailed(Exception):
    """There is no file; the message is for the person who gave the address.

    ``retry_after`` is the pause that the server asks for, ``throttling_host`` the canonical host
    that has answered 429 or 503.
    """

    def __init__(
        self, detail: str, retry_after: timedelta | None = None, throttling_host: str = ""
    ) -> None:
        super().__init__(detail)
        self.retry_after = retry_after
        self.throttling_host = throttling_host


class CannotFetch(Exception):
    """This machine cannot fetch now; nothing is known about the address."""


class FetchStopped(Exception):
    """The worker is stopping."""


@dataclass(frozen=True, kw_only=True)
class FileLimits:
    """How far a fetch goes, in seconds and bytes."""

    lookup: float = 5.0
    connect: float = 10.0
    total: float = field(default_factory=lambda: float(settings.IMPORT_SOURCE_FETCH_SECONDS))
    size: int = field(default_factory=lambda: int(settings.IMPORT_SOURCE_LARGEST_FILE))
    # A response that is slower than this many bytes a second for so long ends.
    min_speed: int = 1024
    slow_seconds: int = 30
    redirects: int = 5
    addresses: int = 4


@dataclass(frozen=True, kw_only=True)
class FileRequest:
    """What to fetch; with ``etag`` or ``last_modified`` only if it has changed."""

    url: str
    username: str = ""
    password: str = field(default="", repr=False)
    etag: str = ""
    last_modified: str = ""


@dataclass(frozen=True, kw_only=True)
class FetchedFile:
    """A file that was fetched: what identifies it, and its size in bytes."""

    size: int
    sha256: str
    etag: str
    last_modified: str


def fetch_file(  # noqa: PLR0913 - what, where to, and how
    request: FileRequest,
    file: IO[bytes],
    stop: threading.Event,
    limits: FileLimits | None = None,
    *,
    kind: FileKind = FEED,
    hold_slot: HoldSlot = no_slot,
) -> FetchedFile | None:
    """Write the file of an address into ``file``; return ``None`` if it has not changed.

    ``hold_slot`` is entered with the canonical host before each request to it; its database calls
    run in the caller's thread (``sync_to_async``). Raises what it raises, :class:`FetchFailed`,
    :class:`CannotFetch`, and :class:`FetchStopped` soon after ``stop`` is set.
    """
    fetch = _Fetch(request, file, limits or FileLimits(), kind, hold_slot)
    return async_to_sync(fetch.run)(stop)


@dataclass(kw_only=True)
class _Response(ResponseHead):
    """A response whose body goes into a file if it is the file."""

    take: Callable[[bytes], bool]
    max_size: int
    attempts: Attempts = field(default_factory=Attempts)
    # Whether the rest of the response is not wanted.
    is_enough: bool = False
    is_too_large: bool = False
    error: OSError | None = None

    def read_head(self, line: bytes) -> int | None:
        """Take a line of the head; -1 ends the transfer."""
        self.read_line(line)
        if not self.has_head or line.strip():
            return None
        self.is_enough = not self.is_success
        length = self.header("content-length")
        self.is_too_large = length.isdigit() and int(length[:18]) > self.max_size
        return -1 if self.is_enough or self.is_too_large else None

    def read_body(self, piece: bytes) -> int | None:
        """Take a piece of the body; -1 ends the transfer."""
        try:
            self.is_too_large = not self.take(piece)
        except OSError as error:
            self.error = error
        return -1 if self.is_too_large or self.error else None


class _Fetch:
    def __init__(
        self,
        request: FileRequest,
        file: IO[bytes],
        limits: FileLimits,
        kind: FileKind,
        hold_slot: HoldSlot,
    ) -> None:
        self._kind = kind
        self._hold_slot = hold_slot
        self._request = request
        self._file = file
        self._limits = limits
        self._policy: Policy = POLICY
        self._size = 0
        self._digest = hashlib.sha256()
        self._head = b""

    async def run(self, stop: threading.Event) -> FetchedFile | None:
        """Fetch until the end, a limit, or ``stop``."""
        fetching = asyncio.create_task(self._fetch())
        while not fetching.done():
            if stop.is_set():
                fetching.cancel()
                await asyncio.wait([fetching])
                raise FetchStopped
            await asyncio.wait([fetching], timeout=_STOP_POLL_SECONDS)
        return fetching.result()

    async def _fetch(self) -> FetchedFile | None:
        try:
            async with asyncio.timeout(self._limits.total), Transfers() as transfers:
                return await self._follow(transfers)
        except TimeoutError:
            minutes = self._limits.total / 60
            time = f"{minutes:g} {'minute' if minutes == 1 else 'minutes'}"
            raise FetchFailed(f"The file did not arrive completely within {time}.") from None
        except CannotLookUp:
            raise CannotFetch("This machine cannot look up more names.") from None

    async def _follow(self, transfers: Transfers) -> FetchedFile | None:
        """Request the address and the targets of its redirects."""
        try:
            first = target = self._target(
                target_of(self._request.url, ports=self._policy.url_ports)
            )
        except NotAllowed as refusal:
            raise FetchFailed(_of_server(refusal.detail)) from None
        for _ in range(self._limits.redirects + 1):
            async with self._hold_slot(target.host):
                response = await self._get(
                    transfers, target, is_first=_origin(target) == _origin(first)
                )
            if not response.is_redirect:
                return self._conclude(response, target)
            try:
                target = self._target(
                    redirected(target, response.header("location"), ports=self._policy.url_ports)
                )
            except NotAllowed as refusal:
                raise FetchFailed(_redirected(refusal.detail)) from None
        raise FetchFailed(
            f"The server redirects more than {self._limits.redirects} times before it sends a file."
        )

    def _target(self, target: Target) -> Target:
        if self._kind.is_https_only and not self._policy.permits_file(target):
            raise NotAllowed("Only https addresses are fetched.")
        return target

    async def _get(self, transfers: Transfers, target: Target, *, is_first: bool) -> _Response:
        """Make one request; with ``is_first`` the target has the origin of the address."""
        response = _Response(take=self._take, max_size=self._limits.size)
        handle = self._handle(is_first=is_first)
        handle.setopt(pycurl.HEADERFUNCTION, response.read_head)
        handle.setopt(pycurl.WRITEFUNCTION, response.read_body)
        try:
            await aim(
                handle,
                target,
                self._policy,
                response.attempts,
                lookup_seconds=self._limits.lookup,
                max_addresses=self._limits.addresses,
            )
            outcome = await transfers.run(handle)
            self._check(response, handle, target, outcome)
        except LookupFailed as failure:
            raise FetchFailed(failure.detail) from None
        finally:
            handle.close()
        return response

    def _handle(self, *, is_first: bool) -> pycurl.Curl:
        handle = pycurl.Curl()
        harden(handle, self._policy.authorities(), connect_seconds=self._limits.connect)
        handle.setopt(pycurl.USERAGENT, user_agent(self._kind.purpose))
        headers = list(self._kind.headers)
        if self._request.etag:
            headers.append(f"If-None-Match: {self._request.etag}")
        if self._request.last_modified:
            headers.append(f"If-Modified-Since: {self._request.last_modified}")
        handle.setopt(pycurl.HTTPHEADER, headers)
        handle.setopt(pycurl.LOW_SPEED_LIMIT, self._limits.min_speed)
        handle.setopt(pycurl.LOW_SPEED_TIME, self._limits.slow_seconds)
        if is_first and self._request.username:
            handle.setopt(pycurl.HTTPAUTH, pycurl.HTTPAUTH_BASIC)
            handle.setopt(pycurl.USERNAME, self._request.username.encode())
            handle.setopt(pycurl.PASSWORD, self._request.password.encode())
        return handle

    def _take(self, piece: bytes) -> bool:
        """Write a piece of the body; return whether it is within the limit."""
        self._size += len(piece)
        if self._size > self._limits.size:
            return False
        if len(self._head) < _HEAD_LENGTH:
            self._head += piece[:_HEAD_LENGTH]
        self._digest.update(piece)
        self._file.write(piece)
        return True

    def _check(
        self, response: _Response, handle: pycurl.Curl, target: Target, outcome: TransferResult
    ) -> None:
        """Raise what prevented a complete response."""
        if response.error:
            raise CannotFetch("The file cannot be stored on this machine.") from response.error
        if response.is_too_large:
            raise FetchFailed(
                f"The file is larger than {self._limits.size / 1024**2:,.0f} MB: "
                f"{self._kind.too_large}"
            )
        if response.is_enough or (outcome.code == pycurl.E_OK and response.has_head):
            if lacks_host_names(handle, target):
                raise FetchFailed("The server's certificate has no host name (no subjectAltName).")
            return
        if is_exhausted(handle, outcome.code, response.attempts):
            raise CannotFetch("This machine cannot open more connections.")
        if response.attempts.is_forbidden and not response.attempts.is_connected:
            raise FetchFailed("The address leads to a network that is not public.")
        if "too slow" in outcome.message.lower():
            raise FetchFailed(
                f"The server sent less than {self._limits.min_speed:,} bytes a second for "
                f"{self._limits.slow_seconds} seconds."
            )
        if response.has_head:
            raise FetchFailed("The connection ended before the file was complete.")
        _, detail = no_response(
            outcome,
            os_errno=handle.getinfo(pycurl.OS_ERRNO),
            verify_result=handle.getinfo(pycurl.SSL_VERIFYRESULT),
            connect_seconds=self._limits.connect,
        )
        raise FetchFailed(_of_server(detail))

    def _conclude(self, response: _Response, target: Target) -> FetchedFile | None:
        """Return the file of the last response, or ``None`` if it has not changed."""
        status = response.status or 0
        is_conditional = bool(self._request.etag or self._request.last_modified)
        if status == 304 and is_conditional:
            return None
        if status not in (200, 203):
            headers = kept_headers(response.fields)
            raise FetchFailed(
                self._explain(status),
                retry_after_of(headers, now=datetime.now(UTC)),
                target.host if status in (429, 503) else "",
            )
        encoding = response.header("content-encoding").strip().lower()
        if encoding not in self._kind.encodings:
            remedy = "use gzip" if "gzip" in self._kind.encodings else "send it uncompressed"
            raise FetchFailed(f"The server sends a compression that was not asked for; {remedy}.")
        if not self._size:
            raise FetchFailed("The file is empty.")
        if _is_html(self._head):
            raise FetchFailed(self._kind.html)
        return FetchedFile(
            size=self._size,
            sha256=self._digest.hexdigest(),
            etag=_kept(response.header("etag"), MAX_ETAG_LENGTH),
            last_modified=_kept(response.header("last-modified"), MAX_DATE_LENGTH),
        )

    def _explain(self, status: int) -> str:
        if status == 401:
            has_login = bool(self._request.username)
            return (
                "The server does not accept the user and the password (401)."
                if has_login
                else f"The server asks for a user and a password (401): {self._kind.login}"
            )
        return _of_server(detail_of_status(status))


def _origin(target: Target) -> tuple[str, str, int]:
    return target.scheme, target.host, target.port


def _of_server(detail: str) -> str:
    """Return a sentence of the URL checker, which speaks of shops, for a file's server."""
    server = detail.replace("The shop's server", "The server").replace("The shop", "The server")
    return server.replace("The URL", "The address")


def _redirected(detail: str) -> str:
    reason = _of_server(detail)
    return (
        f"The server redirects to an address that cannot be used: {reason[0].lower()}{reason[1:]}"
    )


def _kept(value: str, max_length: int) -> str:
    """Return the value of a header if it can be stored and sent again."""
    return value if len(value) <= max_length and value.isascii() and value.isprintable() else ""


def _is_html(head: bytes) -> bool:
    text = head
    if head.startswith(_GZIP):
        unpacking: Any = zlib.decompressobj(wbits=31)
        try:
            text = unpacking.decompress(head, _HEAD_LENGTH)
        except zlib.error:
            return False
    start = text.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return start.startswith((b"<!doctype html", b"<html")) or (
        start.startswith(b"<?xml") and b"<html" in start[:_HEAD_LENGTH]
    )
