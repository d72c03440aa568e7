"""Copies the tables of ``results.json`` into the documents: ``python -m benchmarks.readme``.

A document marks the place of a table with its name; the marks are invisible on the page:

    <!-- benchmark stats_at_size -->
    <!-- end -->

``machine`` is the sentence that says where and when the tables were measured.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.results import RESULTS, markdown_of

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"(<!-- benchmark (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)

Results = Mapping[str, Mapping[str, Any]]


def main() -> None:
    """Update all documents, and print which tables were not measured yet."""
    results = json.loads(RESULTS.read_text())
    for page in PAGES:
        before = page.read_text()
        after = filled(before, results)
        if after != before:
            page.write_text(after)
            print(f"{page.relative_to(ROOT)} is updated.")
        if missing := [name for name in tables_in(before) if name not in results]:
            print(f"{page.relative_to(ROOT)}: not measured, unchanged: {', '.join(missing)}")


def filled(text: str, results: Results) -> str:
    """Return the text of a document with the tables of these results.

    Tables that were not measured stay as they are.
    """

    def block(found: re.Match[str]) -> str:
        name = found[2]
        if name == "machine":
            content = machine_of(results)
        elif name in results:
            content = f"{results[name]['title']}:\n\n{markdown_of(results[name])}"
        else:
            return found[0]
        return f"{found[1]}\n{content}\n\n{found[4]}"

    return _BLOCK.sub(block, text)


def tables_in(text: str) -> list[str]:
    """Return the names of the tables that a document shows, without ``machine``."""
    return [found[2] for found in _BLOCK.finditer(text) if found[2] != "machine"]


def machine_of(results: Results) -> str:
    """Return where and when all tables were measured.

    Raises ``ValueError`` if they come from different machines: figures of two machines in one
    document would be compared.
    """
    facts = {json.dumps(result["machine"], sort_keys=True) for result in results.values()}
    if len(facts) != 1:
        raise ValueError("The tables were measured on different machines: run make bench again.")
    machine = json.loads(facts.pop())
    days = sorted({result["measured_on"] for result in results.values()})
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    return (
        f"Measured on {when}: {machine['cores']} processors ({machine['processor']}), "
        f"{machine['memory_gib']} GiB of memory, {machine['system']}, "
        f"PostgreSQL {machine['postgresql']}, Python {machine['python']}."
    )


if __name__ == "__main__":
    main()
