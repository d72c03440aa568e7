"""Triggers made from declarations, installed and versioned by django-pgtrigger's migrations."""

from __future__ import annotations

import re
from typing import Any

import pgtrigger
from pgtrigger import compiler

from closient.tally import sql
from closient.tally.declarations import Account, Counter, CoverageColumn, Declaration

_OPERATIONS = {
    "INSERT": pgtrigger.Insert,
    "UPDATE": pgtrigger.Update,
    "DELETE": pgtrigger.Delete,
    "TRUNCATE": pgtrigger.Truncate,
}


# Compiling a plan would take longer than running it, whatever the estimates say.
PLANNING = "SET enable_seqscan TO off SET jit TO off"

# Without annotations in the library.
_referencing: Any = pgtrigger.Referencing
_update_of: Any = pgtrigger.UpdateOf


class UnconditionalTriggerSql(compiler.UpsertTriggerSql):
    """pgtrigger's template without its ``ignore`` prologue, and with plans by index only.

    The prologue is a sub-transaction per call, and would let a caller switch counting off. A plan
    is kept for the session: one made while a table was small, or without statistics, would go on
    reading it whole when it is large.
    """

    def get_template(self) -> str:
        whole = super().get_template()
        function = whole[whole.index("CREATE OR REPLACE FUNCTION {pgid}()") :]
        function = re.sub(
            r"IF \(\{ignore_func_name\}.*?END IF;\s*(?=\{func\})",
            "",
            function,
            flags=re.DOTALL,
        )
        return function.replace("LANGUAGE plpgsql", f"LANGUAGE plpgsql {PLANNING}")


class UnconditionalTrigger(pgtrigger.Trigger):
    """A trigger that nothing can switch off."""

    def compile(self, model: Any) -> compiler.Trigger:
        """Return the trigger with its SQL, as migrations store it."""
        kwargs = super().compile(model).sql.kwargs
        return compiler.Trigger(name=self.name, sql=UnconditionalTriggerSql(**kwargs))


class CountingTrigger(UnconditionalTrigger):
    """Keeps what one model's rows count as, for one kind of statement."""

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
            declare=[
                ("ids", "uuid[]"),
                ("organizations", "uuid[]"),
                ("amounts", "integer[]"),
                ("spans", "datemultirange[]"),
            ],
        )

    def get_func(self, model: Any) -> str:
        if self.event == "TRUNCATE":
            return sql.truncate_body(model, self.declaration)
        return sql.statement_body(model, self.declaration, self.event)


class KeepDerivedColumns(UnconditionalTrigger):
    """Allows only triggers to write columns derived from other rows.

    ``Model.save()`` writes every column: without this a stale instance would undo them.
    """

    when = pgtrigger.Before

    def __init__(self, columns: dict[str, str], event: str) -> None:
        self.columns = columns
        self.event = event
        super().__init__(
            name=f"keep_derived_{event.lower()}",
            operation=_OPERATIONS[event],
            condition=pgtrigger.Condition(sql.keep_derived_condition(columns, event)),
        )

    def get_func(self, model: Any) -> str:
        return sql.keep_derived_body(self.columns, self.event)


class KeepOrganization(UnconditionalTrigger):
    """Refuses to move a row to another organization."""

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


def triggers(*parts: Account | Counter | CoverageColumn) -> list[pgtrigger.Trigger]:
    """Return the triggers that keep everything a model's rows count as."""
    declaration = Declaration(
        accounts=tuple(part for part in parts if isinstance(part, Account)),
        counters=tuple(part for part in parts if isinstance(part, Counter)),
        coverages=tuple(part for part in parts if isinstance(part, CoverageColumn)),
    )
    return [CountingTrigger(declaration, event) for event in _OPERATIONS]


def derived_columns(**empty: str) -> list[pgtrigger.Trigger]:
    """Return the triggers that guard derived columns, given the SQL of each one's empty value."""
    return [KeepDerivedColumns(empty, event) for event in ("INSERT", "UPDATE")]
