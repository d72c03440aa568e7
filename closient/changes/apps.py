from typing import Any

from django.apps import AppConfig
from django.db.backends.signals import connection_created


class ChangesConfig(AppConfig):
    name = "closient.changes"
    label = "changes"

    def ready(self) -> None:
        """Announce what makes a change to the database, on every connection."""
        connection_created.connect(_announce_changes)


def _announce_changes(connection: Any, **_: Any) -> None:
    from closient.changes.causes import announce  # noqa: PLC0415 - imports models

    if announce not in connection.execute_wrappers:
        connection.execute_wrappers.append(announce)
