"""What the import detected about a file: its format and layout, and the field of each column."""

from __future__ import annotations

import dataclasses
from typing import Any

from dashboard.imports.formats.base import Table
from dashboard.imports.layouts.base import ColumnMap, Layout

# Columns listed, used and ignored ones each; characters of a title.
MAX_COLUMNS = 300
MAX_TITLE_LENGTH = 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class DetectedFile:
    """The format and layout of a file, and where its columns go.

    ``columns`` are (title in the file, field of the product) in the order of the file, the first
    300; ``ignored`` are the titles of columns that no field uses. JSON Lines has neither, nor a
    ``delimiter``.
    """

    format: str
    layout: str
    title: str
    encoding: str
    delimiter: str | None
    is_compressed: bool
    columns: tuple[tuple[str, str], ...]
    ignored: tuple[str, ...]
    notices: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """As JSON; ``columns`` are objects with ``column`` and ``field``."""
        return {
            **dataclasses.asdict(self),
            "columns": [{"column": title, "field": field} for title, field in self.columns],
            "ignored": list(self.ignored),
            "notices": list(self.notices),
        }


def detected_file(
    format_name: str, layout: Layout, file: Table, columns: ColumnMap
) -> DetectedFile:
    """Describe a file of a format that was opened with the columns of a layout."""
    unused = [title for index, title in enumerate(file.titles) if index not in columns.fields]
    used = sorted(columns.fields.items())
    return DetectedFile(
        format=format_name,
        layout=layout.name,
        title=layout.title,
        encoding=file.encoding.removesuffix("-sig"),
        delimiter=file.delimiter,
        is_compressed=file.source.is_compressed,
        columns=tuple((_printable(file.titles[i]), field) for i, field in used[:MAX_COLUMNS]),
        notices=tuple(file.notices),
        ignored=tuple(_printable(title) for title in unused if title.strip())[:MAX_COLUMNS],
    )


def _printable(title: str) -> str:
    """A title that can be stored and shown, whatever bytes it has."""
    text = title.strip()[:MAX_TITLE_LENGTH].encode("utf-8", "replace").decode()
    return "".join(c if c.isprintable() else " " for c in text)
