"""manage.py compact_tally: merges entries of the tally."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand
from tqdm import tqdm

from closient.tally.audit import compact, organizations_with_entries


class Command(BaseCommand):
    """Merges entries of the same count: the counts stay the same, and reading them gets faster."""

    help = (
        "Merge the tally's entries. Safe at any time, beside readers and writers. Writers and the "
        "worker merge entries too, so this is only needed after very large changes."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Merge each organization's entries in a separate transaction."""
        organizations = organizations_with_entries()
        rows = sum(
            compact([organization])
            for organization in tqdm(organizations, unit=" organizations", disable=None)
        )
        self.stdout.write(f"compacted {len(organizations)} organizations, {rows} rows fewer")
