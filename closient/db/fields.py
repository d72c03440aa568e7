"""The foreign key to the organization, and the normal form of values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models

from closient.text.validators import InvalidText


def organization_fk(related_name: str) -> Any:
    """The foreign key to the organization; its constraint is a ``TenantForeignKey``."""
    return models.ForeignKey(
        "accounts.Organization",
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name=related_name,
    )


def normalize_fields(row: models.Model, **cleaners: Callable[[Any], Any]) -> None:
    """Replace each value that is not empty with the result of its cleaner.

    Raises ``ValidationError`` with the messages of all cleaners that rejected a value.
    """
    rejected = {}
    for field, cleaner in cleaners.items():
        value = getattr(row, field)
        if not value:
            continue
        try:
            setattr(row, field, cleaner(value))
        except InvalidText as clause:
            rejected[field] = f"The {field} {clause}."
        except ValueError as sentence:
            rejected[field] = str(sentence)
    if rejected:
        raise ValidationError(rejected)
