"""Batches of products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from catalog.editing import assign_to_product
from catalog.models import Brand, Product
from closient.db.transactions import StaleRead
from closient.http.batches import Upsert, Values


class ProductUpsert(Upsert[Product]):
    """Products by GTIN, together with their brands."""

    model = Product
    key = ("gtin",)
    key_words = "GTIN"
    columns = (
        "name",
        "description",
        "brand",
        "manufacturer",
        "category",
        "gpc_brick_code",
        "country_of_origin",
        "net_content",
        "nutrition",
        "status",
        "metadata",
    )

    def resolve(self, values: Sequence[Values]) -> Sequence[Values]:
        """Replace the brands' names by their keys."""
        names = [one["brand_name"] for one in values if one.get("brand_name")]
        brands = Brand.objects.for_names(self.organization_id, names) if names else {}
        self._new_brands = {brand.pk: brand for brand in brands.values() if brand._state.adding}
        return [_with_brand_id(one, brands) for one in values]

    def new(self, values: Values) -> Product:
        """Return a product that is not saved yet."""
        return Product(organization_id=self.organization_id, **values)

    def assign(self, row: Product, values: Values) -> Sequence[str]:
        """Set columns of a product; return those that differ."""
        return assign_to_product(row, values)

    def save_references(self, values: Sequence[Values]) -> None:
        """Create the brands that do not exist yet."""
        used = {one.get("brand_id") for one in values}
        brands = [brand for key, brand in self._new_brands.items() if key in used]
        if not brands:
            return
        # In the order of their keys; waits for others that create the same ones.
        Brand.objects.bulk_create(brands, ignore_conflicts=True)
        created = Brand.objects.filter(pk__in=[brand.pk for brand in brands])
        if created.count() < len(brands):
            raise StaleRead("Another transaction has created a brand of the batch.")


def _with_brand_id(values: Values, brands: dict[str, Brand]) -> dict[str, Any]:
    columns = dict(values)
    if "brand_name" in columns:
        name = columns.pop("brand_name")
        columns["brand_id"] = brands[name].pk if name else None
    return columns
