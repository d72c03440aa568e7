"""The grid: many products edited cell by cell, saved together."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django.http import QueryDict

from catalog.editing import change_product
from catalog.models import Product
from catalog.serializers import ProductSerializer
from closient.accounts.models import Organization
from closient.http.exceptions import field_errors

# The fields that can be columns, with their titles.
COLUMNS = {
    "name": "Name",
    "brand": "Brand",
    "category": "Category",
    "country_of_origin": "Country",
    "manufacturer": "Manufacturer",
    "net_content": "Net content",
    "gpc_brick_code": "GPC brick",
    "description": "Description",
    "status": "Status",
}


class CellsRejected(Exception):
    """Some cells cannot be saved, and nothing was; ``errors`` by the names of the cells."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__(f"{len(errors)} cells were rejected.")
        self.errors = errors


@dataclasses.dataclass(frozen=True)
class Edited:
    """A product with the cells that were edited: the new text, and the one that was shown."""

    key: UUID
    cells: Mapping[str, tuple[str, str]]


def cell_name(key: UUID | str, field: str) -> str:
    """Return the name of a cell in the form."""
    return f"cell.{key}.{field}"


def value_of(product: Product, field: str) -> str:
    """Return the text of a cell."""
    return product.brand_name if field == "brand" else str(getattr(product, field))


def edited_rows(data: QueryDict, keys: Sequence[UUID], fields: Sequence[str]) -> list[Edited]:
    """Return the products of a form with edited cells; all line breaks are compared as equal."""
    rows = []
    for key in keys:
        cells = {}
        for field in fields:
            name = cell_name(key, field)
            if name in data:
                text = str(data[name]).replace("\r\n", "\n")
                was = str(data.get(f"was.{name}", "")).replace("\r\n", "\n")
                if text != was:
                    cells[field] = (text, was)
        if cells:
            rows.append(Edited(key, cells))
    return rows


def save_cells(organization: Organization, rows: Sequence[Edited]) -> int:
    """Save edited cells, all or none; return how many products changed.

    Must be called in a transaction. Raises :class:`CellsRejected` for values that break a rule, and
    for cells that another person has changed since they were shown.
    """
    products = Product.objects.of(organization).filter(pk__in=[row.key for row in rows])
    list(products.order_by("pk").select_for_update(no_key=True).values_list("pk"))
    found = {product.pk: product for product in products.select_related("brand").order_by("pk")}
    errors: dict[str, str] = {}
    changes: list[tuple[Product, dict[str, Any]]] = []
    for row in rows:
        product = found.get(row.key)
        if product is None:
            name = cell_name(row.key, next(iter(row.cells)))
            errors[name] = "This product has been deleted."
            continue
        for field, (text, was) in row.cells.items():
            now = value_of(product, field)
            if now not in (was, text):
                by = f" by {product.updated_by}" if product.updated_by else ""
                errors[cell_name(row.key, field)] = f"Changed{by} meanwhile, to: {now or 'empty'}"
        serializer = ProductSerializer(
            data={field: text for field, (text, _) in row.cells.items()}, partial=True
        )
        if serializer.is_valid():
            changes.append((product, serializer.validated_data))
            continue
        for error in field_errors(serializer.errors):
            field = error.pointer.removeprefix("#/").partition("/")[0]
            errors.setdefault(cell_name(row.key, field), error.detail)
    if errors:
        raise CellsRejected(errors)
    return sum(change_product(product, values) for product, values in changes)
