"""Finds the header of a table below blank rows and title rows."""

from __future__ import annotations

import re
from collections.abc import Sequence

from dashboard.imports.files import UnreadableFile
from dashboard.imports.formats.base import IsHeader, column_name

# The header is among the first rows that are not empty.
HEADER_ROWS = 20
# As many as a sheet of Excel has. Each row has as many cells as the header: with a million of them
# a row of two bytes would take milliseconds.
MAX_COLUMNS = 16_384
# A cell of data, not a title: a long number, an address. Possessive, as cells may be long.
_IS_DATA = re.compile(r"\W*+\d[\d.,\s]{5,}+\W*+\Z|https?://")


def find_header(rows: Sequence[Sequence[str]], is_header: IsHeader) -> tuple[int, bool]:
    """The place of the header among the first rows, and whether a layout recognizes it.

    If none does, the header is the first row with at least two filled cells.
    """
    for place, cells in enumerate(rows):
        if len(cells) > MAX_COLUMNS:
            continue
        is_data = any(_IS_DATA.match(cell) for cell in cells)
        if not is_data and is_header([column_name(cell) for cell in cells]):
            return place, True
    filled = (sum(bool(cell.strip()) for cell in cells) for cells in rows)
    return next((place for place, count in enumerate(filled) if count > 1), 0), False


def check_width(width: int, line: int) -> None:
    """Raise :class:`UnreadableFile` for a header with more than ``MAX_COLUMNS`` columns."""
    if width > MAX_COLUMNS:
        raise UnreadableFile(
            f"The header has {width:,} columns; at most {MAX_COLUMNS:,} are read: delete those "
            "that are not needed.",
            line,
        )


def skipped_notice(count: int) -> tuple[str, ...]:
    """The notice of rows above the header, if there are any."""
    if not count:
        return ()
    return (f"Skipped {count} row{'s' if count > 1 else ''} above the header.",)
