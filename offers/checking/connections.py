"""Connections to addresses that the policy allows, and to no others.

The guard sits where a socket is made for an address: it sees the very address that is about to be
connected, whether it was written in the URL, came from DNS or from a redirect. What DNS says to
anybody else, before or after, changes nothing.
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from offers.checking.policy import Policy

# This machine has run out of something, which says nothing about a shop.
EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}
_NUMERIC = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


@dataclass
class Attempt:
    """One attempt to connect: to which addresses, and how it went."""

    addresses: Sequence[str] = ()
    _sockets: list[socket.socket] = field(default_factory=list)
    _has_refused: bool = False

    def begin(self) -> None:
        """Make this the attempt of the running task."""
        _attempt.set(self)

    def end(self) -> None:
        """Break off what is still connected.

        Needed for TLS, whose polite end waits for the other side for half a minute, and reads what
        still comes.
        """
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    @property
    def is_refused(self) -> bool:
        """Whether the policy forbids every address, so that nothing was connected."""
        return self._has_refused and not self._sockets

    def new_socket(self, policy: Policy, info: tuple[Any, ...]) -> socket.socket:
        """Return a socket for an address of ``getaddrinfo``, or raise ``OSError``."""
        family, kind, protocol, _, (host, *rest) = info
        # `rest` is the port, and for IPv6 the flow label and the scope: 0 when it is global.
        if any(rest[2:]) or not policy.allows(ip_address(host)):
            self._has_refused = True
            raise PermissionError(errno.EACCES, "forbidden by the policy")
        made = socket.socket(family, kind, protocol)
        self._sockets.append(made)
        return made


# How the guard, which aiohttp calls, knows for which attempt it is called.
_attempt: ContextVar[Attempt] = ContextVar("attempt")


def guarded_connector(
    policy: Policy, *, tls: ssl.SSLContext, most_addresses: int
) -> aiohttp.TCPConnector:
    """Return a connector whose connections each belong to an :class:`Attempt`.

    ``most_addresses`` is how many addresses of IPv4, and of IPv6, an attempt has at most.
    """
    return aiohttp.TCPConnector(
        socket_factory=lambda info: _attempt.get().new_socket(policy, info),
        resolver=_Attempted(),
        use_dns_cache=False,
        # Each address is tried once, in one race: aiohttp goes round and round otherwise.
        interleave=most_addresses,
        # No connection is used twice. Few could be: most pages are longer than what is read of
        # them, and the turns of a host are a second apart. So hundreds of hosts hold no
        # descriptors, and no check fails by what an earlier one has left behind.
        force_close=True,
        limit=0,
        ssl=tls,
    )


class _Attempted(AbstractResolver):
    """Gives aiohttp the addresses of the attempt, which have been looked up already."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=_NUMERIC,
            )
            for address in _attempt.get().addresses
        ]

    async def close(self) -> None:
        pass
