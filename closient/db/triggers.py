"""The base of all triggers, installed by migrations of django-pgtrigger."""

from __future__ import annotations

import re
from typing import Any

import pgtrigger
from pgtrigger import compiler

# No JIT: compiling a plan would take longer than running it, whatever the estimates.
PLANNING = "SET enable_seqscan TO off SET jit TO off"


class UnconditionalTriggerSql(compiler.UpsertTriggerSql):
    """pgtrigger's template without its ``ignore`` prologue, and with index scans only.

    The prologue costs a subtransaction per call and lets callers turn counting off. Plans are
    cached for the session: one made for a small table, or without statistics, would continue with
    sequential scans after the table has grown.
    """

    planning = PLANNING

    def get_template(self) -> str:
        whole = super().get_template()
        function = whole[whole.index("CREATE OR REPLACE FUNCTION {pgid}()") :]
        function = re.sub(
            r"IF \(\{ignore_func_name\}.*?END IF;\s*(?=\{func\})",
            "",
            function,
            flags=re.DOTALL,
        )
        return function.replace("LANGUAGE plpgsql", f"LANGUAGE plpgsql {self.planning}")


class UnconditionalTrigger(pgtrigger.Trigger):
    """A trigger that cannot be turned off."""

    sql_class: type[UnconditionalTriggerSql] = UnconditionalTriggerSql

    def compile(self, model: Any) -> compiler.Trigger:
        """Return the trigger with its SQL, as migrations store it."""
        kwargs = super().compile(model).sql.kwargs
        return compiler.Trigger(name=self.name, sql=self.sql_class(**kwargs))
