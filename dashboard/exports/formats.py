"""The formats of exports, and those that are text: CSV and JSON Lines."""

from __future__ import annotations

import csv
import datetime
import enum
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from closient.http.parameters import choice
from closient.text.csv_safety import escape_cell

# Characters in one piece.
CHUNK_CHARACTERS = 64 * 1024
# Excel recognizes UTF-8 only with it.
_BYTE_ORDER_MARK = "\ufeff"
# Excel expects a semicolon in locales that write decimals with a comma.
SEPARATORS = {"comma": ",", "semicolon": ";"}

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


class ExportFormat(enum.StrEnum):
    """A format, by its name in addresses, which is also the suffix of its files."""

    CSV = "csv"
    XLSX = "xlsx"
    JSONL = "jsonl"

    @property
    def media_type(self) -> str:
        """The media type, without parameters."""
        return _MEDIA_TYPES[self]


_MEDIA_TYPES = {
    ExportFormat.CSV: "text/csv",
    ExportFormat.XLSX: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ExportFormat.JSONL: "application/jsonl",
}

FORMAT = choice(
    "format",
    "The format of the file: `csv` (the default), `xlsx` (a workbook for Excel and others) or "
    "`jsonl` (JSON Lines: in each line one resource as the API shows it). Without it, `Accept` "
    "decides.",
    words=[known.value for known in ExportFormat],
    example="xlsx",
)
SEPARATOR = choice(
    "separator",
    "The separator between the cells of CSV, `comma` by default.",
    words=list(SEPARATORS),
    example="semicolon",
)


def csv_pieces(
    header: Sequence[str], rows: Iterable[Sequence[Any]], *, separator: str | None
) -> Iterator[bytes]:
    """Yield a CSV file: UTF-8 with a byte order mark and RFC 4180 line ends.

    Cells that a spreadsheet would run as formulas are escaped; ``None`` is an empty cell.
    ``separator`` is a key of ``SEPARATORS``, by default the comma.
    """
    written = io.StringIO(newline="")
    writer = csv.writer(written, delimiter=SEPARATORS[separator or "comma"])
    written.write(_BYTE_ORDER_MARK)
    writer.writerow(header)
    for row in rows:
        writer.writerow([_cell(value) for value in row])
        if written.tell() >= CHUNK_CHARACTERS:
            yield written.getvalue().encode()
            written.seek(0)
            written.truncate()
    yield written.getvalue().encode()


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return escape_cell(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime.datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, Decimal):
        return f"{value:f}"
    return value


def json_lines_pieces(objects: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """Yield a JSON Lines file: one object a line, in UTF-8."""
    lines: list[str] = []
    size = 0
    for item in objects:
        lines.append(_encode(item))
        size += len(lines[-1]) + 1
        if size >= CHUNK_CHARACTERS:
            yield ("\n".join(lines) + "\n").encode()
            lines, size = [], 0
    if lines:
        yield ("\n".join(lines) + "\n").encode()
