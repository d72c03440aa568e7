"""Repairs letters of texts that a program read in the wrong encoding.

``NavideÃ±as`` is a text in UTF-8 that was read as Windows-1252 and written as UTF-8 again. All of
its bytes are still there, and UTF-8 has so much structure that other texts hardly ever look like
it. The control characters U+0080 to U+009F are signs of Windows-1252 (``–`` is 96) in a text that
was read as ISO 8859-1; browsers read them so, too (WHATWG Encoding Standard, label iso-8859-1).
"""

from __future__ import annotations

import re

TWICE = "texts that were encoded in UTF-8 twice"
WINDOWS = "signs of Windows-1252 in texts"

# The characters of the bytes 80 to 9F in Windows-1252; five of them have none.
_SIGN_OF = {
    chr(byte): sign
    for byte in range(0x80, 0xA0)
    if (sign := bytes([byte]).decode("cp1252", "ignore"))
}
_BYTE_OF = {ord(sign): control for control, sign in _SIGN_OF.items()}
_SIGNS = str.maketrans(_SIGN_OF)
_CONTROL = re.compile("[\x80-\x9f]")
_FOLLOWING = f"\x80-\xbf{''.join(_SIGN_OF.values())}"
# What may also follow the last letter of a word: AVELÃ®.
_AFTER_WORDS = "\xa0\xab\xa9\xae\xb0\xb2\xb3\xbb’”–—…™"
# The letters of western Europe, and punctuation, encoded twice.
_TWICE = re.compile(f"[ÂÃ][{_FOLLOWING}]|â€[{_FOLLOWING}]")
_CLEAR = re.compile(
    f"(?<=[a-z])[ÂÃ][{_FOLLOWING}]|[ÂÃ](?![{_AFTER_WORDS}])[{_FOLLOWING}]"
    f"|[ÂÃ][{_FOLLOWING}](?=[A-Za-z])|â€[{_FOLLOWING}]"
)
# What such a text becomes: letters of Latin alphabets and punctuation.
_EXPECTED = re.compile("[\x00-\x7f\xa0-\u017f\u2010-\u2044\u20ac\u2122]*\\Z")


def read_letters(text: str, repairs: list[str]) -> str:
    """A text with the letters that it had; adds what was repaired to ``repairs``."""
    if _TWICE.search(text) and _CLEAR.search(text):
        decoded = _decoded(text)
        if decoded is not None:
            repairs.append(TWICE)
            return decoded
    if _CONTROL.search(text):
        repaired = text.translate(_SIGNS)
        if repaired != text:
            repairs.append(WINDOWS)
        return repaired
    return text


def _decoded(text: str) -> str | None:
    """The text of bytes that were read as Windows-1252; None if they are not UTF-8."""
    try:
        decoded = text.translate(_BYTE_OF).encode("latin-1").decode()
    except UnicodeError:
        return None
    return decoded if _EXPECTED.match(decoded) else None
