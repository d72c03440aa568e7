"""Tenancy enforced by the database: foreign keys cannot refer to another organization's rows.

Django's foreign keys have one column and cascade in Python. These also contain the organization and
cascade in the database: deleting a product with a thousand offers, or an organization with a
million products, is one statement and loads no rows. The Django field has ``db_constraint=False``
and ``on_delete=DO_NOTHING``.
"""

from __future__ import annotations

from typing import Any, Literal

import pgtrigger
from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import models
from django.db.backends.ddl_references import Statement

OnDelete = Literal["CASCADE", "SET NULL"]


class TenantForeignKey(models.BaseConstraint):
    """A foreign key from ``(field, organization)`` to ``(id, organization)`` of the other table.

    With ``field="organization"`` it is the plain foreign key to the organization. The referenced
    table needs a unique constraint on ``(id, organization)``.
    """

    def __init__(self, *, name: str, field: str, on_delete: OnDelete = "CASCADE") -> None:
        super().__init__(name=name)
        self.field = field
        self.on_delete = on_delete

    def _definition(self, model: Any, editor: Any) -> str:
        quote = editor.quote_name
        field = model._meta.get_field(self.field)
        own = quote(field.column)
        if self.field == "organization":
            columns, targets = own, quote("id")
        else:
            organization = quote("organization_id")
            columns, targets = (
                f"{own}, {organization}",
                f"{quote('id')}, {organization}",
            )
        # Only the reference becomes null: the row stays in its organization.
        action = f"SET NULL ({own})" if self.on_delete == "SET NULL" else self.on_delete
        table = quote(field.remote_field.model._meta.db_table)
        return f"FOREIGN KEY ({columns}) REFERENCES {table} ({targets}) ON DELETE {action}"

    def constraint_sql(self, model: Any, schema_editor: Any) -> str:
        name = schema_editor.quote_name(self.name)
        return f"CONSTRAINT {name} {self._definition(model, schema_editor)}"

    def create_sql(self, model: Any, schema_editor: Any) -> Any:
        return Statement(
            "ALTER TABLE %(table)s ADD %(constraint)s",
            table=schema_editor.quote_name(model._meta.db_table),
            constraint=self.constraint_sql(model, schema_editor),
        )

    def remove_sql(self, model: Any, schema_editor: Any) -> Any:
        return Statement(
            "ALTER TABLE %(table)s DROP CONSTRAINT %(name)s",
            table=schema_editor.quote_name(model._meta.db_table),
            name=schema_editor.quote_name(self.name),
        )

    def validate(
        self,
        model: type[models.Model],
        instance: models.Model,
        exclude: Any = None,
        using: str = "default",
    ) -> None:
        """Check the reference in a form, before the database does.

        Raises ``ValidationError`` for the field if it refers to another organization's row.
        """
        if self.field == "organization" or (exclude and self.field in exclude):
            return
        other = getattr(instance, self.field, None) if self._is_set(instance) else None
        if other is not None and other.organization_id != instance.organization_id:  # type: ignore[attr-defined]
            raise ValidationError(
                {self.field: f"This {self.field} belongs to another organization."},
                code="other_organization",
            )

    def _is_set(self, instance: models.Model) -> bool:
        return getattr(instance, f"{self.field}_id") is not None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TenantForeignKey) and self.deconstruct() == other.deconstruct()

    __hash__ = models.BaseConstraint.__hash__

    def deconstruct(self) -> tuple[str, Any, dict[str, Any]]:
        path, args, kwargs = super().deconstruct()
        return path, args, {**kwargs, "field": self.field, "on_delete": self.on_delete}


def tenant_models() -> list[type[models.Model]]:
    """Return the models with an organization, those first whose rows take most others along."""
    found = [
        model
        for model in apps.get_models()
        if any(isinstance(constraint, TenantForeignKey) for constraint in model._meta.constraints)
    ]
    return sorted(found, key=cascade_count, reverse=True)


def cascade_count(model: type[models.Model]) -> int:
    """Return how many relations delete rows along with those of a model."""
    return sum(
        isinstance(constraint, TenantForeignKey)
        and constraint.field == relation.field.name
        and constraint.on_delete == "CASCADE"
        for relation in model._meta.related_objects
        for constraint in relation.related_model._meta.constraints  # type: ignore[union-attr]
    )


class KeepOneOwner(pgtrigger.Trigger):
    """Rejects changes that leave an organization with members but no owner.

    Checked at commit, so ownership can be transferred in either order. The organization's row is
    locked first: if two owners leave at the same time, one of them fails.
    """

    name = "keep_one_owner"
    level = pgtrigger.Row
    when = pgtrigger.After
    operation = pgtrigger.Update | pgtrigger.Delete
    timing = pgtrigger.Deferred
    condition = pgtrigger.Condition("OLD.role = 'owner'")
    func = """
        PERFORM 1 FROM public.accounts_organization
            WHERE id = OLD.organization_id FOR NO KEY UPDATE;
        IF FOUND
            AND EXISTS (
                SELECT 1 FROM public.accounts_membership
                WHERE organization_id = OLD.organization_id
            )
            AND NOT EXISTS (
                SELECT 1 FROM public.accounts_membership
                WHERE organization_id = OLD.organization_id AND role = 'owner'
            )
        THEN
            RAISE EXCEPTION 'An organization with members keeps at least one owner.'
                USING ERRCODE = 'check_violation', CONSTRAINT = 'accounts_membership_one_owner';
        END IF;
        RETURN NULL;
    """
