"""Lookups that ignore case in every locale of the database.

Django's lookups use PostgreSQL's ``UPPER()``, which maps only ASCII in the locale ``C``.
"""

from __future__ import annotations

from typing import Any

from django.db.models import CharField, TextField
from django.db.models.lookups import IContains, IEndsWith, IExact, IStartsWith


class _FoldCase:
    """Compares both sides with ``fold_case``, a function created by a migration of accounts."""

    def process_lhs(self, *args: Any, **kwargs: Any) -> tuple[str, Any]:
        """Return the SQL of the column."""
        sql, parameters = super().process_lhs(*args, **kwargs)  # type: ignore[misc]
        return f"public.fold_case({sql})", parameters

    def get_rhs_op(self, connection: Any, rhs: str) -> str:
        """Return the SQL of the comparison; the wildcards of LIKE have no case."""
        operator = "=" if isinstance(self, IExact) else "LIKE"
        return f"{operator} public.fold_case({rhs})"


class FoldedExact(_FoldCase, IExact):  # type: ignore[type-arg]
    """``iexact``."""


class FoldedContains(_FoldCase, IContains):
    """``icontains``."""


class FoldedStartsWith(_FoldCase, IStartsWith):
    """``istartswith``."""


class FoldedEndsWith(_FoldCase, IEndsWith):
    """``iendswith``."""


def register() -> None:
    """Replace Django's lookups on every text column."""
    for field in (CharField, TextField):
        for lookup in (FoldedExact, FoldedContains, FoldedStartsWith, FoldedEndsWith):
            field.register_lookup(lookup)
