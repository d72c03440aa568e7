"""The command behind `make run`: the whole service with a demo catalog."""

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
from dashboard.demo.access import DemoAccess, ensure_access
from dashboard.demo.pictures import DemoPictures
from dashboard.demo.seeding import DEFAULT_PRODUCTS, seed
from dashboard.demo.server import (
    ADDRESS,
    MAX_PORT,
    ServerError,
    StopRequested,
    WebServer,
    WorkerProcess,
    reserve,
    reserve_for_shop,
    stopping_on_signals,
    wait,
)
from dashboard.demo.shop import ShopServer

# The advisory lock that keeps two processes from preparing the database at the same time.
PREPARE_LOCK = 52_001_250
READY = """
The dashboard service is running. Ctrl-C stops it; its data stays in {data}.

  Dashboard        {site}{page}
  Admin            {site}{admin}
    email          {email}
    password       {password}
  API docs         {site}{docs}
  Organization     {organization_id}  ({name})
  API key          {api_key}

Or start with an empty organization: add the feed of a shop (served on this machine) as a source.

  Sources          {site}{sources}
  Feed to paste    {feed}

Read the organization's numbers:

  {curl}
"""


class Command(BaseCommand):
    """Prepares the database, starts web server and worker, and prints how to log in."""

    help = "Run the service with a demo catalog on this machine (make run)."
    requires_migrations_checks = False

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until Ctrl-C. Raises ``CommandError`` if it cannot run."""
        if not settings.DEBUG:
            raise CommandError(
                "The demo creates an administrator and prints the password, so it runs only with "
                "DEBUG=1 (make run writes that to .env). For production see docs/operating.md."
            )
        try:
            port = _port()
            with (
                stopping_on_signals(),
                reserve(port) as listener,
                reserve_for_shop(port) as shop_listener,
            ):
                access = self._prepare()
                shop = ShopServer(shop_listener)
                # The shop is a thread, so it starts after the processes.
                with (
                    WebServer(listener, shop_port=shop.port) as server,
                    WorkerProcess(shop_port=shop.port) as worker,
                    shop,
                ):
                    self._welcome(server, access, shop.feed_url)
                    wait(server, worker)
        except (ServerError, OperationalError) as error:
            raise CommandError(str(error)) from error
        except StopRequested:
            connection.close()
            self._say("\nStopped.")

    def _say(self, text: str) -> None:
        """Print and flush: in a pipe the text would otherwise appear only at the end."""
        self.stdout.write(text)
        self.stdout.flush()

    def _prepare(self) -> DemoAccess:
        """Migrate the database and return the credentials; seeds a new organization."""
        self._say("Preparing the database ...")
        with _one_at_a_time():
            call_command("migrate", verbosity=0)
            with transaction.atomic():
                access = ensure_access(settings.DATA_FOLDER / "demo.json")
                if access.is_new:
                    self._seed(access)
        connection.close()
        return access

    def _seed(self, access: DemoAccess) -> None:
        self._say(f"Creating a demo catalog of {DEFAULT_PRODUCTS:,} products ...")
        with tqdm(total=DEFAULT_PRODUCTS, unit=" products", disable=None, leave=False) as bar:
            seed(
                access.organization,
                products=DEFAULT_PRODUCTS,
                progress=bar,
                pictures=DemoPictures(),
            )

    def _welcome(self, server: WebServer, access: DemoAccess, feed: str) -> None:
        """Print how to log in, after a test request to the printed URL."""
        site = f"http://{ADDRESS}:{server.port}"
        organization_id = format_id(access.organization.pk)
        stats = reverse("stats", args=[access.organization.pk])
        status, body = server.get(stats, {"X-API-Key": access.api_key})
        if status != 200:
            raise ServerError(f"The web server returned {status} instead of 200: {body}")
        self._say(
            READY.format(
                data=settings.DATA_FOLDER,
                site=site,
                page=reverse("page-home", args=[access.organization.pk]),
                sources=reverse("page-source-new", args=[access.empty_organization.pk]),
                feed=feed,
                admin=reverse("admin:index"),
                email=access.email,
                password=access.password
                or "the one you set (to reset: .venv/bin/python manage.py changepassword)",
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
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_PORT):
        raise ServerError(f"PORT must be a number from 1 to {MAX_PORT}; it is {text!r}.")
    return int(text)


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Run the block in one process at a time; others wait."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [PREPARE_LOCK])
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [PREPARE_LOCK])
