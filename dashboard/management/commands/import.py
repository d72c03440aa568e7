"""Imports products, images, offers and certificates from a file (docs/import.md)."""  # noqa: N999

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from closient.text.urls import is_web_address
from dashboard.imports import ImportResult, UnknownLayout
from dashboard.imports.detected_file import DetectedFile
from dashboard.imports.engine import ImportFile
from dashboard.imports.layouts import AUTO, LAYOUTS
from dashboard.imports.layouts.base import LayoutOptions
from dashboard.imports.layouts.mapping import InvalidMapping, parse_mapping
from dashboard.imports.saved_mappings import save_mapping
from dashboard.management.import_command import ImportCommand, organization_of
from offers.currencies import clean_currency


class Command(ImportCommand):
    """Imports a file of any layout, and prints the rows created and updated in each table."""

    help = "Imports products, images, offers and certificates from a file, all or nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--layout",
            choices=[AUTO, *LAYOUTS],
            default=AUTO,
            help="auto recognizes the layout by the names of the columns",
        )
        parser.add_argument(
            "--map",
            action="append",
            default=[],
            metavar="COLUMN=FIELD",
            help="what a column is, for files that no layout recognizes; repeat it for each column",
        )
        parser.add_argument(
            "--save-map",
            metavar="NAME",
            help="use the columns of --map for the next file with the same header, too",
        )
        parser.add_argument(
            "--retailer", default="", help="the retailer of offers, if the file has none"
        )
        parser.add_argument(
            "--shop",
            default="",
            metavar="URL",
            help="address of the shop, for exports without the addresses of its pages (Shopify)",
        )
        parser.add_argument(
            "--currency", default="", metavar="EUR", help="the currency of prices without one"
        )
        parser.add_argument(
            "--yes", action="store_true", help="create products even if the file has no names"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        path: Path = options["file"]
        organization = organization_of(options["organization"])
        mapping = _mapping(options["map"])
        if options["save_map"] is not None and mapping is None:
            raise CommandError("--save-map saves the columns of --map: give them, too.")
        given = self.options(
            options, layout=options["layout"], mapping=mapping, layout_options=_for_layout(options)
        )
        is_chosen = mapping is not None or options["layout"] != AUTO or options["yes"]

        def check(file: ImportFile, result: ImportResult) -> None:
            if not is_chosen and _nameless(result):
                raise CommandError(
                    f"{path}: {_nameless(result):,} products would be created without a name, "
                    "because no column holds it. Nothing was imported. Name the column, for "
                    'example --map "Title=name" (with all other columns), or import them so with '
                    f"--yes.{_suggested(file.detected.suggestion)}"
                )

        try:
            file, result = self.load(path, organization, given, check)
        except CommandError as error:
            if isinstance(error.__cause__, UnknownLayout):
                raise CommandError(f"{error}\n{_suggestion(error.__cause__)}") from error
            raise
        if options["dry_run"]:
            if _nameless(result):
                self.stderr.write(f"Products without a name: {_nameless(result):,}")
        elif options["save_map"] is not None and mapping is not None:
            save_mapping(organization, file.names, mapping, options["save_map"])
        self.stdout.write(f"layout {file.detected.layout} ({file.detected.title})")
        for notice in file.detected.notices:
            self.stderr.write(notice)
        for table, counts in result.tables.items():
            self.stdout.write(f"{table} created {counts.created} updated {counts.updated}")
        if file.detected.unused:
            self.stderr.write(_unused(file.detected))
        self.report(path, result)


def _mapping(given: Sequence[str]) -> dict[str, str] | None:
    """The mapping of the options ``--map``; raises ``CommandError``."""
    if not given:
        return None
    try:
        return parse_mapping(given)
    except InvalidMapping as error:
        raise CommandError(f"--map: {error}") from error


def _for_layout(options: dict[str, Any]) -> LayoutOptions:
    """The options of the layout; raises ``CommandError``."""
    if options["shop"] and not is_web_address(options["shop"]):
        raise CommandError("--shop must be a complete http or https URL.")
    if options["currency"]:
        try:
            clean_currency(options["currency"])
        except ValueError as error:
            raise CommandError(f"--currency: {error}") from error
    return LayoutOptions(
        retailer=options["retailer"], shop=options["shop"], currency=options["currency"]
    )


def _nameless(result: ImportResult) -> int:
    """How many products an import creates from a file without a column for their names."""
    return 0 if result.has_names else result.tables["products"].created


def _suggestion(error: UnknownLayout) -> str:
    """What to do about a file that no layout recognizes."""
    if not error.suggestion:
        return 'Say what the columns are, for example --map "EAN-Code=gtin" --map "Titel=name".'
    return f"Say what the columns are.{_suggested(error.suggestion)}"


def _suggested(mapping: Mapping[str, str]) -> str:
    """A suggested mapping as options; empty without one."""
    if not mapping:
        return ""
    shown = " ".join(
        f"--map {shlex.quote(f'{title}={target}')}" for title, target in mapping.items()
    )
    return f" Their titles and values suggest: {shown}"


def _unused(detected: DetectedFile) -> str:
    """The ignored columns that look like fields, and how to use them."""
    shown = ", ".join(f"{title} ({field})" for title, field in detected.unused.items())
    return f"Ignored, but may be fields: {shown}.{_suggested(detected.suggestion)}"
