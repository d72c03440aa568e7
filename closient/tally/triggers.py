"""Triggers for declarations; django-pgtrigger's migrations install them."""

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


# No JIT: compiling a plan would take longer than running it, whatever the estimates.
PLANNING = "SET enable_seqscan TO off SET jit TO off"

# The library has no type annotations.
_referencing: Any = pgtrigger.Referencing
_update_of: Any = pgtrigger.UpdateOf


class UnconditionalTriggerSql(compiler.UpsertTriggerSql):
    """pgtrigger's template without its ``ignore`` prologue, and with index scans only.

    The prologue costs a subtransaction per call and lets callers turn counting off. Plans are
    cached for the session: one made for a small table, or without statistics, would continue with
    sequential scans after the table has grown.
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
    """A trigger that cannot be turned off."""

    def compile(self, model: Any) -> compiler.Trigger:
        """Return the trigger with its SQL, as migrations store it."""
        kwargs = super().compile(model).sql.kwargs
        return compiler.Trigger(name=self.name, sql=UnconditionalTriggerSql(**kwargs))


class CountingTrigger(UnconditionalTrigger):
    """Maintains the counts of one model's rows, for one kind of statement."""

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

    ``Model.save()`` writes every column: without the trigger, a stale instance would overwrite
    them.
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


def triggers(*parts: Account | Counter | CoverageColumn) -> list[pgtrigger.Trigger]:
    """Return the triggers that maintain the counts of a model's rows."""
    declaration = Declaration(
        accounts=tuple(part for part in parts if isinstance(part, Account)),
        counters=tuple(part for part in parts if isinstance(part, Counter)),
        coverages=tuple(part for part in parts if isinstance(part, CoverageColumn)),
    )
    return [CountingTrigger(declaration, event) for event in _OPERATIONS]


def derived_columns(**empty: str) -> list[pgtrigger.Trigger]:
    """Return the triggers that protect derived columns; ``empty``: the SQL of each empty value."""
    return [KeepDerivedColumns(empty, event) for event in ("INSERT", "UPDATE")]
