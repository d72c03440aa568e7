"""Imports the archive of an organization (docs/backup.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from closient.accounts.actors import acting_as
from closient.accounts.management.organizations import find_organization
from closient.accounts.models import Organization
from closient.cells.routing import in_cell_of
from closient.changes.models import Cause
from closient.db.pooling import require_own_sessions
from dashboard.archive.loading import LoadResult, NotEmpty, load_archive
from dashboard.archive.reading import InvalidArchive
from dashboard.archive.rows import InvalidRows


class Command(BaseCommand):
    """Imports an archive and prints what it has created and whether the numbers are the same."""

    help = (
        "Imports an archive, as the export of an organization writes it, into an empty "
        "organization, all or nothing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--organization", required=True, metavar="ID")
        parser.add_argument("--dry-run", action="store_true", help="do everything, then roll back")

    def handle(self, *args: Any, **options: Any) -> None:
        organization = find_organization(options["organization"])
        # The sessions of a pool for web processes have time limits.
        require_own_sessions("import_archive", "may take longer than its limits allow")
        shown = ""
        with tqdm(disable=None, file=self.stderr, leave=False) as bar:

            def progress(step: str, done: int, total: int | None) -> None:
                nonlocal shown
                if shown != step:
                    shown = step
                    bar.reset(total)
                    bar.set_description(step)
                bar.update(done - bar.n)

            try:
                with in_cell_of(organization.pk), acting_as("Import of an archive", Cause.IMPORT):
                    result = load_archive(
                        options["file"],
                        organization,
                        dry_run=options["dry_run"],
                        progress=progress,
                    )
            except InvalidRows as error:
                lines = [*error.problems, f"{options['file']}: Nothing was imported."]
                raise CommandError("\n".join(lines)) from error
            except InvalidArchive as error:
                raise CommandError(f"{options['file']}: {error} Nothing was imported.") from error
            except NotEmpty as error:
                raise CommandError(str(error)) from error
        self._report(organization, result)
        if options["dry_run"]:
            self.stdout.write("Dry run: nothing was imported.")

    def _report(self, organization: Organization, result: LoadResult) -> None:
        counts = (f"{name} {count}" for name, count in result.counts.items())
        self.stdout.write(" ".join(counts))
        if result.images_without_file:
            self.stderr.write(
                f"{result.images_without_file:,} images are missing: their files were lost before "
                "the archive was written."
            )
        if organization.time_zone != result.time_zone:
            self.stderr.write(
                f"The time zone of the archive is {result.time_zone}, that of the organization "
                f"{organization.time_zone}: change it in the admin if the days should be the same."
            )
        differences = [
            f"{name} is {value}, and was {result.expected[name]}"
            for name, value in result.numbers.items()
            if value != result.expected[name]
        ]
        if not differences:
            self.stdout.write("The seven numbers are those of the manifest.")
        elif organization.today() != result.day:
            self.stdout.write(
                f"The numbers of the manifest are of {result.day}; since then certificates may "
                f"have begun or ended: {'; '.join(differences)}."
            )
        else:
            self.stderr.write(f"The numbers differ: {'; '.join(differences)}.")
