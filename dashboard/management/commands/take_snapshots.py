"""manage.py take_snapshots: keep today's numbers of every organization."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from dashboard.snapshots import take_snapshots


class Command(BaseCommand):
    """Takes the snapshots that are due; the worker does the same."""

    help = (
        "Write the seven numbers of every organization's today, once a day in its own time zone. "
        "Safe to run at any time and as often as you like: a day that has a snapshot keeps it."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Take them and say how many were due."""
        self.stdout.write(f"{take_snapshots()} snapshots taken")
