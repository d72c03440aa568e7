"""What every request to a user-supplied URL obeys, whatever is done with the response.

No redirects without a look at the target, no settings from the environment, no reused connections,
and a look at the exact address of each connection.
"""

from __future__ import annotations

import asyncio
import errno
import re
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

import pycurl

from offers.url_checks.fetch.policy import Authorities, Policy
from offers.url_checks.fetch.resolver import LookupFailed
from offers.url_checks.fetch.urls import Target

# Redirect statuses (Fetch standard, "redirect status").
REDIRECTS = frozenset({301, 302, 303, 307, 308})
# This machine is out of a resource, which is unrelated to the server.
EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}
# The certificate field in which browsers look for host names, as libcurl calls it.
_HOST_NAMES = "X509v3 Subject Alternative Name"
# A status line as libcurl reads it (RFC 9112, section 4).
_STATUS_LINE = re.compile(r"HTTP/[0-9.]+[ \t]+([0-9]{3})", re.IGNORECASE)


@dataclass
class Attempts:
    """The connections of one request: whether any was begun, forbidden, or failed here."""

    is_connected: bool = False
    is_forbidden: bool = False
    is_exhausted: bool = False


@dataclass(kw_only=True)
class ResponseHead:
    """The status and the header fields of a response, as far as they have arrived."""

    status: int | None = None
    fields: list[tuple[str, str]] = field(default_factory=list)
    has_head: bool = False
    is_http_1_0: bool = False

    def header(self, name: str) -> str:
        """Return the first value of a header field, empty without one."""
        return next((value for each, value in self.fields if each.lower() == name), "")

    @property
    def is_success(self) -> bool:
        """Whether the status is 200 to 299."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def is_redirect(self) -> bool:
        """Whether the response redirects."""
        return self.status in REDIRECTS and bool(self.header("location"))

    def read_line(self, line: bytes) -> None:
        """Take a line of the head from libcurl; interim responses (1xx) are forgotten."""
        text = line.decode("utf-8", "surrogateescape").rstrip("\r\n")
        if started := _STATUS_LINE.match(text):
            self.status = int(started[1])
            self.is_http_1_0 = text.startswith("HTTP/1.0")
            self.fields.clear()
            self.has_head = False
        elif text:
            name, colon, value = text.partition(":")
            # libcurl passes trailers through here as well.
            if colon and not self.has_head:
                self.fields.append((name.strip(), value.strip()))
        elif self.status is not None and 100 <= self.status < 200 and self.status != 101:
            self.status = None
            self.fields.clear()
        else:
            self.has_head = True


def harden(handle: pycurl.Curl, authorities: Authorities, *, connect_seconds: float) -> None:
    """Set the options that all requests have."""
    handle.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
    handle.setopt(pycurl.FOLLOWLOCATION, 0)
    # No settings from the environment of this process.
    handle.setopt(pycurl.PROXY, "")
    handle.setopt(pycurl.NOPROXY, "*")
    handle.setopt(pycurl.NETRC, pycurl.NETRC_IGNORED)
    handle.setopt(pycurl.NOSIGNAL, 1)
    # Target has removed the dot segments, as browsers do.
    handle.setopt(pycurl.PATH_AS_IS, 1)
    # A body is read as it is: decompressing could fill the memory.
    handle.setopt(pycurl.HTTP_CONTENT_DECODING, 0)
    # No connection is reused. Few could be: most pages are longer than what is read of them,
    # and requests to a host are a second apart. So idle hosts hold no file descriptors, and a
    # check cannot fail through what an earlier one has left behind.
    handle.setopt(pycurl.FRESH_CONNECT, 1)
    handle.setopt(pycurl.FORBID_REUSE, 1)
    handle.setopt(pycurl.SSL_SESSIONID_CACHE, 0)
    handle.setopt(pycurl.SSL_VERIFYPEER, 1)
    handle.setopt(pycurl.SSL_VERIFYHOST, 2)
    handle.setopt(pycurl.CONNECTTIMEOUT_MS, int(connect_seconds * 1000))
    if authorities.file is not None:
        handle.setopt(pycurl.CAINFO, authorities.file)
    if authorities.folder is not None:
        handle.setopt(pycurl.CAPATH, authorities.folder)


async def aim(  # noqa: PLR0913 - one argument for each limit
    handle: pycurl.Curl,
    target: Target,
    policy: Policy,
    attempts: Attempts,
    *,
    lookup_seconds: float,
    max_addresses: int,
) -> None:
    """Look up the host of a target, and make a handle request it within the policy.

    Raises :class:`LookupFailed`, and :class:`CannotLookUp` when this machine is at fault.
    """
    handle.setopt(pycurl.URL, target.url)
    handle.setopt(pycurl.OPENSOCKETFUNCTION, _guard(policy, attempts))
    handle.setopt(pycurl.OPT_CERTINFO, int(target.scheme == "https"))
    # Only an IP address ends like this, and most hosts are names.
    if target.host[-1:].isdigit() or ":" in target.host:
        with suppress(ValueError):
            ip_address(target.host)
            return
    found = await _look_up(target.host, policy, lookup_seconds, max_addresses)
    addresses = ",".join(f"[{a}]" if ":" in a else a for a in found)
    # The plus sign makes the entry of libcurl's table expire, and replace an older one.
    handle.setopt(pycurl.RESOLVE, [f"+{target.host}:{target.port}:{addresses}"])


async def _look_up(host: str, policy: Policy, seconds: float, max_addresses: int) -> Sequence[str]:
    try:
        async with asyncio.timeout(seconds):
            found = await policy.lookup(host)
    except TimeoutError:
        raise LookupFailed(
            f"The host name could not be looked up within {seconds:g} seconds."
        ) from None
    families = [a for a in found if ":" in a], [a for a in found if ":" not in a]
    tried = {address for family in families for address in family[:max_addresses]}
    return [address for address in found if address in tried]


def _guard(
    policy: Policy, attempts: Attempts
) -> Callable[[int, tuple[Any, ...]], socket.socket | int]:
    """Return the function that opens libcurl's sockets, if the policy allows the address.

    It gets the exact address that is about to be connected, whether from the URL, from DNS or
    from a redirect. What DNS returns before or after makes no difference.
    """

    def open_socket(purpose: int, address: tuple[Any, ...]) -> socket.socket | int:
        family, kind, protocol, where = address
        if purpose != pycurl.SOCKTYPE_IPCXN or not _allows(policy, family, where):
            attempts.is_forbidden = True
            return pycurl.SOCKET_BAD
        try:
            made = socket.socket(family, kind, protocol)
        except OSError as error:
            attempts.is_exhausted |= error.errno in EXHAUSTED
            return pycurl.SOCKET_BAD
        # libcurl connects without Python, so audit hooks would not see it.
        sys.audit("socket.connect", made, where)
        attempts.is_connected = True
        # pycurl takes a duplicate of the descriptor.
        asyncio.get_running_loop().call_soon(made.close)
        return made

    return open_socket


def _allows(policy: Policy, family: int, where: Any) -> bool:
    """Return whether the policy allows a connection to a socket address."""
    if family not in (socket.AF_INET, socket.AF_INET6):
        return False
    # For IPv6 the flow label and the scope follow the port; a global address has scope 0.
    host, port, *rest = where
    return not any(rest[1:]) and policy.permits_connection(host, port)


def is_exhausted(handle: pycurl.Curl, code: int, attempts: Attempts) -> bool:
    """Return whether a request failed because this machine is out of a resource."""
    is_out_of_memory = code == pycurl.E_OUT_OF_MEMORY
    system_error = handle.getinfo(pycurl.OS_ERRNO)
    return attempts.is_exhausted or is_out_of_memory or system_error in EXHAUSTED


def lacks_host_names(handle: pycurl.Curl, target: Target) -> bool:
    """Return whether the server's certificate has no subjectAltName (RFC 9525, section 2).

    Browsers refuse it; OpenSSL would accept the common name.
    """
    if target.scheme != "https":
        return False
    certificates = handle.getinfo(pycurl.INFO_CERTINFO)
    return not any(
        name == _HOST_NAMES for certificate in certificates[:1] for name, *_ in certificate
    )
