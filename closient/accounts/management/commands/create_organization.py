"""manage.py create_organization: creates an organization."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from closient.accounts.models import Organization
from closient.db.ids import format_id


class Command(BaseCommand):
    help = "Creates an organization and prints its id on the last line."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name")
        parser.add_argument(
            "--time-zone",
            default="UTC",
            help="IANA name such as Europe/Berlin; determines when a day begins (default: UTC).",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        organization = Organization(name=options["name"], time_zone=options["time_zone"])
        try:
            organization.full_clean()
        except ValidationError as error:
            raise CommandError("\n".join(error.messages)) from error
        organization.save()
        self.stdout.write(format_id(organization.id))
