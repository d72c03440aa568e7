"""Where a request comes from, as far as it can be believed."""

from __future__ import annotations

import ipaddress

from django.conf import settings
from django.http import HttpRequest

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def client_address(request: HttpRequest) -> str:
    """Return the address under which a request is limited.

    The peer's, unless the peer is in ``TRUSTED_PROXIES``: then the rightmost address in
    ``X-Forwarded-For`` that is no trusted proxy itself. Whatever stands further left is hearsay.
    An IPv6 address counts by its network of 64 bits, which is what one customer gets (RFC 6177).
    Without an address (a Unix socket) the empty text comes back.
    """
    peer = _parse(request.META.get("REMOTE_ADDR", ""))
    if peer is None:
        return ""
    if _is_trusted(peer):
        forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "")[-1000:].split(",")
        for text in reversed(forwarded):
            address = _parse(text.strip())
            if address is None:
                break
            peer = address
            if not _is_trusted(peer):
                break
    return _subject(peer)


def is_trusted_proxy(text: str) -> bool:
    """Return whether the address of a peer is in ``TRUSTED_PROXIES``."""
    address = _parse(text)
    return address is not None and _is_trusted(address)


def _parse(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address


def _is_trusted(address: Address) -> bool:
    return any(address in network for network in settings.TRUSTED_PROXIES)


def _subject(address: Address) -> str:
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(ipaddress.ip_network((int(address), 64), strict=False))
