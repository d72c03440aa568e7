"""What the database refuses: told in the words of the model that declares the rule."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import IntegrityError, connection, transaction

from catalog.models import Brand, Product
from closient.accounts.models import MemberRole, Membership
from closient.db.ids import uuid7
from closient.http.conflicts import GONE, problem_of_refusal
from closient.http.problems import ERRORS, FieldError, Problem
from tests.factories import (
    BrandFactory,
    MembershipFactory,
    OrganizationFactory,
    ProductFactory,
    ProductImageFactory,
)

pytestmark = pytest.mark.django_db


def refused(write: Callable[[], object]) -> Problem | None:
    """Return what becomes of a write that the database refuses, at once or at commit."""
    with pytest.raises(IntegrityError) as caught, transaction.atomic():
        write()
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    return problem_of_refusal(caught.value)


def told(problem: Problem | None) -> tuple[str, str, tuple[FieldError, ...]]:
    assert problem is not None
    return problem.kind.error_code, problem.detail, problem.errors


def test_a_row_that_is_there_twice_is_a_conflict_in_the_models_words() -> None:
    image = ProductImageFactory(is_primary=True)
    again = refused(lambda: ProductImageFactory(product=image.product, is_primary=True))
    assert told(again) == ("conflict", "A product has one primary image only.", ())


def test_a_row_that_is_there_twice_is_a_conflict_where_the_model_says_nothing() -> None:
    image = ProductImageFactory(is_imported=True)
    again = refused(lambda: ProductImageFactory(product=image.product, is_imported=True))
    assert told(again) == ("conflict", ERRORS["conflict"].detail, ())


def test_a_value_that_breaks_a_rule_is_not_valid() -> None:
    problem = refused(lambda: ProductFactory(gpc_brick_code="123"))
    error = FieldError("#", "catalog_product_gpc_brick_code", "A GPC brick code has eight digits.")
    assert told(problem) == ("validation_error", ERRORS["validation_error"].detail, (error,))


def test_reference_to_a_deleted_or_foreign_row_is_a_conflict() -> None:
    product = ProductFactory()
    for brand_id in (uuid7(), BrandFactory(organization=OrganizationFactory()).pk):
        rows = Product.objects.filter(pk=product.pk)
        problem = refused(lambda rows=rows, key=brand_id: rows.update(brand_id=key))
        assert told(problem) == ("conflict", GONE, ())


def test_a_rule_that_only_a_trigger_knows_is_a_conflict() -> None:
    owner = MembershipFactory(role=MemberRole.OWNER)
    MembershipFactory(organization=owner.organization, role=MemberRole.VIEWER)
    problem = refused(lambda: Membership.objects.filter(pk=owner.pk).delete())
    assert told(problem) == ("conflict", ERRORS["conflict"].detail, ())


def test_a_mistake_of_ours_is_a_crash() -> None:
    brand = BrandFactory()
    rows = Brand.objects.filter(pk=brand.pk)
    assert refused(lambda: rows.update(name=None)) is None
    assert (
        refused(lambda: Product.objects.filter(pk=ProductFactory().pk).update(status="x")) is None
    )
