"""The schema editor of migrations: it also changes the expressions of generated columns."""

from __future__ import annotations

from typing import Any

from django.db.backends.postgresql.schema import DatabaseSchemaEditor


class SchemaEditor(DatabaseSchemaEditor):
    """Django's editor, with ``AlterField`` for the expression of a stored generated column."""

    def alter_field(self, model: Any, old_field: Any, new_field: Any, strict: bool = False) -> None:
        """Alter a column; see :meth:`_change_expression` for generated ones."""
        is_generated = old_field.generated and new_field.generated
        if is_generated and self._expression(old_field) != self._expression(new_field):
            self._change_expression(model, old_field, new_field)
        else:
            super().alter_field(model, old_field, new_field, strict)

    def _expression(self, field: Any) -> Any:
        return field.generated_sql(self.connection)

    def _change_expression(self, model: Any, old_field: Any, new_field: Any) -> None:
        """Write the new values with an UPDATE, then recreate the column and its indexes.

        PostgreSQL fires no triggers when it computes generated columns. The UPDATE fires those that
        depend on the column, such as the triggers of the tally. Blocks and rewrites the table.
        """
        table, column = self.quote_name(model._meta.db_table), self.quote_name(old_field.column)
        expression, params = self._expression(new_field)
        self.execute(f"ALTER TABLE {table} ALTER COLUMN {column} DROP EXPRESSION")
        # Tables that only triggers may write allow it then.
        self.execute("SET LOCAL closient.repair_tally = 'on'")
        self.execute(
            f"UPDATE {table} SET {column} = {expression} "  # noqa: S608 - SQL of migrations
            f"WHERE {column} IS DISTINCT FROM {expression}",
            [*params, *params],
        )
        self.execute("SET LOCAL closient.repair_tally = ''")
        # Also drops the indexes of the column.
        self.remove_field(model, old_field)
        self.add_field(model, new_field)
        for index in new_field.model._meta.indexes:
            fields = {name for name, _ in index.fields_orders} | set(index.include)
            if new_field.name in fields:
                self.add_index(new_field.model, index)
        # A new column has no statistics.
        self.execute(f"ANALYZE {table}")
