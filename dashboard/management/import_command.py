"""What the commands that import a file share: arguments, progress, and messages."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from closient.accounts.actors import acting_as
from closient.accounts.models import Organization
from closient.cells.routing import in_cell_of
from closient.changes.models import Cause
from closient.db.ids import parse_id
from closient.db.pooling import require_own_sessions
from dashboard.imports import (
    BadRows,
    ImportResult,
    InvalidMapping,
    Options,
    UnreadableFile,
    UnwritableRejects,
)
from dashboard.imports.engine import ImportFile


class ImportCommand(BaseCommand):
    """A command that imports a file into an organization."""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--organization", required=True, metavar="ID")
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

    def options(self, given: dict[str, Any], **more: Any) -> Options:
        """The options of an import, with those of the command."""
        names = ("skip_bad_rows", "rejects", "overwrite_blank", "dry_run")
        return Options(**{name: given[name] for name in names}, **more)

    def load(
        self,
        path: Path,
        organization: Organization,
        options: Options,
        check: Callable[[ImportFile, ImportResult], None] | None = None,
    ) -> tuple[ImportFile, ImportResult]:
        """Import a file and show the progress; raises ``CommandError`` with the reason.

        ``check`` is called before the commit; an exception rolls the import back.
        """
        # The sessions of a pool for web processes have time limits.
        require_own_sessions(self.command_name, "may take longer than its limits allow")
        with tqdm(
            unit="B", unit_scale=True, desc="reading", disable=None, file=self.stderr, leave=False
        ) as bar:

            def progress(rows: int, done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)
                if done == total:
                    bar.set_description("writing")

            try:
                with (
                    in_cell_of(organization.pk),
                    acting_as(f"import of {path.name}", Cause.IMPORT),
                ):
                    file = ImportFile.of(path, organization, options)
                    before_commit = functools.partial(check, file) if check else None
                    return file, file.load(organization, options, progress, before_commit)
            except (UnreadableFile, UnwritableRejects, InvalidMapping) as error:
                raise CommandError(f"{path}: {error} Nothing was imported.") from error
            except BadRows as error:
                raise CommandError(_explanation(path, error)) from error

    @property
    def command_name(self) -> str:
        """The name under which the command is called."""
        return type(self).__module__.rpartition(".")[2]

    def report(self, path: Path, result: ImportResult) -> None:
        """Print what was ignored, repaired and rejected, and the line of numbers."""
        if result.ignored_columns:
            columns = ", ".join(result.ignored_columns)
            self.stderr.write(f"Ignored columns: {columns}")
        for repair, count in result.repairs.items():
            self.stderr.write(f"Repaired: {repair}: {count:,}")
        for problem in result.problems:
            self.stderr.write(f"{path}, {problem}")
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


def organization_of(text: str) -> Organization:
    """The organization with an id; raises ``CommandError``."""
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
