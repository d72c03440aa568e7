"""Make a demo catalogue for an organization."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from tqdm import tqdm

from closient.accounts.models import Organization
from closient.db.ids import format_id
from dashboard.demo.access import DEMO_ORGANIZATION
from dashboard.demo.seeding import DEFAULT_PRODUCTS, AlreadySeeded, seed

LARGEST = 10_000_000


class Command(BaseCommand):
    """Makes the same catalogue for the same number of products, all of it or nothing."""

    help = "Make a demo catalogue: the same number of products always gives the same numbers."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare --products and --organization."""
        parser.add_argument(
            "--products",
            type=int,
            default=DEFAULT_PRODUCTS,
            metavar="N",
            help=f"how many products (default: {DEFAULT_PRODUCTS})",
        )
        parser.add_argument(
            "--organization",
            default=DEMO_ORGANIZATION,
            metavar="NAME",
            help=f"name of the organization, made unless it exists (default: {DEMO_ORGANIZATION})",
        )

    def handle(self, *, products: int, organization: str, **options: Any) -> None:
        """Seed, and print what was written and the organization's id (alone on the last line)."""
        if not 1 <= products <= LARGEST:
            raise CommandError(f"--products must be from 1 to {LARGEST}; it is {products}.")
        with tqdm(total=products, unit=" products", disable=None) as bar, transaction.atomic():
            owner = _organization(organization)
            try:
                written = seed(owner, products=products, progress=bar)
            except AlreadySeeded as error:
                raise CommandError(
                    f"{error} Nothing was written: name another one with --organization."
                ) from error
        for name, rows in written.rows.items():
            self.stdout.write(f"{rows:>10,} {name} in {written.seconds[name]:.1f} s")
        self.stdout.write(f"Organization {owner.name}:")
        self.stdout.write(format_id(owner.pk))


def _organization(name: str) -> Organization:
    """Return the organization of a name, a new one if there is none."""
    found = list(Organization.objects.filter(name=name)[:2])
    if len(found) > 1:
        raise CommandError(f"Several organizations are called {name}: choose another name.")
    return found[0] if found else Organization.objects.create(name=name)
