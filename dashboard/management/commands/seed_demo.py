"""Create a demo catalog for an organization."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from tqdm import tqdm

from closient.accounts.models import Organization
from closient.cells.routing import in_cell_of
from closient.db.ids import format_id
from dashboard.demo.access import DEMO_ORGANIZATION
from dashboard.demo.seeding import DEFAULT_PRODUCTS, AlreadySeeded, seed

MAX_PRODUCTS = 10_000_000


class Command(BaseCommand):
    """Creates a demo catalog in one transaction."""

    help = "Create a demo catalog: the same number of products always gives the same numbers."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare --products and --organization."""
        parser.add_argument(
            "--products",
            type=int,
            default=DEFAULT_PRODUCTS,
            metavar="N",
            help=f"number of products (default: {DEFAULT_PRODUCTS})",
        )
        parser.add_argument(
            "--organization",
            default=DEMO_ORGANIZATION,
            metavar="NAME",
            help=f"name of the organization, created if missing (default: {DEMO_ORGANIZATION})",
        )

    def handle(self, *, products: int, organization: str, **options: Any) -> None:
        """Create the catalog, and print the organization's id on the last line."""
        if not 1 <= products <= MAX_PRODUCTS:
            raise CommandError(f"--products must be from 1 to {MAX_PRODUCTS}; it is {products}.")
        found = _organization(organization)
        with (
            tqdm(total=products, unit=" products", disable=None) as bar,
            in_cell_of(found.pk if found else None),
            transaction.atomic(),
        ):
            owner = found or Organization.objects.create(name=organization)
            try:
                result = seed(owner, products=products, progress=bar)
            except AlreadySeeded as error:
                raise CommandError(
                    f"{error} Nothing was written. Choose another one with --organization."
                ) from error
        for name, rows in result.rows.items():
            self.stdout.write(f"{rows:>10,} {name} in {result.seconds[name]:.1f} s")
        self.stdout.write(f"Organization {owner.name}:")
        self.stdout.write(format_id(owner.pk))


def _organization(name: str) -> Organization | None:
    """Return the organization with a name, ``None`` if there is none."""
    found = list(Organization.objects.filter(name=name)[:2])
    if len(found) > 1:
        raise CommandError(f"Several organizations are named {name}. Choose another name.")
    return found[0] if found else None
