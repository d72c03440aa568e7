"""A program that writes until a test kills it.

First it checks that the kill of the previous one left a consistent state, then it prints
``writing``, and a line before each write.
"""

# ruff: noqa: PLC0415 - Django has to be set up before its models can be imported.
from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import django

ROWS = 400


def main(seed: int, folder: Path) -> None:
    from django.core.management import call_command
    from django.db import transaction

    from catalog.models import Product, ProductImage
    from certifications.models import CertificationAssignment
    from closient.accounts.models import Organization
    from closient.tally.audit import audit
    from dashboard.imports import import_file
    from offers.models import Offer
    from tests import factories
    from tests.test_tally_under_load import Writer

    call_command("migrate", verbosity=0)
    organization = Organization.objects.first() or factories.OrganizationFactory()
    certification = organization.certifications.first() or factories.CertificationFactory(
        organization=organization
    )
    # Certificates of earlier clients have smaller numbers.
    factories.CertificationAssignmentFactory.reset_sequence(seed * 100_000)
    found = audit(organization.pk)
    imported = Product.objects.filter(manufacturer="Imported").count()
    print("audit", found or "clean", "imported", imported % ROWS, flush=True)

    file = folder / f"{seed}.csv"
    file.write_text(
        "gtin,name,manufacturer,image_url\n"
        + "".join(
            f"{factories.gtin(50_000_000_000 + seed * ROWS + n)},Product {n},Imported,https://e.com/{n}.jpg\n"
            for n in range(ROWS)
        )
    )
    rng = random.Random(seed)
    writer = Writer(seed, organization, certification)
    writes = [
        writer.add_product,
        writer.add_image,
        writer.add_offer,
        writer.add_certificates,
        writer.change_offers,
        lambda: writer.delete(ProductImage),
        lambda: writer.delete(Offer),
        lambda: writer.delete(CertificationAssignment),
        lambda: Product.objects.filter(manufacturer="Imported").update(description="Changed"),
    ]
    print("writing", flush=True)
    while True:
        print("write", flush=True)
        with transaction.atomic():
            for write in rng.sample(writes, 3):
                write()
        print("import", flush=True)
        if rng.random() < 0.5:
            import_file(file, organization)
            file.write_text(file.read_text().replace("Product", "Another"))


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "closient.settings")
    django.setup()
    main(int(sys.argv[1]), Path(sys.argv[2]))
