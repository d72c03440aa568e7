"""Origins of web pages that may call the API from a browser (RFC 6454, the CORS protocol)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

import idna

# A scheme ("https://"), a host of 253 characters and a port (":65535").
MAX_LENGTH = 8 + 253 + 6
MAX_ORIGINS = 20

_DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\Z")


class InvalidOrigin(ValueError):
    """A string is not a valid origin; the message is a sentence for users."""


def clean_origin(text: str) -> str:
    """Return an origin as browsers send it: ASCII, lower case, without a default port.

    Removes a trailing slash. Raises :class:`InvalidOrigin`.
    """
    text = text.strip()
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise InvalidOrigin(f"{text} is not an origin, such as https://www.example.com.") from None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise InvalidOrigin(f"{text} is not an origin, such as https://www.example.com.")
    if parts.path not in ("", "/") or text.removesuffix("/").endswith(("?", "#")):
        raise InvalidOrigin(f"{text} has a path. An origin ends after the host and the port.")
    if parts.query or parts.fragment or parts.username is not None or "*" in text:
        raise InvalidOrigin(f"{text} must have only a scheme, a host and a port.")
    host = _clean_host(text, parts.hostname)
    if parts.scheme == "http" and not _is_loopback(host):
        raise InvalidOrigin(f"{text} must begin with https. Only loopback addresses can use http.")
    origin = f"{parts.scheme}://{host}"
    return origin if port in (None, _DEFAULT_PORTS[parts.scheme]) else f"{origin}:{port}"


def clean_origins(texts: Iterable[str]) -> list[str]:
    """Return origins as browsers send them, without duplicates; raises :class:`InvalidOrigin`."""
    origins = list(dict.fromkeys(clean_origin(text) for text in texts))
    if len(origins) > MAX_ORIGINS:
        raise InvalidOrigin(f"There can be at most {MAX_ORIGINS} origins.")
    return origins


def _clean_host(text: str, host: str) -> str:
    if ":" in host:
        try:
            return f"[{ipaddress.IPv6Address(host).compressed}]"
        except ValueError:
            raise InvalidOrigin(f"{text} does not have a valid host.") from None
    if not host.isascii():
        try:
            host = idna.encode(host, uts46=True).decode()
        except (idna.IDNAError, UnicodeError):
            raise InvalidOrigin(f"{text} does not have a valid host.") from None
    host = host.lower()
    if not _HOST.match(host) or len(host) > 253:
        raise InvalidOrigin(f"{text} does not have a valid host.")
    if host.rpartition(".")[2].isdigit():
        # Browsers read a name that ends in a number as an IPv4 address (WHATWG URL).
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise InvalidOrigin(f"{text} does not have a valid host.") from None
    return host


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
