"""Validation of texts before they are stored."""

from __future__ import annotations

import re

# A TextField has no limit.
DESCRIPTION_LENGTH = 100_000

_SURROGATE = re.compile("[\ud800-\udfff]")
# Unicode category Cc; a text of several lines keeps tab, line feed and carriage return.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_CONTROL_IN_LINES = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


class InvalidText(ValueError):
    """A text cannot be stored; the message is a clause with the reason."""

    @property
    def sentence(self) -> str:
        """The clause as a sentence."""
        clause = str(self)
        return f"{clause[:1].upper()}{clause[1:]}."


class InvalidField(ValueError):
    """A value does not fit the other values of its row.

    The message is a sentence, ``field`` the field to correct, ``code`` the name of the rule.
    """

    def __init__(self, message: str, *, field: str, code: str) -> None:
        super().__init__(message)
        self.field = field
        self.code = code


def check_text(text: str, max_length: int, *, several_lines: bool = False) -> None:
    """Raise :class:`InvalidText` unless the text can be stored.

    Rejects texts longer than ``max_length`` characters, surrogates (left by bytes in a wrong
    encoding) and control characters.
    """
    if len(text) > max_length:
        raise InvalidText(f"has {len(text):,} characters; at most {max_length:,} are allowed")
    if text.isprintable():
        return
    if _SURROGATE.search(text):
        raise InvalidText("contains bytes or escapes that are not valid Unicode")
    found = (_CONTROL_IN_LINES if several_lines else _CONTROL).search(text)
    if found:
        raise InvalidText(f"contains the control character U+{ord(found[0]):04X}")
