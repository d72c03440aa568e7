"""Tables of figures: printed as Markdown, and kept in ``results.json`` with the machine's facts."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
from django.db import connection

RESULTS = Path(__file__).with_name("results.json")
# The tables that `make bench` measures, and those of the campaigns.
TABLES = (
    "batch_sync",
    "bulk_edits",
    "export_rows",
    "export_starts",
    "find_requests",
    "home_page",
    "import_formats",
    "import_rows",
    "list_requests",
    "stats_at_size",
    "stats_latency",
    "stats_peers",
    "stats_requests",
    "url_checks",
    "write_cost",
    "soak",
    "stats_at_size_huge",
    "stats_latency_huge",
)


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a table: its heading, and the format of its numbers (``,.2f``) with a unit."""

    heading: str
    format: str = ""
    unit: str = ""

    @property
    def is_numeric(self) -> bool:
        """Whether the values are numbers, which are aligned to the right."""
        return bool(self.format)

    def cell(self, value: Any) -> str:
        """Return the text of a value; a missing one is a dash."""
        if value is None:
            return "-"
        return f"{value:{self.format}} {self.unit}".rstrip()


def publish(
    name: str, title: str, columns: Sequence[Column], rows: Iterable[Sequence[Any]]
) -> None:
    """Print a table, and replace the one with this name in ``results.json``.

    ``python -m benchmarks.readme`` copies it into the documents. Raises ``ValueError`` for a name
    that is not one of ``TABLES``.
    """
    if name not in TABLES:
        raise ValueError(name)
    kept = [list(row) for row in rows]
    print(f"\n{title}\n\n{markdown(columns, kept)}")
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results[name] = {
        "title": title,
        "measured_on": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": machine(),
        "columns": [dataclasses.asdict(column) for column in columns],
        "rows": [[_rounded(value) for value in row] for row in kept],
    }
    text = json.dumps(dict(sorted(results.items())), indent=2, ensure_ascii=False)
    # One line for each row and each column.
    text = re.sub(r"\[\n\s+([^\[\]{}]*?)\n\s+\]", lambda m: f"[{_joined(m[1])}]", text)
    text = re.sub(r"\{\n\s+(\"heading\"[^{}]*?)\n\s+\}", lambda m: f"{{{_joined(m[1])}}}", text)
    RESULTS.write_text(text + "\n")


def markdown_of(result: Mapping[str, Any]) -> str:
    """Return a table of ``results.json`` as Markdown."""
    return markdown([Column(**column) for column in result["columns"]], result["rows"])


def markdown(columns: Sequence[Column], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table as Markdown, its columns aligned."""
    cells = [[column.heading for column in columns]]
    cells += [[c.cell(value) for c, value in zip(columns, row, strict=True)] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "| "
        + " | ".join(
            text.rjust(width) if column.is_numeric else text.ljust(width)
            for column, text, width in zip(columns, row, widths, strict=True)
        )
        + " |"
        for row in cells
    ]
    rule = "|".join(
        "-" * (width + 1) + (":" if column.is_numeric else "-")
        for column, width in zip(columns, widths, strict=True)
    )
    return "\n".join([lines[0], f"|{rule}|", *lines[1:]])


def machine() -> dict[str, Any]:
    """Return the facts of the machine and the programs that figures depend on."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        (postgresql,) = cursor.fetchone()
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "system": platform.system(),
        "python": platform.python_version(),
        "postgresql": postgresql.split()[0],
    }


def _processor() -> str:
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found[1].strip() if found else platform.machine()


def _rounded(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _joined(lines: str) -> str:
    return re.sub(r"\n\s+", " ", lines.strip())
