"""Problems for writes that the database rejects, with the messages of the models' constraints."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.apps import apps
from django.db import IntegrityError
from django.db.models import BaseConstraint, CheckConstraint, Model, UniqueConstraint
from psycopg import errors

from closient.http.problems import FieldError, Problem

GONE = "A resource that the change refers to no longer exists: it has just been deleted."


def problem_of_integrity_error(error: IntegrityError) -> Problem | None:
    """Return the problem for a write rejected by the database, ``None`` for a bug of the service.

    A unique constraint is a ``conflict`` and a check a ``validation_error``, each with the
    constraint's ``violation_error_message``. An error of a trigger is a ``conflict``.
    """
    cause = error.__cause__
    if isinstance(cause, errors.ForeignKeyViolation):
        return Problem("conflict", GONE)
    if not isinstance(cause, errors.UniqueViolation | errors.CheckViolation):
        return None
    constraint = _constraints().get(cause.diag.constraint_name or "")
    sentence = _sentence_of(constraint)
    if isinstance(cause, errors.UniqueViolation) or constraint is None:
        return Problem("conflict", sentence)
    if sentence is None:
        return None
    return Problem("validation_error", errors=[FieldError("#", constraint.name, sentence)])


@contextmanager
def writing(row: Model) -> Iterator[None]:
    """Attach the row to the error of a rejected write, for :func:`conflicting_row`."""
    try:
        yield
    except IntegrityError as error:
        error.row = row  # type: ignore[attr-defined]
        raise


def conflicting_row(error: IntegrityError) -> Model | None:
    """Return the row that has the unique values of a rejected write.

    One query, which needs the transaction of the write to have ended. ``None`` if the row was
    deleted meanwhile, and for writes outside of :func:`writing`.
    """
    row: Model | None = getattr(error, "row", None)
    cause = error.__cause__
    if row is None or not isinstance(cause, errors.UniqueViolation):
        return None
    constraint = _constraints().get(cause.diag.constraint_name or "")
    if not isinstance(constraint, UniqueConstraint) or not constraint.fields:
        return None
    columns: dict[str, Any] = {name: row._meta.get_field(name) for name in constraint.fields}
    wanted = {name: getattr(row, field.attname) for name, field in columns.items()}
    return type(row)._base_manager.filter(**wanted).exclude(pk=row.pk).first()


def check_rules() -> dict[str, str]:
    """Return the message of each database check, by its error code."""
    return {
        name: sentence
        for name, constraint in sorted(_constraints().items())
        if isinstance(constraint, CheckConstraint) and (sentence := _sentence_of(constraint))
    }


def _sentence_of(constraint: BaseConstraint | None) -> str | None:
    """Return the model's message for a violation, ``None`` if it has none."""
    if constraint is None:
        return None
    sentence = str(constraint.violation_error_message)
    own = sentence != str(constraint.default_violation_error_message)
    return sentence if own else None


@functools.cache
def _constraints() -> dict[str, BaseConstraint]:
    return {
        constraint.name: constraint
        for model in apps.get_models()
        for constraint in model._meta.constraints
    }
