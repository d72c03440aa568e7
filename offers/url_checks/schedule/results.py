"""Saves the results of checks, unless the offer has changed in the meantime.

A result is for the row as it was claimed: the same URL, the same claim token, the same status. A
change by a person or by a later check wins: the result is dropped, and the next check is due when
the row's ``url_check_at`` says so.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import random
from collections.abc import Sequence
from typing import Any, LiteralString

from django.db import connection

from closient.accounts.actors import acting_as
from closient.changes.models import Cause
from closient.db.transactions import DatabaseBusy, run_with_retry
from offers.url_checks.fetch.responses import FetchResult
from offers.url_checks.schedule.claims import Claim
from offers.url_checks.verdict import judge


@dataclasses.dataclass(frozen=True)
class CheckedClaim:
    """A claim and the result of its check."""

    claim: Claim
    result: FetchResult


# Columns that must be unchanged since the claim, ...
_CLAIMED: dict[LiteralString, LiteralString] = {
    "id": "uuid",
    "url": "text",
    "token": "timestamptz",
    "was_status": "text",
    "was_checked_at": "timestamptz",
}
# ... and columns that are written.
_WRITTEN: dict[LiteralString, LiteralString] = {
    "url_status": "text",
    "http_status": "smallint",
    "url_checked_at": "timestamptz",
    "url_failing_since": "timestamptz",
    "url_detail": "text",
    "url_check_at": "timestamptz",
    "url_strikes": "smallint",
    "url_struck_first_at": "timestamptz",
    "url_struck_last_at": "timestamptz",
}
# The trigger changes the token when the URL changes, but triggers do not fire during replication.
_UNCHANGED: LiteralString = """
    o.url = v.url AND o.url_check_at = v.token AND o.url_status = v.was_status
    AND o.url_checked_at IS NOT DISTINCT FROM v.was_checked_at
"""
_CLAIM_UNCHANGED: LiteralString = "o.url_check_at = v.token"


def _statement(
    given: dict[LiteralString, LiteralString],
    written: Sequence[LiteralString],
    unchanged: LiteralString,
) -> LiteralString:
    """Return an UPDATE of many rows, given as JSON, that skips rows that have changed.

    The rows are locked in the order of their keys first, so that two batches never deadlock. After
    waiting for a lock PostgreSQL tests the condition again on the new version of the row, and a
    locked row does not change any more.
    """
    columns = ", ".join(f"{name} {kind}" for name, kind in given.items())
    new = ", ".join(f"{name} = v.{name}" for name in written)
    return f"""
        WITH v AS MATERIALIZED (
            SELECT * FROM pg_catalog.json_to_recordset(%(rows)s) AS v({columns})
        ),
        held AS MATERIALIZED (
            SELECT o.id FROM public.offers_offer o JOIN v ON o.id = v.id
            WHERE {unchanged}
            ORDER BY o.id
            FOR NO KEY UPDATE OF o {{waiting}}
        )
        UPDATE public.offers_offer o SET {new}
        FROM v JOIN held ON held.id = v.id
        WHERE o.id = v.id
    """


_RECORD = _statement(_CLAIMED | _WRITTEN, list(_WRITTEN), _UNCHANGED)
_GIVE_BACK = _statement(
    {"id": "uuid", "token": "timestamptz", "url_check_at": "timestamptz"},
    ["url_check_at"],
    _CLAIM_UNCHANGED,
)


def save(checked: Sequence[CheckedClaim]) -> int:
    """Judge and save the results of checks; return how many were saved.

    Results of offers that have changed since they were claimed are dropped. One statement saves
    all, and writes only the columns of the check. The time of the check is the database's.
    """
    if not checked:
        return 0
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_catalog.clock_timestamp()")
        now: datetime.datetime = cursor.fetchone()[0]
    with acting_as("", Cause.URL_CHECK):
        return _write(_RECORD, [_row(each, now) for each in checked])


def release(claims: Sequence[Claim], at: datetime.datetime) -> int:
    """Make claimed offers due at ``at`` without a result; return how many were still claimed."""
    if not claims:
        return 0
    return _write(
        _GIVE_BACK, [{"id": c.offer_id, "token": c.token, "url_check_at": at} for c in claims]
    )


def _row(checked: CheckedClaim, now: datetime.datetime) -> dict[str, Any]:
    claim = checked.claim
    jitter = random.uniform(-1, 1)  # noqa: S311 - not for security
    verdict = judge(claim.state, checked.result, now=now, jitter=jitter)
    return {
        "id": claim.offer_id,
        "url": claim.url,
        "token": claim.token,
        "was_status": claim.state.url_status,
        "was_checked_at": claim.state.url_checked_at,
        **{column: getattr(verdict, column) for column in _WRITTEN},
    }


def _write(statement: LiteralString, rows: Sequence[dict[str, Any]]) -> int:
    """Run a statement; skip rows that stay locked for long."""
    # One JSON text: an array per column takes the driver as long as all the rest here. PostgreSQL
    # reads keys and times back exactly, to the microsecond.
    given = {"rows": json.dumps(rows, default=str)}

    def write(waiting: LiteralString) -> int:
        with connection.cursor() as cursor:
            cursor.execute(statement.format(waiting=waiting), given)
            written: int = cursor.rowcount
            return written

    try:
        return run_with_retry(lambda: write(""))
    except DatabaseBusy:
        return run_with_retry(lambda: write("SKIP LOCKED"))
