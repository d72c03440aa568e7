"""Escapes CSV cells that a spreadsheet would run as formulas, and reads them back.

A cell that starts like a formula gets an apostrophe before it, which marks text in spreadsheets. A
cell that already starts with an apostrophe and a formula gets one more, so that importing an export
changes nothing: ``=1+1`` is written ``'=1+1``, and ``'=1+1`` is written ``''=1+1``. A name that
just starts with an apostrophe, such as ``'s Gravenhage``, is unchanged.

A spreadsheet that expects another separator splits cells, also at line breaks, and treats each part
as a cell: ``a;=1+1`` is written ``a;'=1+1``. Quotes before a formula do not help: a file doubles
them, and two at the start of a cell quote nothing. Within a text a minus before a space is
unchanged, because lists are written this way, unless its line contains what a formula needs to call
a function, a program or another file.

The characters are those of OWASP's page on CSV injection, full-width forms and line feed included.
"""

from __future__ import annotations

import re

_START = (
    # At the start of a cell,
    r"(?:\A(?={quotes}[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20])"
    # and where a spreadsheet may split the cell.
    r"|(?<=[;,\t\r\n])(?={quotes}\"*(?:[=+@\uff1d\uff0b\uff0d\uff20]|-(?! {points}))))"
)
# What follows the minus of a list: the rest of a line without these characters. Limited in length,
# because it is read again for each minus.
_POINTS = r"[^\r\n(|!\[]{0,200}+(?:[\r\n]|\Z)"
_FORMULA = re.compile(_START.format(quotes="'*", points=_POINTS))
_ESCAPED = re.compile(_START.format(quotes="'+", points=_POINTS) + "'")


def escape_cell(cell: str) -> str:
    """Escape a text, so that no spreadsheet treats the cell as a formula."""
    return _FORMULA.sub("'", cell)


def keep_apostrophes(cell: str) -> str:
    """Return a text for a cell that is never a formula, such as one of a workbook.

    Only a text that :func:`unescape_cell` would change is escaped. A workbook may have been saved
    from a CSV file, so imports read its cells like those of one.
    """
    return escape_cell(cell) if unescape_cell(cell) != cell else cell


def unescape_cell(cell: str) -> str:
    """Return the text of an escaped cell; the inverse of :func:`escape_cell`."""
    return _ESCAPED.sub("", cell) if "'" in cell else cell
