"""manage.py run_worker: URL checks, imports, snapshots, folding and clean-up."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from dashboard import worker


class Command(BaseCommand):
    """Works in the background until it is told to stop."""

    help = (
        "Do what the service does in the background: check the addresses of offers, import files, "
        "take daily snapshots, fold the tally, clean up. SIGTERM or Ctrl-C finishes what is in "
        "flight. Any number of workers, on any number of machines, share the work."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take --concurrency."""
        parser.add_argument(
            "--concurrency",
            type=int,
            default=settings.URL_CHECK_CONCURRENCY,
            metavar="N",
            help="URL checks at a time (default: URL_CHECK_CONCURRENCY, which is %(default)s)",
        )

    def handle(self, *args: Any, concurrency: int, **options: Any) -> None:
        """Run until stopped. Raises ``CommandError`` when a part of it ends by itself."""
        if concurrency < 1:
            raise CommandError("--concurrency must be 1 or more.")
        try:
            worker.run(concurrency=concurrency)
        except worker.WorkerFailed as error:
            raise CommandError(str(error)) from error
