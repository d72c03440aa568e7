"""Characters that cannot be seen, which spreadsheets and web pages leave in cells."""

from __future__ import annotations

from closient.text.normal import WHITE_SPACE

# Soft hyphen, zero-width characters, and the marks and embeddings of writing directions.
INVISIBLE = (
    "\u00ad\u061c\u180e\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e"
    "\u2060\u2061\u2062\u2063\u2064\u2066\u2067\u2068\u2069\ufeff"
)
_BLANKS = WHITE_SPACE + INVISIBLE
_NOTHING = dict.fromkeys(map(ord, _BLANKS))


def without_blanks(text: str) -> str:
    """A text without blanks and invisible characters, around and inside."""
    return text.translate(_NOTHING)


def strip_blanks(text: str) -> str:
    """A text without blanks and invisible characters around it."""
    return text.strip(_BLANKS)
