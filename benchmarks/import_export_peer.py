"""django-import-export in bulk mode on a file of ``benchmarks.import_rows``; prints its seconds.

The resource is generous: it inserts without looking rows up, knows the brands beforehand, and
validates no model; the images follow with ``bulk_create``. Run by ``benchmarks.import_rows``.
Arguments: the database, the organization's id, and the file.
"""

from __future__ import annotations

import csv
import os
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import UUID

import django


def main(database: str, organization_id: str, path: str) -> None:
    """Import the file in one transaction."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "closient.settings")
    django.setup()

    from django.db import connection  # noqa: PLC0415 - Django has to be set up first

    from catalog.models import Brand, Product, ProductImage  # noqa: PLC0415

    # Installed for the benchmark only.
    resources: Any = import_module("import_export.resources")
    tablib: Any = import_module("tablib")

    connection.settings_dict["NAME"] = database
    organization = UUID(organization_id)
    start = time.perf_counter()
    with Path(path).open(newline="") as file:
        data = tablib.Dataset().load(file, format="csv")
        file.seek(0)
        names = {row["brand"] for row in csv.DictReader(file)}
    created = Brand.objects.bulk_create(
        Brand(organization_id=organization, name=name) for name in sorted(names)
    )
    brands = {brand.name: brand.pk for brand in created}

    class ProductResource(resources.ModelResource):  # type: ignore[misc]
        """Products with the texts of the file; the rest is set before a row is saved."""

        class Meta:
            """What is imported."""

            model = Product
            fields = (
                "gtin",
                "name",
                "description",
                "category",
                "country_of_origin",
                "net_content",
            )
            import_id_fields = ("gtin",)
            use_bulk = True
            batch_size = 1000
            force_init_instance = True
            skip_diff = True
            use_transactions = True

        def before_save_instance(self, instance: Any, row: Any, **_: Any) -> None:
            """Set the organization, the brand and the nutrients."""
            instance.organization_id = organization
            instance.brand_id = brands[row["brand"]]
            instance.nutrition = {
                "nutrients": [
                    {"name": "energy", "amount": row["nutrient:energy:kJ"], "unit": "kJ"},
                    {"name": "fat", "amount": row["nutrient:fat:g"], "unit": "g"},
                ]
            }

    result = ProductResource().import_data(data, raise_errors=True)
    keys = dict(Product.objects.filter(organization=organization).values_list("gtin", "pk"))
    ProductImage.objects.bulk_create(
        (
            ProductImage(
                organization_id=organization,
                product_id=keys[row["gtin"]],
                external_url=row["image_url"],
                is_primary=True,
                is_imported=True,
            )
            for row in data.dict
        ),
        batch_size=1000,
    )
    seconds = time.perf_counter() - start
    assert result.totals["new"] == len(data), result.totals
    assert Product.objects.filter(organization=organization).count() == len(data)
    print(seconds)


if __name__ == "__main__":
    main(*sys.argv[1:])
