"""Politeness: what each host may be asked, shared by all workers through the database.

At most two requests to a host at a time, at least a second between their starts, and a pause that
doubles while the host objects. All times are the database's, so that clocks of machines do not
matter; a worker that is killed gives its place back when the place's time has passed.

Hosts are canonical (:func:`offers.url_checks.fetch.urls.target_of`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from offers.url_checks.fetch.client import NoTurn


class TurnTooLate(NoTurn):
    """A host may not be asked before ``wait`` seconds have passed, which is longer than allowed."""

    def __init__(self, host: str, wait: float) -> None:
        super().__init__(f"{host} may not be asked just now.")
        self.wait = wait


@dataclass(frozen=True)
class Pace:
    """How fast one host is asked, whoever asks."""

    # Between the starts of two requests.
    interval: timedelta = timedelta(seconds=1)
    # A place in use is free again after this, for its worker must have died: a request ends
    # within 20 seconds.
    place: timedelta = timedelta(seconds=30)
    # The pause after the first objection; each further one in a row doubles it.
    pause: timedelta = timedelta(minutes=1)
    longest_pause: timedelta = timedelta(hours=1)
    # A host that names a time itself (Retry-After) gets it, up to this.
    longest_wish: timedelta = timedelta(days=1)


PACE = Pace()
# New claims stand back for so long when somebody else asked for a turn: renewed while waiting.
STANDING_IN_LINE = timedelta(seconds=3)
# Doubled as often, a minute is longer than every cap.
MOST_OBJECTIONS = 20
# The budget of a host that nobody asked for so long says nothing any more.
FORGOTTEN_AFTER = timedelta(days=7)

# When a host, named h, may be asked next. GREATEST skips what is NULL; times are compared with the
# beginning of the statement, because an index cannot be searched by a clock that runs on.
FREE_AT = """GREATEST(h.next_start_at, h.paused_until,
    CASE WHEN h.first_busy_until IS NOT NULL AND h.second_busy_until IS NOT NULL
         THEN LEAST(h.first_busy_until, h.second_busy_until) END)"""

# What waits for several rows locks them in the order of their hosts: no two wait for each other.

_KNOW = """
    INSERT INTO offers_checkedhost (host) SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING
"""

# A host whose row is locked is being taken by somebody else: it is not free.
_TAKE = f"""
    WITH free AS MATERIALIZED (
        SELECT h.host, statement_timestamp() + %(place)s AS until,
               h.first_busy_until IS NULL OR h.first_busy_until <= statement_timestamp() AS first
        FROM offers_checkedhost h
        WHERE h.host = ANY(%(hosts)s)
          AND {FREE_AT} <= statement_timestamp()
          AND (%(in_line)s OR h.wanted_until IS NULL OR h.wanted_until <= statement_timestamp())
        FOR UPDATE SKIP LOCKED
    )
    UPDATE offers_checkedhost h
    SET next_start_at = statement_timestamp() + %(interval)s,
        first_busy_until = CASE WHEN free.first THEN free.until ELSE h.first_busy_until END,
        second_busy_until = CASE WHEN free.first THEN h.second_busy_until ELSE free.until END,
        wanted_until = CASE WHEN %(in_line)s THEN NULL ELSE h.wanted_until END
    FROM free
    WHERE h.host = free.host
    RETURNING h.host, free.until, h.objections
"""

_STAND_IN_LINE = """
    WITH waiting AS MATERIALIZED (
        SELECT h.host FROM offers_checkedhost h WHERE h.host = ANY(%(hosts)s)
        ORDER BY h.host FOR UPDATE
    )
    UPDATE offers_checkedhost h
    SET wanted_until = statement_timestamp() + %(in_line)s
    FROM waiting
    WHERE h.host = waiting.host
    RETURNING h.host,
        extract(epoch FROM GREATEST(h.next_start_at, h.paused_until)
                           - statement_timestamp())::float8
"""

_LEAVE = """
    WITH left_place AS MATERIALIZED (
        SELECT h.host, place.until
        FROM unnest(%(hosts)s::text[], %(untils)s::timestamptz[]) AS place(host, until)
        JOIN offers_checkedhost h ON h.host = place.host
        ORDER BY h.host FOR UPDATE OF h
    ), left_host AS (
        SELECT host, array_agg(until) AS untils FROM left_place GROUP BY host
    )
    UPDATE offers_checkedhost h
    SET first_busy_until =
            CASE WHEN h.first_busy_until <> ALL(left_host.untils) THEN h.first_busy_until END,
        second_busy_until =
            CASE WHEN h.second_busy_until <> ALL(left_host.untils) THEN h.second_busy_until END
    FROM left_host
    WHERE h.host = left_host.host
"""

# Answers to requests that began before the pause did say nothing new: they only lengthen it.
_OBJECT = """
    UPDATE offers_checkedhost h
    SET objections = CASE WHEN h.paused_until > statement_timestamp()
                          THEN h.objections
                          ELSE LEAST(h.objections + 1, %(most)s) END,
        paused_until = GREATEST(
            h.paused_until,
            statement_timestamp() + %(wish)s::interval,
            CASE WHEN h.paused_until > statement_timestamp() THEN NULL
                 ELSE statement_timestamp()
                      + LEAST(%(pause)s * pow(2, LEAST(h.objections, %(most)s)), %(longest)s) END)
    WHERE h.host = %(host)s
"""

_FORGIVE = """
    WITH forgiven AS MATERIALIZED (
        SELECT h.host FROM offers_checkedhost h
        WHERE h.host = ANY(%s) AND h.objections > 0
          AND (h.paused_until IS NULL OR h.paused_until <= statement_timestamp())
        ORDER BY h.host FOR UPDATE
    )
    UPDATE offers_checkedhost h SET objections = 0, paused_until = NULL
    FROM forgiven
    WHERE h.host = forgiven.host
"""

# Whoever has a row locked does not think it idle.
_FORGET = """
    DELETE FROM offers_checkedhost WHERE host IN (
        SELECT h.host FROM offers_checkedhost h
        WHERE h.next_start_at <= statement_timestamp() - %(long)s
          AND (h.paused_until IS NULL OR h.paused_until <= statement_timestamp())
        FOR UPDATE SKIP LOCKED
    )
"""


@dataclass(frozen=True)
class Place:
    """The right to one request to a host, until it is left or its time has passed."""

    host: str
    until: datetime
    # How often in a row the host has objected.
    objections: int


def know(hosts: Collection[str]) -> None:
    """Make a row for each host that has none."""
    if hosts:
        with connection.cursor() as cursor:
            cursor.execute(_KNOW, [sorted(set(hosts))])


def take(hosts: Collection[str], *, pace: Pace = PACE, in_line: bool = False) -> list[Place]:
    """Return a place at each of the known hosts that may be asked now; the others are left out.

    ``in_line`` is for who has stood in line (:func:`ask`): everybody else stands back for them.
    """
    given: dict[str, Any] = {
        "hosts": list(hosts),
        "in_line": in_line,
        "interval": pace.interval,
        "place": pace.place,
    }
    with connection.cursor() as cursor:
        cursor.execute(_TAKE, given)
        return [Place(*row) for row in cursor.fetchall()]


def ask(hosts: Collection[str], *, pace: Pace = PACE) -> tuple[list[Place], dict[str, float]]:
    """Return places at those of the hosts that may be asked now, and the others.

    The others come with the seconds until they may be asked at the earliest, 0 when both places
    are in use; new claims stand back for a few seconds, so that who asks again soon gets a turn.
    """
    places = take(hosts, pace=pace, in_line=True)
    busy = set(hosts) - {place.host for place in places}
    if not busy:
        return places, {}
    waits = _stand_in_line(busy)
    if unknown := busy - waits.keys():
        know(unknown)
        places += take(unknown, pace=pace, in_line=True)
        waits |= _stand_in_line(unknown - {place.host for place in places})
    return places, waits


def _stand_in_line(hosts: Collection[str]) -> dict[str, float]:
    given: dict[str, Any] = {"hosts": list(hosts), "in_line": STANDING_IN_LINE}
    with connection.cursor() as cursor:
        cursor.execute(_STAND_IN_LINE, given)
        return {host: max(seconds, 0.0) for host, seconds in cursor.fetchall()}


def leave(places: Collection[Place]) -> None:
    """Give places back: their requests have ended. Those whose time has passed stay with others."""
    if not places:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            _LEAVE,
            {
                "hosts": [place.host for place in places],
                "untils": [place.until for place in places],
            },
        )


def pause(objections: Mapping[str, timedelta | None], *, pace: Pace = PACE) -> None:
    """Leave hosts that object in peace, for a time that doubles with each objection in a row.

    Given is the time that each host asked for (Retry-After), if it named one: it is honoured too.
    """
    if not objections:
        return
    limits: dict[str, Any] = {
        "pause": pace.pause,
        "longest": pace.longest_pause,
        "most": MOST_OBJECTIONS,
    }
    with connection.cursor() as cursor:
        for host, wish in objections.items():
            granted = wish and min(wish, pace.longest_wish)
            cursor.execute(_OBJECT, limits | {"host": host, "wish": granted})


def forgive(hosts: Collection[str]) -> None:
    """Let hosts that answer again, after a pause, begin anew: the next pause is a short one."""
    if hosts:
        with connection.cursor() as cursor:
            cursor.execute(_FORGIVE, [list(hosts)])


def forget_hosts() -> int:
    """Delete the budgets of hosts that nobody asked for a week; return how many."""
    given: dict[str, Any] = {"long": FORGOTTEN_AFTER}
    with connection.cursor() as cursor:
        cursor.execute(_FORGET, given)
        forgotten: int = cursor.rowcount
        return forgotten
