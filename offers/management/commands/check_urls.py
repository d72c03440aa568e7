"""manage.py check_urls: the URL checker's worker."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from offers.url_checks.worker import Worker


class Command(BaseCommand):
    """Checks the URLs of online offers, together with any number of other workers."""

    help = (
        "Check the URLs of online offers that are due, until stopped. SIGTERM or Ctrl-C lets "
        "checks in progress finish; a second one does not. Any number of workers share the work."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add --once and --concurrency."""
        parser.add_argument("--once", action="store_true", help="exit when no offer is due")
        parser.add_argument(
            "--concurrency",
            type=int,
            default=settings.URL_CHECK_CONCURRENCY,
            metavar="N",
            help="number of checks at a time (default: URL_CHECK_CONCURRENCY, %(default)s)",
        )

    def handle(self, *args: Any, once: bool, concurrency: int, **options: Any) -> None:
        """Run until stopped, or with --once until no offer is due."""
        if concurrency < 1:
            raise CommandError("--concurrency must be 1 or more.")
        # Without a terminal the log shows the progress instead.
        with tqdm(unit=" checks", disable=None) as bar:
            worker = Worker(concurrency=concurrency, once=once, on_checked=bar.update)
            asyncio.run(self._run(worker))

    async def _run(self, worker: Worker) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def on_signal() -> None:
            stop.set()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
                signal.signal(number, signal.SIG_DFL)

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_signal)
        await worker.run(stop)
