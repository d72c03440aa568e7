"""What the client may connect to and whom it trusts. Only tests use a policy other than SERVICE."""

from __future__ import annotations

import os
import ssl
from collections.abc import Awaitable, Callable, Container, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from django.conf import settings

from offers.url_checks.fetch.addresses import is_public
from offers.url_checks.fetch.resolver import look_up
from offers.url_checks.fetch.urls import PORTS, Target

# Where the demo's shop listens.
LOOPBACK = "127.0.0.1"
# Where systems keep their trusted certificate authorities, if Python does not know.
BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Alpine, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, Red Hat
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # macOS, FreeBSD
)


@dataclass(frozen=True)
class Authorities:
    """The trusted certificate authorities: a PEM file, or a folder with hashed names."""

    file: str | None = None
    folder: str | None = None


def system_authorities() -> Authorities:
    """Return the certificate authorities that the operating system trusts.

    Raises ``RuntimeError`` if it has none: otherwise every shop would look broken.
    """
    paths = ssl.get_default_verify_paths()
    chosen = os.environ.get(paths.openssl_cafile_env)
    for file in (chosen,) if chosen else (paths.cafile, *BUNDLES):
        if file and Path(file).is_file():
            return Authorities(file=file)
    if paths.capath and any(Path(paths.capath).iterdir()):
        return Authorities(folder=paths.capath)
    raise RuntimeError(
        "This system has no certificate authorities, so no https URL can be checked. "
        "Install the package ca-certificates, or set SSL_CERT_FILE."
    )


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What the client may connect to.

    ``allows`` decides about the exact IP address of each connection, ``ports`` about the port of a
    URL. ``lookup`` returns the IP addresses of a host or raises
    :class:`offers.url_checks.fetch.resolver.LookupFailed`. ``authorities`` returns the trusted
    certificate authorities. ``demo_shop`` is one more IP address and port: the shop of ``make run``
    on this machine, which has no certificate.
    """

    allows: Callable[[IPv4Address | IPv6Address], bool] = is_public
    ports: Container[int] = PORTS
    lookup: Callable[[str], Awaitable[Sequence[str]]] = look_up
    authorities: Callable[[], Authorities] = system_authorities
    demo_shop: tuple[str, int] | None = None

    @property
    def url_ports(self) -> Container[int]:
        """The ports that a URL may have; which address may have them shows its connection."""
        return PORTS | {self.demo_shop[1]} if self.demo_shop else self.ports

    def permits_connection(self, address: str, port: int) -> bool:
        """Return whether a connection to this IP address and port may be opened."""
        if (address, port) == self.demo_shop:
            return True
        return port in self.ports and self.allows(ip_address(address))

    def permits_file(self, target: Target) -> bool:
        """Return whether files may be fetched from there: with https, or from the demo's shop."""
        return target.scheme == "https" or (target.host, target.port) == self.demo_shop


def _of_service() -> Policy:
    port = settings.DEMO_SHOP_PORT
    return Policy(demo_shop=(LOOPBACK, port)) if port else Policy()


SERVICE = _of_service()
