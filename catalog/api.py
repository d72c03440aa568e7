"""The API of products, of their completeness, and of the rule that rates it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response

from catalog.batches import ProductUpsert
from catalog.completeness import FACTS, Rule
from catalog.completeness_report import completeness_report
from catalog.editing import change_product, create_product
from catalog.lists import ProductList
from catalog.models import Product, effective_rule
from catalog.rule_editing import has_own_rule, locked, reset_rule, set_rule
from catalog.serializers import (
    CompletenessSerializer,
    ProductSerializer,
    RuleSerializer,
    rule_from,
)
from closient.accounts.api_views import OrganizationResource, OrganizationView
from closient.accounts.models import ApiKeyRole, Organization
from closient.db.transactions import run_with_retry
from closient.http import openapi
from closient.http.batches import BatchEndpoint, document_batch
from closient.http.resources import (
    CreateEndpoint,
    ListEndpoint,
    ResourceSchema,
    RowEndpoint,
)
from closient.http.serializers import values_of
from closient.text.validators import InvalidField

PRODUCTS = ResourceSchema(
    noun="trade_item",
    nouns="trade_items",
    a_noun="a trade item",
    serializer=ProductSerializer,
    tags=["Trade items"],
    row=openapi.GTIN,
)


class ProductResource(OrganizationResource):
    """The products of an organization, rated by its rule, today."""

    model = Product
    serializer_class = ProductSerializer
    route = "trade-item"
    lookup = "gtin"
    lookup_argument = "gtin"
    organization_related = ("completeness_rule",)

    def with_related(self, rows: Any) -> Any:
        """Add the brand and the summary."""
        return rows.select_related("brand", "summary")

    def context(self) -> dict[str, Any]:
        """The rule and the day."""
        return {"rule": effective_rule(self.organization), "day": self.organization.today()}


@extend_schema_view(
    get=PRODUCTS.list(
        "The organization's trade items that match all given filters. `total_count` without "
        "filters is `total_products`, with `complete=true` it is `complete_products`, and with "
        "`missing=images` it is `missing_images`.",
        parameters=ProductList.parameters(),
    ),
    post=PRODUCTS.create("Adds a trade item. A GTIN that the organization already has gets 409."),
)
class ProductsView(ProductResource, ListEndpoint, CreateEndpoint):
    """The list, and new products."""

    query_parameters = ProductList.parameters()

    def row_list(self, values: Mapping[str, Any]) -> ProductList:
        """Return the list for the values of the query parameters."""
        return ProductList.of(self.organization, values)

    def create(self, values: dict[str, Any]) -> Product:
        """Create a product, and return it with the facts that the database computes."""
        product = create_product(self.organization.id, values)
        created: Product = self.with_related(self.rows()).get(pk=product.pk)
        return created


@extend_schema_view(
    post=document_batch(
        PRODUCTS,
        "Creates or changes up to 1,000 trade items, found by their GTIN.",
        example={"gtin": "04012345678901", "name": "Oat drink", "brand": "Haferhof"},
    )
)
class ProductsBatchView(ProductResource, BatchEndpoint):
    """Many products at once."""

    upsert = ProductUpsert


@extend_schema_view(
    get=PRODUCTS.get("The trade item with its completeness today."),
    patch=PRODUCTS.update(
        "Changes the given fields and keeps the rest; metadata is merged, and null removes a key. "
        "Read-only fields are ignored, except that another `gtin` is rejected: it would be another "
        "trade item. `updated_at` changes if a value changes."
    ),
    delete=PRODUCTS.delete(
        "Deletes the trade item permanently, with its images, offers and certificates. If it may "
        "come back, set it to `discontinued` instead."
    ),
)
class ProductView(ProductResource, RowEndpoint):
    """One product."""

    def given_for(self, row: Product) -> dict[str, Any]:
        """Return the values of the body. Raises ``InvalidField`` for another GTIN."""
        values = super().given_for(row)
        if values.pop("gtin", row.gtin) != row.gtin:
            sentence = "A GTIN cannot be changed: another GTIN is another trade item."
            raise InvalidField(sentence, field="gtin", code="immutable")
        return values

    def change(self, row: Product, values: dict[str, Any]) -> Product:
        """Change a product, and return it with the facts that the database computes."""
        is_changed = change_product(row, values)
        product: Product = self.find() if is_changed else row
        return product


class CompletenessView(ProductResource):
    """The completeness of one product, explained."""

    @extend_schema(
        operation_id="get_trade_item_completeness",
        summary="Get a trade item's completeness",
        description="The completeness of a trade item today under the organization's rule: which "
        "facts it has, what each weighs, and what each missing one would add. The percentage is "
        "the sum of score times weight, computed in integers and rounded half up.",
        tags=PRODUCTS.tags,
        parameters=[*PRODUCTS.path, PRODUCTS.row],
        responses=openapi.responses(CompletenessSerializer, "The completeness, by fact."),
    )
    def get(self, request: Request, **kwargs: Any) -> Response:
        """Return the percentage and the facts behind it."""
        context = self.context()
        mask = self.find().fact_mask(context["day"])
        return Response(dataclasses.asdict(completeness_report(context["rule"], mask)))

    def with_related(self, rows: Any) -> Any:
        """Read only what the fact mask needs."""
        return rows.select_related("summary").only("summary__facts", "summary__certified_during")


class RuleView(OrganizationView):
    """The rule of an organization."""

    organization_related = ("completeness_rule",)
    write_role = ApiKeyRole.MANAGER

    @extend_schema(
        operation_id="get_completeness_rule",
        summary="Get the completeness rule",
        description="The weights and the threshold behind every percentage of the organization: "
        "its own rule or the default rule.",
        tags=["Dashboard"],
        parameters=[openapi.ORGANIZATION_ID],
        responses=openapi.responses(RuleSerializer, "The rule."),
    )
    def get(self, request: Request, **kwargs: Any) -> Response:
        """Return the rule."""
        return Response(_shown_of(self.organization))

    @extend_schema(
        operation_id="set_completeness_rule",
        summary="Set the completeness rule",
        description="Sets the organization's own rule: all weights and the threshold. Weights "
        "are relative and need not sum to 100. The next response uses the new rule, at any "
        "catalog size. For owners, managers and manager keys.",
        tags=["Dashboard"],
        parameters=[openapi.ORGANIZATION_ID],
        request=RuleSerializer,
        responses=openapi.written(
            200,
            RuleSerializer,
            "The rule that now applies.",
            "conflict",
            "unsupported_media_type",
            "validation_error",
        ),
    )
    def put(self, request: Request, **kwargs: Any) -> Response:
        """Replace the rule."""
        rule = rule_from(values_of(RuleSerializer(data=request.data)))
        self._write(lambda: set_rule(self.organization, rule))
        return Response(_shown(rule, is_default=False))

    @extend_schema(
        operation_id="reset_completeness_rule",
        summary="Reset to the default rule",
        description="Deletes the organization's own rule, if it has one; the default rule applies "
        "again. For owners, managers and manager keys.",
        tags=["Dashboard"],
        parameters=[openapi.ORGANIZATION_ID],
        responses=openapi.written(204, None, "The default rule applies."),
    )
    def delete(self, request: Request, **kwargs: Any) -> Response:
        """Delete the organization's own rule."""
        self._write(lambda: reset_rule(self.organization))
        return Response(status=204)

    def _write(self, change: Callable[[], None]) -> None:
        """Change the rule in a transaction, if its version matches."""

        def write() -> None:
            if self.names_versions:
                organization = locked(self.organization)
                self.check_version(lambda: _shown_of(organization))
            change()

        run_with_retry(write)


def _shown_of(organization: Organization) -> dict[str, Any]:
    return _shown(effective_rule(organization), is_default=not has_own_rule(organization))


def _shown(rule: Rule, *, is_default: bool) -> dict[str, Any]:
    return {
        "weights": {fact.name: rule.weight(fact) for fact in FACTS},
        "threshold": rule.threshold,
        "is_default": is_default,
    }
