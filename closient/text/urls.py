"""Web addresses, parsed as browsers parse them (WHATWG URL Standard, https://url.spec.whatwg.org/)."""

from __future__ import annotations

import dataclasses
import re
from ipaddress import ip_address

import ada_url

SCHEMES = {"http:": 80, "https:": 443}
# Hyphens and underscores are allowed anywhere, since some shops use them. The lengths are those of
# DNS (RFC 1035, section 2.3.4).
_NAME = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}")
# Most addresses.
_PLAIN = re.compile(
    r"https?://([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}(/[\x21-\x7e]*)?\Z"
)
# Bytes of a header that are not UTF-8 arrive as surrogates.
_SURROGATE = re.compile("[\udc80-\udcff]")


class InvalidAddress(ValueError):
    """A text must be a complete http or https URL."""


@dataclasses.dataclass(frozen=True)
class WebAddress:
    """An http or https address in canonical form, without fragment.

    ``host`` is a name in lower case (IDNA, without the dot at its end), or an IPv4 or IPv6 address
    (the latter without brackets). ``has_user``: whether it had a user name or a password.
    """

    url: str
    scheme: str
    host: str
    port: int
    has_user: bool


def read_address(text: str, *, base: str | None = None) -> WebAddress:
    """Parse a web address like a browser, relative to a base if one is given.

    Raises :class:`InvalidAddress`.
    """
    encoded = _SURROGATE.sub(lambda found: f"%{ord(found[0]) - 0xDC00:02X}", text)
    try:
        parsed = ada_url.URL(encoded, base)
    except ValueError:
        raise InvalidAddress(text) from None
    # Each access to an attribute is a call of the library.
    protocol, port_text = parsed.protocol, parsed.port
    if protocol not in SCHEMES:
        raise InvalidAddress(text)
    host = _host_of(parsed.hostname)
    default = SCHEMES[protocol]
    port = int(port_text) if port_text else default
    authority = f"[{host}]" if ":" in host else host
    if port != default:
        authority += f":{port}"
    return WebAddress(
        url=f"{protocol}//{authority}{parsed.pathname}{parsed.search}",
        scheme=protocol[:-1],
        host=host,
        port=port,
        has_user=bool(parsed.username or parsed.password),
    )


def _host_of(text: str) -> str:
    if text.startswith("["):
        return str(ip_address(text[1:-1]))
    host = text.removesuffix(".")
    if not _NAME.fullmatch(host):
        raise InvalidAddress(text)
    return host


def is_plain_web_address(text: str) -> bool:
    """Return whether a text is a web address of printable ASCII without blanks, as most are."""
    return _PLAIN.match(text) is not None


def is_web_address(text: str) -> bool:
    """Return whether a text is a complete http or https address, of a host with a public form."""
    if is_plain_web_address(text):
        return True
    # Browsers add slashes and drop white space; a stored address must be complete.
    if not re.match(r"https?://[^/\\]", text, re.IGNORECASE) or re.search(r"[\x00-\x1f\x7f]", text):
        return False
    try:
        host = read_address(text).host
    except InvalidAddress:
        return False
    return text == text.strip() and ("." in host or ":" in host or host == "localhost")


def clean_url(text: str) -> str:
    """Validate a web address and return it unchanged; raises ``ValueError`` with a user message."""
    if not is_web_address(text):
        raise ValueError("Enter a complete http or https address: https://shop.example.com/item.")
    return text
