"""Encryption of texts that the service has to read again, such as passwords for other services.

The key comes from ``SECRET_KEY``. Texts that were encrypted with one of ``SECRET_KEY_FALLBACKS``
can still be read, and are encrypted with the new key when they are next saved.
"""

from __future__ import annotations

import base64

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

# Separates this key from others that are derived from SECRET_KEY. Never changed.
_PURPOSE = b"closient encrypted texts"


class CannotDecrypt(Exception):
    """The text was encrypted with a key that is no longer in the settings."""


def encrypt(text: str) -> str:
    """Return an encrypted text; empty for an empty one."""
    return _fernet().encrypt(text.encode()).decode() if text else ""


def decrypt(encrypted: str) -> str:
    """Return the text of :func:`encrypt`; raises :class:`CannotDecrypt`."""
    if not encrypted:
        return ""
    try:
        return _fernet().decrypt(encrypted.encode()).decode()
    except InvalidToken:
        raise CannotDecrypt from None


def _fernet() -> MultiFernet:
    return MultiFernet(map(_of_secret, [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]))


def _of_secret(secret: str) -> Fernet:
    # A secret key is random already, so it needs no slow derivation.
    key = HKDF(SHA256(), length=32, salt=None, info=_PURPOSE).derive(secret.encode())
    return Fernet(base64.urlsafe_b64encode(key))
