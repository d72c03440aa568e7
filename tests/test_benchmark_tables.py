"""The tables of benchmarks in the documents are those of ``benchmarks/results.json``."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from benchmarks.readme import PAGES, filled, machine_of, tables_in
from benchmarks.results import RESULTS, TABLES
from tests.project_files import PROJECT

RESULT: dict[str, Any] = {
    "title": "Time of two sizes",
    "measured_on": "2026-11-29",
    "machine": {
        "processor": "Some CPU",
        "cores": 2,
        "memory_gib": 8,
        "system": "Linux",
        "python": "3.11.7",
        "postgresql": "18.6",
    },
    "columns": [
        {"heading": "size", "format": ",d", "unit": ""},
        {"heading": "time", "format": ".2f", "unit": "ms"},
    ],
    "rows": [[100, 0.5], [1_000_000, 0.7256]],
}
PAGE = """Before.

<!-- benchmark sizes -->
<!-- end -->

<!-- benchmark machine -->
Old.
<!-- end -->

After.
"""
FILLED = """Before.

<!-- benchmark sizes -->

Time of two sizes:

|      size |    time |
|----------:|--------:|
|       100 | 0.50 ms |
| 1,000,000 | 0.73 ms |

<!-- end -->

<!-- benchmark machine -->

Measured on 2026-11-29: 2 processors (Some CPU), 8 GiB of memory, Linux, PostgreSQL 18.6, Python 3.11.7.

<!-- end -->

After.
"""  # noqa: E501 - one line of a document


def test_tables_and_machine_are_filled_in_and_updated() -> None:
    once = filled(PAGE, {"sizes": RESULT})
    assert once == FILLED
    assert filled(once, {"sizes": RESULT}) == once
    faster = RESULT | {"rows": [[100, 0.25]]}
    assert "0.25 ms" in filled(once, {"sizes": faster})
    assert "0.73 ms" not in filled(once, {"sizes": faster})
    # A table that was not measured yet is kept.
    assert filled(once, {"others": faster}) == once


def test_tables_of_two_machines_are_refused() -> None:
    other = copy.deepcopy(RESULT)
    other["machine"]["cores"] = 64
    with pytest.raises(ValueError, match="different machines"):
        machine_of({"sizes": RESULT, "others": other})
    other = RESULT | {"measured_on": "2026-11-30"}
    assert "2026-11-29 to 2026-11-30" in machine_of({"sizes": RESULT, "others": other})


def test_documents_show_every_table_once() -> None:
    shown = [name for page in PAGES for name in tables_in(page.read_text())]
    assert sorted(shown) == sorted(TABLES)


def test_documents_show_the_stored_figures() -> None:
    results = json.loads(RESULTS.read_text())
    for page in PAGES:
        text = page.read_text()
        assert filled(text, results) == text, (
            f"{page.relative_to(PROJECT)}: run python -m benchmarks.readme"
        )
