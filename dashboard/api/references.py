"""What bodies name: the rows that they refer to."""

from __future__ import annotations

from catalog.models import Product
from closient.accounts.models import Organization
from closient.api.problems import FieldError, Problem


def product_named(organization: Organization, gtin: str) -> Product:
    """Return the organization's product of a GTIN-14 from a body, with key and GTIN alone.

    Raises a ``validation_error`` that points to the GTIN where there is none.
    """
    products = Product.objects.of(organization).filter(gtin=gtin).only("organization_id", "gtin")
    product = products.order_by().first()
    if product is None:
        detail = f"The organization has no product with the GTIN {gtin}: add it first."
        raise Problem("validation_error", errors=[FieldError("#/gtin", "unknown_gtin", detail)])
    return product
