"""Products: the list behind four of the numbers, and each product's life."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from catalog.completeness import FACTS
from catalog.editing import change_product, create_product
from catalog.lists import Order, ProductFilter, ProductList
from catalog.models import Product, ProductStatus, effective_rule
from closient.accounts.views import OrganizationView
from closient.db.transactions import run_with_retry
from closient.http import idempotency, merge_patch, openapi, pagination, parameters
from closient.http.fields import values_of
from closient.http.pagination import ListPage, page_of
from closient.http.problems import FieldError, Problem
from dashboard.api.fields import merged_metadata
from catalog.serializers import ProductSerializer

TAGS = ["Trade items"]

FILTERS = (
    parameters.boolean(
        "complete",
        "Trade items that reach the organization's threshold, or those that do not. `true` is the "
        "list behind `complete_products`.",
        example=True,
    ),
    parameters.choices(
        "missing",
        "Trade items that lack all of these facts. `images` is the list behind `missing_images`.",
        words=[fact.name for fact in FACTS],
        example="images,description",
    ),
    parameters.integer(
        "min_completeness",
        "Trade items of at least this percentage.",
        minimum=0,
        maximum=100,
        example=50,
    ),
    parameters.integer(
        "max_completeness",
        "Trade items of at most this percentage.",
        minimum=0,
        maximum=100,
        example=79,
    ),
    parameters.choice(
        "status", "Trade items in this status.", words=ProductStatus.values, example="active"
    ),
    parameters.text(
        "brand",
        "Trade items of the brand of this name; case and the number of blanks do not matter.",
        max_length=255,
        example="Haferhof",
    ),
    parameters.text(
        "q",
        "Digits: trade items whose GTIN begins so, in any of its lengths. Else trade items with "
        "these words, or beginnings of words, in their name; case and accents do not matter.",
        max_length=255,
        example="oat",
    ),
)
ORDERING = parameters.choice(
    "ordering",
    "Order of the list, newest first by default. Ties come newest first.",
    words=[order.value for order in Order if order is not Order.NEWEST],
    example="completeness",
)
LIST_PARAMETERS = (*FILTERS, ORDERING, *pagination.PARAMETERS)


def product_filter(values: dict[str, Any]) -> ProductFilter:
    """Return which products the parameters ask for."""
    return ProductFilter(
        is_complete=values["complete"],
        missing=tuple(values["missing"] or ()),
        min_percentage=values["min_completeness"],
        max_percentage=values["max_completeness"],
        status=values["status"],
        brand=values["brand"],
        text=values["q"],
    )


class _ProductsView(OrganizationView):
    """A view that shows products: judged by the organization's rule, today."""

    organization_related = ("completeness_rule",)

    def address_of(self, row: Product) -> str:
        """Return the address of a product."""
        return reverse("trade-item", args=(row.organization_id, row.gtin))

    def context(self) -> dict[str, Any]:
        """Return what the serializer judges products by."""
        return {"rule": effective_rule(self.organization), "day": self.organization.today()}

    def shown(self, product: Product) -> dict[str, Any]:
        """Return a product as it is shown."""
        body: dict[str, Any] = ProductSerializer(product, context=self.context()).data
        return body

    def find(self, gtin: str | None, *, is_locked: bool = False) -> Product:
        """Return the organization's product of a GTIN with its brand, or raise ``not_found``."""
        if gtin is None:
            raise Problem("not_found")
        products = Product.objects.of(self.organization).filter(gtin=gtin).order_by()
        if is_locked:
            # A statement before the one that reads: a lock that waited returns the row as it is
            # now, joined to a brand as it was.
            products.select_for_update(no_key=True).values_list("pk").first()
        product = products.select_related("brand").first()
        if product is None:
            raise Problem("not_found")
        return product

    def find_to_write(self, gtin: str | None) -> Product:
        """Return the product with its row locked and its version checked."""
        product = self.find(gtin, is_locked=True)
        self.check_version(lambda: self.shown(product))
        return product


class ProductsView(_ProductsView):
    """The list, and a new product."""

    query_parameters = LIST_PARAMETERS

    @extend_schema(
        operation_id="list_trade_items",
        summary="List trade items",
        description="The organization's trade items that match all given filters. `total_count` "
        "without filters is `total_products`, with `complete=true` it is `complete_products`, "
        "and with `missing=images` it is `missing_images`.",
        tags=TAGS,
        parameters=[openapi.ORGANIZATION_ID, *(p.documented() for p in LIST_PARAMETERS)],
        responses=openapi.responses(page_of(ProductSerializer), "A page.", "validation_error"),
    )
    def get(self, request: Request, organization_id: UUID) -> Response:
        """Return a page of products."""
        page, values = ListPage.read(request, self.query_parameters)
        context = self.context()
        listed = ProductList(
            self.organization.id,
            rule=context["rule"],
            day=context["day"],
            filters=product_filter(values),
            order=Order(values["ordering"] or ""),
        )
        products, total_count = listed.page(start=page.start, end=page.end, after=page.after)
        shown = ProductSerializer(context=context)
        return page.answer(
            products,
            total_count=total_count,
            show=lambda rows: [shown.to_representation(product) for product in rows],
            position=listed.position,
        )

    @extend_schema(
        operation_id="create_trade_item",
        summary="Create a trade item",
        description="Adds a trade item. A GTIN that the organization already has gets 409.",
        tags=TAGS,
        parameters=[openapi.ORGANIZATION_ID, idempotency.PARAMETER, idempotency.REPLAYED_HEADER],
        request=ProductSerializer,
        responses=openapi.written(
            201,
            ProductSerializer,
            "The new trade item.",
            "conflict",
            "unsupported_media_type",
            "validation_error",
        ),
    )
    def post(self, request: Request, organization_id: UUID) -> Response:
        """Make a product."""
        values = values_of(ProductSerializer(data=request.data))
        organization = self.organization

        def write() -> Response:
            product = create_product(organization.id, values)
            body = self.shown(self.find(product.gtin))
            return Response(body, status=201, headers={"Location": self.address_of(product)})

        return idempotency.idempotent(request, organization.id, write)


class ProductView(_ProductsView):
    """One product."""

    @extend_schema(
        operation_id="get_trade_item",
        summary="Get a trade item",
        description="The trade item with its completeness today.",
        tags=TAGS,
        parameters=[openapi.ORGANIZATION_ID, openapi.GTIN],
        responses=openapi.responses(ProductSerializer, "The trade item."),
    )
    def get(self, request: Request, organization_id: UUID, gtin: str | None) -> Response:
        """Return the product."""
        return Response(self.shown(self.find(gtin)))

    @extend_schema(
        operation_id="update_trade_item",
        summary="Change a trade item",
        description="Changes the given fields and keeps the rest; metadata is merged, and null "
        "removes a key. Read-only fields are ignored, except that another `gtin` is "
        "rejected: it would be another trade item. `updated_at` moves when something changes.",
        tags=TAGS,
        parameters=[openapi.ORGANIZATION_ID, openapi.GTIN],
        request=ProductSerializer(partial=True),
        responses=openapi.written(
            200,
            ProductSerializer,
            "The trade item.",
            "conflict",
            "unsupported_media_type",
            "validation_error",
        ),
    )
    def patch(self, request: Request, organization_id: UUID, gtin: str | None) -> Response:
        """Change the product."""

        def values_for(product: Product) -> dict[str, Any]:
            body = merge_patch.body_of(request, self.shown(product))
            values = values_of(ProductSerializer(data=body, partial=True))
            if values.pop("gtin", gtin) != gtin:
                detail = "A GTIN cannot be changed: another GTIN is another trade item."
                error = FieldError("#/gtin", "immutable", detail)
                raise Problem("validation_error", errors=[error])
            return values

        # What is not there is 404 whatever the body says; and a body may come slowly, so that it
        # is read before the row is locked.
        values_for(self.find(gtin))

        def write() -> dict[str, Any]:
            product = self.find_to_write(gtin)
            # Merged again, into what the row holds now that it is locked.
            values = values_for(product)
            if "metadata" in values:
                values["metadata"] = merged_metadata(product.metadata, values["metadata"])
            is_changed = change_product(product, values)
            return self.shown(self.find(gtin) if is_changed else product)

        return Response(run_with_retry(write))

    @extend_schema(
        operation_id="delete_trade_item",
        summary="Delete a trade item",
        description="Deletes the trade item for good, with its images, offers and "
        "certifications. One that comes back is better `discontinued`.",
        tags=TAGS,
        parameters=[openapi.ORGANIZATION_ID, openapi.GTIN],
        responses=openapi.written(204, None, "Deleted."),
    )
    def delete(self, request: Request, organization_id: UUID, gtin: str | None) -> Response:
        """Delete the product."""
        run_with_retry(lambda: self.find_to_write(gtin).delete())
        return Response(status=204)
