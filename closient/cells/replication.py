"""Logical replication of one organization's rows from one cell to another.

PostgreSQL's own: a publication with row filters and a slot in the source, and a subscription in
the target. Triggers do not fire for replicated rows, and foreign keys are not checked. The tally
comes along as rows.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import connection, connections
from psycopg.conninfo import make_conninfo

from closient.cells.fence import cell_models, table_of
from closient.cells.routing import alias_of
from closient.db.backend import libpq_options


def name_of(organization_id: UUID) -> str:
    """Return the name of an organization's publication, slot and subscription."""
    return f"closient_move_{organization_id.hex}"


def _query(sql: str, params: list[Any] | None = None) -> Any:
    """Run a statement in the current database, and return the first value of its result."""
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None


# --- In the source -------------------------------------------------------------------------------


def publish(organization_id: UUID) -> None:
    """Create the publication and the slot; nothing else may have these names."""
    # A constant of the definition cannot be a parameter; a UUID needs no quoting.
    tables = ", ".join(
        f"{table_of(model)} WHERE (organization_id = '{organization_id}')"
        for model in cell_models()
    )
    name = name_of(organization_id)
    _query(
        f"CREATE PUBLICATION {name} FOR TABLE {tables} WITH (publish = 'insert, update, delete')"
    )
    # Separately: CREATE SUBSCRIPTION would wait for itself if both cells were on one server.
    _query("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [name])


def unpublish(organization_id: UUID) -> None:
    """Drop the publication and the slot, if they exist; the subscription must be gone."""
    name = name_of(organization_id)
    _query(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s",
        [name],
    )
    _query(f"DROP PUBLICATION IF EXISTS {name}")


def log_position() -> str:
    """Return the position after everything that the current database has committed."""
    return str(_query("SELECT pg_current_wal_insert_lsn()"))


def lag(organization_id: UUID) -> int | None:
    """Return how many bytes of the log the target has not applied; ``None`` without its worker."""
    found: int | None = _query(
        "SELECT pg_current_wal_insert_lsn() - replay_lsn FROM pg_stat_replication "
        "WHERE application_name = %s",
        [name_of(organization_id)],
    )
    return None if found is None else int(found)


def has_applied(organization_id: UUID, position: str) -> bool:
    """Return whether the target has applied everything up to a position of the source."""
    return bool(
        _query(
            "SELECT replay_lsn >= %s::pg_lsn FROM pg_stat_replication WHERE application_name = %s",
            [position, name_of(organization_id)],
        )
    )


def connection_string(cell: str) -> str:
    """Return how the server of another cell connects to a cell."""
    return make_conninfo(**libpq_options(connections[alias_of(cell)].get_connection_params()))


# --- In the target -------------------------------------------------------------------------------


def subscribe(organization_id: UUID, source: str) -> None:
    """Create the subscription, which copies the rows and then applies the changes."""
    name = name_of(organization_id)
    _query(
        f"CREATE SUBSCRIPTION {name} CONNECTION {_literal(source)} PUBLICATION {name} "
        f"WITH (create_slot = false, slot_name = '{name}')"
    )


def is_subscribed(organization_id: UUID) -> bool:
    """Return whether the subscription exists."""
    return bool(
        _query(
            "SELECT count(*) FROM pg_subscription WHERE subname = %s", [name_of(organization_id)]
        )
    )


def unsubscribe(organization_id: UUID) -> None:
    """Drop the subscription, and with it the slots in the source, if it exists."""
    _query(f"DROP SUBSCRIPTION IF EXISTS {name_of(organization_id)}")


def tables_to_copy(organization_id: UUID) -> int:
    """Return how many tables are not copied yet."""
    return int(
        _query(
            "SELECT count(*) FROM pg_subscription_rel AS r "
            "JOIN pg_subscription AS s ON s.oid = r.srsubid "
            "WHERE s.subname = %s AND r.srsubstate <> 'r'",
            [name_of(organization_id)],
        )
    )


def error_count(organization_id: UUID) -> int:
    """Return how often copying or applying has failed."""
    return int(
        _query(
            "SELECT coalesce(sum(apply_error_count + sync_error_count), 0) "
            "FROM pg_stat_subscription_stats WHERE subname = %s",
            [name_of(organization_id)],
        )
    )


def _literal(text: str) -> str:
    with connection.cursor() as cursor:
        literal: str = cursor.mogrify("%s", [text])
        return literal
