"""manage.py remove_orphan_images: delete files of images that no row refers to."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from catalog.images.storage import ORPHANED_AFTER, orphans, storage


class Command(BaseCommand):
    """Deletes orphaned files of images and prints their names and how many there were."""

    help = (
        "Delete the files of product images that no product refers to any more: those of deleted "
        "products and of uploads that were cut off. Files younger than a day stay. Safe at any "
        "time; after restoring an old backup of the database, look at --dry-run first."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--dry-run", action="store_true", help="print what would be deleted, delete nothing"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Look at one month of uploads after the other."""
        count = 0
        try:
            for name in orphans():
                if not options["dry_run"]:
                    storage().delete(name)
                count += 1
                self.stdout.write(name)
        # Each storage has exceptions of its own.
        except Exception as error:
            raise CommandError(
                f"The storage failed after {count:,} files: {error}. Run the command again."
            ) from error
        done = "would be deleted" if options["dry_run"] else "deleted"
        hours = int(ORPHANED_AFTER.total_seconds() // 3600)
        self.stdout.write(f"{count} files older than {hours} hours without a row {done}")
