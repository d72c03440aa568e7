"""The fence: a database refuses to write rows of organizations that move or have moved away.

``move_organization`` installs the triggers at both ends of a move, so that a database that no
organization has ever left pays nothing. A statement that writes a row of a fenced organization
fails with an error that is raised as ``OperationalError``: a request gets 503 and may be repeated.

Sessions choose with the parameter ``closient.fence``: ``skip`` leaves rows of fenced organizations
unchanged without an error, for the worker's statements about all organizations; ``pass`` writes
them, for the move itself.
"""

from __future__ import annotations

import contextlib
import time
import zlib
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.apps import apps
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, OperationalError, connection, models, transaction
from psycopg import errors

from closient.cells.models import Fence
from closient.db.backend import set_in_new_sessions
from closient.db.tenancy import cascade_count

# Held in the source by a move. It refuses transactions above READ COMMITTED, which would not see
# the fence.
MOVE_LOCK = "closient.cells move"
# In the class of PostgreSQL's "operator intervention", whose errors are operational.
SQLSTATE = "57F01"
# Maximum time to wait for writers of a table before they may continue, and for one such wait.
LOCK_TIMEOUT = "1s"
MAX_ATTEMPTS = 60
# Ids of each cell are in a range of their own: a row keeps its id when it moves.
IDS_PER_CELL = 1 << 44
MAX_RANGES = 1 << 18

_FUNCTIONS = f"""
    CREATE OR REPLACE FUNCTION public.cells_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF current_setting('transaction_isolation') <> 'read committed'
            AND NOT pg_try_advisory_xact_lock_shared(hashtextextended('{MOVE_LOCK}', 0))
            AND coalesce(current_setting('closient.fence', true), '') <> 'pass'
        THEN
            RAISE EXCEPTION 'An organization is being moved: use READ COMMITTED.'
                USING ERRCODE = '{SQLSTATE}';
        END IF;
        IF EXISTS (SELECT FROM public.cells_fence)
            AND coalesce(current_setting('closient.fence', true), '') <> 'pass'
            AND EXISTS (
                SELECT FROM changed_rows JOIN public.cells_fence USING (organization_id)
            )
        THEN
            RAISE EXCEPTION 'The organization is being moved to another cell.'
                USING ERRCODE = '{SQLSTATE}';
        END IF;
        RETURN NULL;
    END
    $$;
    CREATE OR REPLACE FUNCTION public.cells_skip() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'DELETE' THEN
            IF EXISTS (SELECT FROM public.cells_fence WHERE organization_id = OLD.organization_id)
            THEN
                RETURN NULL;
            END IF;
            RETURN OLD;
        END IF;
        IF EXISTS (SELECT FROM public.cells_fence WHERE organization_id = NEW.organization_id) THEN
            RETURN NULL;
        END IF;
        RETURN NEW;
    END
    $$;
"""  # noqa: S608 - constants
_TRIGGERS = """
    CREATE OR REPLACE TRIGGER cells_skip BEFORE INSERT OR UPDATE OR DELETE ON {table}
        FOR EACH ROW WHEN (current_setting('closient.fence', true) = 'skip')
        EXECUTE FUNCTION public.cells_skip();
    CREATE OR REPLACE TRIGGER cells_refuse_insert AFTER INSERT ON {table}
        REFERENCING NEW TABLE AS changed_rows
        FOR EACH STATEMENT EXECUTE FUNCTION public.cells_refuse();
    CREATE OR REPLACE TRIGGER cells_refuse_update AFTER UPDATE ON {table}
        REFERENCING NEW TABLE AS changed_rows
        FOR EACH STATEMENT EXECUTE FUNCTION public.cells_refuse();
    CREATE OR REPLACE TRIGGER cells_refuse_delete AFTER DELETE ON {table}
        REFERENCING OLD TABLE AS changed_rows
        FOR EACH STATEMENT EXECUTE FUNCTION public.cells_refuse();
"""
# A unique index over the organization and the primary key, if there is one; whether it is the
# replica identity already, by itself or as the primary key; and whether its columns can be null.
_IDENTITY = """
    SELECT i.indexrelid::regclass::text,
        i.indisreplident OR (i.indisprimary AND c.relreplident = 'd')
    FROM pg_index AS i
    JOIN pg_class AS c ON c.oid = i.indrelid
    CROSS JOIN LATERAL (
        SELECT array_agg(a.attname::text ORDER BY a.attname) AS names,
            bool_and(a.attnotnull) AS are_set
        FROM pg_attribute AS a
        WHERE a.attrelid = i.indrelid
            AND a.attnum = ANY ((i.indkey::smallint[])[0:i.indnkeyatts - 1])
    ) AS columns
    WHERE i.indrelid = %s::regclass AND i.indisunique AND i.indimmediate AND i.indisvalid
        AND i.indpred IS NULL AND i.indexprs IS NULL AND columns.are_set
        AND columns.names @> %s::text[]
    ORDER BY 2 DESC, i.indnatts LIMIT 1
"""
# The transactions that have written to tenant tables, or are about to.
_WRITERS = """
    SELECT DISTINCT l.virtualtransaction, coalesce(
        extract(epoch FROM clock_timestamp() - a.xact_start), 0
    )::float8
    FROM pg_locks AS l LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
    WHERE l.locktype = 'relation' AND l.mode = 'RowExclusiveLock' AND l.granted
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND l.relation = ANY (%s::regclass[]::oid[]) AND l.pid <> pg_backend_pid()
"""


def cell_models() -> list[type[models.Model]]:
    """Return the models whose rows are in the cell of their organization.

    All with an organization but those that need a user: users are in the directory. Those come
    first whose rows take most others along.
    """
    found = [
        model
        for model in apps.get_models()
        if any(field.column == "organization_id" for field in model._meta.concrete_fields)
        and model._meta.app_label != "cells"
        and not any(
            field.related_model is apps.get_model(settings.AUTH_USER_MODEL) and not field.null
            for field in model._meta.concrete_fields
        )
    ]
    return sorted(found, key=cascade_count, reverse=True)


def table_of(model: type[models.Model]) -> str:
    """Return the quoted name of a model's table, with its schema."""
    return f"public.{connection.ops.quote_name(model._meta.db_table)}"


@contextlib.contextmanager
def passing_fences() -> Iterator[None]:
    """Let this session of the current database write rows of fenced organizations in a block."""
    with connection.cursor() as cursor:
        cursor.execute("SET closient.fence = 'pass'")
    try:
        yield
    finally:
        if connection.is_usable():
            with connection.cursor() as cursor:
                cursor.execute("RESET closient.fence")


def skip_fenced_rows() -> None:
    """Let the sessions that this thread opens from now on skip rows of fenced organizations."""
    if settings.CELLS:
        set_in_new_sessions("closient.fence", "skip")


def raise_fence(organization_id: UUID) -> None:
    """Refuse writes of an organization in the current database from now on.

    Transactions that have begun to write may still commit: see :func:`writers`.
    """
    Fence.objects.bulk_create([Fence(organization_id=organization_id)], ignore_conflicts=True)


def lift_fence(organization_id: UUID) -> None:
    """Allow writes of an organization in the current database again."""
    Fence.objects.filter(pk=organization_id).delete()


def touch_fence(organization_id: UUID) -> None:
    """Commit a change of the fence, and wait until the disk has it and every commit before it."""
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute("SET LOCAL synchronous_commit = 'on'")
        Fence.objects.filter(pk=organization_id).update(organization_id=organization_id)


def writers() -> dict[str, float]:
    """Return the transactions that may write rows of organizations, and their ages in seconds."""
    with connection.cursor() as cursor:
        cursor.execute(_WRITERS, [[table_of(model) for model in cell_models()]])
        return dict(cursor.fetchall())


def prepare(cell: str) -> None:
    """Prepare the current database, which is a cell, to be an end of a move.

    Installs the triggers, gives each table an identity by which its changes can be filtered by
    organization, and moves its sequences to the cell's own range. Does nothing that was done
    before, and blocks writers only for moments.
    """
    with connection.cursor() as cursor:
        cursor.execute(_FUNCTIONS)
    for model in cell_models():
        table = table_of(model)
        _identify(model, table)
        if not _has_triggers(table):
            _alter(_TRIGGERS.format(table=table))
        if isinstance(model._meta.pk, models.AutoField):
            _start_ids(table, str(model._meta.pk.column), range_of(cell))


def range_of(cell: str) -> int:
    """Return the first id that a sequence gives in a cell."""
    if cell == DEFAULT_DB_ALIAS:
        return 1
    ranges = {name: _range(name) for name in settings.CELLS}
    same = [name for name, number in ranges.items() if number == ranges[cell]]
    if len(same) > 1:
        raise ValueError(f"The cells {' and '.join(same)} get the same ids: rename the new one.")
    return ranges[cell] * IDS_PER_CELL


def _range(name: str) -> int:
    # From the name alone, so that no list of cells has to be kept.
    return zlib.crc32(name.encode()) % (MAX_RANGES - 1) + 1


def _has_triggers(table: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_trigger WHERE tgrelid = %s::regclass "
            "AND tgname IN ('cells_skip', 'cells_refuse_insert', 'cells_refuse_update', "
            "'cells_refuse_delete')",
            [table],
        )
        return bool(cursor.fetchone()[0] == 4)


def _identify(model: type[models.Model], table: str) -> None:
    key = {field.column for field in model._meta.pk_fields}
    columns = sorted({"organization_id"} | key)
    found = _identity(table, columns)
    if found is None:
        organization = model._meta.get_field("organization_id")
        if getattr(organization, "null", False):
            # The identity needs columns that are never null.
            _alter(f"ALTER TABLE {table} REPLICA IDENTITY FULL")
            return
        name = connection.ops.quote_name(f"cells_{model._meta.db_table}_identity"[:63])
        listed = ", ".join(map(connection.ops.quote_name, ["organization_id", *sorted(key)]))
        with connection.cursor() as cursor:
            # An interrupted attempt leaves an invalid index.
            cursor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS public.{name}")
            cursor.execute(f"CREATE UNIQUE INDEX CONCURRENTLY {name} ON {table} ({listed})")
        found = _identity(table, columns)
    if found is not None and not found[1]:
        _alter(f"ALTER TABLE {table} REPLICA IDENTITY USING INDEX {found[0]}")


def _identity(table: str, columns: list[str]) -> tuple[str, bool] | None:
    with connection.cursor() as cursor:
        cursor.execute(_IDENTITY, [table, columns])
        row: tuple[str, bool] | None = cursor.fetchone()
        return row


def _start_ids(table: str, column: str, first: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_get_serial_sequence(%s, %s)", [table, column])
        (sequence,) = cursor.fetchone()
        cursor.execute(f"SELECT last_value FROM {sequence}")  # noqa: S608 - from the catalog
        if cursor.fetchone()[0] < first:
            cursor.execute("SELECT setval(%s::regclass, %s, false)", [sequence, first])


def _alter(statements: Any) -> None:
    """Run statements that lock a table, in one transaction; wait only briefly for its writers."""
    for attempt in range(1, MAX_ATTEMPTS + 1):
        try:
            with transaction.atomic(durable=True), connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
                cursor.execute(statements)
        except OperationalError as error:
            is_locked = isinstance(error.__cause__, errors.LockNotAvailable)
            if not is_locked or attempt == MAX_ATTEMPTS:
                raise
            time.sleep(1)
        else:
            return
