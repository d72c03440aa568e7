"""SQL of the counting triggers: first the parent's columns, then the entries.

All names are qualified with the schema: the functions must work with any search path (a restore has
an empty one).
"""

from __future__ import annotations

from typing import Any

from django.db import models

from closient.tally.declarations import (
    BUCKET_SEPARATOR,
    Account,
    Counter,
    CoverageColumn,
    Declaration,
)
from closient.tally.fields import NEVER

SCHEMA = "public"
TALLY = f"{SCHEMA}.tally_tallyentry"
EMPTY_TEXT = "''"
ALWAYS = "DATE '0001-01-01'"

# The transition tables of each event, and the sign with which their rows count.
SOURCES: dict[str, tuple[tuple[str, int], ...]] = {
    "INSERT": (("new_rows", 1),),
    "UPDATE": (("new_rows", 1), ("old_rows", -1)),
    "DELETE": (("old_rows", -1),),
}


def statement_body(model: type[models.Model], declaration: Declaration, event: str) -> str:
    """Return the body of the trigger function for INSERT, UPDATE or DELETE."""
    parts = [_counter(model, counter, event) for counter in declaration.counters]
    parts += [_coverage(model, coverage, event) for coverage in declaration.coverages]
    parts += [_entries(model, account, event) for account in declaration.accounts]
    # Cascades run one statement for each parent, and most parents have no rows.
    touched = SOURCES[event][0][0]
    nothing = f"IF NOT EXISTS (SELECT FROM {touched}) THEN RETURN NULL; END IF;"
    return "\n".join([nothing, *parts, "RETURN NULL;"])


def truncate_body(model: type[models.Model], declaration: Declaration) -> str:
    """Return the body of the trigger function for TRUNCATE; it resets all organizations."""
    parts = [
        f"UPDATE {_parent_table(model, derived)} SET {derived.column} = {_empty(derived)}"
        f" WHERE {derived.column} <> {_empty(derived)};"
        for derived in declaration.derived
    ]
    for account in declaration.accounts:
        # A running compaction has entries that this delete could not see: wait for it.
        parts.append(f"LOCK TABLE {TALLY} IN SHARE ROW EXCLUSIVE MODE;")
        parts.append(f"DELETE FROM {TALLY} WHERE account = '{account.name}';")
    return "\n".join([*parts, "RETURN NULL;"])


def keep_derived_body(columns: dict[str, str], operation: str) -> str:
    """Return the body that reverts changes of derived columns by anything but a trigger.

    ``columns`` maps each column to the SQL of its empty value. Only the repair of the tally may
    write them; it sets a parameter in its transaction.
    """
    values = {
        column: empty if operation == "INSERT" else f"OLD.{column}"
        for column, empty in columns.items()
    }
    kept = "\n".join(f"NEW.{column} := {value};" for column, value in values.items())
    return f"""
        IF current_setting('closient.repair_tally', true) = 'on' THEN
            RETURN NEW;
        END IF;
        {kept}
        RETURN NEW;
    """


def keep_derived_condition(columns: dict[str, str], operation: str) -> str:
    """Return the condition for reverting a change, so that other writes call no function."""
    changed = " OR ".join(
        f"NEW.{column} IS DISTINCT FROM {empty if operation == 'INSERT' else f'OLD.{column}'}"
        for column, empty in columns.items()
    )
    return f"pg_trigger_depth() = 0 AND ({changed})"


def _changes(columns: str, event: str, where: str = "") -> str:
    """Return a UNION ALL of an event's rows, each with its sign."""
    condition = f" WHERE {where}" if where else ""
    return " UNION ALL ".join(
        f"SELECT {columns}, {sign} AS sign FROM {source}{condition}"
        for source, sign in SOURCES[event]
    )


def _lock_parents(table: str) -> str:
    """Return the statement that locks the parents in ``ids``, always in the same order.

    A separate statement: one that also computed would use the snapshot from before the lock was
    granted, and miss what the other transaction committed meanwhile.
    """
    return f"PERFORM 1 FROM {table} WHERE id = ANY (ids) ORDER BY id FOR NO KEY UPDATE;"


def _counter(model: type[models.Model], counter: Counter, event: str) -> str:
    parent = _column(model, counter.parent)
    where = " AND ".join(
        f"{_column(model, field)} = '{value}'" for field, value in counter.where.items()
    )
    table = _parent_table(model, counter)
    # Adding to the column is correct with any snapshot. The lock order avoids deadlocks; a single
    # row needs none. width_bucket() returns the position of an id in the ordered array: a join
    # could get a plan that takes hours for a hundred thousand rows.
    return f"""
        SELECT array_agg(d.id ORDER BY d.id), array_agg(d.amount ORDER BY d.id)
            INTO ids, amounts
            FROM (
                SELECT c.{parent} AS id, sum(c.sign)::integer AS amount
                FROM ({_changes(parent, event, where)}) AS c
                GROUP BY c.{parent} HAVING sum(c.sign) <> 0
            ) AS d;
        IF ids IS NOT NULL THEN
            IF cardinality(ids) > 1 THEN
                {_lock_parents(table)}
            END IF;
            UPDATE {table} AS p
                SET {counter.column} = p.{counter.column} + amounts[width_bucket(p.id, ids)]
                WHERE p.id = ANY (ids);
        END IF;
    """


def _coverage(model: type[models.Model], coverage: CoverageColumn, event: str) -> str:
    parent = _column(model, coverage.parent)
    starts, ends = _column(model, coverage.starts), _column(model, coverage.ends)
    table, children = _parent_table(model, coverage), _table(model)
    key = f"organization_id, {parent}, {starts}, {ends}"
    counted = "spans[width_bucket(p.id, ids)]"
    # Above READ COMMITTED the snapshot is older than the lock: the row is written even if nothing
    # seems to change, so that the later transaction fails instead of keeping a wrong value.
    return f"""
        SELECT array_agg(d.id ORDER BY d.id), array_agg(d.organization_id ORDER BY d.id)
            INTO ids, organizations
            FROM (
                SELECT DISTINCT c.{parent} AS id, c.organization_id
                FROM ({_changes(key, event)}) AS c
                GROUP BY c.organization_id, c.{parent}, c.{starts}, c.{ends}
                HAVING sum(c.sign) <> 0
            ) AS d;
        IF ids IS NOT NULL THEN
            {_lock_parents(table)}
            SELECT array_agg(d.days ORDER BY d.id) INTO spans
                FROM (
                    SELECT t.id, coalesce(
                        (
                            SELECT range_agg(
                                daterange(x.{starts}, nullif(x.{ends}, DATE '{NEVER}'), '[]')
                            )
                            FROM {children} AS x
                            WHERE x.organization_id = t.organization_id AND x.{parent} = t.id
                        ),
                        '{{}}'::datemultirange
                    ) AS days
                    FROM unnest(ids, organizations) AS t (id, organization_id)
                ) AS d;
            UPDATE {table} AS p SET {coverage.column} = {counted}
                WHERE p.id = ANY (ids) AND (
                    p.{coverage.column} <> {counted}
                    OR current_setting('transaction_isolation') <> 'read committed'
                );
        END IF;
    """


def _entries(model: type[models.Model], account: Account, event: str) -> str:
    columns = [_column(model, field) for field in account.bucket]
    if account.effective_on:
        columns.append(_column(model, account.effective_on))
    if account.during:
        columns.append(_column(model, account.during.column))
    where = f"{_column(model, account.effective_on)} IS NOT NULL" if account.effective_on else ""
    key = ", ".join(["organization_id", *columns])
    grouped = ", ".join(f"c.{column}" for column in ["organization_id", *columns])
    # Compaction is likelier the more entries a statement posts: on average every 128 entries.
    return f"""
        WITH changes AS (
            SELECT {grouped}, sum(c.sign) AS amount
            FROM ({_changes(key, event, where)}) AS c
            GROUP BY {grouped} HAVING sum(c.sign) <> 0
        ), entries AS (
            INSERT INTO {TALLY} (organization_id, account, bucket, effective_on, amount)
            SELECT c.organization_id, '{account.name}', e.bucket, e.effective_on,
                sum(c.amount * e.sign)
            FROM changes AS c CROSS JOIN LATERAL ({_postings(model, account)}) AS e
            GROUP BY c.organization_id, e.bucket, e.effective_on
            HAVING sum(c.amount * e.sign) <> 0
            RETURNING organization_id
        )
        SELECT array_agg(f.organization_id) INTO organizations
            FROM (
                SELECT organization_id FROM entries GROUP BY organization_id
                HAVING random() < count(*) / 128.0
            ) AS f;
        IF organizations IS NOT NULL
            AND current_setting('transaction_isolation') = 'read committed'
        THEN
            PERFORM {SCHEMA}.tally_fold(organizations);
        END IF;
    """


def _postings(model: type[models.Model], account: Account) -> str:
    """Return a SELECT of the entries of one row ``c``: bucket, effective_on, sign."""
    if account.during is None:
        bucket = f" || '{BUCKET_SEPARATOR}' || ".join(
            f"coalesce(c.{_column(model, field)}::text, '')" for field in account.bucket
        )
        day = f"c.{_column(model, account.effective_on)}" if account.effective_on else ALWAYS
        return f"SELECT {bucket or EMPTY_TEXT} AS bucket, {day} AS effective_on, 1 AS sign"
    (field,) = account.bucket
    base = f"c.{_column(model, field)}"
    within = f"({base} | {account.during.bit})"
    days = f"unnest(c.{_column(model, account.during.column)}) AS days"
    return f"""
        SELECT {base}::text AS bucket, {ALWAYS} AS effective_on, 1 AS sign
        UNION ALL
        SELECT b.bucket, b.effective_on, b.sign
        FROM {days} CROSS JOIN LATERAL (
            VALUES
                ({base}::text, coalesce(lower(days), {ALWAYS}), -1),
                ({within}::text, coalesce(lower(days), {ALWAYS}), 1),
                ({within}::text, upper(days), -1),
                ({base}::text, upper(days), 1)
        ) AS b (bucket, effective_on, sign)
        WHERE b.effective_on IS NOT NULL
    """


def _table(model: type[models.Model]) -> str:
    return f"{SCHEMA}.{model._meta.db_table}"


def _column(model: type[models.Model], field: str) -> str:
    found: Any = model._meta.get_field(field)
    return str(found.column)


def _parent_table(model: type[models.Model], derived: Counter | CoverageColumn) -> str:
    relation: Any = model._meta.get_field(derived.parent)
    return _table(relation.remote_field.model)


def _empty(derived: Counter | CoverageColumn) -> str:
    return "0" if isinstance(derived, Counter) else "'{}'::datemultirange"
