"""Triggers that record changes, whatever makes them: also cascades, bulk writes and SQL.

The database functions ``changes_current`` and ``changes_note`` return the id of the transaction's
change, which :mod:`closient.changes.causes` announces; ``changes_note`` also saves the change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import pgtrigger
from django.db import models

from closient.db.triggers import PLANNING, UnconditionalTrigger, UnconditionalTriggerSql

# The library has no type annotations.
_referencing: Any = pgtrigger.Referencing


class _Recorder(UnconditionalTrigger):
    """Records rows of a model under the name that clients know its kind by.

    ``product`` is the column with the id of the product that a row belongs to, ``gtin`` whether
    the model has the GTIN.
    """

    is_recorder = True
    level = pgtrigger.Statement

    def __init__(self, kind: str, *, product: str, has_gtin: bool, **kwargs: Any) -> None:
        self.kind = kind
        self.product = product
        self.has_gtin = has_gtin
        super().__init__(**kwargs)

    def get_declare(self, model: Any) -> list[tuple[str, str]]:
        return [("change", "uuid")]

    def _record(self, rows: str) -> str:
        """Return the INSERT of rows ``r``, which a FROM item contains.

        An organization that is deleted with its rows is gone before them, and nothing is recorded.
        """
        gtin = "r.gtin" if self.has_gtin else "''"
        return f"""
            change := public.changes_note(
                (SELECT array_agg(DISTINCT r.organization_id) FROM {rows} AS r)
            );
            INSERT INTO public.changes_deletion
                (organization_id, row_id, kind, product_id, gtin, change_id, deleted_at)
            SELECT r.organization_id, r.id, '{self.kind}', r.{self.product}, {gtin},
                change, statement_timestamp()
            FROM {rows} AS r
            WHERE EXISTS (
                SELECT FROM public.accounts_organization AS o WHERE o.id = r.organization_id
            )
            ON CONFLICT (organization_id, row_id) DO UPDATE
                SET deleted_at = excluded.deleted_at, change_id = excluded.change_id;
            RETURN NULL;
        """  # noqa: S608 - names of models


class RecordDeletions(_Recorder):
    """Records the rows of each DELETE. Writes nothing for other statements."""

    when = pgtrigger.After
    operation = pgtrigger.Delete

    def __init__(self, kind: str, **columns: Any) -> None:
        super().__init__(
            kind, name="record_deletions", referencing=_referencing(old="old_rows"), **columns
        )

    def get_func(self, model: Any) -> str:
        # Cascades run one statement for each parent, and most parents have no rows.
        nothing = "IF NOT EXISTS (SELECT FROM old_rows) THEN RETURN NULL; END IF;"
        return f"{nothing}\n{self._record('old_rows')}"


class RecordTruncation(_Recorder):
    """Records all rows before a TRUNCATE."""

    when = pgtrigger.Before
    operation = pgtrigger.Truncate

    def __init__(self, kind: str, **columns: Any) -> None:
        super().__init__(kind, name="record_truncation", **columns)

    def get_func(self, model: Any) -> str:
        return self._record(f"public.{model._meta.db_table}")


class _RecordRows(UnconditionalTrigger):
    """Records each row of a statement; ``columns`` are those whose values are kept."""

    is_recorder = True
    level = pgtrigger.Statement
    when = pgtrigger.After
    values: ClassVar[str]

    def __init__(
        self,
        kind: str,
        *,
        columns: Sequence[str] = (),
        row: str = "id",
        product: str = "product_id",
    ) -> None:
        self.kind = kind
        self.columns = tuple(columns)
        self.row = row
        self.product = product
        super().__init__()

    def get_declare(self, model: Any) -> list[tuple[str, str]]:
        return [("change", "uuid")]

    def get_func(self, model: Any) -> str:
        rows = "new_rows" if self.operation is pgtrigger.Insert else "old_rows"
        pairs = ", ".join(f"'{name}', r.{name}" for name in self.columns)
        kept = f"jsonb_build_object({pairs})" if pairs else "NULL::jsonb"
        return f"""
            IF NOT EXISTS (SELECT FROM {rows}) THEN RETURN NULL; END IF;
            change := public.changes_note(
                (SELECT array_agg(DISTINCT r.organization_id) FROM {rows} AS r)
            );
            IF change IS NOT NULL THEN
                INSERT INTO public.changes_rowchange
                    (organization_id, change_id, kind, row_id, product_id, {self.values})
                SELECT r.organization_id, change, '{self.kind}', r.{self.row}, r.{self.product},
                    {kept}
                FROM {rows} AS r;
            END IF;
            RETURN NULL;
        """  # noqa: S608 - names of models


class RecordCreations(_RecordRows):
    """Records that rows were created."""

    name = "record_creations"
    operation = pgtrigger.Insert
    referencing = _referencing(new="new_rows")
    values = "after"


class RecordRemovals(_RecordRows):
    """Records rows that were deleted, for models whose deletions are not in the change feed."""

    name = "record_removals"
    operation = pgtrigger.Delete
    referencing = _referencing(old="old_rows")
    values = "before"


class RecordUpdateSql(UnconditionalTriggerSql):
    """Joins old and new rows with a hash: a nested loop of a cached plan would take hours."""

    planning = f"{PLANNING} SET enable_nestloop TO off"


class RecordUpdates(UnconditionalTrigger):
    """Records the columns that an UPDATE changes, with their values before and after it.

    ``columns`` are those that users edit, which an undo can put back; ``derived`` are recorded to
    be shown. ``row`` and ``product`` are the columns with the ids of the row and of its product.
    """

    is_recorder = True
    sql_class = RecordUpdateSql
    name = "record_updates"
    level = pgtrigger.Statement
    when = pgtrigger.After
    operation = pgtrigger.Update
    referencing = _referencing(old="old_rows", new="new_rows")

    def __init__(
        self,
        kind: str,
        *,
        columns: Sequence[str] = (),
        derived: Sequence[str] = (),
        row: str = "id",
        product: str = "product_id",
    ) -> None:
        self.kind = kind
        self.columns = tuple(columns)
        self.derived = tuple(derived)
        self.row = row
        self.product = product
        super().__init__()

    def get_declare(self, model: Any) -> list[tuple[str, str]]:
        return [("change", "uuid"), ("organizations", "uuid[]")]

    def get_func(self, model: Any) -> str:
        recorded = [*self.columns, *self.derived]
        old, new = (", ".join(f"{row}.{name}" for name in recorded) for row in "on")
        before, after = (
            " || ".join(
                f"CASE WHEN o.{name} IS DISTINCT FROM n.{name}"
                f" THEN jsonb_build_object('{name}', {row}.{name}) ELSE '{{}}' END"
                for name in recorded
            )
            for row in "on"
        )
        return f"""
            change := public.changes_current();
            IF change IS NULL THEN RETURN NULL; END IF;
            WITH recorded AS (
                INSERT INTO public.changes_rowchange
                    (organization_id, change_id, kind, row_id, product_id, before, after)
                SELECT n.organization_id, change, '{self.kind}', n.{self.row}, n.{self.product},
                    {before},
                    {after}
                FROM new_rows AS n JOIN old_rows AS o ON o.{self.row} = n.{self.row}
                WHERE ({old}) IS DISTINCT FROM ({new}) AND n.organization_id IN (
                    SELECT g.id FROM public.accounts_organization AS g WHERE g.id = ANY (
                        (SELECT array_agg(DISTINCT r.organization_id) FROM new_rows AS r)::uuid[]
                    )
                )
                RETURNING organization_id
            )
            SELECT array_agg(DISTINCT organization_id) INTO organizations FROM recorded;
            IF organizations IS NOT NULL THEN
                PERFORM public.changes_note(organizations);
            END IF;
            RETURN NULL;
        """  # noqa: S608 - names of models


class ForgetRecords(UnconditionalTrigger):
    """Deletes what changes have recorded along with them, with one statement for each table."""

    name = "forget_records"
    level = pgtrigger.Statement
    when = pgtrigger.After
    operation = pgtrigger.Delete
    referencing = _referencing(old="old_rows")

    def get_func(self, model: Any) -> str:
        tables = ("changes_rowchange", "changes_countchange")
        return "\n".join(
            [
                *(
                    f"DELETE FROM public.{table} AS r USING old_rows AS o"  # noqa: S608
                    " WHERE r.organization_id = o.organization_id AND r.change_id = o.id;"
                    for table in tables
                ),
                "RETURN NULL;",
            ]
        )


def recorders(
    kind: str,
    *,
    columns: Sequence[str],
    derived: Sequence[str] = (),
    product: str = "product_id",
    has_gtin: bool = False,
) -> list[pgtrigger.Trigger]:
    """Return the triggers that record what happens to a model's rows."""
    deleted = {"product": product, "has_gtin": has_gtin}
    return [
        RecordCreations(kind, product=product),
        RecordUpdates(kind, columns=columns, derived=derived, product=product),
        RecordDeletions(kind, **deleted),
        RecordTruncation(kind, **deleted),
    ]


def is_recorded(model: type[models.Model]) -> bool:
    """Return whether writes of a model's rows are recorded, or what they change in other rows."""
    own = getattr(model._meta, "triggers", ())
    return any(getattr(trigger, "is_recorder", False) for trigger in own)


def kind_of(model: type[models.Model]) -> str:
    """Return the kind under which the deletions of a model's rows are recorded."""
    own = getattr(model._meta, "triggers", ())
    return next(trigger.kind for trigger in own if isinstance(trigger, RecordDeletions))
