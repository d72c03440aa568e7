"""Errors of the database as problems, with the messages of the models."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import IntegrityError, connection, transaction

from catalog.models import Brand, Product
from closient.accounts.models import MemberRole, Membership
from closient.db.ids import uuid7
from closient.http.conflicts import GONE, problem_of_integrity_error
from closient.http.problems import ERRORS, FieldError, Problem
from tests.factories import (
    BrandFactory,
    MembershipFactory,
    OrganizationFactory,
    ProductFactory,
    ProductImageFactory,
)

pytestmark = pytest.mark.django_db


def rejected(write: Callable[[], object]) -> Problem | None:
    """Return the problem for a write that the database rejects, immediately or at commit."""
    with pytest.raises(IntegrityError) as caught, transaction.atomic():
        write()
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    return problem_of_integrity_error(caught.value)


def summary(problem: Problem | None) -> tuple[str, str, tuple[FieldError, ...]]:
    assert problem is not None
    return problem.kind.error_code, problem.detail, problem.errors


def test_duplicate_row_is_a_conflict_with_the_message_of_the_model() -> None:
    image = ProductImageFactory(is_primary=True)
    again = rejected(lambda: ProductImageFactory(product=image.product, is_primary=True))
    assert summary(again) == ("conflict", "A product has one primary image only.", ())


def test_duplicate_row_is_a_conflict_without_a_message_of_the_model() -> None:
    image = ProductImageFactory()
    again = rejected(lambda: ProductImageFactory(product=image.product, pk=image.pk))
    assert summary(again) == ("conflict", ERRORS["conflict"].detail, ())


def test_violated_check_constraint_is_a_validation_error() -> None:
    problem = rejected(lambda: ProductFactory(gpc_brick_code="123"))
    error = FieldError("#", "catalog_product_gpc_brick_code", "A GPC brick code has eight digits.")
    assert summary(problem) == ("validation_error", ERRORS["validation_error"].detail, (error,))


def test_reference_to_a_deleted_or_foreign_row_is_a_conflict() -> None:
    product = ProductFactory()
    for brand_id in (uuid7(), BrandFactory(organization=OrganizationFactory()).pk):
        rows = Product.objects.filter(pk=product.pk)
        problem = rejected(lambda rows=rows, key=brand_id: rows.update(brand_id=key))
        assert summary(problem) == ("conflict", GONE, ())


def test_error_of_a_trigger_is_a_conflict() -> None:
    owner = MembershipFactory(role=MemberRole.OWNER)
    MembershipFactory(organization=owner.organization, role=MemberRole.VIEWER)
    problem = rejected(lambda: Membership.objects.filter(pk=owner.pk).delete())
    assert summary(problem) == ("conflict", ERRORS["conflict"].detail, ())


def test_programming_error_is_not_handled() -> None:
    brand = BrandFactory()
    rows = Brand.objects.filter(pk=brand.pk)
    assert rejected(lambda: rows.update(name=None)) is None
    assert (
        rejected(lambda: Product.objects.filter(pk=ProductFactory().pk).update(status="x")) is None
    )
