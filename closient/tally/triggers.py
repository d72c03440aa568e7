"""Triggers for declarations; django-pgtrigger's migrations install them."""

from __future__ import annotations

from typing import Any

import pgtrigger
from django.db import models

from closient.db.triggers import PLANNING, UnconditionalTrigger, UnconditionalTriggerSql
from closient.tally import sql
from closient.tally.declarations import (
    Account,
    Counter,
    CoverageColumn,
    Declaration,
    Summary,
)

_OPERATIONS = {
    "INSERT": pgtrigger.Insert,
    "UPDATE": pgtrigger.Update,
    "DELETE": pgtrigger.Delete,
    "TRUNCATE": pgtrigger.Truncate,
}


# The library has no type annotations.
_referencing: Any = pgtrigger.Referencing
_update_of: Any = pgtrigger.UpdateOf


class CountingTriggerSql(UnconditionalTriggerSql):
    """Without bitmap scans too: rows with an id in an ordered array are locked in that order."""

    planning = f"{PLANNING} SET enable_bitmapscan TO off"


class CountingTrigger(UnconditionalTrigger):
    """Maintains the counts of one model's rows, for one kind of statement."""

    # The entries are recorded with the change that posted them.
    is_recorder = True
    sql_class = CountingTriggerSql
    level = pgtrigger.Statement
    when = pgtrigger.After

    def __init__(self, declaration: Declaration, event: str) -> None:
        self.declaration = declaration
        self.event = event
        names = {name.removesuffix("_rows"): name for name, _ in sql.SOURCES.get(event, ())}
        super().__init__(
            name=f"tally_{event.lower()}",
            operation=_OPERATIONS[event],
            referencing=_referencing(**names) if names else None,
        )

    def get_declare(self, model: Any) -> list[tuple[str, str]]:
        return sql.variables(model, self.declaration)

    def get_func(self, model: Any) -> str:
        if self.event == "TRUNCATE":
            return sql.truncate_body(model, self.declaration)
        return sql.statement_body(model, self.declaration, self.event)


class OnlyTriggersWrite(UnconditionalTrigger):
    """Rejects writes of summaries by anything but triggers and the repair of the tally.

    Except one TRUNCATE of them and the rows that they belong to, as in ``manage.py flush``.
    """

    name = "only_triggers_write"
    level = pgtrigger.Statement
    when = pgtrigger.After
    operation = pgtrigger.Insert | pgtrigger.Update | pgtrigger.Delete | pgtrigger.Truncate
    condition = pgtrigger.Condition(
        "pg_trigger_depth() = 0"
        " AND current_setting('closient.repair_tally', true) IS DISTINCT FROM 'on'"
    )

    def get_func(self, model: Any) -> str:
        name = model._meta.verbose_name_plural
        owner = model._meta.pk.remote_field.model._meta.db_table
        return f"""
            IF TG_OP = 'TRUNCATE' AND NOT EXISTS (SELECT FROM {sql.SCHEMA}.{owner}) THEN
                RETURN NULL;
            END IF;
            RAISE EXCEPTION 'Only the database writes {name}: write the rows that they describe.'
                USING ERRCODE = 'check_violation',
                    CONSTRAINT = '{model._meta.db_table}_only_triggers_write';
        """


class KeepOrganization(UnconditionalTrigger):
    """Prevents moving a row to another organization."""

    name = "keep_organization"
    when = pgtrigger.Before
    operation = _update_of("organization_id")
    condition = pgtrigger.Condition("NEW.organization_id IS DISTINCT FROM OLD.organization_id")

    def get_func(self, model: Any) -> str:
        name = model._meta.verbose_name
        return f"""
            RAISE EXCEPTION 'A {name} cannot move to another organization.'
                USING ERRCODE = 'check_violation',
                    CONSTRAINT = '{model._meta.db_table}_keep_organization';
        """


def is_written_by_triggers(model: type[models.Model]) -> bool:
    """Return whether only triggers write the rows of a model."""
    own = getattr(model._meta, "triggers", ())
    return any(isinstance(trigger, OnlyTriggersWrite) for trigger in own)


def triggers(*parts: Account | Counter | CoverageColumn | Summary) -> list[pgtrigger.Trigger]:
    """Return the triggers that maintain the counts and summaries of a model's rows."""
    declaration = Declaration(
        summary=next((part for part in parts if isinstance(part, Summary)), None),
        accounts=tuple(part for part in parts if isinstance(part, Account)),
        counters=tuple(part for part in parts if isinstance(part, Counter)),
        coverages=tuple(part for part in parts if isinstance(part, CoverageColumn)),
    )
    return [CountingTrigger(declaration, event) for event in _OPERATIONS]
