"""manage.py take_snapshots: stores today's numbers of every organization."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from dashboard.snapshots import take_snapshots


class Command(BaseCommand):
    """Takes the snapshots that are due; the worker does the same."""

    help = (
        "Store the seven numbers of every organization, once per day in its time zone. Safe to run "
        "at any time, and often: a day that already has a snapshot keeps it."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Take the snapshots and print how many were due."""
        self.stdout.write(f"{take_snapshots()} snapshots taken")
