"""What `make run` starts: the whole service with a demo catalogue."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, connection, transaction
from django.urls import reverse
from tqdm import tqdm

from closient.db.ids import format_id
from dashboard.demo.access import Access, ensure_access
from dashboard.demo.seeding import DEFAULT_PRODUCTS, seed
from dashboard.demo.server import (
    ADDRESS,
    Server,
    ServerError,
    Stopped,
    Worker,
    reserve,
    stopping_on_signals,
    wait,
)

# Held while one process prepares the database, so that two at once do not both begin.
PREPARING = 52_001_250
READY = """
The dashboard service is running. Ctrl-C stops it; its data stays in {data}.

  Dashboard        {site}{page}
  Admin            {site}{admin}
    email          {email}
    password       {password}
  API docs         {site}{docs}
  Organization     {organization_id}  ({name})
  API key          {api_key}

Ask for the organization's numbers:

  {curl}
"""


class Command(BaseCommand):
    """Prepares the database, starts web server and worker, and says how to get in."""

    help = "Run the service with a demo catalogue on this machine (make run)."
    requires_migrations_checks = False

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until Ctrl-C. Raises ``CommandError`` with one sentence when something is wrong."""
        if not settings.DEBUG:
            raise CommandError(
                "The demo makes an administrator and shows his password, so it runs only with "
                "DEBUG=1 (make run writes that into .env). For production see docs/operating.md."
            )
        try:
            with stopping_on_signals(), reserve(_port()) as listener:
                access = self._prepare()
                with Server(listener) as server, Worker() as worker:
                    self._welcome(server, access)
                    wait(server, worker)
        except (ServerError, OperationalError) as error:
            raise CommandError(str(error)) from error
        except Stopped:
            connection.close()
            self._say("\nStopped.")

    def _say(self, text: str) -> None:
        """Print at once, into a file or a pipe too: this command does not end by itself."""
        self.stdout.write(text)
        self.stdout.flush()

    def _prepare(self) -> Access:
        """Bring the database up to date and return what opens it, with a catalogue if it is new."""
        self._say("Preparing the database ...")
        with _one_at_a_time():
            call_command("migrate", verbosity=0)
            with transaction.atomic():
                access = ensure_access(settings.DATA_FOLDER / "demo.json")
                if access.is_new:
                    self._seed(access)
        connection.close()
        return access

    def _seed(self, access: Access) -> None:
        self._say(f"Making a demo catalogue of {DEFAULT_PRODUCTS:,} products ...")
        with tqdm(total=DEFAULT_PRODUCTS, unit=" products", disable=None, leave=False) as bar:
            seed(access.organization, products=DEFAULT_PRODUCTS, progress=bar)

    def _welcome(self, server: Server, access: Access) -> None:
        """Print how to get in, once the very address that is printed has been seen to work."""
        site = f"http://{ADDRESS}:{server.port}"
        organization_id = format_id(access.organization.pk)
        stats = reverse("stats", args=[access.organization.pk])
        status, body = server.get(stats, {"X-API-Key": access.api_key})
        if status != 200:
            raise ServerError(f"The web server answers {status} where 200 was expected: {body}")
        self._say(
            READY.format(
                data=settings.DATA_FOLDER,
                site=site,
                page=reverse("page-start"),
                admin=reverse("admin:index"),
                email=access.email,
                password=access.password
                or "as you chose it (or: .venv/bin/python manage.py changepassword)",
                docs=reverse("docs"),
                organization_id=organization_id,
                name=access.organization.name,
                api_key=access.api_key,
                curl=f"curl -H 'X-API-Key: {access.api_key}' {site}{stats}",
            )
        )


def _port() -> int:
    """Return the port to listen on: ``PORT``, or 8000."""
    text = os.environ.get("PORT") or "8000"
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        raise ServerError(f"PORT must be a number from 1 to 65535; it is {text!r}.")
    return int(text)


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Let one process at a time into the block; others wait."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [PREPARING])
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [PREPARING])
