"""What a bulk edit can change: the rows of a list, and their fields."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet
from django.http import QueryDict
from rest_framework import serializers

from catalog.lists import ProductList
from catalog.models import Brand, Product
from catalog.serializers import ProductSerializer
from certifications.lists import AssignmentList
from certifications.models import CertificationAssignment
from certifications.serializers import CertificationAssignmentSerializer
from closient.accounts.models import Organization
from closient.http.exceptions import field_errors
from closient.http.parameters import read_query, reject_unknown
from closient.http.problems import FieldError, Problem
from closient.http.unknown_names import MAX_UNKNOWN
from closient.text.urls import clean_url
from closient.text.validators import InvalidField
from dashboard.models import BulkEditKind
from offers.lists import OfferList
from offers.models import Channel, Offer
from offers.serializers import OfferSerializer

Columns = Mapping[str, Any]

REPLACE_IN_URL = "replace_in_url"
MAX_IDS = 1_000
MAX_URL = Offer._meta.get_field("url").max_length or 0


@dataclasses.dataclass(frozen=True)
class Replacement:
    """A part of the offers' addresses, and what to put there instead."""

    old: str
    new: str

    def applied(self, url: str) -> str:
        """Return an address with every occurrence replaced. Raises ``ValueError``."""
        new = clean_url(url.replace(self.old, self.new))
        if len(new) > MAX_URL:
            raise ValueError(f"An address has at most {MAX_URL:,} characters.")
        return new


@dataclasses.dataclass(frozen=True)
class Target:
    """The rows that one kind of bulk edit changes.

    ``fields`` are those of the serializer that can be set to one value for all rows.
    """

    kind: BulkEditKind
    model: type[Any]
    row_list: Any
    serializer: type[serializers.Serializer[Any]]
    fields: Sequence[str]
    columns_of: Callable[[UUID, Mapping[str, Any]], Columns]

    def rows(
        self,
        organization: Organization,
        filter_texts: Mapping[str, str] | None,
        ids: Sequence[UUID] | None,
    ) -> QuerySet[Any]:
        """Return the rows with ids, or those that match a filter. Raises a problem."""
        rows: QuerySet[Any]
        if ids is None:
            values = self.filter_values(filter_texts or {})
            rows = self.row_list.of(organization, values).matching
        else:
            rows = self.model.objects.of(organization).filter(pk__in=ids)
        return rows.order_by()

    def filter_values(self, texts: Mapping[str, str]) -> dict[str, Any]:
        """Return the values of a list's filters. Raises a ``validation_error``."""
        query = QueryDict(mutable=True)
        query.update(texts)
        parameters = [one.parameter for one in self.row_list.filters]
        try:
            reject_unknown(query, parameters)
            return read_query(query, parameters)
        except Problem as error:
            errors = [
                FieldError(e.pointer.replace("#/query/", "#/filter/"), e.code, e.detail)
                for e in error.errors
            ]
            raise Problem("validation_error", errors=errors) from error

    def validated(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values to set, as the serializer returns them; raises a problem.

        A replacement in addresses stays as it is given.
        """
        allowed = [*self.fields, *([REPLACE_IN_URL] if self.model is Offer else [])]
        unknown = list(
            itertools.islice((name for name in given if name not in allowed), MAX_UNKNOWN)
        )
        if unknown or not given:
            detail = f"Can be set for many rows: {', '.join(allowed)}."
            errors = [FieldError(f"#/set/{name}", "not_settable", detail) for name in unknown]
            raise Problem(
                "validation_error", errors=errors or [FieldError("#/set", "required", detail)]
            )
        values = {name: value for name, value in given.items() if name != REPLACE_IN_URL}
        serializer = self.serializer(data=values, partial=True)
        if values and not serializer.is_valid():
            raise Problem("validation_error", errors=[*field_errors(serializer.errors, "#/set")])
        result: dict[str, Any] = dict(serializer.validated_data) if values else {}
        if REPLACE_IN_URL in given:
            result[REPLACE_IN_URL] = _replacement(given[REPLACE_IN_URL])
        return result


def _replacement(given: Any) -> Replacement:
    is_valid = isinstance(given, Mapping) and given.keys() == {"old", "new"}
    texts = [given[name] for name in ("old", "new")] if is_valid else []
    if not is_valid or not all(isinstance(text, str) and len(text) <= 1000 for text in texts):
        raise Problem(
            "validation_error",
            errors=[
                FieldError(
                    f"#/set/{REPLACE_IN_URL}",
                    "replacement",
                    'Must be an object with two texts, such as {"old": "//shop.example.com/", '
                    '"new": "//www.example.com/"}.',
                )
            ],
        )
    if not texts[0]:
        raise Problem(
            "validation_error",
            errors=[
                FieldError(f"#/set/{REPLACE_IN_URL}/old", "blank", "Say what is to be replaced.")
            ],
        )
    if texts[0] == texts[1]:
        raise Problem(
            "validation_error",
            errors=[
                FieldError(
                    f"#/set/{REPLACE_IN_URL}/new",
                    "same",
                    "Both parts are the same.",
                )
            ],
        )
    return Replacement(*texts)


def _product_columns(organization_id: UUID, values: Mapping[str, Any]) -> Columns:
    columns = dict(values)
    name = columns.pop("brand_name", None)
    if name is not None:
        brand = Brand.objects.named(name).filter(organization=organization_id) if name else None
        columns["brand_id"] = None if brand is None else brand.values_list("pk", flat=True).first()
    return columns


def _own_columns(organization_id: UUID, values: Mapping[str, Any]) -> Columns:
    return values


PRODUCTS = Target(
    BulkEditKind.TRADE_ITEMS,
    Product,
    ProductList,
    ProductSerializer,
    (
        "brand",
        "category",
        "country_of_origin",
        "manufacturer",
        "gpc_brick_code",
        "net_content",
        "status",
        "name",
        "description",
        "nutrition",
    ),
    _product_columns,
)
OFFERS = Target(
    BulkEditKind.OFFERS,
    Offer,
    OfferList,
    OfferSerializer,
    ("status", "retailer", "store"),
    _own_columns,
)
CERTIFICATES = Target(
    BulkEditKind.CERTIFICATIONS,
    CertificationAssignment,
    AssignmentList,
    CertificationAssignmentSerializer,
    (
        "certificate_number",
        "issuing_body",
        "valid_from",
        "expiry_date",
        "verification_status",
        "verification_url",
    ),
    _own_columns,
)
TARGETS = {target.kind: target for target in (PRODUCTS, OFFERS, CERTIFICATES)}


def differs(target: Target, values: Mapping[str, Any], columns: Columns) -> Q:
    """Return the condition for rows that a change of columns would change."""
    conditions = []
    for name, value in columns.items():
        if isinstance(value, Replacement):
            conditions.append(Q(channel=Channel.ONLINE, url__contains=value.old))
        elif value is None and not values.get("brand_name"):
            conditions.append(Q(**{f"{name}__isnull": False}))
        elif value is None:
            # A brand that does not exist yet: no product has it.
            conditions.append(Q(pk__isnull=False))
        elif target.model._meta.get_field(name).null:
            conditions.append(Q(**{f"{name}__isnull": True}) | ~Q(**{name: value}))
        else:
            conditions.append(~Q(**{name: value}))
    return Q(*conditions, _connector=Q.OR)


def new_address(offer_url: str, replacement: Replacement) -> str:
    """Return an offer's new address, the same without the part. Raises ``InvalidField``."""
    if replacement.old not in offer_url:
        return offer_url
    try:
        return replacement.applied(offer_url)
    except ValueError as error:
        shown = offer_url.replace(replacement.old, replacement.new)
        sentence = f"{offer_url} would become {shown}: {error}"
        raise InvalidField(sentence[:1000], field="url", code="url") from error
