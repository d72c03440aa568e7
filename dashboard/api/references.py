"""Trade items that bodies and query parameters name by their GTIN."""

from __future__ import annotations

from catalog.gtin import InvalidGtin, normalize_gtin
from catalog.models import Product
from closient.accounts.models import Organization
from closient.http.parameters import Parameter, Refused
from closient.http.problems import FieldError, Problem


def product_named(organization: Organization, gtin: str) -> Product:
    """Return the organization's product for a GTIN-14 from a body, with only its key and GTIN.

    Raises a ``validation_error`` that points to the GTIN where there is none.
    """
    products = Product.objects.of(organization).filter(gtin=gtin).only("organization_id", "gtin")
    product = products.order_by().first()
    if product is None:
        detail = f"The organization has no product with the GTIN {gtin}: add it first."
        raise Problem("validation_error", errors=[FieldError("#/gtin", "unknown_gtin", detail)])
    return product


def gtin_parameter(rows: str) -> Parameter:
    """Return the filter for rows of one trade item; ``rows`` is what they are called."""

    def read(text: str) -> str:
        try:
            return normalize_gtin(text)
        except InvalidGtin as error:
            raise Refused(error.code, str(error)) from None

    schema = {
        "type": "string",
        "pattern": "^(?:[0-9]{8}|[0-9]{12,14})$",
        "examples": ["04012345678901"],
    }
    return Parameter(
        "gtin", f"{rows} of the trade item with this GTIN, in any of its lengths.", read, schema
    )
