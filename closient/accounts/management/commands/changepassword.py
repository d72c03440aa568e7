"""manage.py changepassword: Django's command, which also revokes the user's API keys."""

from __future__ import annotations

import getpass
from typing import Any

from django.contrib.auth.management.commands import changepassword

from closient.accounts.models import ApiKey, User


class Command(changepassword.Command):
    help = "Changes a user's password and revokes the user's personal API keys (csu)."

    def handle(self, *args: Any, **options: Any) -> str:
        email = User.objects.normalize_email(options["username"] or getpass.getuser())
        keys = ApiKey.objects.filter(user__email=email, is_active=True)
        before = keys.count()
        done = str(super().handle(*args, **options))
        return f"{done}\nPersonal API keys revoked: {before - keys.count()}."
