"""Triggers that record deleted rows, whatever deletes them: also cascades, bulk writes and SQL."""

from __future__ import annotations

from typing import Any

import pgtrigger
from django.db import models

from closient.tally.triggers import UnconditionalTrigger

# The library has no type annotations.
_referencing: Any = pgtrigger.Referencing


class _Recorder(UnconditionalTrigger):
    """Records rows of a model under the name that clients know its kind by.

    ``product`` is the column with the id of the product that a row belongs to, ``gtin`` whether
    the model has the GTIN.
    """

    level = pgtrigger.Statement

    def __init__(self, kind: str, *, product: str, has_gtin: bool, **kwargs: Any) -> None:
        self.kind = kind
        self.product = product
        self.has_gtin = has_gtin
        super().__init__(**kwargs)

    def _record(self, rows: str) -> str:
        """Return the INSERT of rows ``r``, which a FROM item contains.

        An organization that is deleted with its rows is gone before them, and nothing is recorded.
        """
        gtin = "r.gtin" if self.has_gtin else "''"
        return f"""
            INSERT INTO public.changes_deletion
                (organization_id, row_id, kind, product_id, gtin, deleted_at)
            SELECT r.organization_id, r.id, '{self.kind}', r.{self.product}, {gtin},
                statement_timestamp()
            FROM {rows} AS r
            WHERE EXISTS (
                SELECT FROM public.accounts_organization AS o WHERE o.id = r.organization_id
            )
            ON CONFLICT (organization_id, row_id) DO UPDATE SET deleted_at = excluded.deleted_at;
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


def recorders(
    kind: str, *, product: str = "product_id", has_gtin: bool = False
) -> list[pgtrigger.Trigger]:
    """Return the triggers that record the deletion of a model's rows."""
    columns = {"product": product, "has_gtin": has_gtin}
    return [RecordDeletions(kind, **columns), RecordTruncation(kind, **columns)]


def kind_of(model: type[models.Model]) -> str:
    """Return the kind under which the deletions of a model's rows are recorded."""
    own = getattr(model._meta, "triggers", ())
    return next(trigger.kind for trigger in own if isinstance(trigger, RecordDeletions))
