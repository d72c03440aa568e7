"""Tenancy: the database rejects references to another organization."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps
from django.db import IntegrityError, models, transaction
from factory.django import DjangoModelFactory

from closient.accounts.models import Organization
from closient.db.tenancy import TenantForeignKey
from tests import factories


def references() -> Iterator[tuple[type[models.Model], str]]:
    """Yield each foreign key between two models of organizations."""
    for model in apps.get_models():
        for constraint in model._meta.constraints:
            if isinstance(constraint, TenantForeignKey) and constraint.field != "organization":
                yield model, constraint.field


def factory_of(model: Any) -> type[DjangoModelFactory]:
    """Return the factory of a model."""
    found: type[DjangoModelFactory] = getattr(factories, f"{model.__name__}Factory")
    return found


REFERENCES = list(references())


def test_every_reference_within_an_organization_has_a_constraint() -> None:
    """A new foreign key between tenant rows must be a tenant foreign key too."""
    tenant_models = {
        model
        for model in apps.get_models()
        if any(isinstance(constraint, TenantForeignKey) for constraint in model._meta.constraints)
    }
    found = {
        (model, field.name)
        for model in tenant_models
        for field in model._meta.fields
        if field.is_relation and field.related_model in tenant_models
    }
    assert found == set(REFERENCES)
    assert len(found) >= 5


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("model", "field"), REFERENCES, ids=[f"{m._meta.model_name}.{f}" for m, f in REFERENCES]
)
def test_database_rejects_references_to_another_organization(
    model: type[models.Model], field: str
) -> None:
    row: Any = factory_of(model)()
    target: Any = model._meta.get_field(field).related_model
    foreign = factory_of(target)(organization=factories.OrganizationFactory())
    assert row.organization_id != foreign.organization_id
    with pytest.raises(IntegrityError), transaction.atomic():
        type(row).objects.filter(pk=row.pk).update(**{field: foreign})
    with pytest.raises(IntegrityError), transaction.atomic():
        factory_of(model)(**{field: foreign}, organization=row.organization)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "model", sorted({m for m, _ in REFERENCES}, key=str), ids=lambda m: m._meta.model_name
)
def test_database_rejects_moving_a_row_to_another_organization(model: type[models.Model]) -> None:
    row: Any = factory_of(model)()
    other: Organization = factories.OrganizationFactory()
    with pytest.raises(IntegrityError), transaction.atomic():
        type(row).objects.filter(pk=row.pk).update(organization=other)
