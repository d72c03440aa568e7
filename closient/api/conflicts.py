"""What the database refused, in the words of the model that declares the rule."""

from __future__ import annotations

import functools

from django.apps import apps
from django.db import IntegrityError
from django.db.models import BaseConstraint
from psycopg import errors

from closient.api.problems import FieldError, Problem

GONE = "What the change refers to is not there any more: somebody has just deleted it."


def problem_of_refusal(error: IntegrityError) -> Problem | None:
    """Return the problem that a refused write stands for, ``None`` for a mistake of ours.

    A unique constraint is a ``conflict`` and a check a ``validation_error``, each with the
    constraint's ``violation_error_message``. A rule that only a trigger knows is a ``conflict``.
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


def _sentence_of(constraint: BaseConstraint | None) -> str | None:
    """Return what the model says about a violation, ``None`` where it says nothing of its own."""
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
