"""How rows belong to an organization, and how a form puts their values right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models

from closient.accounts.models import Organization
from closient.text.validators import UnfitText


def of_organization(related_name: str) -> Any:
    """Return the field that makes a row belong to an organization."""
    return models.ForeignKey(
        Organization,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name=related_name,
    )


def put_right(row: models.Model, **cleaners: Callable[[Any], Any]) -> None:
    """Give fields that hold something the value that their cleaner makes of it.

    Raises ``ValidationError`` with what each cleaner that refused had to say.
    """
    refused = {}
    for field, cleaner in cleaners.items():
        value = getattr(row, field)
        if not value:
            continue
        try:
            setattr(row, field, cleaner(value))
        except UnfitText as clause:
            refused[field] = f"The {field} {clause}."
        except ValueError as sentence:
            refused[field] = str(sentence)
    if refused:
        raise ValidationError(refused)
