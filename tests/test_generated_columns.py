"""Migrations that change the expression of a generated column keep indexes and tally right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.apps import apps
from django.db import connection, migrations, models
from django.db.migrations.state import ProjectState
from django.db.models import Case, Q, Value, When

from catalog import completeness
from catalog.completeness import ALL_MASKS, IsFilled
from catalog.models import Product
from closient.accounts.models import Organization
from dashboard.distribution import counts_by_mask
from tests import factories
from tests.counting import differences

pytestmark = pytest.mark.django_db

NEXT_BIT = len(ALL_MASKS)


# A new fact of the product's own columns, and one that is counted in its summary: the model and the
# column, its expression, and the condition of the new fact.
COLUMNS: dict[str, tuple[str, str, models.Expression, Any]] = {
    "own": ("product", "own_facts", completeness.own_facts(), IsFilled("manufacturer")),
    "counted": (
        "productsummary",
        "facts",
        completeness.static_facts(),
        Q(active_offer_count__gt=0),
    ),
}


@pytest.fixture
def product(organization: Organization) -> Product:
    product = factories.ProductFactory(
        organization=organization, described=True, manufacturer="Haferhof"
    )
    factories.ProductImageFactory(product=product)
    factories.OfferFactory(product=product)
    factories.CertificationAssignmentFactory(product=product, expiry_date=organization.today())
    factories.ProductFactory(organization=organization)
    product.refresh_from_db()
    return product


def migration_to(model: str, name: str, expression: models.Expression) -> Callable[[str], None]:
    """Return a function that runs a migration to another expression of a column."""
    field = models.GeneratedField(
        expression=expression, output_field=models.SmallIntegerField(), db_persist=True
    )
    operation = migrations.AlterField(model, name, field)
    before = ProjectState.from_apps(apps)
    after = before.clone()
    operation.state_forwards("catalog", after)

    def run(direction: str) -> None:
        states = (before, after) if direction == "forwards" else (after, before)
        with connection.schema_editor() as editor:
            getattr(operation, f"database_{direction}")("catalog", editor, *states)

    return run


@pytest.fixture(params=COLUMNS)
def with_new_fact(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """A migration to one more fact."""
    model, name, expression, condition = COLUMNS[request.param]
    bit = Case(When(condition, then=Value(NEXT_BIT)), default=Value(0))
    return migration_to(model, name, expression + bit)


def definitions() -> list[Any]:
    """Return the definitions of the columns, and of the tables' indexes and triggers."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT attrelid::regclass, format_type(atttypid, atttypmod), attnotnull, attgenerated,"
            " pg_get_expr(adbin, adrelid) FROM pg_attribute JOIN pg_attrdef"
            " ON adrelid = attrelid AND adnum = attnum"
            " WHERE attrelid IN ('catalog_product'::regclass, 'catalog_productsummary'::regclass)"
            " AND attname IN ('own_facts', 'facts') ORDER BY 1"
        )
        columns = cursor.fetchall()
        cursor.execute(
            "SELECT indexdef FROM pg_indexes"
            " WHERE tablename IN ('catalog_product', 'catalog_productsummary') ORDER BY 1"
        )
        indexes = cursor.fetchall()
        cursor.execute(
            "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid IN"
            " ('catalog_product'::regclass, 'catalog_productsummary'::regclass) ORDER BY 1"
        )
        return [columns, indexes, cursor.fetchall()]


def test_a_new_fact_reaches_the_tally(
    organization: Organization, product: Product, with_new_fact: Callable[[str], None]
) -> None:
    today = organization.today()
    before = counts_by_mask(organization.pk, today)
    mask = product.fact_mask(today)
    assert mask < NEXT_BIT
    with_new_fact("forwards")
    product.refresh_from_db()
    assert product.fact_mask(today) == mask | NEXT_BIT
    after = counts_by_mask(organization.pk, today)
    assert after == {
        (one | NEXT_BIT if one == mask else one): count for one, count in before.items()
    }
    assert differences() == []

    # The triggers and the generated columns keep working.
    product.manufacturer = ""
    product.save()
    product.offers.all().delete()
    other = factories.ProductFactory(organization=organization, manufacturer="Other")
    factories.OfferFactory(product=other)
    changed = counts_by_mask(organization.pk, today)
    assert sum(changed.values()) == 3
    assert sum(count for one, count in changed.items() if one & NEXT_BIT) == 1
    assert differences() == []


@pytest.mark.usefixtures("product")
def test_the_columns_and_their_indexes_are_the_same_after_a_way_back(
    organization: Organization, with_new_fact: Callable[[str], None]
) -> None:
    before, counts = definitions(), counts_by_mask(organization.pk, organization.today())
    with_new_fact("forwards")
    columns, indexes, triggers = definitions()
    assert columns != before[0]
    assert [indexes, triggers] == before[1:]
    with_new_fact("backwards")
    assert definitions() == before
    assert counts_by_mask(organization.pk, organization.today()) == counts
    assert differences() == []


def test_the_same_expression_changes_nothing() -> None:
    before = definitions()
    for model, name, expression, _ in COLUMNS.values():
        migration_to(model, name, expression)("forwards")
    assert definitions() == before
