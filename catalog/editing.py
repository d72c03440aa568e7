"""Writing products: what belongs together changes together."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

from catalog.models import Brand, Product
from closient.accounts.actors import current_actor
from closient.http.conflicts import writing


def create_product(organization_id: UUID, values: Mapping[str, Any]) -> Product:
    """Return a new, saved product.

    ``values`` are fields by name, in their stored form; the brand is given as ``brand_name``, empty
    for none. Raises what the database refuses as ``IntegrityError``.
    """
    product = Product(organization_id=organization_id, **_columns(organization_id, values))
    with writing(product):
        product.save(force_insert=True)
    return product


def change_product(product: Product, values: Mapping[str, Any]) -> bool:
    """Give a product, whose row the caller has locked, new values; return whether any is new.

    ``values`` are as in :func:`create_product`. Only columns that differ are written, and
    ``updated_at`` with them. Raises what the database refuses as ``IntegrityError``.
    """
    values = _columns(product.organization_id, values)
    changed = [name for name, value in values.items() if getattr(product, name) != value]
    for name in changed:
        setattr(product, name, values[name])
    if changed:
        product.save(update_fields=[*changed, "updated_by"])
    return bool(changed)


def change_status(organization_id: UUID, keys: Collection[UUID], status: str) -> int:
    """Give some of an organization's products a status; return how many had another one.

    Keys of other organizations' products are as if they were not there. The rows are locked in
    the order of their keys, as the triggers do it.
    """
    products = Product.objects.of(organization_id).filter(pk__in=keys).exclude(status=status)
    locked = products.order_by("pk").select_for_update(no_key=True).values_list("pk", flat=True)
    changed = Product.objects.of(organization_id).filter(pk__in=list(locked)).order_by()
    return changed.update(status=status, updated_by=current_actor())


def _columns(organization_id: UUID, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with the key of the brand in place of its name; a new name is a new brand."""
    columns = dict(values)
    name = columns.pop("brand_name", None)
    if name:
        columns["brand_id"] = Brand.objects.get_or_make(organization_id, name).pk
    elif name is not None:
        columns["brand_id"] = None
    return columns
