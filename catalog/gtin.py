"""GTINs as the GS1 General Specifications define them (section 3.3.2, check digit 7.9.1)."""

from __future__ import annotations

import re
from typing import Any

from django.db import models
from django.db.models import Func

LENGTHS = (8, 12, 13, 14)
_DIGITS = re.compile(r"[0-9]+\Z")
_ZERO = ord("0")


class InvalidGtin(ValueError):
    """A string is not a GTIN; the message explains which rule failed, ``code`` names it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def check_digit(digits: str) -> str:
    """Return the check digit of a GTIN's other digits (ASCII, without the check digit).

    From the right the digits weigh 3, 1, 3, ...; the check digit fills the sum up to a multiple
    of ten (GS1 General Specifications, section 7.9.1).
    """
    # Bytes are numbers already; that of a digit is _ZERO more than the digit.
    threes, ones = digits[::-2].encode(), digits[-2::-2].encode()
    weighted = 3 * sum(threes) + sum(ones) - _ZERO * (3 * len(threes) + len(ones))
    return str(-weighted % 10)


def normalize_gtin(text: str) -> str:
    """Return a GTIN as GTIN-14, padded with zeros on the left.

    Accepts exactly 8, 12, 13 or 14 ASCII digits. Raises :class:`InvalidGtin`.
    """
    if not (text.isascii() and text.isdigit()):
        raise InvalidGtin(
            "gtin_digits",
            "A GTIN consists of the digits 0 to 9 only, without blanks or signs.",
        )
    if len(text) not in LENGTHS:
        raise InvalidGtin(
            "gtin_length",
            f"A GTIN has 8, 12, 13 or 14 digits; this one has {len(text)}.",
        )
    if not text.strip("0"):
        raise InvalidGtin("gtin_zeros", "A GTIN cannot consist of zeros only.")
    expected = check_digit(text[:-1])
    if text[-1] != expected:
        raise InvalidGtin(
            "gtin_check_digit",
            f"The check digit is wrong: {text[:-1]} is followed by {expected}, not {text[-1]}.",
        )
    return text.zfill(14)


def gtins_beginning_with(digits: str) -> list[tuple[str, str]]:
    """Return the first and last GTIN-14 of each range of GTINs that begin with these digits.

    One range per length, since shorter GTINs are padded on the left; none if the text is not 1 to
    14 ASCII digits. The bounds sort the same under every collation.
    """
    if not _DIGITS.match(digits):
        return []
    starts = ["0" * (14 - length) + digits for length in LENGTHS if len(digits) <= length]
    return [(start.ljust(14, "0"), start.ljust(14, "9")) for start in starts]


class HasValidCheckDigit(Func):
    """SQL: the last of 14 digits is the right check digit."""

    template = "(mod({}, 10) = 0)".format(
        " + ".join(
            f"{(1, 3)[place % 2]} * (ascii(substr(%(expressions)s, {place}, 1)) - 48)"
            for place in range(1, 15)
        )
    )
    output_field = models.BooleanField()
    conditional = True

    def as_sql(self, *args: Any, **kwargs: Any) -> Any:
        """Return the SQL with its parameters repeated for its fourteen uses."""
        sql, params = super().as_sql(*args, **kwargs)
        return sql, tuple(params) * 14
