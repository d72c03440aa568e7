"""manage.py run_worker: URL checks, imports, snapshots, tally merging and cleanup."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS

from closient.cells.routing import cells, serve_cell
from closient.db.pooling import require_own_sessions
from dashboard import worker


class Command(BaseCommand):
    """Runs the background work until it is stopped."""

    help = (
        "Run the background work: check the URLs of offers, import files, take daily snapshots, "
        "merge the tally, clean up. On SIGTERM or Ctrl-C, running checks and jobs finish first. "
        "Any number of workers, on any number of machines, share the work."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare --concurrency and --cell."""
        parser.add_argument(
            "--concurrency",
            type=int,
            default=settings.URL_CHECK_CONCURRENCY,
            metavar="N",
            help="concurrent URL checks (default: URL_CHECK_CONCURRENCY, which is %(default)s)",
        )

        parser.add_argument(
            "--cell",
            choices=cells(),
            default=DEFAULT_DB_ALIAS,
            help="work for the organizations of this cell (default: the default database)",
        )

    def handle(self, *args: Any, concurrency: int, cell: str, **options: Any) -> None:
        """Run until stopped. Raises ``CommandError`` if a part fails, or behind a shared pool."""
        if concurrency < 1:
            raise CommandError("--concurrency must be 1 or more.")
        serve_cell(cell)
        require_own_sessions("run_worker")
        try:
            worker.run(concurrency=concurrency)
        except worker.WorkerFailed as error:
            raise CommandError(str(error)) from error
