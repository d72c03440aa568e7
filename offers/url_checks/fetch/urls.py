"""Parses the URLs to fetch, once: the request is built from the parsed parts.

:mod:`closient.text.urls` parses as browsers do, so that a check sees what customers see. No other
parser decides where a request goes.
"""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass

from closient.text.urls import InvalidAddress, read_address

PORTS = frozenset({80, 443, 8080, 8443})
# RFC 9110, section 4.1, recommends supporting at least this; no product page needs more.
MAX_URL_LENGTH = 8000

INVALID = "The URL is not valid."
_SCHEME = "Only URLs that start with http:// or https:// are checked."
# Control characters and space, which browsers remove at both ends.
_BLANK = "".join(map(chr, range(0x21)))


class NotAllowed(ValueError):
    """A URL that the checker does not request; ``detail`` is a sentence for people."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


@dataclass(frozen=True)
class Target:
    """A URL in canonical form, without fragment.

    ``host`` is a name in lower case (IDNA, without a final dot), or an IPv4 or IPv6 address
    (without brackets).
    """

    url: str
    scheme: str
    host: str
    port: int


def target_of(url: str, *, ports: Container[int] = PORTS, base: str | None = None) -> Target:
    """Return the parsed URL; raises :class:`NotAllowed`."""
    text = url.strip(_BLANK)
    if len(text) > MAX_URL_LENGTH:
        raise NotAllowed(f"The URL has more than {MAX_URL_LENGTH:,} characters.")
    scheme = re.match(r"([a-z][a-z0-9+.-]*):", text, re.IGNORECASE)
    if (scheme is None and base is None) or (
        scheme is not None and scheme[1].lower() not in ("http", "https")
    ):
        raise NotAllowed(_SCHEME)
    try:
        address = read_address(text, base=base)
    except InvalidAddress:
        raise NotAllowed(INVALID) from None
    if address.has_user:
        raise NotAllowed("The URL contains a user name or password, which is not allowed.")
    if address.port not in ports:
        raise NotAllowed(f"The URL has port {address.port}; only {_listed(PORTS)} are allowed.")
    return Target(address.url, address.scheme, address.host, address.port)


def redirected(target: Target, location: str, *, ports: Container[int] = PORTS) -> Target:
    """Return where a ``Location`` header leads; raises :class:`NotAllowed`."""
    return target_of(location, ports=ports, base=target.url)


def _listed(ports: frozenset[int]) -> str:
    *most, last = sorted(ports)
    return f"{', '.join(map(str, most))} and {last}"
