"""The time up to which all changes are committed: where a feed of changes has to end.

A row has the time of the statement that wrote it, but others see it only after the commit. A
reader that goes on to rows with later times would miss it. So a feed ends before the beginning of
the oldest transaction that may still commit a change.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection

from django.db import connection, models

# A statement locks its table within milliseconds. One that runs longer without that lock reads.
UNSEEN_WRITE = "10 seconds"

# Whatever writes rows holds this lock on the table until the transaction ends. Sessions of other
# roles hide their times; ended ones have no state either way. A statement that has just begun may
# not have the lock yet. The own time is that of the arrival of the statement, before it reads the
# sessions; the rows must be read by a later one. The sessions are read before the locks: otherwise
# a statement could get its lock and end between the two, and would be seen in neither.
_SETTLED_BEFORE = """
    WITH sessions AS MATERIALIZED (
        SELECT * FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()
    ), writers AS MATERIALIZED (
        SELECT DISTINCT l.pid FROM pg_locks AS l
        WHERE (SELECT count(*) FROM sessions) >= 0
            AND l.locktype = 'relation' AND l.mode = 'RowExclusiveLock'
            AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND l.relation = ANY (%(tables)s::regclass[]::oid[])
            AND l.pid IS DISTINCT FROM pg_backend_pid()
    )
    SELECT
        least(
            statement_timestamp(),
            (
                SELECT min(least(s.xact_start, s.query_start))
                FROM sessions AS s JOIN writers AS w ON w.pid = s.pid
                WHERE s.xact_start IS NOT NULL
            ),
            (
                SELECT min(s.query_start) FROM sessions AS s
                WHERE s.state = 'active'
                    AND s.query_start > statement_timestamp() - %(unseen)s::interval
            )
        ),
        EXISTS (
            SELECT FROM writers AS w LEFT JOIN sessions AS s ON s.pid = w.pid
            WHERE w.pid IS NULL OR (s.pid IS NOT NULL AND s.state IS NULL)
        )
"""


def settled_before(models: Collection[type[models.Model]]) -> datetime.datetime | None:
    """Return the time before which all changes of some models' rows are committed.

    One query; the rows must be read by a later one, on the same server. ``None`` while a session
    writes whose beginning is hidden: that of another database role, or a prepared transaction.
    """
    tables = [f"public.{model._meta.db_table}" for model in models]
    with connection.cursor() as cursor:
        cursor.execute(_SETTLED_BEFORE, {"tables": tables, "unseen": UNSEEN_WRITE})
        before, is_hidden = cursor.fetchone()
    settled: datetime.datetime = before
    return None if is_hidden else settled
