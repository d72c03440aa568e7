"""SQL of the counting triggers: first the summaries, then the entries.

All names are qualified with the schema: the functions must work with any search path (a restore has
an empty one).
"""

from __future__ import annotations

from typing import Any

from django.db import connection, models

from closient.tally.declarations import (
    BUCKET_SEPARATOR,
    Account,
    Counter,
    CoverageColumn,
    Declaration,
    summary_of,
)
from closient.tally.fields import NEVER

SCHEMA = "public"
TALLY = f"{SCHEMA}.tally_tallyentry"
COUNT_CHANGES = f"{SCHEMA}.changes_countchange"
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
    parts = [_SUMMARIES[event](model)] if declaration.summary else []
    parts += [_counter(model, counter, event) for counter in declaration.counters]
    cover = _add_coverage if event == "INSERT" else _recount_coverage
    parts += [cover(model, coverage, event) for coverage in declaration.coverages]
    if declaration.accounts:
        parts.append(_entries(model, declaration.accounts, event))
    # Cascades run one statement for each parent, and most parents have no rows.
    touched = SOURCES[event][0][0]
    nothing = f"IF NOT EXISTS (SELECT FROM {touched}) THEN RETURN NULL; END IF;"
    return "\n".join([nothing, *parts, "RETURN NULL;"])


def truncate_body(model: type[models.Model], declaration: Declaration) -> str:
    """Return the body of the trigger function for TRUNCATE; it resets all organizations."""
    parts = [_truncate_summaries(model)] if declaration.summary else []
    parts += [
        f"UPDATE {_parent_of(model, derived).name} SET {derived.column} = {_empty(derived)}"
        f" WHERE {derived.column} <> {_empty(derived)};"
        for derived in declaration.derived
    ]
    for account in declaration.accounts:
        # A running compaction has entries that this delete could not see: wait for it.
        parts.append(f"LOCK TABLE {TALLY} IN SHARE ROW EXCLUSIVE MODE;")
        parts.append(f"DELETE FROM {TALLY} WHERE account = '{account.name}';")
    return "\n".join([*parts, "RETURN NULL;"])


def variables(model: type[models.Model], declaration: Declaration) -> list[tuple[str, str]]:
    """Return the variables of the trigger functions, with their types."""
    copies = _SummaryTable(model).copied_types if declaration.summary else {}
    return [
        ("ids", "uuid[]"),
        ("former_ids", "uuid[]"),
        ("organizations", "uuid[]"),
        ("amounts", "integer[]"),
        ("spans", "datemultirange[]"),
        ("found", "bigint"),
        ("change", "uuid"),
        ("changed", "uuid[]"),
        *((f"copies_{column}", f"{kind}[]") for column, kind in copies.items()),
    ]


class _SummaryTable:
    """The table with the summaries of a model's rows, in SQL."""

    def __init__(self, owner: type[models.Model]) -> None:
        model, summary = summary_of(owner)
        self.owner = _table(owner)
        self.name = _table(model)
        self.key = str(model._meta.pk.column)
        self.copied_types: dict[str, str] = {}
        for name in summary.copies:
            field: Any = model._meta.get_field(name)
            self.copied_types[field.column] = field.db_type(connection)

    def insert(self, rows: str, column: str = "", value: str = "") -> str:
        """Return the INSERT of the summaries of rows ``r``, unless they exist.

        ``rows`` is a FROM item. A column gets a value.
        """
        more, values = (f", {column}", f", {value}") if column else ("", "")
        copied = "".join(f", {name}" for name in self.copied_types)
        copies = "".join(f", r.{name}" for name in self.copied_types)
        return f"""
            INSERT INTO {self.name} ({self.key}, organization_id{copied}{more})
                SELECT r.id, r.organization_id{copies}{values} FROM {rows}
                ON CONFLICT ({self.key}) DO NOTHING;
        """

    def insert_missing(self, column: str = "", value: str = "") -> str:
        """Return the INSERT of the summaries of ``ids``, after a statement that met ``found``.

        In one statement with several parts (WITH), triggers of a child may run before those of its
        new parent.
        """
        insert = self.insert(f"{self.owner} AS r WHERE r.id = ANY (ids)", column, value)
        return f"IF found < cardinality(ids) THEN {insert} END IF;"


def _insert_summaries(model: type[models.Model]) -> str:
    return _SummaryTable(model).insert("new_rows AS r")


def _update_summaries(model: type[models.Model]) -> str:
    """Return the update of the summaries whose copies change.

    An id that changes takes a new summary: nothing can refer to the row then.
    """
    table = _SummaryTable(model)
    columns = list(table.copied_types)
    copies = ", ".join(columns)
    arrays = [
        f"array_agg(d.{column} ORDER BY d.id) FILTER (WHERE d.sign > 0)" for column in columns
    ]
    variables = [f"copies_{column}" for column in columns]
    settings = ", ".join(
        f"{column} = copies_{column}[width_bucket(s.{table.key}, ids)]" for column in columns
    )
    return f"""
        SELECT {", ".join(["array_agg(d.id ORDER BY d.id) FILTER (WHERE d.sign > 0)", *arrays])},
            array_agg(d.id ORDER BY d.id) FILTER (WHERE d.sign < 0)
            INTO {", ".join(["ids", *variables])}, former_ids
            FROM (
                SELECT c.id, {", ".join(f"c.{column}" for column in columns)}, sum(c.sign) AS sign
                FROM ({_changes(f"id, {copies}", "UPDATE")}) AS c
                GROUP BY c.id, {", ".join(f"c.{column}" for column in columns)}
                HAVING sum(c.sign) <> 0
            ) AS d;
        IF ids IS NOT NULL THEN
            IF ids <> former_ids THEN
                DELETE FROM {table.name} AS s
                    WHERE s.{table.key} = ANY (former_ids) AND s.{table.key} <> ALL (ids);
            END IF;
            UPDATE {table.name} AS s SET {settings} WHERE s.{table.key} = ANY (ids);
            GET DIAGNOSTICS found = ROW_COUNT;
            {table.insert_missing()}
        END IF;
    """


def _delete_summaries(model: type[models.Model]) -> str:
    # Not a cascade, which deletes row by row: one statement posts the sums.
    table = _SummaryTable(model)
    return f"""
        SELECT array_agg(o.id) INTO ids FROM old_rows AS o;
        DELETE FROM {table.name} AS s WHERE s.{table.key} = ANY (ids);
    """


def _truncate_summaries(model: type[models.Model]) -> str:
    # They are empty if the statement has truncated them too, and cannot be truncated again then.
    table = _SummaryTable(model)
    return f"IF EXISTS (SELECT FROM {table.name}) THEN TRUNCATE {table.name}; END IF;"


_SUMMARIES = {
    "INSERT": _insert_summaries,
    "UPDATE": _update_summaries,
    "DELETE": _delete_summaries,
}


def _changes(columns: str, event: str, where: str = "") -> str:
    """Return a UNION ALL of an event's rows, each with its sign."""
    condition = f" WHERE {where}" if where else ""
    return " UNION ALL ".join(
        f"SELECT {columns}, {sign} AS sign FROM {source}{condition}"
        for source, sign in SOURCES[event]
    )


def _is_counted(table: _SummaryTable, parent: str, event: str) -> str:
    """Return the condition for a parent ``c`` whose summary has to be changed.

    A deletion by another trigger may be the cascade from the parent, which takes its summary along.
    """
    if event != "DELETE":
        return "true"
    return (
        f"(pg_trigger_depth() = 1 OR EXISTS (SELECT FROM {table.owner} AS p"
        f" WHERE p.id = c.{parent}))"
    )


def _counter(model: type[models.Model], counter: Counter, event: str) -> str:
    parent = _column(model, counter.parent)
    where = " AND ".join(
        f"{_column(model, field)} = '{value}'" for field, value in counter.where.items()
    )
    table = _parent_of(model, counter)
    # Adding to the column is correct with any snapshot. Locks are taken in the order of ids, which
    # avoids deadlocks: the plan is an index scan of an ordered array (PLANNING in triggers.py).
    # width_bucket() returns the position of an id in the array: a join could get a plan that takes
    # hours for a hundred thousand rows.
    return f"""
        SELECT array_agg(d.id ORDER BY d.id), array_agg(d.amount ORDER BY d.id)
            INTO ids, amounts
            FROM (
                SELECT c.{parent} AS id, sum(c.sign)::integer AS amount
                FROM ({_changes(parent, event, where)}) AS c
                GROUP BY c.{parent}
                HAVING sum(c.sign) <> 0 AND {_is_counted(table, parent, event)}
            ) AS d;
        IF ids IS NOT NULL THEN
            UPDATE {table.name} AS s
                SET {counter.column} = s.{counter.column}
                    + amounts[width_bucket(s.{table.key}, ids)]
                WHERE s.{table.key} = ANY (ids);
            GET DIAGNOSTICS found = ROW_COUNT;
            {table.insert_missing(counter.column, "amounts[width_bucket(r.id, ids)]")}
        END IF;
    """


def _days(model: type[models.Model], coverage: CoverageColumn, row: str) -> str:
    """Return the days that rows cover, as an aggregate."""
    starts, ends = _column(model, coverage.starts), _column(model, coverage.ends)
    return f"range_agg(daterange({row}.{starts}, nullif({row}.{ends}, DATE '{NEVER}'), '[]'))"


def _add_coverage(model: type[models.Model], coverage: CoverageColumn, event: str) -> str:
    """Return the addition of new rows' days.

    As with counters, adding is correct with any snapshot; so it may not depend on whether the days
    are there already.
    """
    parent = _column(model, coverage.parent)
    table = _parent_of(model, coverage)
    return f"""
        SELECT array_agg(d.id ORDER BY d.id), array_agg(d.days ORDER BY d.id)
            INTO ids, spans
            FROM (
                SELECT c.{parent} AS id, {_days(model, coverage, "c")} AS days
                FROM new_rows AS c GROUP BY c.{parent}
            ) AS d;
        UPDATE {table.name} AS s
            SET {coverage.column} = s.{coverage.column} + spans[width_bucket(s.{table.key}, ids)]
            WHERE s.{table.key} = ANY (ids);
        GET DIAGNOSTICS found = ROW_COUNT;
        {table.insert_missing(coverage.column, "spans[width_bucket(r.id, ids)]")}
    """


def _recount_coverage(model: type[models.Model], coverage: CoverageColumn, event: str) -> str:
    """Return the recount of the days of rows that were changed or deleted."""
    parent = _column(model, coverage.parent)
    starts, ends = _column(model, coverage.starts), _column(model, coverage.ends)
    table, children = _parent_of(model, coverage), _table(model)
    key = f"organization_id, {parent}, {starts}, {ends}"
    counted = f"spans[width_bucket(s.{table.key}, ids)]"
    # The lock is a separate statement: one that also computed would use the snapshot from before
    # the lock was granted, and miss what the other transaction committed meanwhile. Above READ
    # COMMITTED the snapshot is older than the lock: the row is written even if nothing seems to
    # change, so that the later transaction fails instead of keeping a wrong value.
    return f"""
        SELECT array_agg(d.id ORDER BY d.id), array_agg(d.organization_id ORDER BY d.id)
            INTO ids, organizations
            FROM (
                SELECT DISTINCT c.{parent} AS id, c.organization_id
                FROM ({_changes(key, event)}) AS c
                GROUP BY c.organization_id, c.{parent}, c.{starts}, c.{ends}
                HAVING sum(c.sign) <> 0 AND {_is_counted(table, parent, event)}
            ) AS d;
        IF ids IS NOT NULL THEN
            PERFORM 1 FROM {table.name} AS s WHERE s.{table.key} = ANY (ids)
                ORDER BY s.{table.key} FOR NO KEY UPDATE;
            GET DIAGNOSTICS found = ROW_COUNT;
            {table.insert_missing()}
            SELECT array_agg(d.days ORDER BY d.id) INTO spans
                FROM (
                    SELECT t.id, coalesce(
                        (
                            SELECT {_days(model, coverage, "x")}
                            FROM {children} AS x
                            WHERE x.organization_id = t.organization_id AND x.{parent} = t.id
                        ),
                        '{{}}'::datemultirange
                    ) AS days
                    FROM unnest(ids, organizations) AS t (id, organization_id)
                ) AS d;
            UPDATE {table.name} AS s SET {coverage.column} = {counted}
                WHERE s.{table.key} = ANY (ids) AND (
                    s.{coverage.column} <> {counted}
                    OR current_setting('transaction_isolation') <> 'read committed'
                );
        END IF;
    """


def _entries(model: type[models.Model], accounts: tuple[Account, ...], event: str) -> str:
    columns = list(dict.fromkeys(c for account in accounts for c in _columns_of(model, account)))
    conditions = [_is_posted(model, account) for account in accounts]
    where = "true" if "true" in conditions else " OR ".join(conditions)
    grouped = ", ".join(f"c.{column}" for column in ["organization_id", *columns])
    postings = " UNION ALL ".join(_postings(model, account) for account in accounts)
    # Compaction is likelier the more entries a statement posts: on average every 128 entries, or a
    # quarter of the organization's, if that is more. It reads all of them.
    return f"""
        change := {SCHEMA}.changes_current();
        WITH changes AS (
            SELECT {grouped}, sum(c.sign) AS amount
            FROM ({_changes(", ".join(["organization_id", *columns]), event)}) AS c
            WHERE {where}
            GROUP BY {grouped} HAVING sum(c.sign) <> 0
        ), entries AS (
            INSERT INTO {TALLY} (organization_id, account, bucket, effective_on, amount)
            SELECT c.organization_id, e.account, e.bucket, e.effective_on, sum(c.amount * e.sign)
            FROM changes AS c CROSS JOIN LATERAL ({postings}) AS e
            GROUP BY c.organization_id, e.account, e.bucket, e.effective_on
            HAVING sum(c.amount * e.sign) <> 0
            RETURNING organization_id, account, bucket, effective_on, amount
        ), recorded AS (
            INSERT INTO {COUNT_CHANGES}
                (organization_id, change_id, account, bucket, effective_on, amount)
            SELECT organization_id, change, account, bucket, effective_on, amount
            FROM entries WHERE change IS NOT NULL AND organization_id IN (
                SELECT g.id FROM {SCHEMA}.accounts_organization AS g WHERE g.id = ANY (
                    (SELECT array_agg(DISTINCT organization_id) FROM entries)::uuid[]
                )
            )
            RETURNING organization_id
        )
        SELECT array_agg(f.organization_id),
            (SELECT array_agg(DISTINCT r.organization_id) FROM recorded AS r)
            INTO organizations, changed
            FROM (
                SELECT organization_id, greatest(count(*), 128) AS amount
                FROM entries GROUP BY organization_id
                HAVING random() < count(*) / 128.0
            ) AS f
            WHERE 4 * f.amount > random() * (
                SELECT count(*) FROM {TALLY} AS t WHERE t.organization_id = f.organization_id
            );
        IF changed IS NOT NULL THEN PERFORM {SCHEMA}.changes_note(changed); END IF;
        IF organizations IS NOT NULL
            AND current_setting('transaction_isolation') = 'read committed'
        THEN
            PERFORM {SCHEMA}.tally_fold(organizations);
        END IF;
    """


def _columns_of(model: type[models.Model], account: Account) -> list[str]:
    """Return the columns of a row that its entries depend on."""
    dated = [account.during.column] if account.during else []
    fields = [*account.bucket, *filter(None, [account.effective_on]), *dated, *account.exclude]
    return [_column(model, field) for field in fields]


def _is_posted(model: type[models.Model], account: Account) -> str:
    """Return the condition for a row ``c`` that counts."""
    conditions = [
        f"c.{_column(model, field)} <> '{value}'" for field, value in account.exclude.items()
    ]
    if account.effective_on:
        conditions.append(f"c.{_column(model, account.effective_on)} IS NOT NULL")
    return " AND ".join(conditions) or "true"


def _postings(model: type[models.Model], account: Account) -> str:
    """Return a SELECT of the entries of one row ``c``: account, bucket, effective_on, sign."""
    name, is_posted = f"'{account.name}' AS account", _is_posted(model, account)
    columns = [f"c.{_column(model, field)}" for field in account.bucket]
    if account.during is None:
        day = f"c.{_column(model, account.effective_on)}" if account.effective_on else ALWAYS
        return (
            f"SELECT {name}, {_bucket(columns)} AS bucket, {day} AS effective_on, 1 AS sign"
            f" WHERE {is_posted}"
        )
    *first, mask = columns
    base, within = _bucket(columns), _bucket([*first, f"({mask} | {account.during.bit})"])
    days = f"unnest(c.{_column(model, account.during.column)}) AS days"
    return f"""
        SELECT {name}, {base} AS bucket, {ALWAYS} AS effective_on, 1 AS sign
        WHERE {is_posted}
        UNION ALL
        SELECT {name}, b.bucket, b.effective_on, b.sign
        FROM {days} CROSS JOIN LATERAL (
            VALUES
                ({base}, coalesce(lower(days), {ALWAYS}), -1),
                ({within}, coalesce(lower(days), {ALWAYS}), 1),
                ({within}, upper(days), -1),
                ({base}, upper(days), 1)
        ) AS b (bucket, effective_on, sign)
        WHERE b.effective_on IS NOT NULL AND {is_posted}
    """


def _bucket(values: list[str]) -> str:
    """Return the bucket of some values."""
    texts = [f"coalesce({value}::text, '')" for value in values]
    return f" || '{BUCKET_SEPARATOR}' || ".join(texts) or EMPTY_TEXT


def _table(model: type[models.Model]) -> str:
    return f"{SCHEMA}.{model._meta.db_table}"


def _column(model: type[models.Model], field: str) -> str:
    found: Any = model._meta.get_field(field)
    return str(found.column)


def _parent_of(model: type[models.Model], derived: Counter | CoverageColumn) -> _SummaryTable:
    relation: Any = model._meta.get_field(derived.parent)
    return _SummaryTable(relation.remote_field.model)


def _empty(derived: Counter | CoverageColumn) -> str:
    return "0" if isinstance(derived, Counter) else "'{}'::datemultirange"
