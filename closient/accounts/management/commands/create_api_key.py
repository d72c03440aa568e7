"""manage.py create_api_key: creates an API key."""

from __future__ import annotations

import argparse
import datetime
import zoneinfo
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from closient.accounts.api_keys import create_api_key
from closient.accounts.management.organizations import find_organization
from closient.accounts.models import ApiKeyKind, ApiKeyRole, Organization, User
from closient.cells.routing import in_cell_of


class Command(BaseCommand):
    help = "Creates an API key and prints it on the last line: it cannot be shown again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "organization", nargs="?", help="Id of the organization; omit it with --kind csu."
        )
        parser.add_argument("--kind", choices=ApiKeyKind.values, default=ApiKeyKind.ORGANIZATION)
        parser.add_argument("--role", choices=ApiKeyRole.values, default=ApiKeyRole.READONLY)
        parser.add_argument("--user", metavar="EMAIL", help="The user of a csu key.")
        parser.add_argument(
            "--name", default="Created on the command line", help="What the key is used for."
        )
        parser.add_argument(
            "--expires",
            metavar="DATE",
            type=_date,
            help="Last day on which the key works, for example 2027-12-31, in the organization's "
            "time zone (UTC for a user's key). Default: it never expires.",
        )
        parser.add_argument(
            "--limit-per-minute",
            type=int,
            default=0,
            help="Requests per minute, 0 for the default.",
        )
        parser.add_argument(
            "--limit-per-day", type=int, default=0, help="Requests per day, 0 for the default."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        kind = ApiKeyKind(options["kind"])
        is_user_key = kind == ApiKeyKind.USER
        if is_user_key and options["organization"]:
            raise CommandError(
                "A csu key works for all organizations of its user: omit the organization."
            )
        organization = None if is_user_key else _organization(options["organization"])
        user = _user(options["user"]) if is_user_key else None
        try:
            with in_cell_of(organization.pk if organization else None):
                _, text = create_api_key(
                    name=options["name"],
                    organization=organization,
                    user=user,
                    kind=kind,
                    role=ApiKeyRole(options["role"]),
                    expires_at=_end_of(options["expires"], organization),
                    limit_per_minute=options["limit_per_minute"],
                    limit_per_day=options["limit_per_day"],
                )
        except ValidationError as error:
            raise CommandError("\n".join(error.messages)) from error
        self.stdout.write(text)


def _date(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text} is not a date; use one like 2027-12-31."
        ) from None


def _organization(text: str | None) -> Organization:
    if not text:
        raise CommandError("Give the organization's id, which create_organization prints.")
    return find_organization(text)


def _user(email: str | None) -> User:
    if not email:
        raise CommandError("A csu key belongs to a user: give --user EMAIL.")
    try:
        return User.objects.get_by_natural_key(email)
    except User.DoesNotExist:
        raise CommandError(f"There is no user with the email address {email}.") from None


def _end_of(
    day: datetime.date | None, organization: Organization | None
) -> datetime.datetime | None:
    """Return the end of a day; raises ``CommandError`` for a past day.

    ``None`` for the last supported day, whose end overflows.
    """
    if day is None:
        return None
    zone = zoneinfo.ZoneInfo(organization.time_zone if organization else "UTC")
    try:
        end = datetime.datetime.combine(day + datetime.timedelta(days=1), datetime.time(), zone)
    except OverflowError:
        return None
    if end <= datetime.datetime.now(zone):
        raise CommandError(f"{day} is in the past: the key would never work.")
    return end
