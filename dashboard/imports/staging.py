"""The temporary tables of an import: copies the records, and finds those that conflict."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection
from psycopg.adapt import Dumper

from closient.accounts.actors import current_actor
from closient.text import metadata
from dashboard.imports.rejects import Rejected
from dashboard.imports.validate import CertificateRow, OfferRow, ProductRow, StagedRecord

_TYPES = {
    "line": "bigint",
    "rules": "text[]",
    "cleared": "text[]",
    "nutrition": "jsonb",
    "metadata": "jsonb",
    "image_urls": "text[]",
    "image_keys": "uuid[]",
    "new_key": "uuid",
    "price": "numeric",
    "valid_from": "date",
    "expiry_date": "date",
}
# Rows that are read so quickly that statistics about them do not pay.
_FEW = 100
# Temporary tables are filled in turns, as one connection can only copy into one at a time: rows in
# one COPY, and offers and certificates in memory meanwhile.
_MAX_COPIED = 5_000
_MAX_PARTS = 2_000
# Groups of rejected rows in a result, and characters of an example's reason.
MAX_GROUPS = 20
MAX_EXAMPLE = 500
_TABLES: Mapping[str, type[ProductRow] | type[OfferRow] | type[CertificateRow]] = {
    "import_row": ProductRow,
    "import_offer": OfferRow,
    "import_certificate": CertificateRow,
}


PREVIEWED_ROWS = 5
# What identifies an offer or a certificate of a product.
OFFER_KEY = ("channel", "retailer", "store", "sku")
CERTIFICATE_KEY = ("certification", "certificate_number")


def differs(fields: Sequence[str], part: str) -> str:
    """The SQL that says whether a staged offer or certificate (``part``) changes one (``x``)."""
    return " OR ".join(
        f"(({part}.{name} IS NOT NULL OR '{name}' = ANY ({part}.cleared)) "
        f"AND x.{name} IS DISTINCT FROM {part}.{name})"
        for name in fields
    )


def settings(fields: Sequence[str], part: str) -> str:
    """The SQL that sets the fields of an offer or a certificate (``x``) to the staged ones."""
    return ", ".join(
        f"{name} = CASE WHEN '{name}' = ANY ({part}.cleared) THEN NULL "
        f"ELSE coalesce({part}.{name}, x.{name}) END"
        for name in fields
    )


class TableCounts(NamedTuple):
    """How many rows of a table an import created and updated."""

    created: int
    updated: int


@dataclasses.dataclass(frozen=True)
class ProblemGroup:
    """The rejected rows that break one rule: how many, and the first one with its reason."""

    rule: str
    count: int
    line: int
    example: str


# Between the reasons of a row, each of which begins with its field.
_BETWEEN_REASONS = re.compile(r"; (?=(?:[a-z_]+|nutrient '.*?'|metadata '.*?'): )")


def _reason_of(rule: str, problem: str) -> str:
    """The reason in a row's problem that belongs to a rule with its field."""
    field = rule.rpartition(": ")[0]
    reasons = _BETWEEN_REASONS.split(problem)
    return next((each for each in reasons if each.startswith(f"{field}: ")), problem)


class _ArrayDumper(Dumper):
    """Writes a list of texts as an array.

    The one of psycopg takes any lists: it looks for the type of the elements in each one, which
    takes longer than everything else in a row.
    """

    def dump(self, obj: list[str]) -> bytes:
        """Return the array; each element is quoted (PostgreSQL documentation, section 8.15.6)."""
        if not obj:
            return b"{}"
        joined = '","'.join([each.replace("\\", r"\\").replace('"', r"\"") for each in obj])
        return f'{{"{joined}"}}'.encode()


class Staging:
    """The records of one import in temporary tables.

    With ``overwrite_blank`` a null in a row's nutrition or metadata removes the key. With
    ``creates_products`` a row whose GTIN is unknown creates the product, and each GTIN may come
    once; without, the product must exist.
    """

    def __init__(
        self, organization_id: UUID, *, overwrite_blank: bool, creates_products: bool = True
    ) -> None:
        self._parameters: dict[str, Any] = {
            "org": organization_id,
            "actor": current_actor(),
            "max_keys": metadata.MAX_KEYS,
        }
        self.overwrite_blank = overwrite_blank
        self.creates_products = creates_products
        # The number of rows by table, and of the rejected ones once conflicts are.
        self.counts = dict.fromkeys(_TABLES, 0)
        self.rejected_count = 0
        # Whether any row gives images, and metadata.
        self.has_images = False
        self._has_metadata = False

    @contextlib.contextmanager
    def tables(self) -> Iterator[None]:
        """Create the temporary tables; they are dropped at the end of the block or transaction."""
        # The default of every database; does nothing there.
        self.run("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        for table, row in _TABLES.items():
            columns = ", ".join(f"{name} {_TYPES.get(name, 'text')}" for name in row._fields)
            self.run(f"CREATE TEMP TABLE {table} ({columns}) ON COMMIT DROP")
        self.run(
            "CREATE TEMP TABLE import_write (product_id uuid, line bigint, is_new boolean) "
            "ON COMMIT DROP"
        )
        # The brands that valid rows name, the first line of each and the id of what it creates, and
        # the ids of those that the organization has.
        self.run(
            "CREATE TEMP TABLE import_brand "
            "(name text, key text, line bigint, new_key uuid, id uuid) ON COMMIT DROP"
        )
        # What was written besides products: the kind of the row, and the line that it comes from.
        self.run(
            "CREATE TEMP TABLE import_effect (kind text, line bigint, is_new boolean) "
            "ON COMMIT DROP"
        )
        yield
        self.run(f"DROP TABLE {', '.join(_TABLES)}, import_write, import_brand, import_effect")

    def copy(self, records: Generator[StagedRecord, None, None]) -> int:
        """Copy the records into the staging tables and return their number."""
        with contextlib.closing(records):
            while self._copy_some(records):
                pass
        # From a sample of 3,000 rows instead of 30,000.
        self.run("SET LOCAL default_statistics_target = 10")
        self.run("ANALYZE import_row (line, gtin, brand, new_key, problem)")
        for table in ("import_offer", "import_certificate"):
            if self.counts[table]:
                self.run(f"ANALYZE {table}")
        self.run("SET LOCAL default_statistics_target TO DEFAULT")
        return self.counts["import_row"]

    def _copy_some(self, records: Iterator[StagedRecord]) -> int:
        """Copy some of the records and return their number.

        PostgreSQL begins new pages with each COPY: those of a few rows waste half of the table.
        """
        offers: list[OfferRow] = []
        certificates: list[CertificateRow] = []
        before = self.counts["import_row"]
        with self._copying("import_row") as write:
            for record in itertools.islice(records, _MAX_COPIED):
                product = record.product
                write(product)
                self.counts["import_row"] += 1
                if product.image_urls is not None:
                    self.has_images = True
                if product.metadata is not None:
                    self._has_metadata = True
                if record.offers or record.certificates:
                    offers += record.offers
                    certificates += record.certificates
                    if len(offers) + len(certificates) >= _MAX_PARTS:
                        break
        self._copy("import_offer", offers)
        self._copy("import_certificate", certificates)
        return self.counts["import_row"] - before

    def _copy(self, table: str, rows: Sequence[OfferRow] | Sequence[CertificateRow]) -> None:
        if rows:
            with self._copying(table) as write:
                for row in rows:
                    write(row)
            self.counts[table] += len(rows)

    @contextlib.contextmanager
    def _copying(self, table: str) -> Iterator[Callable[[Sequence[Any]], None]]:
        """Copy into a table: yields the function that writes a row."""
        names = ", ".join(_TABLES[table]._fields)
        with connection.cursor() as cursor:
            cursor.adapters.register_dumper(list, _ArrayDumper)
            with cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
                yield copy.write_row

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

    def refresh_statistics(self, table: str, created: int) -> None:
        """Gather the statistics of a table that this import more than doubled.

        The planner still takes it for almost empty, and any index for good enough: the check of a
        foreign key would read all rows of the organization for each row that it checks.
        """
        known = self.number(
            f"SELECT reltuples FROM pg_class WHERE oid = 'public.{table}'::regclass"
        )
        if created > max(known, _FEW):
            # Another import may be doing the same.
            self.run(f"ANALYZE (SKIP_LOCKED) {table} (organization_id, id)")

    def lock(self) -> None:
        """Wait for other imports into the organization, and make later ones wait.

        Imports that write the same products at the same time would wait for each other's rows, and
        could deadlock.
        """
        self.run(
            "SELECT pg_advisory_xact_lock(hashtextextended('catalog.importing ' || %(org)s, 0))"
        )

    def reject_conflicts(self) -> None:
        """Reject the rows that do not fit other rows, or what the organization has."""
        if self.creates_products:
            self._reject_repeated_products()
        else:
            self._reject_unknown_products()
        for table, key, what in (
            ("import_offer", OFFER_KEY, "offer"),
            ("import_certificate", CERTIFICATE_KEY, "certificate"),
        ):
            if self.counts[table]:
                self._reject_repeated_parts(table, key, what)
        if self._has_metadata:
            self._reject_too_much_metadata()
        self.rejected_count = self.number(
            "SELECT count(*) FROM import_row WHERE problem IS NOT NULL"
        )

    def _reject_repeated_products(self) -> None:
        """Reject the rows whose GTIN is in an earlier row."""
        self.run(
            """
            UPDATE import_row r SET
                problem = concat_ws('; ', r.problem,
                    'gtin: comes twice in the file, the first time in line ' || d.first_line),
                rules = r.rules || ARRAY['gtin: comes twice in the file']
            FROM (
                SELECT gtin, min(line) AS first_line FROM import_row
                WHERE gtin IS NOT NULL GROUP BY gtin HAVING count(*) > 1
            ) d
            WHERE r.gtin = d.gtin AND r.line <> d.first_line
            """
        )

    def _reject_repeated_parts(self, table: str, key: Sequence[str], what: str) -> None:
        """Reject the rows with an offer or a certificate that an earlier row has."""
        columns = ", ".join(f"c.{name}" for name in key)
        reason = f"gtin: the same {what} comes twice in the file"
        self.run(
            f"""
            UPDATE import_row r SET
                problem = concat_ws('; ', r.problem,
                    '{reason}, the first time in line ' || d.first_line),
                rules = r.rules || ARRAY['{reason}']
            FROM (
                SELECT line, min(line) OVER (PARTITION BY gtin, {columns}) AS first_line
                FROM {table} c JOIN import_row USING (line)
            ) d
            WHERE r.line = d.line AND d.line <> d.first_line
            """
        )

    def _reject_unknown_products(self) -> None:
        reason = "gtin: the organization has no product with this GTIN"
        with self.in_bulk():
            self.run(
                f"""
                UPDATE import_row r SET
                    problem = '{reason}; import the product first',
                    rules = ARRAY['{reason}']
                WHERE r.problem IS NULL AND NOT EXISTS (
                    SELECT 1 FROM catalog_product p
                    WHERE p.organization_id = %(org)s AND p.gtin = r.gtin
                )
                """
            )

    def _reject_too_much_metadata(self) -> None:
        """Reject the rows whose metadata has too many keys together with the product's."""
        with self.in_bulk():
            self.run(
                f"""
                UPDATE import_row r SET
                    problem = 'metadata: together with what the product has '
                        || 'there would be more than ' || %(max_keys)s || ' keys',
                    rules = ARRAY['metadata: too many keys']
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

    def preview(self) -> tuple[dict[str, Any], ...]:
        """The first valid rows: line, texts of the product, first image, number of each part.

        ``is_new`` says whether the product is; None if the row does not change it.
        """
        names = "line gtin name brand category status image images offers certificates is_new"
        with connection.cursor() as cursor:
            cursor.execute(
                f"""
                SELECT r.line, r.gtin, r.name, r.brand, r.category, r.status, r.image_urls[1],
                    coalesce(cardinality(r.image_urls), 0),
                    (SELECT count(*) FROM import_offer o WHERE o.line = r.line),
                    (SELECT count(*) FROM import_certificate c WHERE c.line = r.line),
                    w.is_new
                FROM (
                    SELECT * FROM import_row WHERE problem IS NULL ORDER BY line
                    LIMIT {PREVIEWED_ROWS}
                ) r LEFT JOIN import_write w ON w.line = r.line ORDER BY r.line
                """
            )
            return tuple(dict(zip(names.split(), row, strict=True)) for row in cursor.fetchall())

    def problem_groups(self) -> tuple[ProblemGroup, ...]:
        """The rejected rows by the broken rule, the most frequent first.

        A row that breaks several rules is in the group of each.
        """
        with connection.cursor() as cursor:
            cursor.execute(
                """
                WITH g AS MATERIALIZED (
                    SELECT rule, count(*) AS count, min(line) AS line
                    FROM import_row, unnest(rules) AS rule
                    WHERE problem IS NOT NULL GROUP BY rule
                    ORDER BY count(*) DESC, min(line), rule LIMIT %(limit)s
                )
                SELECT DISTINCT ON (g.count, g.line, g.rule) g.rule, g.count, g.line, r.problem
                FROM g JOIN import_row r
                    ON r.line = g.line AND r.problem IS NOT NULL AND g.rule = ANY (r.rules)
                ORDER BY g.count DESC, g.line, g.rule
                """,
                {"limit": MAX_GROUPS},
            )
            return tuple(
                ProblemGroup(rule, count, line, _reason_of(rule, problem)[:MAX_EXAMPLE])
                for rule, count, line, problem in cursor
            )

    @property
    def valid_count(self) -> int:
        """The number of rows that are not rejected, once conflicts are."""
        return self.counts["import_row"] - self.rejected_count

    def note_effects(self, kind: str, rows: str) -> None:
        """Note what was written: ``rows`` is a query of line and whether the row is new.

        The products are in ``import_write``.
        """
        self.run(
            f"INSERT INTO import_effect (kind, line, is_new) SELECT '{kind}', * FROM ({rows}) e"
        )

    def count_effects(self) -> tuple[int, int]:
        """The number of rows of the file that created and that changed something.

        A row that creates its product counts as created; where products must exist, one that
        creates an offer or a certificate does.
        """
        creates = "is_new AND kind = 'product'" if self.creates_products else "is_new"
        effects = "SELECT 'product' AS kind, line, is_new FROM import_write"
        # A row has one product.
        line = "line"
        if self.counts["import_offer"] or self.counts["import_certificate"]:
            effects += " UNION ALL SELECT kind, line, is_new FROM import_effect"
            line = "DISTINCT line"
        created = self.number(f"SELECT count({line}) FROM ({effects}) e WHERE {creates}")
        return created, self.number(f"SELECT count({line}) FROM ({effects}) e") - created

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

    def number(self, statement: str) -> int:
        """Return the number that a statement selects; it has the parameters of :meth:`run`."""
        with connection.cursor() as cursor:
            cursor.execute(statement, self._parameters)
            row: Any = cursor.fetchone()
            return int(row[0])
