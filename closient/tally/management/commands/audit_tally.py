"""manage.py audit_tally: compares the tally with the rows, and repairs it."""

from __future__ import annotations

import argparse
import sys
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand
from django.db import DEFAULT_DB_ALIAS, connection
from tqdm import tqdm

from closient.cells.routing import cells, in_cell, in_cell_of
from closient.db.ids import format_id, parse_id
from closient.tally import recount
from closient.tally.audit import Findings, audit, forget_vanished, record, repair
from closient.tally.recount import WrongSummary


def organization_id(text: str) -> UUID:
    """Parse an id from the command line; raises ``ArgumentTypeError``."""
    try:
        return parse_id(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not an organization id. {error}") from error


def _is_read_only() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('transaction_read_only')::boolean")
        (is_read_only,) = cursor.fetchone()
    return bool(is_read_only)


class Command(BaseCommand):
    """Recounts from the rows, prints each difference, and exits with 1 if there is one."""

    help = (
        "Compare the tally with the rows, each organization in one snapshot, while writers "
        "continue. Prints every difference; the exit status is 1 if there is one. The result is "
        "recorded for the metrics."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare --organization and --repair."""
        parser.add_argument(
            "--organization",
            type=organization_id,
            metavar="ID",
            help="audit only this organization",
        )
        parser.add_argument(
            "--cell",
            choices=cells(),
            default=DEFAULT_DB_ALIAS,
            help="audit all organizations of this cell (default: the default database)",
        )
        parser.add_argument(
            "--repair",
            action="store_true",
            help="correct differences: first the summaries of products, then the tally; still "
            "exits with 1",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Audit the organizations one by one."""
        chosen = options["organization"]
        with in_cell_of(chosen) if chosen else in_cell(options["cell"]):
            self._audit(chosen, options)

    def _audit(self, chosen: UUID | None, options: dict[str, Any]) -> None:
        organizations = [chosen] if chosen else recount.organizations()
        check = repair if options["repair"] else audit
        # A standby can be audited, too.
        is_recorded = not _is_read_only()
        differences = 0
        for organization in tqdm(organizations, unit=" organizations", disable=None):
            found = check(organization)
            differences += len(found)
            self._report(organization, found)
            if is_recorded:
                is_repaired = options["repair"] and found
                record(organization, audit(organization) if is_repaired else found)
        if is_recorded and not chosen:
            forget_vanished(organizations)
        verb = "repaired" if options["repair"] else "found"
        self.stdout.write(
            f"{len(organizations)} organizations audited, {differences} differences {verb}"
        )
        if differences:
            sys.exit(1)

    def _report(self, organization: UUID, found: Findings) -> None:
        name = format_id(organization)
        for wrong in found.summaries:
            for difference in _differences(wrong):
                self.stdout.write(
                    f"{name} {wrong.model._meta.verbose_name} {format_id(wrong.pk)}: {difference}"
                )
        for count in found.counts:
            self.stdout.write(
                f"{name} account {count.account} bucket {count.bucket or '(all)'} "
                f"from {count.effective_on}: tally {count.stored}, rows {count.counted}"
            )


def _differences(wrong: WrongSummary) -> list[str]:
    """Describe what is wrong with a summary."""
    if wrong.stored is None:
        return ["has no summary"]
    if wrong.counted is None:
        return ["is gone, but has a summary"]
    return [
        f"{column} is {wrong.stored[column]}, counted {counted}"
        for column, counted in wrong.counted.items()
        if wrong.stored[column] != counted
    ]
