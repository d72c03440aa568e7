"""Rows by keys of several columns, for any number of keys in one query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar
from uuid import UUID

from django.db import connection, models
from django.db.models.expressions import RawSQL

Row = TypeVar("Row", bound=models.Model)


def with_keys(
    model: type[Row], organization_id: UUID, columns: Sequence[str], keys: Sequence[Sequence[Any]]
) -> models.QuerySet[Row]:
    """Return an organization's rows that have one of the keys in some columns.

    The ORM would compose a condition for each key; this is one join, for which PostgreSQL looks
    up each key in an index. The organization comes from an array as well: given as a value, one
    without statistics is expected to have no rows, and each key is compared with all that it has.
    """
    fields: list[Any] = [model._meta.get_field(name) for name in columns]
    names = [connection.ops.quote_name(field.column) for field in fields]
    arrays = ", ".join(f"%s::{field.db_type(connection)}[]" for field in fields)
    same = "".join(f" AND r.{name} = k.{name}" for name in names)
    ids = RawSQL(  # noqa: S611 - names of models
        "SELECT r.id FROM unnest(%s::uuid[]) AS o (id) "  # noqa: S608
        f"CROSS JOIN unnest({arrays}) AS k ({', '.join(names)}) "
        f"JOIN public.{model._meta.db_table} AS r ON r.organization_id = o.id{same}",
        [[organization_id], *map(list, zip(*keys, strict=True))],
    )
    return model._base_manager.filter(pk__in=ids).order_by()
