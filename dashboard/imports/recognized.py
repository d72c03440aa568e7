"""What a file was recognized as: its format, and which of its columns goes where."""

from __future__ import annotations

import dataclasses
from typing import Any

from dashboard.imports.delimited import DelimitedFile
from dashboard.imports.drafts import Layout
from dashboard.imports.formats import Format
from dashboard.imports.jsonlines import JsonLinesFile

# Of columns shown, used ones and others; and of characters of a title.
MOST_COLUMNS = 300
LONGEST_TITLE = 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recognized:
    """A file as the import understands it.

    ``columns`` are (title in the file, field of the product) in the order of the file, the first
    300; ``ignored`` are the titles of columns that mean nothing here. JSON Lines has neither, nor
    a ``delimiter``.
    """

    format: Format
    encoding: str
    delimiter: str | None
    is_compressed: bool
    columns: tuple[tuple[str, str], ...]
    ignored: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON: ``columns`` are objects of ``column`` and ``field``."""
        return {
            **dataclasses.asdict(self),
            "format": self.format.value,
            "columns": [{"column": title, "field": field} for title, field in self.columns],
            "ignored": list(self.ignored),
        }


def recognized(file: DelimitedFile | JsonLinesFile, layout: Layout, format: Format) -> Recognized:
    """Return what a file is, as ``format``, with its rows laid out like this."""
    titles = file.titles if isinstance(file, DelimitedFile) else []
    used = sorted(layout.fields.items())
    others = [title for place, title in enumerate(titles) if place not in layout.fields]
    return Recognized(
        format=format,
        encoding=file.source.encoding.removesuffix("-sig"),
        delimiter=file.delimiter if isinstance(file, DelimitedFile) else None,
        is_compressed=file.source.is_compressed,
        columns=tuple((_plain(titles[place]), field) for place, field in used[:MOST_COLUMNS]),
        ignored=tuple(_plain(title) for title in others if title.strip())[:MOST_COLUMNS],
    )


def _plain(title: str) -> str:
    """Return a title that can be stored and shown, whatever bytes stand there."""
    text = title.strip()[:LONGEST_TITLE].encode("utf-8", "replace").decode()
    return "".join(c if c.isprintable() else " " for c in text)
