"""Imports products from a file (docs/import.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from closient.accounts.models import Organization
from closient.cells.routing import in_cell_of
from closient.db.ids import parse_id
from closient.db.pooling import require_own_sessions
from dashboard.imports import (
    BadRows,
    Options,
    UnreadableFile,
    UnwritableRejects,
    import_file,
)
from dashboard.imports.layouts import AUTO


class Command(BaseCommand):
    """Imports products and prints one line: total, created, updated, unchanged, rejected."""

    help = "Imports products from CSV, an Open Food Facts export or JSON Lines, all or nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--organization", required=True, metavar="ID")
        parser.add_argument(
            "--format",
            choices=[AUTO, "csv", "openfoodfacts", "jsonl"],
            default=AUTO,
            help="auto detects the format by content",
        )
        parser.add_argument(
            "--skip-bad-rows",
            action="store_true",
            help="import the valid rows and write the others to the rejects file",
        )
        parser.add_argument(
            "--rejects",
            type=Path,
            metavar="FILE",
            help="file for rejected rows; default: beside the input, as x.rejects.csv",
        )
        parser.add_argument(
            "--overwrite-blank", action="store_true", help="empty cells clear the field"
        )
        parser.add_argument("--dry-run", action="store_true", help="do everything, then roll back")

    def handle(self, *args: Any, **options: Any) -> None:
        organization = _organization(options["organization"])
        # The sessions of a pool for web processes have time limits.
        require_own_sessions("import_products", "may take longer than its limits allow")
        with tqdm(
            unit="B", unit_scale=True, desc="reading", disable=None, file=self.stderr, leave=False
        ) as bar:

            def progress(rows: int, done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)
                if done == total:
                    bar.set_description("writing")

            given = Options(
                layout=options["format"],
                skip_bad_rows=options["skip_bad_rows"],
                rejects=options["rejects"],
                overwrite_blank=options["overwrite_blank"],
                dry_run=options["dry_run"],
            )
            try:
                with in_cell_of(organization.pk):
                    result = import_file(options["file"], organization, given, progress)
            except (UnreadableFile, UnwritableRejects) as error:
                raise CommandError(f"{options['file']}: {error} Nothing was imported.") from error
            except BadRows as error:
                raise CommandError(_explanation(options["file"], error)) from error
        if result.ignored_columns:
            columns = ", ".join(result.ignored_columns)
            self.stderr.write(f"Ignored columns: {columns}")
        for repair, count in result.repairs.items():
            self.stderr.write(f"Repaired: {repair}: {count:,}")
        for problem in result.problems:
            self.stderr.write(f"{options['file']}, {problem}")
        if result.rejected > len(result.problems):
            for group in result.problem_groups:
                self.stderr.write(
                    f"Rejected: {group.rule}: {group.count:,}, the first in line {group.line}"
                )
        if result.rejects:
            self.stderr.write(f"The {result.rejected:,} rejected rows are in {result.rejects}")
        self.stdout.write(
            f"total {result.total} created {result.created} updated {result.updated} "
            f"unchanged {result.unchanged} rejected {result.rejected}"
        )


def _organization(text: str) -> Organization:
    try:
        return Organization.objects.get(pk=parse_id(text))
    except (ValueError, Organization.DoesNotExist) as error:
        raise CommandError(
            f"There is no organization {text!r}: give its id as the admin shows it."
        ) from error


def _explanation(file: Path, error: BadRows) -> str:
    lines = [f"{file}, {problem}" for problem in error.problems]
    if error.count > len(lines):
        lines.append(f"and {error.count - len(lines):,} more")
    return "\n".join(
        [
            *lines,
            str(error),
            "Correct them, or import the others with --skip-bad-rows.",
        ]
    )
