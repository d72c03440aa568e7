"""The only HTTP client allowed to fetch user-supplied URLs."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from time import monotonic
from types import TracebackType
from typing import Self

import pycurl
from django.conf import settings

from offers.url_checks.fetch.connections import (
    GARBLED,
    NO_HOST_NAMES,
    TransferResult,
    Transfers,
    no_response,
    out_of_time,
)
from offers.url_checks.fetch.hardening import (
    REDIRECTS,
    Attempts,
    ResponseHead,
    aim,
    harden,
    is_exhausted,
    lacks_host_names,
)
from offers.url_checks.fetch.policy import SERVICE, Policy
from offers.url_checks.fetch.resolver import CannotLookUp, LookupFailed
from offers.url_checks.fetch.responses import (
    Failure,
    FetchResult,
    detail_of_status,
    kept_headers,
    retry_after_of,
)
from offers.url_checks.fetch.urls import INVALID, NotAllowed, Target, redirected, target_of

# Called with the canonical host; entered before each request to it and left after it.
HoldSlot = Callable[[str], AbstractAsyncContextManager[None]]

# As a browser sends them, except the name. No compression: a body is read as it is.
HEADERS = (
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language: en-US,en;q=0.9,*;q=0.5",
    "Accept-Encoding: identity",
    "Connection: close",
)
# The User-Agent. Firewalls reject what calls itself a link checker, bot, crawler or spider.
NAME = "ClosientDashboard/1.0"
PURPOSE = "product page availability"


def user_agent(purpose: str = PURPOSE) -> str:
    """Return the User-Agent: name, purpose, and the contact if configured."""
    contact = f"; +{settings.URL_CHECK_CONTACT}" if settings.URL_CHECK_CONTACT else ""
    return f"{NAME} ({purpose}{contact})"


class CannotFetch(Exception):
    """The URL cannot be fetched now; nothing is known about it."""


@dataclass(frozen=True, kw_only=True)
class FetchLimits:
    """How far one check goes. Times are in seconds; waiting for slots does not count."""

    # To look up a name; to connect, with TLS; for all requests of a check together.
    lookup: float = 5.0
    connect: float = 5.0
    total: float = 20.0
    # Chromium follows 20, Safari 16.
    redirects: int = 10
    # How many addresses of a host are tried, of IPv4 and of IPv6 each: where IPv6 does not work, as
    # in many networks, IPv4 has to get its chance.
    addresses: int = 4
    # How many bytes of a page are read. libcurl itself limits the rest of a response: 100 KB for a
    # line of its head, 300 KB for the whole head.
    body: int = 64 * 1024


@dataclass(kw_only=True)
class _Hop(ResponseHead):
    """One request of a check, and its response so far."""

    target: Target
    is_redirected: bool
    max_body: int
    body: bytearray = field(default_factory=bytearray)
    failure: Failure | None = None
    detail: str = ""
    sets_cookies: bool = False
    # Whether enough has been read.
    is_enough: bool = False
    attempts: Attempts = field(default_factory=Attempts)

    @cached_property
    def headers(self) -> dict[str, str]:
        return kept_headers(self.fields)

    def read_odd_head(self) -> None:
        """Find the status in a head that libcurl took for a body, as browsers do."""
        found = _ODD_HEAD.match(self.body)
        if found is None:
            return
        number = int(found[1][:6]) if found[1] else 200
        if 100 <= number < 1000:
            self.status = number
            self.has_head = True
            del self.body[: found.end()]

    def read_head(self, line: bytes) -> int | None:
        """Take a line of the head from libcurl; -1 ends the transfer."""
        self.read_line(line)
        if not self.has_head or line.strip():
            return None
        self.is_enough = self.is_redirect or self.status == 101
        return -1 if self.is_enough else None

    def read_body(self, piece: bytes) -> int | None:
        """Take a piece of the body from libcurl; -1 ends the transfer."""
        self.body += piece[: self.max_body - len(self.body)]
        self.is_enough = len(self.body) == self.max_body
        return -1 if self.is_enough else None

    def fail(self, failure: Failure, detail: str) -> None:
        self.failure = failure
        self.detail = detail

    def reject(self, detail: str, *, is_redirected: bool) -> None:
        if is_redirected:
            reason = detail[0].lower() + detail[1:]
            detail = f"The shop redirects to a URL that cannot be checked: {reason}"
        self.fail(Failure.NOT_ALLOWED, detail)

    def result(self) -> FetchResult:
        return FetchResult(
            url=self.target.url,
            host=self.target.host,
            status=self.status,
            failure=self.failure,
            detail=self.detail or detail_of_status(self.status or 0),
            retry_after=retry_after_of(self.headers, now=datetime.now(UTC)),
            headers=self.headers,
            body=bytes(self.body),
            sets_cookies=self.sets_cookies,
        )


# What Chromium accepts besides the status lines of libcurl: line breaks or up to four bytes before
# it, ICY instead of HTTP, no version, no number (net/http/http_stream_parser.cc,
# http_response_headers.cc).
_ODD_HEAD = re.compile(
    rb"\s{0,16}.{0,4}?(?:HTTP|ICY)(?:/[0-9.]*)?[ \t]*([0-9]+)?.*?\r?\n\r?\n",
    re.IGNORECASE | re.DOTALL,
)
# Errors of libcurl that mean that the server closed the connection. After any other error in the
# head libcurl has rejected a line.
_CLOSED = {pycurl.E_OK, pycurl.E_GOT_NOTHING, pycurl.E_RECV_ERROR, pycurl.E_PARTIAL_FILE}


class Client:
    """Fetches web pages within limits, and never connects to what the policy forbids.

    An asynchronous context manager for any number of tasks at once. The caller limits how many, and
    provides the slots.
    """

    def __init__(
        self, *, user_agent: str, policy: Policy = SERVICE, limits: FetchLimits | None = None
    ) -> None:
        self._user_agent = user_agent
        self._policy = policy
        self._limits = limits or FetchLimits()
        self._transfers = Transfers()

    async def __aenter__(self) -> Self:
        self._authorities = self._policy.authorities()
        await self._transfers.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._transfers.__aexit__(kind, error, trace)

    async def fetch(self, url: str, *, hold_slot: HoldSlot) -> FetchResult:
        """Fetch a URL by GET, follow its redirects, and return the result.

        Every redirect is parsed, checked against the policy and given a slot like the first URL.
        One from https to http is followed, as in browsers. Cookies last for one check.
        Every network error is a result. Raises :class:`CannotFetch`, and what ``hold_slot`` raises.
        """
        try:
            target = target_of(url, ports=self._policy.url_ports)
        except NotAllowed as refusal:
            return FetchResult(url=url, failure=Failure.NOT_ALLOWED, detail=refusal.detail)
        hops: list[_Hop] = []
        seconds = self._limits.total
        names = pycurl.CurlShare()
        handle = self._new_handle(names)
        try:
            while True:
                hop = _Hop(target=target, is_redirected=bool(hops), max_body=self._limits.body)
                hops.append(hop)
                async with hold_slot(target.host):
                    began = monotonic()
                    await self._request(hop, handle, seconds=seconds)
                    seconds -= monotonic() - began
                next_target = self._redirect_target(hops)
                if next_target is None:
                    return hop.result()
                target = next_target
        finally:
            handle.close()
            names.close()

    def _new_handle(self, names: pycurl.CurlShare) -> pycurl.Curl:
        """Return a handle with the options for all requests of one check.

        ``names`` gets the IP addresses that are given to libcurl.
        """
        handle = pycurl.Curl()
        # Every check has its own table of addresses. libcurl would keep those of all checks for a
        # minute, and search all of them whenever a request ends.
        names.setopt(pycurl.SH_SHARE, pycurl.LOCK_DATA_DNS)
        handle.setopt(pycurl.SHARE, names)
        harden(handle, self._authorities, connect_seconds=self._limits.connect)
        handle.setopt(pycurl.USERAGENT, self._user_agent)
        handle.setopt(pycurl.HTTPHEADER, HEADERS)
        # A response that does not begin as HTTP arrives as a body, for `_Hop.read_odd_head`.
        handle.setopt(pycurl.HTTP09_ALLOWED, 1)
        handle.setopt(pycurl.COOKIEFILE, "")
        return handle

    async def _request(self, hop: _Hop, handle: pycurl.Curl, *, seconds: float) -> None:
        """Make one request within a time limit, and put its response or failure into the hop."""
        try:
            async with asyncio.timeout(seconds):
                await self._prepare(hop, handle)
                outcome = await self._transfers.run(handle)
        except CannotLookUp:
            raise CannotFetch("This machine cannot look up more names.") from None
        except LookupFailed as failure:
            hop.fail(Failure.DNS, failure.detail)
        except TimeoutError:
            if not hop.has_head:
                hop.status = None
            # The status of an error page or a redirect is enough without its text. And some servers
            # keep the connection open after a complete page.
            has_page = hop.is_success and b"</html>" in hop.body.lower()
            if hop.status is None or (hop.is_success and not has_page):
                has_status = hop.status is not None
                hop.fail(*out_of_time(has_status=has_status, seconds=self._limits.total))
        else:
            self._conclude(hop, handle, outcome)

    async def _prepare(self, hop: _Hop, handle: pycurl.Curl) -> None:
        """Look up the host, and set the options of a request."""
        await aim(
            handle,
            hop.target,
            self._policy,
            hop.attempts,
            lookup_seconds=self._limits.lookup,
            max_addresses=self._limits.addresses,
        )
        handle.setopt(pycurl.HEADERFUNCTION, hop.read_head)
        handle.setopt(pycurl.WRITEFUNCTION, hop.read_body)

    def _conclude(self, hop: _Hop, handle: pycurl.Curl, outcome: TransferResult) -> None:
        """Put the end of a transfer into the hop."""
        if hop.status is None:
            hop.read_odd_head()
        is_interim = hop.status is not None and hop.status < 200 and hop.status != 101
        # A head that ends with the connection, without an error, may still redirect.
        is_cut_off = outcome.code in _CLOSED and not (
            outcome.code == pycurl.E_OK and hop.is_redirect
        )
        if is_interim or (not hop.has_head and is_cut_off):
            hop.status = None
        if hop.status is None:
            self._fail_without_response(hop, handle, outcome)
            return
        is_whole = outcome.code == pycurl.E_OK or hop.is_enough
        # Browsers show what arrived before the connection ended or the bytes made no sense. Without
        # any text there is nothing to show, unless libcurl gave up in the head.
        if not is_whole and hop.is_success and hop.has_head and not hop.body.strip():
            # Browsers do not read chunks in an HTTP/1.0 response; libcurl does.
            is_misread = hop.is_http_1_0 and "chunked" in hop.header("transfer-encoding").lower()
            hop.fail(Failure.UNREADABLE if is_misread else Failure.PROTOCOL, GARBLED)
            return
        if lacks_host_names(handle, hop.target):
            hop.status = None
            hop.fields.clear()
            hop.body.clear()
            hop.fail(Failure.TLS, NO_HOST_NAMES)

    def _fail_without_response(
        self, hop: _Hop, handle: pycurl.Curl, outcome: TransferResult
    ) -> None:
        """Put into the hop why there is no response.

        Raises :class:`CannotFetch` when this machine is at fault.
        """
        if is_exhausted(handle, outcome.code, hop.attempts):
            raise CannotFetch("This machine cannot open more connections.")
        if hop.attempts.is_forbidden and not hop.attempts.is_connected:
            detail = "The URL leads to a network that is not public."
            hop.reject(detail, is_redirected=hop.is_redirected)
        elif outcome.code == pycurl.E_URL_MALFORMAT:
            hop.reject(INVALID, is_redirected=hop.is_redirected)
        else:
            hop.fail(
                *no_response(
                    outcome,
                    os_errno=handle.getinfo(pycurl.OS_ERRNO),
                    verify_result=handle.getinfo(pycurl.SSL_VERIFYRESULT),
                    connect_seconds=self._limits.connect,
                )
            )

    def _redirect_target(self, hops: Sequence[_Hop]) -> Target | None:
        """Return where the last response redirects to, or ``None``; sets its failure, if any."""
        hop = hops[-1]
        status = hop.status
        if hop.failure or status is None or status >= 400:
            return None
        if not hop.is_redirect:
            self._require_page(hop, status)
            return None
        try:
            target = redirected(hop.target, hop.header("location"), ports=self._policy.url_ports)
        except NotAllowed as refusal:
            hop.reject(refusal.detail, is_redirected=True)
            return None
        since = next((n for n, each in enumerate(hops) if each.target.url == target.url), None)
        is_circle = since is not None and not any(
            each.header("set-cookie") for each in hops[since:]
        )
        if not is_circle and len(hops) <= self._limits.redirects:
            return target
        hop.sets_cookies = any(each.header("set-cookie") for each in hops)
        if is_circle:
            detail = "The shop redirects in a loop."
        else:
            times = f"more than {self._limits.redirects} times"
            detail = f"The shop redirects {times} before it shows a page."
        hop.fail(Failure.REDIRECTS, detail)
        return None

    @staticmethod
    def _require_page(hop: _Hop, status: int) -> None:
        """Fail a hop whose response is neither a redirect nor a page."""
        sentence = detail_of_status(status).removesuffix(".")
        # Browsers show the text of a redirect without a target. And the target may be in the part
        # of the head that libcurl has not read.
        has_more = bool(hop.body.strip()) or not hop.has_head
        failure = Failure.UNREADABLE if status // 100 == 3 and has_more else Failure.PROTOCOL
        if status in REDIRECTS:
            hop.fail(failure, f"{sentence} without a redirect target.")
        elif not 200 <= status < 300 or status in (204, 205):
            hop.fail(failure, f"{sentence}, which is not a page.")
        elif hop.has_head and not hop.body.strip():
            hop.fail(Failure.PROTOCOL, f"{sentence} with an empty page.")
