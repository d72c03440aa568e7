"""Imports products from a file (docs/import.md)."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from dashboard.imports.layouts import AUTO
from dashboard.management.import_command import ImportCommand, organization_of


class Command(ImportCommand):
    """Imports products and prints one line: total, created, updated, unchanged, rejected."""

    help = "Imports products from CSV, an Open Food Facts export or JSON Lines, all or nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--format",
            choices=[AUTO, "csv", "openfoodfacts", "jsonl"],
            default=AUTO,
            help="auto detects the format by content",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        organization = organization_of(options["organization"])
        given = self.options(options, layout=options["format"])
        _, result = self.load(options["file"], organization, given)
        self.report(options["file"], result)
