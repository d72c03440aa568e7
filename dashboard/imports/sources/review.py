"""Whether a checked run is imported without a person: a source can bring anything one day."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from catalog.models import ImportRun
from dashboard.imports.engine import ImportResult
from dashboard.imports.layouts import LAYOUTS
from dashboard.imports.sources.schedule import columns_of

# The part of the last import's rows that a file must have.
MIN_PART = 0.5
_MAX_COLUMNS = 10


def reason_to_ask(run: ImportRun, found: Mapping[str, Any] | None, result: ImportResult) -> str:
    """Return why a person has to confirm a run, in sentences; empty if none has to."""
    return " ".join(_reasons(run, found, result))


def _reasons(
    run: ImportRun, found: Mapping[str, Any] | None, result: ImportResult
) -> Iterator[str]:
    rows = result.total - result.rejected
    if not rows:
        yield "All rows were rejected."
        return
    if result.rejected and not run.skip_bad_rows:
        yield f"Rejected rows: {result.rejected:,}. Import the others without them, or cancel."
    source = run.source
    columns = columns_of(found)
    before = source.imported_columns if source else None
    if source and source.imported_rows and rows < MIN_PART * source.imported_rows:
        yield (
            f"The file has {rows:,} row{'s' * (rows != 1)} to import, less than half of the last "
            f"import's {source.imported_rows:,}."
        )
    if before and before != columns:
        yield _difference(before, columns)


def _difference(before: list[str], now: list[str]) -> str:
    if before[0] != now[0]:
        titles = [getattr(LAYOUTS.get(each), "title", each) for each in (before[0], now[0])]
        return f"The layout of the file has changed from {titles[0]} to {titles[1]}."
    gone = [each.rpartition(" -> ")[0] for each in before[1:] if each not in now]
    new = [each.rpartition(" -> ")[0] for each in now[1:] if each not in before]
    parts = [
        f"{what}: {', '.join(names[:_MAX_COLUMNS])}"
        for what, names in (("no longer there", gone), ("new", new))
        if names
    ]
    return f"The columns of the file have changed ({'; '.join(parts)})."
