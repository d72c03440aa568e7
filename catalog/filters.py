"""The filters of lists of products, and filters by product for lists of other rows."""

from __future__ import annotations

from typing import Any

from django.db.models import F, Q, Subquery

from catalog.completeness import FACTS, mask_of
from catalog.gtin import InvalidGtin, normalize_gtin
from catalog.models import Brand, ProductStatus, found_by, of_products_found_by
from closient.http import parameters
from closient.http.lists import Filter
from closient.http.parameters import InvalidParameter, Parameter


def _of_brand(name: str, products: Any) -> Q:
    named = Brand.objects.named(name).filter(organization=products.organization_id)
    return Q(brand=Subquery(named.order_by().values("pk")))


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
    Filter(
        parameter=parameters.choice(
            "status", "Trade items in this status.", words=ProductStatus.values, example="active"
        ),
        condition=lambda status, _: Q(status=status),
        matches=lambda status, bucket, _: bucket.status == status,
        label="Status",
    ),
    Filter(
        parameter=parameters.text(
            "brand",
            "Trade items of the brand with this name; case and repeated blanks do not matter.",
            max_length=255,
            example="Haferhof",
        ),
        condition=_of_brand,
        label="Brand",
    ),
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
