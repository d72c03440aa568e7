"""Politeness: what each host may be asked, shared by all workers through the database.

At most two requests to a host at a time, at least a second between their starts, and a pause that
doubles while the host objects. All times are the database's, so that clocks of machines do not
matter; a worker that is killed gives its slot back when the slot's time has passed.

Hosts are canonical (:func:`offers.url_checks.fetch.urls.target_of`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from offers.url_checks.fetch.client import CannotFetch


class SlotUnavailable(CannotFetch):
    """A host may not be asked before ``wait`` seconds have passed, which is longer than allowed."""

    def __init__(self, host: str, wait: float) -> None:
        super().__init__(f"{host} may not be asked just now.")
        self.wait = wait


@dataclass(frozen=True)
class HostLimits:
    """How fast one host is asked, whoever asks."""

    # Between the starts of two requests.
    interval: timedelta = timedelta(seconds=1)
    # A slot in use is free again after this, for its worker must have died: a request ends
    # within 20 seconds.
    slot_timeout: timedelta = timedelta(seconds=30)
    # The pause after the first objection; each further one in a row doubles it.
    backoff: timedelta = timedelta(minutes=1)
    max_backoff: timedelta = timedelta(hours=1)
    # A host that names a time itself (Retry-After) gets it, up to this.
    max_retry_after: timedelta = timedelta(days=1)


HOST_LIMITS = HostLimits()
# New claims stand back for so long when somebody else asked for a turn: renewed while waiting.
QUEUE_PRIORITY = timedelta(seconds=3)
# Doubled as often, a minute is longer than every cap.
MAX_THROTTLE_COUNT = 20
# The budget of a host that nobody asked for so long says nothing any more.
DELETE_AFTER = timedelta(days=7)

# When a host, named h, may be asked next. GREATEST skips what is NULL; times are compared with the
# beginning of the statement, because an index cannot be searched by a clock that runs on.
FREE_AT = """GREATEST(h.next_start_at, h.paused_until,
    CASE WHEN h.first_busy_until IS NOT NULL AND h.second_busy_until IS NOT NULL
         THEN LEAST(h.first_busy_until, h.second_busy_until) END)"""

# What waits for several rows locks them in the order of their hosts: no two wait for each other.

_REGISTER = """
    INSERT INTO offers_checkedhost (host) SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING
"""

# A host whose row is locked is being taken by somebody else: it is not free.
_ACQUIRE = f"""
    WITH free AS MATERIALIZED (
        SELECT h.host, statement_timestamp() + %(slot_timeout)s AS until,
               h.first_busy_until IS NULL OR h.first_busy_until <= statement_timestamp() AS first
        FROM offers_checkedhost h
        WHERE h.host = ANY(%(hosts)s)
          AND {FREE_AT} <= statement_timestamp()
          AND (%(queued)s OR h.wanted_until IS NULL OR h.wanted_until <= statement_timestamp())
        FOR UPDATE SKIP LOCKED
    )
    UPDATE offers_checkedhost h
    SET next_start_at = statement_timestamp() + %(interval)s,
        first_busy_until = CASE WHEN free.first THEN free.until ELSE h.first_busy_until END,
        second_busy_until = CASE WHEN free.first THEN h.second_busy_until ELSE free.until END,
        wanted_until = CASE WHEN %(queued)s THEN NULL ELSE h.wanted_until END
    FROM free
    WHERE h.host = free.host
    RETURNING h.host, free.until, h.objections
"""

_QUEUE = """
    WITH waiting AS MATERIALIZED (
        SELECT h.host FROM offers_checkedhost h WHERE h.host = ANY(%(hosts)s)
        ORDER BY h.host FOR UPDATE
    )
    UPDATE offers_checkedhost h
    SET wanted_until = statement_timestamp() + %(queued)s
    FROM waiting
    WHERE h.host = waiting.host
    RETURNING h.host,
        extract(epoch FROM GREATEST(h.next_start_at, h.paused_until)
                           - statement_timestamp())::float8
"""

_RELEASE = """
    WITH released_slot AS MATERIALIZED (
        SELECT h.host, slot.until
        FROM unnest(%(hosts)s::text[], %(untils)s::timestamptz[]) AS slot(host, until)
        JOIN offers_checkedhost h ON h.host = slot.host
        ORDER BY h.host FOR UPDATE OF h
    ), released_host AS (
        SELECT host, array_agg(until) AS untils FROM released_slot GROUP BY host
    )
    UPDATE offers_checkedhost h
    SET first_busy_until =
            CASE WHEN h.first_busy_until <> ALL(released_host.untils) THEN h.first_busy_until END,
        second_busy_until =
            CASE WHEN h.second_busy_until <> ALL(released_host.untils) THEN h.second_busy_until END
    FROM released_host
    WHERE h.host = released_host.host
"""

# Answers to requests that began before the pause did say nothing new: they only lengthen it.
_BACK_OFF = """
    UPDATE offers_checkedhost h
    SET objections = CASE WHEN h.paused_until > statement_timestamp()
                          THEN h.objections
                          ELSE LEAST(h.objections + 1, %(most)s) END,
        paused_until = GREATEST(
            h.paused_until,
            statement_timestamp() + %(retry_after)s::interval,
            CASE WHEN h.paused_until > statement_timestamp() THEN NULL
                 ELSE statement_timestamp()
                      + LEAST(%(backoff)s * pow(2, LEAST(h.objections, %(most)s)), %(longest)s) END)
    WHERE h.host = %(host)s
"""

_RESET_BACKOFF = """
    WITH reset AS MATERIALIZED (
        SELECT h.host FROM offers_checkedhost h
        WHERE h.host = ANY(%s) AND h.objections > 0
          AND (h.paused_until IS NULL OR h.paused_until <= statement_timestamp())
        ORDER BY h.host FOR UPDATE
    )
    UPDATE offers_checkedhost h SET objections = 0, paused_until = NULL
    FROM reset
    WHERE h.host = reset.host
"""

# Whoever has a row locked does not think it idle.
_DELETE_IDLE = """
    DELETE FROM offers_checkedhost WHERE host IN (
        SELECT h.host FROM offers_checkedhost h
        WHERE h.next_start_at <= statement_timestamp() - %(long)s
          AND (h.paused_until IS NULL OR h.paused_until <= statement_timestamp())
        FOR UPDATE SKIP LOCKED
    )
"""


@dataclass(frozen=True)
class Slot:
    """The right to one request to a host, until it is left or its time has passed."""

    host: str
    until: datetime
    # How often in a row the host has objected.
    throttle_count: int


def register(hosts: Collection[str]) -> None:
    """Make a row for each host that has none."""
    if hosts:
        with connection.cursor() as cursor:
            cursor.execute(_REGISTER, [sorted(set(hosts))])


def acquire(
    hosts: Collection[str], *, limits: HostLimits = HOST_LIMITS, queued: bool = False
) -> list[Slot]:
    """Return a slot at each of the known hosts that may be asked now; the others are left out.

    ``queued`` gives priority over new claims, see :func:`acquire_or_queue`.
    """
    given: dict[str, Any] = {
        "hosts": list(hosts),
        "queued": queued,
        "interval": limits.interval,
        "slot_timeout": limits.slot_timeout,
    }
    with connection.cursor() as cursor:
        cursor.execute(_ACQUIRE, given)
        return [Slot(*row) for row in cursor.fetchall()]


def acquire_or_queue(
    hosts: Collection[str], *, limits: HostLimits = HOST_LIMITS
) -> tuple[list[Slot], dict[str, float]]:
    """Return slots at those of the hosts that may be asked now, and the others.

    The others come with the seconds until they may be asked at the earliest, 0 when both slots
    are in use; new claims stand back for a few seconds, so that who asks again soon gets a turn.
    """
    slots = acquire(hosts, limits=limits, queued=True)
    busy = set(hosts) - {slot.host for slot in slots}
    if not busy:
        return slots, {}
    waits = _queue(busy)
    if unknown := busy - waits.keys():
        register(unknown)
        slots += acquire(unknown, limits=limits, queued=True)
        waits |= _queue(unknown - {slot.host for slot in slots})
    return slots, waits


def _queue(hosts: Collection[str]) -> dict[str, float]:
    given: dict[str, Any] = {"hosts": list(hosts), "queued": QUEUE_PRIORITY}
    with connection.cursor() as cursor:
        cursor.execute(_QUEUE, given)
        return {host: max(seconds, 0.0) for host, seconds in cursor.fetchall()}


def release(slots: Collection[Slot]) -> None:
    """Give slots back: their requests have ended. Those whose time has passed stay with others."""
    if not slots:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            _RELEASE,
            {
                "hosts": [slot.host for slot in slots],
                "untils": [slot.until for slot in slots],
            },
        )


def back_off(
    retry_after: Mapping[str, timedelta | None], *, limits: HostLimits = HOST_LIMITS
) -> None:
    """Leave hosts that object in peace, for a time that doubles with each objection in a row.

    Given is the time that each host asked for (Retry-After), if it named one: it is honoured too.
    """
    if not retry_after:
        return
    values: dict[str, Any] = {
        "backoff": limits.backoff,
        "longest": limits.max_backoff,
        "most": MAX_THROTTLE_COUNT,
    }
    with connection.cursor() as cursor:
        for host, wait in retry_after.items():
            granted = wait and min(wait, limits.max_retry_after)
            cursor.execute(_BACK_OFF, values | {"host": host, "retry_after": granted})


def reset_backoff(hosts: Collection[str]) -> None:
    """Let hosts that answer again, after a pause, begin anew: the next pause is a short one."""
    if hosts:
        with connection.cursor() as cursor:
            cursor.execute(_RESET_BACKOFF, [list(hosts)])


def delete_idle_hosts() -> int:
    """Delete the budgets of hosts that nobody asked for a week; return how many."""
    given: dict[str, Any] = {"long": DELETE_AFTER}
    with connection.cursor() as cursor:
        cursor.execute(_DELETE_IDLE, given)
        forgotten: int = cursor.rowcount
        return forgotten
