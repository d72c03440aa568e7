"""The temporary table of an import: copies the rows, and finds those that conflict."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from typing import Any
from uuid import UUID

from django.db import connection

from closient.accounts.actors import current_actor
from closient.text import metadata
from dashboard.imports.rejects import Rejected
from dashboard.imports.validate import Row

_TYPES = {
    "line": "bigint",
    "nutrition": "jsonb",
    "metadata": "jsonb",
    "new_key": "uuid",
}


class Staging:
    """The rows of one import in a temporary table.

    With ``overwrite_blank`` a null in a row's nutrition or metadata removes the key.
    """

    def __init__(self, organization_id: UUID, *, overwrite_blank: bool) -> None:
        self._parameters: dict[str, Any] = {
            "org": organization_id,
            "actor": current_actor(),
            "max_keys": metadata.MAX_KEYS,
        }
        self.overwrite_blank = overwrite_blank

    @contextlib.contextmanager
    def tables(self) -> Iterator[None]:
        """Create the temporary tables; they are dropped at the end of the block or transaction."""
        # The default of every database; does nothing there.
        self.run("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        columns = ", ".join(f"{name} {_TYPES.get(name, 'text')}" for name in Row._fields)
        self.run(f"CREATE TEMP TABLE import_row ({columns}) ON COMMIT DROP")
        self.run(
            "CREATE TEMP TABLE import_write (product_id uuid, line bigint, is_new boolean) "
            "ON COMMIT DROP"
        )
        self.run("CREATE TEMP TABLE import_brand (name text, key text) ON COMMIT DROP")
        yield
        self.run("DROP TABLE import_row, import_write, import_brand")

    def copy(self, rows: Generator[Row, None, None]) -> int:
        """Copy the rows into the staging table and return their number."""
        count = 0
        names = ", ".join(Row._fields)
        with (
            connection.cursor() as cursor,
            cursor.copy(f"COPY import_row ({names}) FROM STDIN") as copy,
            contextlib.closing(rows),
        ):
            for row in rows:
                copy.write_row(row)
                count += 1
        self.run("ANALYZE import_row (line, gtin, brand, new_key, problem)")
        # Many rows have few brands: the key of each is computed once.
        self.run(
            """
            INSERT INTO import_brand (name, key)
            SELECT brand, public.catalog_brand_key(brand)
            FROM (SELECT DISTINCT brand FROM import_row WHERE brand <> '') AS brands
            """
        )
        self.run("ANALYZE import_brand")
        return count

    @contextlib.contextmanager
    def in_bulk(self) -> Iterator[None]:
        """Make the statements of the block use hash joins.

        There are no statistics yet of an organization that was just filled: the planner expects a
        single product, and would read all of them again for each row.
        Not for statements with triggers, which look up single rows.
        """
        self.run("SET LOCAL enable_nestloop = off")
        yield
        self.run("SET LOCAL enable_nestloop = on")

    def lock(self) -> None:
        """Wait for other imports into the organization, and make later ones wait.

        Imports that write the same products at the same time would wait for each other's rows, and
        could deadlock.
        """
        self.run(
            "SELECT pg_advisory_xact_lock(hashtextextended('catalog.importing ' || %(org)s, 0))"
        )

    def reject_duplicates(self) -> None:
        """Reject the rows whose GTIN is in an earlier row."""
        self.run(
            """
            UPDATE import_row r SET problem = concat_ws('; ', r.problem,
                'gtin: comes twice in the file, the first time in line ' || d.first_line)
            FROM (
                SELECT gtin, min(line) AS first_line FROM import_row
                WHERE gtin IS NOT NULL GROUP BY gtin HAVING count(*) > 1
            ) d
            WHERE r.gtin = d.gtin AND r.line <> d.first_line
            """
        )

    def reject_too_much_metadata(self) -> None:
        """Reject the rows whose metadata has too many keys together with the product's."""
        with self.in_bulk():
            self.run(
                f"""
                UPDATE import_row r SET problem = 'metadata: together with what the product has '
                    || 'there would be more than ' || %(max_keys)s || ' keys'
                FROM catalog_product p
                WHERE p.organization_id = %(org)s AND p.gtin = r.gtin
                    AND r.problem IS NULL AND r.metadata IS NOT NULL
                    AND (SELECT count(*) FROM jsonb_object_keys({self.merged("metadata")}))
                        > %(max_keys)s
                """
            )

    def rejected(self) -> Iterator[Rejected]:
        """Yield the rejected rows in the order of the file, with constant memory."""
        with connection.chunked_cursor() as cursor:
            cursor.execute(
                "SELECT line, problem FROM import_row WHERE problem IS NOT NULL ORDER BY line"
            )
            for line, problem in cursor:
                yield Rejected(line, problem)

    def count_rejected(self) -> int:
        """The number of rejected rows."""
        return self._number("SELECT count(*) FROM import_row WHERE problem IS NOT NULL")

    def merged(self, name: str) -> str:
        """The SQL that merges the row's JSON object (``r``) into the product's (``p``)."""
        both = f"(p.{name} || r.{name})"
        return f"jsonb_strip_nulls{both}" if self.overwrite_blank else both

    def run(self, statement: str) -> int:
        """Run a statement with the parameters ``org``, ``actor`` and ``max_keys``.

        Returns the number of rows it affected.
        """
        with connection.cursor() as cursor:
            cursor.execute(statement, self._parameters)
            return int(cursor.rowcount)

    def _number(self, statement: str) -> int:
        with connection.cursor() as cursor:
            cursor.execute(statement, self._parameters)
            row: Any = cursor.fetchone()
            return int(row[0])
