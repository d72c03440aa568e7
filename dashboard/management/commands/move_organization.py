"""manage.py move_organization: moves an organization to another cell."""

from __future__ import annotations

import logging
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import InterfaceError, OperationalError

from closient.accounts.management.organizations import find_organization
from closient.cells.routing import cells
from closient.db.pooling import require_own_sessions
from dashboard.erasure import ErasureFailed
from dashboard.moving import DELETE_AFTER_SECONDS, MoveFailed, abort, check, move, placement_of

logger = logging.getLogger("dashboard.moving")


class Command(BaseCommand):
    """Moves an organization, and continues or aborts a move that was interrupted."""

    help = (
        "Move an organization with its rows and keys to another cell (CELLS). Its members and keys "
        "keep working; for a moment at the end its writes get 503. If it is interrupted, run it "
        "again, or with --abort before the organization has moved."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the organization, --to, --abort, --dry-run and --delete-after."""
        parser.add_argument("organization", help="the id of the organization")
        parser.add_argument("--to", choices=cells(), metavar="CELL", help="the cell to move to")
        parser.add_argument("--abort", action="store_true", help="cancel an unfinished move")
        parser.add_argument("--dry-run", action="store_true", help="only check and print")
        parser.add_argument(
            "--delete-after",
            type=float,
            default=DELETE_AFTER_SECONDS,
            metavar="SECONDS",
            help="how long to keep the rows in the old cell, for requests that are running there "
            "(default: %(default)g)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Move, abort or check."""
        organization = find_organization(options["organization"])
        if not options["to"] and not options["abort"]:
            raise CommandError("Give the cell with --to.")
        require_own_sessions("move_organization")
        placement = placement_of(organization)
        self._report(f"{organization.name} is in {placement.cell}.")
        try:
            if options["dry_run"]:
                for name, count in check(organization, options["to"]).items():
                    self._report(f"  {count:,} {name}")
            elif options["abort"]:
                abort(organization, report=self._report)
                self._report("The move is aborted.")
            else:
                move(
                    organization,
                    options["to"],
                    report=self._report,
                    delete_after=options["delete_after"],
                )
        except (MoveFailed, ErasureFailed, ValueError) as error:
            raise CommandError(str(error)) from error
        except (OperationalError, InterfaceError) as error:
            reason = " ".join(str(error).split())
            raise CommandError(f"{reason} Run the command again to continue.") from error

    def _report(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()
