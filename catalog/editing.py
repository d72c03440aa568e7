"""Creating and changing products, together with their brands."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from catalog.models import Brand, Product
from closient.accounts.actors import current_actor
from closient.accounts.models import Organization
from closient.http.conflicts import writing
from closient.text.validators import InvalidField


def create_product(organization_id: UUID, values: Mapping[str, Any]) -> Product:
    """Create a product and return it.

    ``values`` are fields by name, in their stored form; the brand is given as ``brand_name``, empty
    for none. Raises ``IntegrityError`` if a constraint fails.
    """
    product = Product(organization_id=organization_id, **_columns(organization_id, values))
    with writing(product):
        product.save(force_insert=True)
    return product


def change_product(product: Product, values: Mapping[str, Any]) -> bool:
    """Change a product whose row the caller has locked; return whether anything changed.

    ``values`` are as in :func:`create_product`. Only columns that differ are written, along with
    ``updated_at``. Raises ``IntegrityError`` if a constraint fails.
    """
    changed = assign_to_product(product, _columns(product.organization_id, values))
    if changed:
        product.save(update_fields=[*changed, "updated_by"])
    return bool(changed)


def assign_to_product(product: Product, columns: Mapping[str, Any]) -> list[str]:
    """Set columns of a product without saving it; return those that differ."""
    changed = [name for name, value in columns.items() if getattr(product, name) != value]
    for name in changed:
        setattr(product, name, columns[name])
    return changed


def with_product(organization: Organization, values: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the GTIN-14 of a product in validated values, if there is one, by the product.

    The product has only its key and GTIN. Raises ``InvalidField`` if the organization has none with
    this GTIN.
    """
    if "product" not in values:
        return dict(values)
    gtin = values["product"]["gtin"]
    products = Product.objects.of(organization).filter(gtin=gtin).only("organization_id", "gtin")
    product = products.order_by().first()
    if product is None:
        raise _unknown_gtin(gtin)
    return {**values, "product": product}


def with_product_ids(
    organization_id: UUID, values: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any] | InvalidField]:
    """Replace the GTIN-14 in validated values of several rows by ``product_id``.

    One query. Returns an error instead of the values where the organization has no such product.
    """
    gtins = {one["product"]["gtin"] for one in values}
    products = Product.objects.of(organization_id).filter(gtin__in=gtins).order_by()
    ids = dict(products.values_list("gtin", "pk"))
    found: list[dict[str, Any] | InvalidField] = []
    for one in values:
        columns = dict(one)
        gtin = columns.pop("product")["gtin"]
        known = gtin in ids
        found.append({**columns, "product_id": ids[gtin]} if known else _unknown_gtin(gtin))
    return found


def _unknown_gtin(gtin: str) -> InvalidField:
    sentence = f"The organization has no product with the GTIN {gtin}: add it first."
    return InvalidField(sentence, field="gtin", code="unknown_gtin")


def change_status(organization_id: UUID, keys: Collection[UUID], status: str) -> int:
    """Set the status of some of an organization's products; return how many changed.

    Keys of other organizations' products are ignored. Rows are locked in the order of their keys,
    as in the triggers, which avoids deadlocks.
    """
    products = Product.objects.of(organization_id).filter(pk__in=keys).exclude(status=status)
    locked = products.order_by("pk").select_for_update(no_key=True).values_list("pk", flat=True)
    changed = Product.objects.of(organization_id).filter(pk__in=list(locked)).order_by()
    return changed.update(status=status, updated_by=current_actor())


def _columns(organization_id: UUID, values: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the brand's name in values by its key, creating the brand if needed."""
    columns = dict(values)
    name = columns.pop("brand_name", None)
    if name:
        columns["brand_id"] = Brand.objects.get_or_make(organization_id, name).pk
    elif name is not None:
        columns["brand_id"] = None
    return columns
