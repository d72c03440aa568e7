"""manage.py delete_user: erases a person."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from closient.accounts.models import User
from closient.db.transactions import DatabaseBusy
from dashboard.user_erasure import erase_user, owned_alone


class Command(BaseCommand):
    """Asks for the email address again, unless ``--yes`` is given."""

    help = (
        "Delete a user's account with its API keys, sessions and memberships, and blank the user's "
        "name in rows that the user changed last. This cannot be undone."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email", help="the email address of the user")
        parser.add_argument("--yes", action="store_true", help="do not ask")

    def handle(self, *args: Any, **options: Any) -> None:
        """Reject the only owner of an organization, ask, and delete."""
        try:
            user = User.objects.get(email=options["email"])
        except User.DoesNotExist:
            raise CommandError(f"There is no user {options['email']}.") from None
        owned = owned_alone(user)
        if owned:
            names = ", ".join(organization.name for organization in owned)
            raise CommandError(
                f"{user.email} is the only owner of {names}: make another member owner in the "
                "admin, or run delete_organization."
            )
        if not options["yes"]:
            answer = input("Enter the email address again to delete the account: ")
            if answer.strip() != user.email:
                raise CommandError("That is not the address: nothing was deleted.")
        try:
            changed = erase_user(user)
        except DatabaseBusy as error:
            raise CommandError(f"{error} Run the command again to continue.") from error
        self.stdout.write(
            f"The account is deleted, and the name is blank in {changed:,} rows. What remains: "
            "backups until they are deleted, and log lines until they rotate."
        )
