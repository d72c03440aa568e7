"""Groups: consecutive rows of a file that belong together, such as the variants of a product."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from dashboard.imports.layouts.base import Line
from dashboard.imports.records import Record
from dashboard.imports.rejects import BadRow

# Rows in memory at a time; no shop has more variants and images of one product.
MAX_ROWS = 10_000


def records(
    rows: Iterator[tuple[int, Any | BadRow]],
    group_by: int,
    parse_group: Callable[[Sequence[Line]], Iterator[tuple[int, Record | BadRow]]],
) -> Iterator[tuple[int, Record | BadRow]]:
    """Yield the records of each group of rows.

    Rows with the same cell at ``group_by`` belong together; an empty cell continues the group. A
    group of more than ``MAX_ROWS`` rows is split. Unreadable rows are yielded as they are.
    """
    group: list[Line] = []
    key = ""
    for line, cells in rows:
        if isinstance(cells, BadRow):
            yield line, cells
            continue
        own = cells[group_by].strip()
        if group and ((own and own != key) or len(group) >= MAX_ROWS):
            yield from parse_group(group)
            group = []
        key = own or key
        group.append((line, cells))
    if group:
        yield from parse_group(group)
