"""The filters of lists of products, and filters by product for lists of other rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from django.db.models import F, Q, Subquery

from catalog.completeness import FACTS, mask_of
from catalog.countries import country_code, country_names
from catalog.gtin import InvalidGtin, normalize_gtin
from catalog.models import Brand, Product, ProductStatus, found_by, of_products_found_by
from closient.http import parameters
from closient.http.lists import Filter
from closient.http.parameters import InvalidParameter, Parameter


def _of_brand(name: str, products: Any) -> Q:
    if not name:
        return Q(brand=None)
    named = Brand.objects.named(name).filter(organization=products.organization_id)
    return Q(brand=Subquery(named.order_by().values("pk")))


def _of_retailer(name: str, products: Any) -> Q:
    sold = Product.objects.of(products.organization_id).filter(
        offers__organization=products.organization_id, offers__retailer=name
    )
    return Q(pk__in=sold.order_by().values("pk"))


def _read_country(text: str) -> str:
    code = country_code(text) if text.strip() else ""
    if code is None:
        raise InvalidParameter(
            "country", "Must be an ISO 3166-1 country code, such as DE, or the name of a country."
        )
    return code


# Filters by what a product has, for lists of products and, with a condition on their product, for
# lists of other rows. Their descriptions begin with what a list's rows are called.
_BRAND = Filter(
    parameter=parameters.text(
        "brand",
        "{rows} of the brand with this name; case and repeated blanks do not matter. Empty: "
        "without a brand.",
        min_length=0,
        max_length=255,
        example="Haferhof",
    ),
    condition=_of_brand,
    label="Brand",
    suggest="brand",
    blank="No brand",
)
_CATEGORY = Filter(
    parameter=parameters.text(
        "category",
        "{rows} of exactly this category. Empty: without a category.",
        min_length=0,
        max_length=255,
        example="Breakfast cereals",
    ),
    condition=lambda category, _: Q(category=category),
    label="Category",
    suggest="category",
    blank="No category",
)
_COUNTRY = Filter(
    parameter=Parameter(
        "country_of_origin",
        "{rows} of this country of origin, by its ISO 3166-1 code or its name. Empty: without a "
        "country of origin.",
        _read_country,
        {"type": "string", "maxLength": 255, "pattern": "^[^\\x00]*$", "examples": ["DE"]},
    ),
    condition=lambda code, _: Q(country_of_origin=code),
    label="Country",
    suggest="country_of_origin",
    labels=dict(country_names()),
    blank="No country",
)
_RETAILER = Filter(
    parameter=parameters.text(
        "retailer",
        "{rows} with an offer, in any status, of the retailer with exactly this name; empty: of "
        "no named retailer.",
        min_length=0,
        max_length=255,
        example="Example Market",
    ),
    condition=_of_retailer,
    label="Sold by",
    blank="Sold by no named retailer",
    has_control=False,
)
_STATUS = Filter(
    parameter=parameters.choice(
        "status", "{rows} in this status.", words=ProductStatus.values, example="active"
    ),
    condition=lambda status, _: Q(status=status),
    matches=lambda status, bucket, _: bucket.status == status,
    label="Status",
)


def _described(one: Filter, rows: str) -> Filter:
    description = one.parameter.description.format(rows=rows)
    return dataclasses.replace(
        one, parameter=dataclasses.replace(one.parameter, description=description)
    )


def _of_product(one: Filter, rows: str, **changes: Any) -> Filter:
    """Return a filter of products as a filter of rows by their product, without a control."""
    condition: Callable[[Any, Any], Q] | None = one.condition

    def of_products(value: Any, row_list: Any) -> Q:
        products = Product.objects.of(row_list.organization_id)
        if condition is not None:
            products = products.filter(condition(value, row_list))
        return Q(product__in=products.order_by().values("pk"))

    one = _described(one, f"{rows} of trade items")
    return dataclasses.replace(
        one, condition=of_products, matches=None, has_control=False, **changes
    )


def product_filters(rows: str, *, with_retailer: bool) -> tuple[Filter, ...]:
    """The filters of rows by brand, category, country and status of their product.

    ``rows`` is what the API calls them. ``with_retailer`` adds the one by the product's retailers.
    """
    status = dataclasses.replace(
        _STATUS.parameter, name="trade_item_status", description="{rows} in this status."
    )
    return (
        _of_product(_BRAND, rows),
        _of_product(_CATEGORY, rows),
        _of_product(_COUNTRY, rows),
        *([_of_product(_RETAILER, rows)] if with_retailer else []),
        _of_product(dataclasses.replace(_STATUS, parameter=status), rows, label="Product status"),
    )


def updated_since_filter(rows: str) -> Filter:
    """The filter of rows by their last change; ``rows`` is what the API calls them."""
    return Filter(
        parameter=parameters.moment(
            "updated_since",
            f"{rows} created or changed at this time or later, by `updated_at`. URL checks, and "
            "changes of other rows, do not count. Deleted ones are in the list of changes.",
            example="2026-11-24T09:30:00Z",
        ),
        condition=lambda moment, _: Q(updated_at__gte=moment),
        label="Changed since",
        has_control=False,
    )


PRODUCT_FILTERS = (
    Filter(
        parameter=parameters.boolean(
            "complete",
            "Trade items that reach the organization's threshold, or those that do not. `true` is "
            "the list behind `complete_products`.",
            example=True,
        ),
        matches=lambda is_complete, bucket, products: (
            is_complete == products.rule.is_complete(bucket.mask)
        ),
        label="Complete",
        labels={"true": "Complete", "false": "Not complete"},
        chip="{text}",
    ),
    Filter(
        parameter=parameters.choices(
            "missing",
            "Trade items without any of these facts. `images` is the list behind `missing_images`.",
            words=[fact.name for fact in FACTS],
            example="images,description",
        ),
        matches=lambda names, bucket, _: not bucket.mask & mask_of(names),
        label="Missing",
    ),
    Filter(
        parameter=parameters.integer(
            "min_completeness",
            "Trade items of at least this percentage.",
            minimum=0,
            maximum=100,
            example=50,
        ),
        matches=lambda minimum, bucket, products: products.rule.percentage(bucket.mask) >= minimum,
        label="From %",
        chip="At least {text}%",
    ),
    Filter(
        parameter=parameters.integer(
            "max_completeness",
            "Trade items of at most this percentage.",
            minimum=0,
            maximum=100,
            example=79,
        ),
        matches=lambda maximum, bucket, products: products.rule.percentage(bucket.mask) <= maximum,
        label="To %",
        chip="At most {text}%",
    ),
    *(_described(one, "Trade items") for one in (_STATUS, _BRAND, _CATEGORY, _COUNTRY, _RETAILER)),
    Filter(
        parameter=parameters.text(
            "q",
            "Digits: trade items whose GTIN, of any length, starts with them. Otherwise trade "
            "items whose name contains these words or words that start with them; case and "
            "accents do not matter.",
            max_length=255,
            example="oat",
        ),
        condition=lambda text, _: found_by(text),
        label="Search",
        chip="“{text}”",
        help="GTIN or name",
    ),
    updated_since_filter("Trade items"),
)


def gtin_filter(rows: str) -> Filter:
    """The filter of rows by the GTIN of their product; ``rows`` is what the API calls them."""
    return Filter(
        parameter=Parameter(
            "gtin",
            f"{rows} of the trade item with this GTIN, in any of its lengths.",
            _read_gtin,
            {
                "type": "string",
                "pattern": "^(?:[0-9]{8}|[0-9]{12,14})$",
                "examples": ["04012345678901"],
            },
        ),
        condition=lambda gtin, _: Q(product__gtin=gtin, product__organization=F("organization")),
        label="GTIN",
        suggest="product",
    )


def _read_gtin(text: str) -> str:
    try:
        return normalize_gtin(text)
    except InvalidGtin as error:
        raise InvalidParameter(error.code, str(error)) from None


def product_search_filter(rows: str) -> Filter:
    """The filter of rows by a search for their product; ``rows`` is what the API calls them."""
    return Filter(
        parameter=parameters.text(
            "q",
            f"Digits: {rows} of trade items whose GTIN, of any length, starts with them. Otherwise "
            f"{rows} of trade items whose name contains these words or words that start with "
            "them.",
            max_length=255,
            example="oat",
        ),
        condition=lambda text, _: of_products_found_by(text),
        label="Search",
        chip="“{text}”",
        help="GTIN or product name",
    )
