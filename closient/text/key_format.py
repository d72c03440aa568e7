"""The text of an API key: ``<kind>_<32 letters and digits>_<CRC-32 of the 32 in hex>``.

Imports no models: logging uses it before the applications are loaded.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
import zlib

KINDS = ("csb", "csu", "cpk")
ALPHABET = string.ascii_letters + string.digits
BODY_LENGTH = 32
LENGTH = 3 + 1 + BODY_LENGTH + 1 + 8

_SHAPE = (
    rf"(?:{'|'.join(KINDS)})_(?P<body>[A-Za-z0-9]{{{BODY_LENGTH}}})_(?P<checksum>[0-9a-f]{{8}})"
)
_WHOLE = re.compile(rf"{_SHAPE}\Z")
_ANYWHERE = re.compile(rf"({'|'.join(KINDS)})_[A-Za-z0-9]{{{BODY_LENGTH}}}(?:_[0-9A-Fa-f]{{1,8}})?")


def new_text(kind: str) -> str:
    """Return the text of a new key, with 190 random bits from the system's generator."""
    body = "".join(secrets.choice(ALPHABET) for _ in range(BODY_LENGTH))
    return f"{kind}_{body}_{checksum(body)}"


def body_of(text: str) -> str:
    """Return the random part of a well-formed key."""
    return text[4 : 4 + BODY_LENGTH]


def checksum(body: str) -> str:
    """Return the CRC-32 of a key's body as eight lower-case hex digits.

    It allows rejecting a mistyped key without a query; it is not a security feature.
    """
    return f"{zlib.crc32(body.encode('ascii')):08x}"


def is_well_formed(text: str) -> bool:
    """Return whether a text could be a key: its shape and its checksum are right."""
    if len(text) != LENGTH:
        return False
    match = _WHOLE.match(text)
    return match is not None and match["checksum"] == checksum(match["body"])


def digest(text: str) -> str:
    """Return the SHA-256 of a well-formed key in hex, which is what the database stores.

    A fast hash is enough: the body is random, so there is nothing to guess.
    """
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def redact(text: str) -> str:
    """Return a text with every API key reduced to its kind."""
    return _ANYWHERE.sub(r"\1_[redacted]", text)
