"""What is exported of each list: the columns of CSV and XLSX, and the objects of JSON Lines."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from catalog import exporting as catalog_exporting
from catalog.lists import ProductList
from certifications import exporting as certifications_exporting
from certifications.lists import AssignmentList
from closient.accounts.models import Organization
from offers import exporting as offers_exporting
from offers.lists import OfferList


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportTable:
    """The export of a list.

    ``name`` begins the names of its files and is the title of its sheets. ``rows`` yields a row of
    values below ``header`` for each row of a list, ``objects`` the resource of the API. Both read
    one snapshot in constant memory.
    """

    name: str
    row_list: Any
    header: Sequence[str]
    rows: Callable[[Any], Iterator[Sequence[Any]]]
    objects: Callable[[Any], Iterator[Mapping[str, Any]]]

    @property
    def title(self) -> str:
        """The title of its sheets."""
        return self.name.capitalize()

    def list_of(self, organization: Organization, values: Mapping[str, Any]) -> Any:
        """Return the list of an organization for the values of the query parameters."""
        return self.row_list.of(organization, values)


PRODUCTS = ExportTable(
    name="products",
    row_list=ProductList,
    header=catalog_exporting.HEADER,
    rows=catalog_exporting.exported_products,
    objects=catalog_exporting.product_objects,
)
OFFERS = ExportTable(
    name="offers",
    row_list=OfferList,
    header=offers_exporting.HEADER,
    rows=offers_exporting.exported_offers,
    objects=offers_exporting.offer_objects,
)
CERTIFICATIONS = ExportTable(
    name="certifications",
    row_list=AssignmentList,
    header=certifications_exporting.HEADER,
    rows=certifications_exporting.exported_assignments,
    objects=certifications_exporting.assignment_objects,
)
