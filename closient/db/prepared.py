"""Statements with a fixed text that every request runs: compiled once, prepared by the server."""

from __future__ import annotations

from typing import Any, Generic, TypeVar, cast

from django.db import connection
from django.db.models import Model, QuerySet
from django.db.models.query import get_related_populators  # type: ignore[attr-defined]

Row = TypeVar("Row", bound=Model)


def prepared_cursor() -> Any:
    """Return a cursor of the default database whose statements the server prepares.

    Each statement is prepared once for each connection. For statements that take longer to plan
    than to run.
    """
    return cast("Any", connection).prepared_cursor()


class CompiledQuery(Generic[Row]):
    """The SQL of an ORM query of instances, compiled once: compiling takes longer than running it.

    The values of the query are named placeholders, as in ``filter(digest="%(digest)s")``.
    """

    def __init__(self, queryset: QuerySet[Row]) -> None:
        compiler: Any = queryset.query.get_compiler("default")
        sql, placeholders = compiler.as_sql()
        self.sql: str = sql % placeholders
        self.column_count = len(compiler.select)
        self._model = queryset.model
        self._columns: list[int] = compiler.klass_info["select_fields"]
        self._names = [compiler.select[column][0].target.attname for column in self._columns]
        self._related = get_related_populators(compiler.klass_info, compiler.select, "default")

    def instance(self, row: tuple[Any, ...]) -> Row:
        """Return the instance in a row of the statement, with its ``select_related`` instances."""
        instance = self._model.from_db("default", self._names, row[: len(self._columns)])
        for related in self._related:
            related.populate(row, instance)
        return instance
