"""Escapes CSV cells that a spreadsheet would run as formulas, and reads them back.

A cell that begins like a formula gets an apostrophe before it, which spreadsheets read as "this is
text". So that a file can be imported again and nothing changes, a cell that would look so already
gets one more: ``=1+1`` is written ``'=1+1``, and ``'=1+1`` is written ``''=1+1``. A name that
merely begins with an apostrophe, as ``'s Gravenhage``, stays as it is.

A spreadsheet that expects another separator than the file has cuts cells into pieces, at line ends
too, and each piece is a cell to it: ``a;=1+1`` is written ``a;'=1+1``. Quotes before a formula do
not save it: a file doubles them, and two at the beginning of a cell quote nothing. Within a text a
minus before a space is left alone, since lists are written so, unless its line has what a formula
needs to call a function, a program or another file.

The characters are those of OWASP's page on CSV injection, full-width forms and line feed included.
"""

from __future__ import annotations

import re

_PLACE = (
    # Where a cell begins,
    r"(?:\A(?={quotes}[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20])"
    # and where a piece of it would.
    r"|(?<=[;,\t\r\n])(?={quotes}\"*(?:[=+@\uff1d\uff0b\uff0d\uff20]|-(?! {points}))))"
)
# What follows the minus of a list: the rest of a line without any of these. Not of any length,
# since it is read once more for each minus.
_POINTS = r"[^\r\n(|!\[]{0,200}+(?:[\r\n]|\Z)"
_FORMULA = re.compile(_PLACE.format(quotes="'*", points=_POINTS))
_HARMLESS = re.compile(_PLACE.format(quotes="'+", points=_POINTS) + "'")


def escape_cell(cell: str) -> str:
    """Return a text as a cell that no spreadsheet treats as a formula."""
    return _FORMULA.sub("'", cell)


def unescape_cell(cell: str) -> str:
    """Return the text of an escaped cell; the inverse of :func:`escape_cell`."""
    return _HARMLESS.sub("", cell) if "'" in cell else cell
