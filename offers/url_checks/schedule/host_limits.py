"""Rate limits of hosts, shared by all workers through the database.

A host gets at most two requests at a time and at most one new request per second. While it
throttles the checker (429, 503 or a bot wall) it gets a pause, which doubles each time. All times
are the database's, so the clocks of machines do not matter. The slot of a worker that was killed
expires. The limits of all cells are in the directory, or each cell would request a host as often.

Host names are canonical (:func:`offers.url_checks.fetch.urls.target_of`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from closient.cells.routing import directory_connection


class SlotUnavailable(Exception):
    """A host has no free slot in the allowed time; try again after ``wait`` seconds."""

    def __init__(self, host: str, wait: float) -> None:
        super().__init__(f"{host} has no free slot.")
        self.wait = wait


@dataclass(frozen=True)
class HostLimits:
    """How fast one host is requested, by all workers together."""

    # Between the starts of two requests.
    interval: timedelta = timedelta(seconds=1)
    # A slot expires after this: a request takes 20 seconds at most, so its worker has died.
    slot_timeout: timedelta = timedelta(seconds=30)
    # The pause after the first throttled request; each further one in a row doubles it.
    backoff: timedelta = timedelta(minutes=1)
    max_backoff: timedelta = timedelta(hours=1)
    # A host's own Retry-After is honored up to this.
    max_retry_after: timedelta = timedelta(days=1)


HOST_LIMITS = HostLimits()
# How long a queued request has priority over new claims; renewed while it waits.
QUEUE_PRIORITY = timedelta(seconds=3)
# A minute doubled this often exceeds every maximum.
MAX_THROTTLE_COUNT = 20
# The row of a host without requests for this long is deleted.
DELETE_AFTER = timedelta(days=7)

# When host h may be requested next. GREATEST ignores NULL. Times are compared with the start of the
# statement, because an index cannot be searched by a volatile clock.
FREE_AT = """GREATEST(h.next_start_at, h.paused_until,
    CASE WHEN h.first_busy_until IS NOT NULL AND h.second_busy_until IS NOT NULL
         THEN LEAST(h.first_busy_until, h.second_busy_until) END)"""

# In how many seconds a host is free, and whether it is paused.
FREE_IN = f"extract(epoch FROM GREATEST({FREE_AT}, h.wanted_until) - statement_timestamp())::float8"
IS_PAUSED = "h.paused_until > statement_timestamp()"
_STATES = f"""
    SELECT h.host, {FREE_IN}, {IS_PAUSED} FROM offers_checkedhost h WHERE h.host = ANY(%s)
"""

# The condition of hosts that could be probed, in random order.
_RESPONSIVE = """
    SELECT h.host FROM offers_checkedhost h
    WHERE h.host <> ALL(%(unreachable)s)
      AND (h.paused_until IS NULL OR h.paused_until <= statement_timestamp())
    ORDER BY random() LIMIT %(most)s
"""

# Statements that wait for several rows lock them in the order of hosts, which avoids deadlocks.

_REGISTER = """
    INSERT INTO offers_checkedhost (host) SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING
"""

# A locked row is being acquired by another worker: the host is not free.
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

# A throttled response during a pause belongs to an earlier request: it may only lengthen the pause.
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

# A locked row is in use.
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
    """The right to one request to a host, until it is released or expires."""

    host: str
    until: datetime
    # How many responses in a row were throttled.
    throttle_count: int


def states(hosts: Collection[str]) -> dict[str, tuple[float, bool | None]]:
    """Return in how many seconds each known host is free, and whether it is paused."""
    with directory_connection().cursor() as cursor:
        cursor.execute(_STATES, [list(hosts)])
        return {host: (wait, is_paused) for host, wait, is_paused in cursor.fetchall()}


def choose_to_probe(unreachable: Collection[str], *, most: int) -> list[str]:
    """Return some known hosts at random that are neither unreachable nor paused."""
    with directory_connection().cursor() as cursor:
        cursor.execute(_RESPONSIVE, {"unreachable": list(unreachable), "most": most})
        return [host for (host,) in cursor.fetchall()]


def register(hosts: Collection[str]) -> None:
    """Insert a row for each host that has none."""
    if hosts:
        with directory_connection().cursor() as cursor:
            cursor.execute(_REGISTER, [sorted(set(hosts))])


def acquire(
    hosts: Collection[str], *, limits: HostLimits = HOST_LIMITS, queued: bool = False
) -> list[Slot]:
    """Acquire a slot at each of the registered hosts that is free now; skip the others.

    ``queued`` gives priority over new claims, see :func:`acquire_or_queue`.
    """
    given: dict[str, Any] = {
        "hosts": list(hosts),
        "queued": queued,
        "interval": limits.interval,
        "slot_timeout": limits.slot_timeout,
    }
    with directory_connection().cursor() as cursor:
        cursor.execute(_ACQUIRE, given)
        return [Slot(*row) for row in cursor.fetchall()]


def acquire_or_queue(
    hosts: Collection[str], *, limits: HostLimits = HOST_LIMITS
) -> tuple[list[Slot], dict[str, float]]:
    """Acquire slots at the hosts that are free now, and queue at the others.

    Returns the slots, and for each other host the seconds until it may be free: 0 when both its
    slots are in use. New claims wait for a few seconds, so a caller that tries again soon gets the
    next slot.
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
    with directory_connection().cursor() as cursor:
        cursor.execute(_QUEUE, given)
        return {host: max(seconds, 0.0) for host, seconds in cursor.fetchall()}


def release(slots: Collection[Slot]) -> None:
    """Release the slots of requests that have ended; expired slots stay with their new owners."""
    if not slots:
        return
    with directory_connection().cursor() as cursor:
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
    """Pause hosts that throttle the checker, twice as long each time in a row.

    ``retry_after`` has the ``Retry-After`` of each host, or None: the pause is at least that long.
    """
    if not retry_after:
        return
    values: dict[str, Any] = {
        "backoff": limits.backoff,
        "longest": limits.max_backoff,
        "most": MAX_THROTTLE_COUNT,
    }
    with directory_connection().cursor() as cursor:
        for host, wait in retry_after.items():
            granted = wait and min(wait, limits.max_retry_after)
            cursor.execute(_BACK_OFF, values | {"host": host, "retry_after": granted})


def reset_backoff(hosts: Collection[str]) -> None:
    """Reset hosts that respond normally again after a pause: their next pause is a short one."""
    if hosts:
        with directory_connection().cursor() as cursor:
            cursor.execute(_RESET_BACKOFF, [list(hosts)])


def delete_idle_hosts() -> int:
    """Delete the rows of hosts without requests for a week; return how many."""
    given: dict[str, Any] = {"long": DELETE_AFTER}
    with directory_connection().cursor() as cursor:
        cursor.execute(_DELETE_IDLE, given)
        forgotten: int = cursor.rowcount
        return forgotten
