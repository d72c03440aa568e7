"""Where the client may go, and whom it trusts. Only tests know any other policy than ``PUBLIC``."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Container, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from offers.checking.addresses import is_public
from offers.checking.resolver import look_up
from offers.checking.targets import PORTS


def like_a_browser() -> ssl.SSLContext:
    """Return TLS settings that take for broken what a browser would, and not more.

    Trusts the authorities of the operating system. Raises ``RuntimeError`` where it has none:
    otherwise every shop would look broken.
    """
    context = ssl.create_default_context()
    paths = ssl.get_default_verify_paths()
    # Those of a folder are read one by one as they are needed, and do not count before.
    folder = any(Path(paths.capath).iterdir()) if paths.capath else False
    if not (folder or context.cert_store_stats()["x509_ca"]):
        raise RuntimeError(
            "This system knows no certificate authorities, so no https address can be checked. "
            "Install its package ca-certificates, or set SSL_CERT_FILE."
        )
    # Both as in browsers. Old servers that were never taught to renegotiate safely work in them:
    # nothing is ever renegotiated here. And from Python 3.13 on, certificates are held to the
    # letter of RFC 5280 otherwise.
    context.options |= 0x4  # OP_LEGACY_SERVER_CONNECT, which has a name from Python 3.12 on.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What the client may connect to.

    ``allows`` decides about the very address of each connection, ``ports`` about the port in an
    address on the web; ``lookup`` gives the addresses of a host or raises
    :class:`offers.checking.resolver.LookupFailed`; ``tls`` makes the settings of https.
    """

    allows: Callable[[IPv4Address | IPv6Address], bool] = is_public
    ports: Container[int] = PORTS
    lookup: Callable[[str], Awaitable[Sequence[str]]] = look_up
    tls: Callable[[], ssl.SSLContext] = like_a_browser


PUBLIC = Policy()
