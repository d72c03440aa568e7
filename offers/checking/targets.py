"""Addresses on the web, read the one way that the checker then asks for them.

As a browser reads them (WHATWG URL), so that the check sees what customers see; only stricter about
the host. What is asked is put together again from the parts found here: no other reader of
the address gets a say in where it leads.
"""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from urllib.parse import quote, urljoin, urlsplit

import idna

DEFAULT_PORTS = {"http": 80, "https": 443}
PORTS = frozenset({80, 443, 8080, 8443})
# RFC 9110, section 4.1, wants at least this supported; a longer one is not a product page's.
LONGEST_URL = 8000

# Control characters and space.
_BLANK = "".join(map(chr, range(0x21)))
# Hyphens and underscores wherever they are: there are shops that have them.
_NAME = re.compile(r"(?=.{1,253}\Z)([a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}")
# A browser takes a host whose last label looks like this for an IPv4 address (127.1, 0x7f000001).
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_INVALID = "The address is not a valid web address."
_NO_HOST = "The address has no valid host name."
# What may stand in a path or a query as it is; anything else is sent as percent-encoded UTF-8.
_PLAIN = "%/:?#[]@!$&'()*+,;=-._~|^\\"


class NotAllowed(ValueError):
    """An address that the checker does not ask; ``detail`` is a sentence for a person."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


@dataclass(frozen=True)
class Target:
    """A web address in canonical form, without fragment.

    ``host`` is a name in lower case (IDNA, without the dot at its end), or an IPv4 or IPv6 address
    (the latter without brackets).
    """

    url: str
    scheme: str
    host: str
    port: int


def target_of(url: str, *, ports: Container[int] = PORTS) -> Target:
    """Return what an address asks for; raises :class:`NotAllowed`."""
    # White space around it, and line breaks and tabs in it, count for nothing (WHATWG URL, 4.4);
    # a backslash is a slash.
    text = re.sub(r"[\t\r\n]", "", url.strip(_BLANK))
    if len(text) > LONGEST_URL:
        raise NotAllowed(f"The address has more than {LONGEST_URL:,} characters.")
    if "\\" in text:
        text = re.sub(r"\A[^?#]*", lambda found: found[0].replace("\\", "/"), text)
    try:
        parts = urlsplit(text)
    except ValueError:
        raise NotAllowed(_INVALID) from None
    if parts.scheme not in DEFAULT_PORTS:
        raise NotAllowed("Only addresses that begin with http:// or https:// are checked.")
    if "@" in parts.netloc:
        raise NotAllowed("The address has a user name or a password in it, which is not allowed.")
    host, port = _host_and_port(parts.netloc, DEFAULT_PORTS[parts.scheme])
    if port not in ports:
        raise NotAllowed(f"The address names port {port}; only {_listed(PORTS)} are allowed.")
    authority = f"[{host}]" if ":" in host else host
    if port != DEFAULT_PORTS[parts.scheme]:
        authority += f":{port}"
    asked = _encoded(parts.path or "/") + (f"?{_encoded(parts.query)}" if parts.query else "")
    return Target(f"{parts.scheme}://{authority}{asked}", parts.scheme, host, port)


def redirected(target: Target, location: str, *, ports: Container[int] = PORTS) -> Target:
    """Return where a ``Location`` in the answer of a target leads; raises :class:`NotAllowed`."""
    try:
        joined = urljoin(target.url, location.strip())
    except ValueError:
        raise NotAllowed(_INVALID) from None
    return target_of(joined, ports=ports)


def _host_and_port(netloc: str, default: int) -> tuple[str, int]:
    literal = re.fullmatch(r"\[([^\]]*)\](?::([0-9]*))?", netloc)
    named = re.fullmatch(r"([^:\[\]]*)(?::([0-9]*))?", netloc)
    if literal:
        host, port = _ipv6(literal[1]), literal[2]
    elif named:
        host, port = _name_or_ipv4(named[1]), named[2]
    else:
        raise NotAllowed(_NO_HOST)
    return host, int(port[:6]) if port else default


def _ipv6(text: str) -> str:
    try:
        address = IPv6Address(text)
    except AddressValueError:
        raise NotAllowed(_INVALID) from None
    if address.scope_id is not None:
        raise NotAllowed("The address names a network interface, which is not allowed.")
    return str(address)


def _name_or_ipv4(text: str) -> str:
    """Return a host name in the form in which DNS is asked (IDNA, UTS 46), or an IPv4 address."""
    name = text.lower()
    if not name.isascii():
        try:
            name = idna.encode(name, uts46=True).decode().lower()
        except (idna.IDNAError, UnicodeError):
            raise NotAllowed(_NO_HOST) from None
    name = name.removesuffix(".")
    if not _NAME.fullmatch(name):
        raise NotAllowed(_NO_HOST)
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        try:
            return str(IPv4Address(name))
        except AddressValueError:
            raise NotAllowed("The address has a number in the place of the host name.") from None
    return name


def _encoded(text: str) -> str:
    # A server's header that is not UTF-8 reaches us with its bytes as surrogates.
    return quote(text, safe=_PLAIN, errors="surrogateescape")


def _listed(ports: frozenset[int]) -> str:
    *most, last = sorted(ports)
    return f"{', '.join(map(str, most))} and {last}"
