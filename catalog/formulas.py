"""Cells that a spreadsheet would take for formulas: made harmless in exports, and read back.

A cell that begins like a formula gets an apostrophe before it, which spreadsheets read as "this is
text". So that a file can be imported again and nothing changes, a cell that would look so already
gets one more: ``=1+1`` is written ``'=1+1``, and ``'=1+1`` is written ``''=1+1``. A name that
merely begins with an apostrophe, as ``'s Gravenhage``, stays as it is.

The characters are those of OWASP's page on CSV injection, full-width forms and line feed included.
"""

from __future__ import annotations

import re

_BEGINNINGS = "=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20"
_FORMULA = re.compile(f"'*[{_BEGINNINGS}]")
_HARMLESS = re.compile(f"'+[{_BEGINNINGS}]")


def harmless(cell: str) -> str:
    """Return a text as a cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if _FORMULA.match(cell) else cell


def meant(cell: str) -> str:
    """Return the text that stands in a cell; the inverse of :func:`harmless`."""
    return cell[1:] if cell[:1] == "'" and _HARMLESS.match(cell) else cell
