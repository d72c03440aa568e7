"""What makes the changes of the current code: announced to the database, which records it.

The triggers of :mod:`closient.changes.triggers` read the setting ``closient.change`` of the
transaction. It is sent before the first statement that writes recorded rows, so requests that only
read send nothing.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import functools
import json
import re
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

from django.apps import apps
from django.db import transaction
from psycopg.pq import TransactionStatus

from closient.changes.models import ACTOR_LENGTH, Cause
from closient.changes.triggers import is_recorded
from closient.db.ids import uuid7
from closient.db.tenancy import TenantForeignKey

SETTING = "closient.change"
# The value with which nothing is recorded.
OFF = "off"
_ANNOUNCE = f"SELECT pg_catalog.set_config('{SETTING}', %s, true)"


@dataclasses.dataclass(frozen=True)
class Origin:
    """The cause of changes: all transactions of one request or job have the same id.

    ``actor`` is called only if something is written. ``reference`` is the id of the import, bulk
    edit or undone change behind it.
    """

    cause: Callable[[], Cause]
    actor: Callable[[], str]
    reference: UUID | None = None
    request_id: str = ""
    id: UUID = dataclasses.field(default_factory=uuid7)

    @functools.cached_property
    def announcement(self) -> str:
        """The value of the setting."""
        return json.dumps(
            {
                "id": str(self.id),
                "cause": self.cause().value,
                "actor": self.actor()[:ACTOR_LENGTH],
                "reference": None if self.reference is None else str(self.reference),
                "request_id": self.request_id,
            }
        )


_current: contextvars.ContextVar[Origin | None] = contextvars.ContextVar("origin", default=None)
_is_off: contextvars.ContextVar[bool] = contextvars.ContextVar("is_off", default=False)


@contextlib.contextmanager
def caused_by(origin: Origin) -> Iterator[Origin]:
    """Record the changes of a block with an origin."""
    token = _current.set(origin)
    try:
        yield origin
    finally:
        _current.reset(token)


@contextlib.contextmanager
def unrecorded() -> Iterator[None]:
    """Record nothing in a block: for deleting an organization, whose history goes along."""
    token = _is_off.set(True)
    try:
        yield
    finally:
        _is_off.reset(token)


def announce(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
    """Announce the origin before a statement that writes recorded rows (an execute wrapper)."""
    connection: Any = context["connection"]
    driver = connection.connection
    if driver.info.transaction_status == TransactionStatus.IDLE:
        connection.announced_change = ""
    text = sql if isinstance(sql, str) else ""
    if text.startswith("ROLLBACK TO SAVEPOINT"):
        # It also takes back the setting: what it is now is not known.
        connection.announced_change = None
    if not _writes_records(text):
        return execute(sql, params, many, context)
    origin = _current.get()
    # Without an origin the database makes one for the transaction.
    value = OFF if _is_off.get() else origin.announcement if origin else ""
    if connection.announced_change == value:
        return execute(sql, params, many, context)
    if not connection.in_atomic_block:
        with transaction.atomic(using=connection.alias):
            driver.execute(_ANNOUNCE, [value])
            return execute(sql, params, many, context)
    driver.execute(_ANNOUNCE, [value])
    connection.announced_change = value
    return execute(sql, params, many, context)


@functools.cache
def _recorded_tables() -> re.Pattern[str]:
    """Return the pattern of statements that write rows which triggers record."""
    recorded = {model for model in apps.get_models() if is_recorded(model)}
    # Deleting what recorded rows refer to changes or deletes them.
    referred: set[Any] = {
        model._meta.get_field(constraint.field).related_model
        for model in recorded
        for constraint in model._meta.constraints
        if isinstance(constraint, TenantForeignKey) and constraint.field != "organization"
    }
    tables = "|".join(sorted({model._meta.db_table for model in recorded | referred}))
    return re.compile(
        rf"(?:INSERT\s+INTO|UPDATE|DELETE\s+FROM|TRUNCATE)\s+(?:ONLY\s+)?"
        rf"(?:public\.)?\"?(?:{tables})\b",
        re.IGNORECASE,
    )


def _writes_records(sql: str) -> bool:
    if sql.startswith("SELECT"):
        return False
    return _recorded_tables().search(sql) is not None
