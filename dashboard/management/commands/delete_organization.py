"""manage.py delete_organization: erases an organization with everything that belongs to it."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from closient.accounts.management.organizations import find_organization
from closient.cells.routing import in_cell_of
from closient.db.pooling import require_own_sessions
from dashboard.erasure import REMAINS, ErasureFailed, accounts_only_in, erase, rows_of


class Command(BaseCommand):
    """Asks for the organization's name, unless ``--yes`` is given."""

    help = (
        "Delete an organization with its rows, image and import files, API keys, and the accounts "
        "of users who are members of no other organization. This cannot be undone. Access ends "
        "first; rows are deleted in batches, beside other organizations' writers. If it is "
        "interrupted, run it again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("organization", help="the id of the organization")
        parser.add_argument("--dry-run", action="store_true", help="only print what it has")
        parser.add_argument("--yes", action="store_true", help="do not ask")
        parser.add_argument(
            "--keep-accounts",
            action="store_true",
            help="keep the accounts of users who are members of no other organization",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Print what the organization has, ask, and delete it."""
        organization = find_organization(options["organization"])
        self.stdout.write(f"Organization: {organization.name}")
        with in_cell_of(organization.pk):
            counts = rows_of(organization)
        for name, count in counts.items():
            self.stdout.write(f"  {count:,} {name}")
        if not options["keep_accounts"]:
            for user in accounts_only_in(organization):
                self.stdout.write(f"  account {user.email}: a member of no other organization")
        if options["dry_run"]:
            return
        if not options["yes"]:
            answer = input("Enter the name of the organization to delete all of this: ")
            if answer.strip() != organization.name:
                raise CommandError("That is not its name: nothing was deleted.")
        require_own_sessions("delete_organization")
        try:
            erase(
                organization,
                keep_accounts=options["keep_accounts"],
                report=self._report,
            )
        except ErasureFailed as error:
            raise CommandError(f"{error} Run the command again to continue.") from error
        self.stdout.write(f"Organization {organization.name} is deleted.")
        self.stdout.write(REMAINS)

    def _report(self, line: str) -> None:
        self.stdout.write(line)
        # Also when the output is a file or a pipe.
        self.stdout.flush()
