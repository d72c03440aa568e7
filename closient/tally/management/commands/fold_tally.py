"""manage.py fold_tally: merge the tally's entries."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand
from tqdm import tqdm

from closient.tally.audit import fold, tallied


class Command(BaseCommand):
    """Merges entries that count alike; counts stay as they are, reading them gets faster."""

    help = (
        "Merge the tally's entries. Safe at any time, next to any reader and writer; writers fold "
        "by themselves, so this is needed only after very large changes."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Fold one organization after the other, each in a transaction of its own."""
        organizations = tallied()
        rows = sum(
            fold([organization])
            for organization in tqdm(organizations, unit=" organizations", disable=None)
        )
        self.stdout.write(f"folded {len(organizations)} organizations, {rows} rows fewer")
