"""What the import detected about a file: its format and layout, and the field of each column."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from dashboard.imports.formats.base import Table
from dashboard.imports.layouts.base import ColumnMap, Layout
from dashboard.imports.layouts.mapping import samples

# Columns listed, used and ignored ones each; characters of a title.
MAX_COLUMNS = 300
MAX_TITLE_LENGTH = 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class DetectedFile:
    """The format and layout of a file, and where its columns go.

    ``columns`` are (title in the file, field of the product) in the order of the file, the first
    300; ``ignored`` are the titles of columns that no field uses; ``samples`` are (title, first
    values) of all columns with a title. JSON Lines has none of them, nor a ``delimiter``. Without a
    layout (``layout`` is empty), the columns have to be mapped by hand. ``suggestion`` is a mapping
    that may be better than the layout, empty if there is none. ``rejects_suffix`` is the ending of
    a rejects file.
    """

    format: str
    layout: str
    title: str
    encoding: str
    delimiter: str | None
    is_compressed: bool
    columns: tuple[tuple[str, str], ...]
    ignored: tuple[str, ...]
    samples: tuple[tuple[str, tuple[str, ...]], ...]
    rejects_suffix: str
    notices: tuple[str, ...] = ()
    suggestion: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def unused(self) -> dict[str, str]:
        """The fields of columns that the layout ignores, by their titles."""
        used = {field for _, field in self.columns}
        return {title: field for title, field in self.suggestion.items() if field not in used}

    def as_json(self) -> dict[str, Any]:
        """As JSON; ``columns``, ``samples`` and ``unused`` are objects with ``column``.

        ``suggestion`` and ``unused`` are left out without a suggestion.
        """
        shown = {
            **dataclasses.asdict(self),
            "columns": _fields(self.columns),
            "ignored": list(self.ignored),
            "samples": [{"column": title, "values": [*values]} for title, values in self.samples],
            "notices": list(self.notices),
        }
        del shown["suggestion"]
        if self.suggestion:
            shown |= {"suggestion": dict(self.suggestion), "unused": _fields(self.unused.items())}
        return shown


def _fields(columns: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"column": title, "field": field} for title, field in columns]


def detected_file(
    format_name: str,
    layout: Layout | None,
    file: Table,
    columns: ColumnMap | None,
    suggestion: Mapping[str, str] | None = None,
) -> DetectedFile:
    """Describe a file of a format that was opened with the columns of a layout."""
    fields = columns.fields if columns else {}
    unused = [title for index, title in enumerate(file.titles) if index not in fields]
    return DetectedFile(
        format=format_name,
        layout=layout.name if layout else "",
        title=layout.title if layout else "",
        encoding=file.encoding.removesuffix("-sig"),
        delimiter=file.delimiter,
        is_compressed=file.source.is_compressed,
        columns=tuple(
            (_printable(file.titles[i]), field) for i, field in sorted(fields.items())[:MAX_COLUMNS]
        ),
        rejects_suffix=file.suffix,
        notices=tuple(file.notices),
        suggestion={_printable(title): field for title, field in (suggestion or {}).items()},
        ignored=tuple(_printable(title) for title in unused if title.strip())[:MAX_COLUMNS],
        samples=tuple(
            (_printable(title), tuple(map(_printable, values)))
            for title, values in zip(file.titles, samples(file), strict=True)
            if title.strip()
        )[:MAX_COLUMNS],
    )


def _printable(title: str) -> str:
    """A title that can be stored and shown, whatever bytes it has."""
    text = title.strip()[:MAX_TITLE_LENGTH].encode("utf-8", "replace").decode()
    return "".join(c if c.isprintable() else " " for c in text)
