"""Rejects settings that are unsafe together, before the service starts with them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

# For a key of random characters, this is more than can be guessed.
MIN_KEY_LENGTH = 32
MIN_KEY_CHARACTERS = 8
# Names that do not resolve on the internet (RFC 6761, RFC 6762, RFC 8375, ICANN's .internal).
PRIVATE_SUFFIXES = (
    ".localhost",
    ".local",
    ".test",
    ".example",
    ".internal",
    ".home.arpa",
    ".lan",
)


def reject_unsafe(settings: Mapping[str, Any]) -> None:
    """Raise ``ImproperlyConfigured`` with one sentence for each unsafe combination."""
    if problems := [*_problems(settings)]:
        raise ImproperlyConfigured("\n".join(problems))


def _problems(settings: Mapping[str, Any]) -> Iterator[str]:
    debug = settings["DEBUG"]
    hosts = settings["ALLOWED_HOSTS"]
    for name, keys in (
        ("SECRET_KEY", [settings["SECRET_KEY"]]),
        ("SECRET_KEY_FALLBACKS", settings["SECRET_KEY_FALLBACKS"]),
    ):
        if not debug and any(map(_is_weak, keys)):
            yield (
                f"{name} is easy to guess: use at least {MIN_KEY_LENGTH} random characters, for "
                "example from python3 -c 'import secrets; print(secrets.token_urlsafe(50))'."
            )
    if "*" in hosts:
        yield (
            "ALLOWED_HOSTS is *, so links in responses could lead to any host that a client names: "
            "list the host names of the service."
        )
    public = [host for host in hosts if host != "*" and _is_public(host)]
    if debug and public:
        yield (
            f"DEBUG shows error details to everyone, and ALLOWED_HOSTS has {public[0]}, a public "
            "name: set DEBUG=0, or use only local names and private addresses."
        )
    if not debug and settings["DEMO_SHOP_PORT"]:
        yield (
            "DEMO_SHOP_PORT lets URL checks and sources connect to this machine: remove it. "
            "Only make run sets it, with DEBUG=1."
        )
    if not settings["HTTPS"] and settings["HSTS_SECONDS"]:
        yield (
            "HSTS_SECONDS tells browsers to insist on HTTPS, and HTTPS=0 turns it off: remove one "
            "of them."
        )
    everyone = [network for network in settings["TRUSTED_PROXIES"] if network.prefixlen == 0]
    if everyone:
        yield (
            f"TRUSTED_PROXIES has {everyone[0]}, so every client could forge its address and "
            "scheme: list only the networks of your own proxies."
        )
    if settings["S3_SIGNED_ADDRESSES"] and settings["S3_PUBLIC_HOST"]:
        yield (
            "S3_SIGNED_ADDRESSES needs the bucket's own address, and addresses at S3_PUBLIC_HOST "
            "are not signed: remove one of them."
        )
    if settings["IMPORT_BUCKET"] and settings["IMPORT_BUCKET"] == settings["S3_BUCKET"]:
        yield (
            "IMPORT_BUCKET and S3_BUCKET are the same bucket, but files to import are private and "
            "images are public: use two buckets."
        )
    static, data = (Path(settings[name]).resolve() for name in ("STATIC_ROOT", "DATA_FOLDER"))
    if data.is_relative_to(static):
        yield (
            f"DATA_FOLDER is {data}, inside of STATIC_ROOT, whose files everyone can read: use "
            "separate folders."
        )


def _is_weak(key: str) -> bool:
    return len(key) < MIN_KEY_LENGTH or len(set(key)) < MIN_KEY_CHARACTERS


def _is_public(host: str) -> bool:
    """Whether an entry of ``ALLOWED_HOSTS`` is a name or an address on the internet."""
    name = host.strip("[].").lower()
    try:
        return ipaddress.ip_address(name).is_global
    except ValueError:
        return "." in name and not f".{name}".endswith(PRIVATE_SUFFIXES)
