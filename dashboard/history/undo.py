"""Takes a change back: puts back the values that it replaced, where they are still as it left them.

What has been changed since keeps its newer value and is named. What the change created or deleted
stays so. An undo is a change too, and can be undone.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db import connection
from django.utils import timezone

from catalog.models import Product
from certifications.models import CertificationAssignment
from closient.accounts.actors import current_actor
from closient.accounts.models import Organization
from closient.changes.models import Change
from closient.changes.triggers import RecordUpdates
from offers.models import Offer

# How long a change can be undone.
UNDO_FOR = datetime.timedelta(days=30)
# Values that are named in a result.
MAX_NAMED = 20
# What a change can be undone of, in the order in which their rows are locked.
MODELS = (Product, Offer, CertificationAssignment)


class CannotUndo(Exception):
    """The change cannot be undone; the message says why."""


@dataclasses.dataclass(frozen=True)
class KeptValue:
    """A value that was not put back, because it has been changed since.

    ``row_id`` is the id of the row; ``gtin`` that of its product.
    """

    kind: str
    row_id: UUID
    gtin: str
    field: str


@dataclasses.dataclass(frozen=True)
class UndoResult:
    """What an undo did: rows put back, and values that kept what was written since.

    ``kept`` are the first of the ``kept_count`` values.
    """

    rows: int
    kept_count: int
    kept: Sequence[KeptValue]


def undo(organization: Organization, change_id: UUID) -> UndoResult:
    """Undo a change; must be called in a transaction, as the cause of it.

    Raises :class:`CannotUndo` and ``Change.DoesNotExist``.
    """
    change = Change.objects.of(organization).get(id=change_id)
    if change.made_at < timezone.now() - UNDO_FOR:
        raise CannotUndo(f"Changes can be undone for {UNDO_FOR.days} days, and this one is older.")
    rows = 0
    kept: list[KeptValue] = []
    kept_count = 0
    found = False
    for model in MODELS:
        values = _Values(organization, change_id, model)
        if values.load():
            found = True
            rows += values.put_back()
            more, count = values.kept(MAX_NAMED - len(kept))
            kept += more
            kept_count += count
        values.drop()
    if not found:
        raise CannotUndo("This change replaced no values, so there is nothing to put back.")
    return UndoResult(rows, kept_count, kept)


def recorder_of(model: Any) -> RecordUpdates:
    """Return the trigger that records a model's values."""
    return next(trigger for trigger in model._meta.triggers if isinstance(trigger, RecordUpdates))


class _Values:
    """The values that a change replaced in one table."""

    def __init__(self, organization: Organization, change_id: UUID, model: Any) -> None:
        recorder = recorder_of(model)
        self._columns = recorder.columns
        self._table = model._meta.db_table
        self._product = recorder.product
        self._parameters: dict[str, Any] = {
            "organization": organization.pk,
            "change": change_id,
            "kind": recorder.kind,
            "columns": list(recorder.columns),
            "actor": current_actor(),
        }

    def load(self) -> int:
        """Copy the values into a temporary table, lock their rows, and compare them."""
        self._run(
            """
            CREATE TEMP TABLE undo_value ON COMMIT DROP AS
            SELECT c.row_id, k.key AS field,
                (array_agg(c.before -> k.key ORDER BY c.id))[1] AS before,
                (array_agg(c.after -> k.key ORDER BY c.id DESC))[1] AS after,
                false AS is_same
            FROM changes_rowchange c CROSS JOIN LATERAL jsonb_object_keys(c.before) AS k (key)
            WHERE c.organization_id = %(organization)s AND c.change_id = %(change)s
                AND c.kind = %(kind)s AND c.before IS NOT NULL AND c.after IS NOT NULL
                AND k.key = ANY (%(columns)s)
            GROUP BY c.row_id, k.key
            """
        )
        self._run("ANALYZE undo_value")
        # In the order of their keys, as everywhere, so that no two writers wait for each other.
        self._run(
            f"""
            SELECT count(*) FROM (
                SELECT 1 FROM {self._table} x
                WHERE x.organization_id = %(organization)s
                    AND x.id IN (SELECT row_id FROM undo_value)
                ORDER BY x.id FOR NO KEY UPDATE
            ) locked
            """
        )
        self._run(
            f"""
            UPDATE undo_value u SET is_same = true FROM {self._table} x
            WHERE x.organization_id = %(organization)s AND x.id = u.row_id
                AND (to_jsonb(x) -> u.field) IS NOT DISTINCT FROM u.after
            """
        )
        self._keep_deleted_references()
        return self._number("SELECT count(*) FROM undo_value")

    def _keep_deleted_references(self) -> None:
        """Keep the values of columns whose former brand or certification is deleted."""
        for column, table in (
            ("brand_id", "catalog_brand"),
            ("certification_id", "certifications_certification"),
        ):
            if column in self._columns:
                self._run(
                    f"""
                    UPDATE undo_value u SET is_same = false
                    WHERE u.field = '{column}' AND u.before <> 'null' AND NOT EXISTS (
                        SELECT FROM {table} b WHERE b.organization_id = %(organization)s
                            AND b.id = (u.before #>> '{{}}')::uuid
                    )
                    """
                )

    def put_back(self) -> int:
        """Write the values that are as the change left them; return how many rows differ."""
        names = ", ".join(self._columns)
        return self._run(
            f"""
            WITH former AS MATERIALIZED (
                SELECT x.id AS key, v.*
                FROM {self._table} x JOIN (
                    SELECT row_id, jsonb_object_agg(field, before) AS values
                    FROM undo_value WHERE is_same AND before IS DISTINCT FROM after
                    GROUP BY row_id
                ) o ON o.row_id = x.id
                CROSS JOIN LATERAL jsonb_populate_record(x, o.values) AS v
                WHERE x.organization_id = %(organization)s
            )
            UPDATE {self._table} x SET ({names}, updated_by) = ROW (
                {", ".join(f"f.{name}" for name in self._columns)}, %(actor)s
            )
            FROM former f WHERE x.id = f.key
            """
        )

    def kept(self, limit: int) -> tuple[list[KeptValue], int]:
        """Return the first values that were not put back, and how many there are."""
        total = self._number("SELECT count(*) FROM undo_value WHERE NOT is_same")
        with connection.cursor() as cursor:
            cursor.execute(
                f"""
                SELECT u.row_id, coalesce(p.gtin, ''), u.field FROM undo_value u
                LEFT JOIN {self._table} x
                    ON x.organization_id = %(organization)s AND x.id = u.row_id
                LEFT JOIN catalog_product p
                    ON p.organization_id = %(organization)s AND p.id = x.{self._product}
                WHERE NOT u.is_same ORDER BY p.gtin, u.row_id, u.field LIMIT {max(limit, 0)}
                """,
                self._parameters,
            )
            kind = str(self._parameters["kind"])
            return [KeptValue(kind, *row) for row in cursor.fetchall()], total

    def drop(self) -> None:
        """Drop the temporary table."""
        self._run("DROP TABLE IF EXISTS undo_value")

    def _run(self, statement: str) -> int:
        with connection.cursor() as cursor:
            cursor.execute(statement, self._parameters)
            return int(cursor.rowcount)

    def _number(self, statement: str) -> int:
        with connection.cursor() as cursor:
            cursor.execute(statement, self._parameters)
            row: Any = cursor.fetchone()
            return int(row[0])


def undoable_columns() -> dict[str, list[str]]:
    """Return the columns that an undo can put back, by the kind of their rows."""
    recorders = map(recorder_of, MODELS)
    return {recorder.kind: list(recorder.columns) for recorder in recorders}
