"""The one door through which the checker asks addresses that somebody else has typed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_address
from time import monotonic
from types import TracebackType
from typing import Self

import aiohttp
from yarl import URL

from offers.checking.answers import (
    Answer,
    Failure,
    detail_of_status,
    kept_headers,
    retry_after_of,
)
from offers.checking.connections import EXHAUSTED, Attempt, guarded_connector
from offers.checking.failures import explain
from offers.checking.policy import PUBLIC, Policy
from offers.checking.resolver import CannotLookUp, LookupFailed
from offers.checking.targets import NotAllowed, Target, redirected, target_of

# Given the canonical host: entered before each request, left when that request is over.
Turn = Callable[[str], AbstractAsyncContextManager[None]]

# The statuses that lead on (Fetch standard, "redirect status").
REDIRECTS = frozenset({301, 302, 303, 307, 308})
# Like a browser's, but for the name. No compression: a body is looked at as it came.
HEADERS = {
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language": "en-US,en;q=0.9,*;q=0.5",
    "Accept-Encoding": "identity",
}


class NoTurn(Exception):
    """The address cannot be asked just now; nothing has been found out about it."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How far one check goes. Times are in seconds; waiting for turns does not count."""

    # To look up a name; to connect, TLS included; all requests of a check together.
    lookup: float = 5.0
    connect: float = 5.0
    total: float = 20.0
    redirects: int = 5
    # Addresses of one host that are tried, of IPv4 and of IPv6 each: where the one does not work,
    # as IPv6 does in many networks, the other has to get its chance.
    addresses: int = 2
    # What is read of a page, in bytes.
    body: int = 64 * 1024
    # Of an answer: its first line and each header field, in bytes, and how many fields. More than
    # shops send, less than browsers take.
    line: int = 16 * 1024
    header: int = 32 * 1024
    headers: int = 256


@dataclass
class _Hop:
    """One request of a check, and what has come of it so far."""

    target: Target
    is_redirected: bool
    status: int | None = None
    location: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    failure: Failure | None = None
    detail: str = ""
    wants_cookies: bool = False

    def fail(self, failure: Failure, detail: str) -> None:
        self.failure = failure
        self.detail = detail

    def refuse(self, detail: str, *, is_redirected: bool) -> None:
        if is_redirected:
            reason = detail[0].lower() + detail[1:]
            detail = f"The shop redirects to an address that cannot be checked: {reason}"
        self.fail(Failure.NOT_ALLOWED, detail)

    def answer(self) -> Answer:
        return Answer(
            url=self.target.url,
            host=self.target.host,
            status=self.status,
            failure=self.failure,
            detail=self.detail or detail_of_status(self.status or 0),
            retry_after=retry_after_of(self.headers, now=datetime.now(UTC)),
            headers=self.headers,
            body=bytes(self.body),
            wants_cookies=self.wants_cookies,
        )


class Client:
    """Asks addresses on the web, within limits, and connects to nothing that the policy forbids.

    ``user_agent`` is how the checker presents itself. An asynchronous context manager, used by any
    number of tasks at once: how many is up to the caller, and so are turns.
    """

    def __init__(
        self, *, user_agent: str, policy: Policy = PUBLIC, limits: Limits | None = None
    ) -> None:
        self._user_agent = user_agent
        self._policy = policy
        self._limits = limits or Limits()

    async def __aenter__(self) -> Self:
        limits = self._limits
        tls = self._policy.tls()
        tls.set_alpn_protocols(["http/1.1"])
        self._session = aiohttp.ClientSession(
            connector=guarded_connector(self._policy, tls=tls, most_addresses=limits.addresses),
            headers={"User-Agent": self._user_agent, **HEADERS},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            # The time in all is for several requests: see _ask.
            timeout=aiohttp.ClientTimeout(total=None, connect=limits.connect),
            read_bufsize=limits.body,
            max_line_size=limits.line,
            max_field_size=limits.header,
            max_headers=limits.headers,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def fetch(self, url: str, *, turn: Turn) -> Answer:
        """Ask an address by GET, follow its redirects, and return what was found.

        Every redirect is read, allowed and given its turn like the first address; one from https to
        http is followed, as browsers do. Raises :class:`NoTurn`, and what else ``turn`` raises;
        whatever happens on the network is an answer.
        """
        try:
            target = target_of(url, ports=self._policy.ports)
        except NotAllowed as refusal:
            return Answer(url=url, failure=Failure.NOT_ALLOWED, detail=refusal.detail)
        hops: list[_Hop] = []
        seconds = self._limits.total
        while True:
            hop = _Hop(target, is_redirected=bool(hops))
            hops.append(hop)
            async with turn(target.host):
                began = monotonic()
                await self._ask(hop, seconds=seconds)
                seconds -= monotonic() - began
            onward = self._onward(hops)
            if onward is None:
                return hop.answer()
            target = onward

    async def _ask(self, hop: _Hop, *, seconds: float) -> None:
        """Make one request; what comes of it, within so many seconds, is put into the hop."""
        attempt = Attempt()
        try:
            async with asyncio.timeout(seconds):
                attempt.addresses = await self._addresses_of(hop.target.host)
                attempt.begin()
                await self._listen(hop)
        except CannotLookUp:
            raise NoTurn("This machine cannot look up more names.") from None
        except (TimeoutError, LookupFailed, aiohttp.ClientError, OSError, ValueError) as error:
            if hop.status is None and getattr(error, "errno", None) in EXHAUSTED:
                raise NoTurn("This machine cannot open more connections.") from error
            if hop.status is None and attempt.is_refused:
                detail = "The address leads into a network that is not public."
                hop.refuse(detail, is_redirected=hop.is_redirected)
            # The status of an error page, or of a redirect, says enough without its text.
            elif hop.status is None or 200 <= hop.status < 300:
                hop.fail(
                    *explain(
                        error,
                        answered=hop.status is not None,
                        connect_seconds=self._limits.connect,
                        total_seconds=self._limits.total,
                    )
                )
        finally:
            if hop.target.scheme == "https":
                attempt.end()

    async def _addresses_of(self, host: str) -> Sequence[str]:
        # Only an address ends like this, and most hosts are names.
        if host[-1:].isdigit() or ":" in host:
            with suppress(ValueError):
                return [str(ip_address(host))]
        try:
            async with asyncio.timeout(self._limits.lookup):
                found = await self._policy.lookup(host)
        except TimeoutError:
            raise LookupFailed(
                "The host name of the address could not be looked up within "
                f"{self._limits.lookup:g} seconds."
            ) from None
        families = [a for a in found if ":" in a], [a for a in found if ":" not in a]
        tried = {address for family in families for address in family[: self._limits.addresses]}
        return [address for address in found if address in tried]

    async def _listen(self, hop: _Hop) -> None:
        url = URL(hop.target.url, encoded=True)
        async with self._session.get(url, allow_redirects=False) as response:
            # A number below 100 is no status; the parser of aiohttp lets it pass.
            if response.status < 100:
                raise ValueError("no status")
            hop.status = response.status
            hop.headers = kept_headers(response.headers)
            hop.location = response.headers.get("Location", "").strip()
            if hop.status in REDIRECTS:
                return
            async for piece in response.content.iter_any():
                hop.body += piece[: self._limits.body - len(hop.body)]
                if len(hop.body) == self._limits.body:
                    return

    def _onward(self, hops: Sequence[_Hop]) -> Target | None:
        """Return where the last answer leads on; otherwise ``None``, its failure set if any."""
        hop = hops[-1]
        status = hop.status
        if hop.failure or status is None or 200 <= status < 300 or status >= 400:
            return None
        if status not in REDIRECTS or not hop.location:
            sentence = detail_of_status(status).removesuffix(".")
            lack = "which shows no page" if status not in REDIRECTS else "without saying to where"
            hop.fail(Failure.PROTOCOL, f"{sentence}, {lack}.")
            return None
        try:
            target = redirected(hop.target, hop.location, ports=self._policy.ports)
        except NotAllowed as refusal:
            hop.refuse(refusal.detail, is_redirected=True)
            return None
        if any(each.target.url == target.url for each in hops):
            hop.wants_cookies = any("set-cookie" in each.headers for each in hops)
            way_out = " unless visitors take its cookies" if hop.wants_cookies else ""
            hop.fail(Failure.REDIRECTS, f"The shop redirects in a circle{way_out}.")
        elif len(hops) > self._limits.redirects:
            more = f"more than {self._limits.redirects} times"
            hop.fail(Failure.REDIRECTS, f"The shop redirects {more} before it shows a page.")
        else:
            return target
        return None
