"""What a row says about a product, whatever its format."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from catalog.csv_columns import GTIN_COLUMNS
from dashboard.imports.formats import UnreadableFile


@dataclasses.dataclass(slots=True)
class Draft:
    """A product as a row gives it, not yet judged.

    Parts that the file does not have at all are absent (None for the last two); an empty text
    is an empty cell. ``nutrients`` are (name, unit, amount).
    """

    gtin: str
    texts: dict[str, str]
    nutrients: list[tuple[str, str, str]] | None = None
    metadata: dict[str, str] | None = None
    problems: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Layout:
    """How to make drafts of a file's rows, and which of its columns no draft holds.

    ``fields`` names what each column's place is for.
    """

    draft: Callable[[Any], Draft]
    ignored_columns: tuple[str, ...] = ()
    fields: Mapping[int, str] = dataclasses.field(default_factory=dict)


def gtin_column(header: Sequence[str]) -> int:
    """Return the place of the column that holds the GTIN.

    Raises :class:`UnreadableFile` where two columns could be it.
    """
    found = [place for place, column in enumerate(header) if column in GTIN_COLUMNS]
    exact = [place for place in found if header[place] == GTIN_COLUMNS[0]]
    candidates = exact or found
    if len(candidates) != 1:
        names = ", ".join(header[place] for place in candidates)
        raise UnreadableFile(
            f"Several columns can be the GTIN ({names}): name the one that is it gtin."
        )
    return candidates[0]
