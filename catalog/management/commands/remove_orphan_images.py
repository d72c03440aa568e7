"""manage.py remove_orphan_images: deletes files of images and certificates without a row."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from catalog.images.storage import ORPHANED_AFTER, orphans, storage


class Command(BaseCommand):
    """Deletes orphaned files, and prints their names and number."""

    help = (
        "Delete files of images and certificates that no row refers to: those of deleted products "
        "and of interrupted uploads. Files younger than a day stay. Safe at any time; after "
        "restoring an old backup of the database, run it with --dry-run first."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--dry-run", action="store_true", help="only print what would be deleted"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Check the uploads month by month."""
        count = 0
        try:
            for name in orphans():
                if not options["dry_run"]:
                    storage().delete(name)
                count += 1
                self.stdout.write(name)
        # Each storage has its own exceptions.
        except Exception as error:
            raise CommandError(
                f"The storage failed after {count:,} files: {error}. Run the command again."
            ) from error
        done = "would be deleted" if options["dry_run"] else "deleted"
        hours = int(ORPHANED_AFTER.total_seconds() // 3600)
        self.stdout.write(f"{count} files older than {hours} hours without a row {done}")
