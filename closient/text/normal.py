"""Normal forms of texts (Unicode Standard Annex 15; Unicode Standard, section 3.13)."""

from __future__ import annotations

import unicodedata
from typing import Any

# Blank characters, the same in SQL and Python: the characters with the Unicode property
# White_Space, the separators that str.isspace() adds, and the invisible U+200B, U+2060, U+FEFF.
# btrim() alone keeps tabs and no-break spaces, and [[:space:]] varies with the collation.
WHITE_SPACE = (
    "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680"
    "\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u200b"
    "\u2028\u2029\u202f\u205f\u2060\u3000\ufeff"
)


def nfc(text: str) -> str:
    """Return a text in NFC, the form in which all texts are stored."""
    # Checking is several times as fast as converting, and nearly all texts pass.
    return text if unicodedata.is_normalized("NFC", text) else unicodedata.normalize("NFC", text)


def caseless(text: str) -> str:
    """Return a key that is equal for texts that differ only in case or compatibility characters."""
    if text.isascii():
        return text.lower()
    # Twice: normalizing can produce characters that folding changes.
    for _ in range(2):
        text = unicodedata.normalize("NFKC", text).casefold()
    return unicodedata.normalize("NFKC", text)


def nfc_all(value: Any) -> Any:
    """Return a JSON value with all strings and keys in NFC."""
    if isinstance(value, str):
        return nfc(value)
    if isinstance(value, dict):
        return {nfc_all(key): nfc_all(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [nfc_all(inner) for inner in value]
    return value
