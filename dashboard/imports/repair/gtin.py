"""Reads a GTIN from a cell in which all of its digits are left.

What is repaired does not change a digit, except that zeros are put back before the number. Zeros
are put back only before 7, 9, 10 or 11 digits, and only if the check digit is right then. One
number in ten has a right check digit by chance, so the length has to speak for it too: article
numbers and PLU codes have four to six digits, and a tenth of those in a wrong column would become
GTINs. 7 digits are a GTIN-8 that lost its zero; 9, 10 and 11 are a GTIN-12 that lost three, two or
one (its first digits are often zeros), or a GTIN-13 that lost one more.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from catalog.gtin import LENGTHS, InvalidGtin, check_digit, normalize_gtin
from dashboard.imports.repair.invisible import without_blanks

BLANKS = "blanks and invisible characters removed from GTINs"
HYPHENS = "hyphens removed from GTINs"
APOSTROPHE = "apostrophes removed from GTINs"
FORMULA = 'the ="..." around GTINs removed'
DECIMALS = "decimal zeros removed from GTINs"
EXPONENT = "GTINs with an exponent written out"
ZEROS = "leading zeros put back"
UPC_E = "UPC-E numbers expanded"

# The lengths before which zeros are put back.
SHORTENED = (7, 9, 10, 11)
_RULES = {
    "gtin_check_digit": "wrong check digit",
    "gtin_zeros": "zeros only",
}
_DIGITS = re.compile(r"[0-9]+\Z")
_FORMULA = re.compile(r'="([^"]*)"\Z')
_DECIMALS = re.compile(r"(?<=[0-9])[.,]0+\Z")
_HYPHEN = re.compile(r"(?<=[0-9])[-\u2010-\u2013\u2212](?=[0-9])")
_EXPONENT = re.compile(r"([0-9])(?:[.,]([0-9]+))?[eE]\+?([0-9]{1,3})\Z")
_SEPARATORS = re.compile(r"[\s,;|/]+")
_ISBN_10 = re.compile(r"[0-9]{9}[0-9Xx]\Z")
_MAX_SHOWN = 40


class UnusableGtin(ValueError):
    """A cell has no usable GTIN; ``rule`` is the broken rule in a few words."""

    def __init__(self, rule: str, reason: str, cell: str) -> None:
        shown = cell if len(cell) <= _MAX_SHOWN else f"{cell[:_MAX_SHOWN]}..."
        super().__init__(f"{reason} (found {shown!a})")
        self.rule = rule


class ReadGtin(NamedTuple):
    """The GTIN-14 of a cell, and what was repaired to read it."""

    gtin: str
    repairs: tuple[str, ...] = ()


def read_gtin(cell: str, title: str = "") -> ReadGtin:
    """Read the GTIN of a cell below a column title.

    Raises :class:`UnusableGtin`.
    """
    may_be_upc_e = "upc" in title.lower()
    if not may_be_upc_e:
        # Nearly every cell.
        try:
            return ReadGtin(normalize_gtin(cell))
        except InvalidGtin:
            pass
    text, repairs = _bare(cell)
    if not _DIGITS.match(text):
        raise _no_number(cell, text)
    if len(text) == 10 and _is_isbn_10(text, title):
        raise _isbn_10(cell)
    if may_be_upc_e and (expanded := _expanded(text)) and _is_upc_e(text):
        return ReadGtin(expanded.zfill(14), (*repairs, UPC_E))
    if len(text) in LENGTHS:
        try:
            return ReadGtin(normalize_gtin(text), repairs)
        except InvalidGtin as error:
            raise _wrong_check_digit(cell, text, error) from None
    if len(text) in SHORTENED and text.strip("0") and check_digit(text[:-1]) == text[-1]:
        return ReadGtin(text.zfill(14), (*repairs, ZEROS))
    raise _wrong_length(cell, text)


def _bare(cell: str) -> tuple[str, tuple[str, ...]]:
    """A cell without what is written around and between its digits, and what that was."""
    repairs = []

    def note(repair: str, before: str, after: str) -> str:
        if before != after:
            repairs.append(repair)
        return after

    text = note(BLANKS, cell, without_blanks(cell))
    text = note(FORMULA, text, _FORMULA.sub(r"\1", text))
    text = note(APOSTROPHE, text, text.removeprefix("'").removeprefix("\u2019"))
    text = note(EXPONENT, text, _written_out(text))
    text = note(DECIMALS, text, _DECIMALS.sub("", text))
    text = note(HYPHENS, text, _HYPHEN.sub("", text))
    return text, tuple(repairs)


def _written_out(text: str) -> str:
    """A number with an exponent as its digits, if it has all of them."""
    match = _EXPONENT.match(text)
    if match:
        digits = match[1] + (match[2] or "")
        if len(digits) == int(match[3]) + 1:
            return digits
    return text


def _expanded(text: str) -> str:
    """The GTIN-12 of a UPC-E number; empty if it is none.

    GS1 General Specifications, section 5.2.2.4.2: the last digit before the check digit says where
    zeros were left out.
    """
    if len(text) != 8 or text[0] not in "01":
        return ""
    system, digits, check = text[0], text[1:7], text[7]
    last = digits[5]
    if last in "012":
        body = f"{digits[:2]}{last}0000{digits[2:5]}"
    elif last == "3":
        body = f"{digits[:3]}00000{digits[3:5]}"
    elif last == "4":
        body = f"{digits[:4]}00000{digits[4]}"
    else:
        body = f"{digits[:5]}0000{last}"
    return f"{system}{body}{check}" if check_digit(f"{system}{body}") == check else ""


def _is_upc_e(text: str) -> bool:
    """Whether a UPC-E number in a column of UPCs is one rather than a GTIN-8.

    One in two is right as a GTIN-8 too. No GTIN-8 begins with a zero outside of a company's own
    numbers, but some begin with a one.
    """
    return text[0] == "0" or check_digit(text[:-1]) != text[-1]


def _is_isbn_10(text: str, title: str = "") -> bool:
    """Whether ten characters are an ISBN-10, and cannot be a GTIN that lost its zeros.

    One GTIN in eleven that lost two zeros looks like an ISBN-10. But what lost its zeros does not
    begin with one.
    """
    if not _ISBN_10.match(text):
        return False
    values = [10 if digit in "Xx" else int(digit) for digit in text]
    if sum(weight * value for weight, value in zip(range(10, 0, -1), values, strict=True)) % 11:
        return False
    return (
        text[0] == "0"
        or not text.isdigit()
        or "isbn" in title.lower()
        or check_digit(text[:-1]) != text[-1]
    )


def _isbn_10(cell: str) -> UnusableGtin:
    return UnusableGtin(
        "ISBN-10", "This is an ISBN-10: use the ISBN-13, which begins with 978", cell
    )


def _no_number(cell: str, text: str) -> UnusableGtin:
    """Why a cell is not one number."""
    if _EXPONENT.match(text):
        return UnusableGtin(
            "digits cut by a spreadsheet",
            "A spreadsheet has cut the digits: format the column as text and export again",
            cell,
        )
    parts = [part for part in _SEPARATORS.split(cell.strip()) if part]
    if len(parts) > 1 and all(without_blanks(part).isdigit() for part in parts):
        return _two_numbers(cell)
    if _is_isbn_10(text.replace("-", "")):
        return _isbn_10(cell)
    if any(char.isdigit() and not char.isascii() for char in text):
        return UnusableGtin(
            "other digits",
            "Write the GTIN with the digits 0 to 9, not with those of a script",
            cell,
        )
    return UnusableGtin("not a number", "A GTIN consists of the digits 0 to 9 only", cell)


def _two_numbers(cell: str) -> UnusableGtin:
    return UnusableGtin(
        "several numbers in one cell",
        "The cell has several numbers: give each product a row with its own GTIN",
        cell,
    )


def _wrong_check_digit(cell: str, text: str, error: InvalidGtin) -> UnusableGtin:
    if expanded := _expanded(text):
        return UnusableGtin(
            "UPC-E",
            f"This is the short form (UPC-E) of {expanded}: write that, or name the column UPC",
            cell,
        )
    return UnusableGtin(_RULES[error.code], str(error).removesuffix("."), cell)


def _wrong_length(cell: str, text: str) -> UnusableGtin:
    count = len(text)
    if count > max(LENGTHS):
        parts = [part for part in _SEPARATORS.split(cell.strip()) if part]
        if len(parts) > 1 and all(len(without_blanks(part)) in LENGTHS for part in parts):
            return _two_numbers(cell)
    reason = f"A GTIN has 8, 12, 13 or 14 digits; this one has {count}"
    if count in SHORTENED:
        reason += ", and with zeros before it the check digit is wrong"
    return UnusableGtin("too long" if count > max(LENGTHS) else "too short", reason, cell)
