"""Trusted proxies: the client's address, and the headers that only a trusted proxy may set."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class TrustedProxyMiddleware:
    """Removes ``Forwarded`` and ``X-Forwarded-*`` unless the peer is in ``TRUSTED_PROXIES``.

    It comes before all middleware that reads these headers.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        peer = _parse(request.META.get("REMOTE_ADDR", ""))
        if peer is None or not _is_trusted(peer):
            for name in [name for name in request.META if _is_set_by_proxies(name)]:
                del request.META[name]
        return self.get_response(request)


def client_address(request: HttpRequest) -> str:
    """Return the client's address, by which requests are limited.

    This is the address of the peer. If the peer is in ``TRUSTED_PROXIES``, it is the rightmost
    address in ``X-Forwarded-For`` that is not a trusted proxy; addresses further left can be
    forged. An IPv6 address is returned as its /64 network, which is the size that one customer gets
    (RFC 6177). Empty if the peer has no address (a Unix socket).
    """
    address = _parse(request.META.get("REMOTE_ADDR", ""))
    if address is None:
        return ""
    if _is_trusted(address):
        forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "")[-1000:].split(",")
        for text in reversed(forwarded):
            earlier = _parse(text.strip())
            if earlier is None:
                break
            address = earlier
            if not _is_trusted(address):
                break
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(ipaddress.ip_network((int(address), 64), strict=False))


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


def _is_set_by_proxies(name: str) -> bool:
    return name.startswith("HTTP_X_FORWARDED_") or name == "HTTP_FORWARDED"
