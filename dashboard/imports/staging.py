"""The rows of an import in a temporary table: copied, and judged against one another."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from typing import Any
from uuid import UUID

from django.db import connection

from closient.accounts.actors import current_actor
from closient.text import metadata
from dashboard.imports.rejects import Rejected
from dashboard.imports.rows import Row

_TYPES = {
    "line": "bigint",
    "nutrition": "jsonb",
    "metadata": "jsonb",
    "new_key": "uuid",
}


class Staging:
    """The rows of one import in a temporary table, and what is done with them in bulk.

    ``overwrite_blank`` says what a null in a row's nutrition or metadata does: take the key away.
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
        """Make the temporary tables, gone at the end of the block or of the transaction."""
        # Nothing happens where it is so already, as in every database left to its defaults.
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
        """Copy the rows into the staging table and return how many there were."""
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
        # Few brands stand in many rows: what they are compared by is worked out once for each.
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
        """Let the statements of the block read the organization once, and join by hashing.

        Statistics know nothing yet of an organization that was filled a moment ago: the planner
        takes it for one of a single product, and would read all of it again for every row.
        Not for statements with triggers, which look up single rows.
        """
        self.run("SET LOCAL enable_nestloop = off")
        yield
        self.run("SET LOCAL enable_nestloop = on")

    def lock(self) -> None:
        """Wait until no other import into the organization is at work, and keep others waiting.

        Imports that were writing the same products side by side would wait for one another
        row by row, and could do so in a circle.
        """
        self.run(
            "SELECT pg_advisory_xact_lock(hashtextextended('dashboard.imports ' || %(org)s, 0))"
        )

    def refuse_repeated(self) -> None:
        """Refuse the rows whose GTIN stands in an earlier row."""
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

    def refuse_overfull(self) -> None:
        """Refuse the rows whose metadata, together with the product's, would be too much."""
        with self.in_bulk():
            self.run(
                f"""
                UPDATE import_row r SET problem = 'metadata: together with what the product has '
                    || 'there would be more than ' || %(max_keys)s || ' keys'
                FROM catalog_product p
                WHERE p.organization_id = %(org)s AND p.gtin = r.gtin
                    AND r.problem IS NULL AND r.metadata IS NOT NULL
                    AND (SELECT count(*) FROM jsonb_object_keys({self.laid_over("metadata")}))
                        > %(max_keys)s
                """
            )

    def rejected(self) -> Iterator[Rejected]:
        """Yield the refused rows in the order of the file; flat memory for any number."""
        with connection.chunked_cursor() as cursor:
            cursor.execute(
                "SELECT line, problem FROM import_row WHERE problem IS NOT NULL ORDER BY line"
            )
            for line, problem in cursor:
                yield Rejected(line, problem)

    def count_rejected(self) -> int:
        """Return how many rows are refused."""
        return self._number("SELECT count(*) FROM import_row WHERE problem IS NOT NULL")

    def laid_over(self, name: str) -> str:
        """Return the SQL of a row's JSON object ``r`` laid over the product's ``p``."""
        merged = f"(p.{name} || r.{name})"
        return f"jsonb_strip_nulls{merged}" if self.overwrite_blank else merged

    def run(self, statement: str) -> int:
        """Run a statement, which may name ``org``, ``actor`` and ``max_keys``; return the rows it
        touched.
        """
        with connection.cursor() as cursor:
            cursor.execute(statement, self._parameters)
            return int(cursor.rowcount)

    def _number(self, statement: str) -> int:
        with connection.cursor() as cursor:
            cursor.execute(statement, self._parameters)
            row: Any = cursor.fetchone()
            return int(row[0])
