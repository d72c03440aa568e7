"""Rate limits: exact across all processes for keys, users and addresses.

A subject has two windows, a minute and a day. A window starts at its first request, and a refused
request does not count. One statement decides both windows and commits on its own, so what the
request does later cannot take it back.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection

from closient.accounts.emails import normal_email

MINUTE = 60
DAY = 86_400


@dataclasses.dataclass(frozen=True)
class Limits:
    """How many requests a minute and a day."""

    per_minute: int
    per_day: int


@dataclasses.dataclass(frozen=True)
class Window:
    """One window after a request: its limit and length, what is left, and seconds to its end."""

    limit: int
    seconds: int
    remaining: int
    reset: int
    # Seconds since it started.
    age: float = dataclasses.field(default=0.0, compare=False)

    @property
    def name(self) -> str:
        """What clients call the window: ``minute`` or ``day``."""
        return "minute" if self.seconds == MINUTE else "day"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Whether a request may pass, and the state of the windows after it."""

    is_allowed: bool
    windows: tuple[Window, ...]

    @property
    def headers(self) -> dict[str, str]:
        """The headers that tell the state: of the window with the fewest left."""
        tightest = min(self.windows, key=lambda window: (window.remaining, -window.reset))
        return {
            "RateLimit-Policy": ", ".join(
                f"{window.limit};w={window.seconds}" for window in self.windows
            ),
            "RateLimit-Limit": str(tightest.limit),
            "RateLimit-Remaining": str(tightest.remaining),
            "RateLimit-Reset": str(tightest.reset),
        }

    @property
    def used_up(self) -> Window | None:
        """The window that refuses for longest, ``None`` while every window has room."""
        full = [window for window in self.windows if not window.remaining]
        return max(full, key=lambda window: window.reset, default=None)

    @property
    def retry_after(self) -> int:
        """Seconds until every window has room again."""
        return self.used_up.reset if self.used_up else 0


# Seconds that a request waits for the row of its subject, which others hold for a moment at a time.
LOCK_TIMEOUT = 2

# Counts one request of each row of "asked": its subject, and its limits per minute and per day. The
# row is locked before it is judged, so concurrent requests are judged one after the other, each by
# the clock at that moment: a window that starts later than that comes from a clock that was ahead,
# before a failover say, and is over. Nothing but the verdict changes when a request is refused.
COUNT = """
    INSERT INTO public.accounts_ratelimit AS kept
        (subject, minute_started_at, minute_count, day_started_at, day_count, is_allowed)
    SELECT subject, clock_timestamp(), 1, clock_timestamp(), 1, true FROM asked
    ON CONFLICT (subject) DO UPDATE SET
        (minute_started_at, minute_count, day_started_at, day_count, is_allowed) = (
            SELECT
                CASE WHEN allowed AND minute_over THEN at ELSE kept.minute_started_at END,
                CASE WHEN allowed THEN minute_used + 1 ELSE kept.minute_count END,
                CASE WHEN allowed AND day_over THEN at ELSE kept.day_started_at END,
                CASE WHEN allowed THEN day_used + 1 ELSE kept.day_count END,
                allowed
            FROM (SELECT clock_timestamp() AS at, per_minute, per_day FROM asked) AS clock
            CROSS JOIN LATERAL (
                SELECT
                    at >= kept.minute_started_at + interval '1 minute'
                        OR at < kept.minute_started_at AS minute_over,
                    at >= kept.day_started_at + interval '24 hours'
                        OR at < kept.day_started_at AS day_over
            ) AS ends
            CROSS JOIN LATERAL (
                SELECT
                    CASE WHEN minute_over THEN 0 ELSE kept.minute_count END AS minute_used,
                    CASE WHEN day_over THEN 0 ELSE kept.day_count END AS day_used
            ) AS used
            CROSS JOIN LATERAL (
                SELECT minute_used < per_minute AND day_used < per_day AS allowed
            ) AS verdict
        )
    RETURNING
        is_allowed,
        minute_count,
        extract(epoch FROM clock_timestamp() - minute_started_at)::float8 AS minute_age,
        day_count,
        extract(epoch FROM clock_timestamp() - day_started_at)::float8 AS day_age
"""
# A column of "asked": limits the wait for the row, until the end of the statement's transaction.
WAIT_BRIEFLY = f"set_config('lock_timeout', '{LOCK_TIMEOUT}s', true)"

_ASKED = f"""
    asked AS MATERIALIZED (
        SELECT
            %(subject)s::text AS subject,
            %(per_minute)s::bigint AS per_minute,
            %(per_day)s::bigint AS per_day,
            {WAIT_BRIEFLY}
    )
"""
_TAKE = f"WITH {_ASKED} {COUNT}"

# Addresses come and go: each one's request takes two forgotten rows along, which is more than it
# can leave behind. Rows that others hold are left to others. An array, since the rows behind IN
# could be asked for again and again, two more each time.
_SWEEP_AND_TAKE = f"""
    WITH swept AS (
        DELETE FROM public.accounts_ratelimit WHERE subject = ANY (ARRAY (
            SELECT subject FROM public.accounts_ratelimit
            WHERE day_started_at <= statement_timestamp() - interval '24 hours'
                AND subject <> %(subject)s
            ORDER BY day_started_at LIMIT 2 FOR UPDATE SKIP LOCKED
        ))
    ),
    {_ASKED} {COUNT}
"""  # noqa: S608 - constants of ours

# Takes one request out of the windows that it was counted in. A window that started after that is
# younger than "minute_age" and "day_age" ask for, and stays as it is.
_GIVE_BACK = f"""
    WITH asked AS MATERIALIZED (SELECT %(subject)s::text AS subject, {WAIT_BRIEFLY})
    UPDATE public.accounts_ratelimit AS kept SET
        minute_count = minute_count - (
            extract(epoch FROM clock_timestamp() - minute_started_at) >= %(minute_age)s
        )::int,
        day_count = day_count - (
            extract(epoch FROM clock_timestamp() - day_started_at) >= %(day_age)s
        )::int
    FROM asked WHERE kept.subject = asked.subject
    RETURNING
        true,
        minute_count,
        extract(epoch FROM clock_timestamp() - minute_started_at)::float8,
        day_count,
        extract(epoch FROM clock_timestamp() - day_started_at)::float8
"""  # noqa: S608 - constants of ours

_FORGET = """
    DELETE FROM public.accounts_ratelimit WHERE subject = ANY (ARRAY (
        SELECT subject FROM public.accounts_ratelimit
        WHERE day_started_at <= statement_timestamp() - interval '24 hours'
            AND minute_started_at <= statement_timestamp() - interval '1 minute'
        FOR UPDATE SKIP LOCKED
    ))
"""


def take(subject: str, limits: Limits) -> Verdict:
    """Count a request of any subject."""
    return _take(_TAKE, subject, limits)


def take_for_user(user_id: UUID) -> Verdict:
    """Count a request of a user's browser session."""
    limits = Limits(settings.API_LIMIT_PER_MINUTE, settings.API_LIMIT_PER_DAY)
    return take(f"user:{user_id}", limits)


def take_for_export(user_id: UUID) -> Verdict:
    """Count a file that a user downloads from the pages."""
    limits = Limits(settings.EXPORT_LIMIT_PER_MINUTE, settings.EXPORT_LIMIT_PER_DAY)
    return take(f"export:{user_id}", limits)


def take_for_address(address: str) -> Verdict:
    """Count a request with a key that could be one but opens nothing."""
    limits = Limits(settings.API_LIMIT_ADDRESS_PER_MINUTE, settings.API_LIMIT_ADDRESS_PER_DAY)
    return _take(_SWEEP_AND_TAKE, f"address:{address}", limits)


def take_for_login(*, address: str, email: str, known_browser: str = "") -> Verdict:
    """Count an attempt to log in to an account from an address.

    A browser that has logged in to the account before is counted by its id alone. Others are
    limited by address, and by address and account. Past the limit of the account, which guesses
    from many addresses reach, each address still has one attempt a minute: guessing becomes slow
    and the owner gets in. The first limit that refuses is the verdict.
    """
    account = hashlib.sha256(normal_email(email).encode()).hexdigest()[:40]
    pair = hashlib.sha256(f"{address} {account}".encode()).hexdigest()[:40]
    if known_browser:
        return _take_for_login(f"login-known:{known_browser}", Limits(10, 100))
    for subject, limits in (
        (f"login-from:{address}", Limits(30, 1_000)),
        (f"login:{pair}", Limits(10, 100)),
    ):
        verdict = _take_for_login(subject, limits)
        if not verdict.is_allowed:
            return verdict
    verdict = _take_for_login(f"login-to:{account}", Limits(60, 2_000))
    if verdict.is_allowed:
        return verdict
    return _take_for_login(f"login-slow:{pair}", Limits(1, 20))


def _take_for_login(subject: str, limits: Limits) -> Verdict:
    return _take(_SWEEP_AND_TAKE, subject, limits)


def give_back(subject: str, verdict: Verdict, elapsed: float) -> Verdict:
    """Take back one request that was counted, and return the state of the windows after that.

    ``elapsed`` are the seconds since ``verdict``, at most: so the windows that it was counted in
    are known by their age.
    """
    minute, day = verdict.windows
    # Two clocks measure the time, which may differ a little.
    elapsed = elapsed * 0.99 - 0.005
    parameters: dict[str, str | float] = {
        "subject": subject,
        "minute_age": minute.age + elapsed,
        "day_age": day.age + elapsed,
    }
    with connection.cursor() as cursor:
        cursor.execute(_GIVE_BACK, parameters)
        counted = cursor.fetchone()
    return verdict_of(Limits(minute.limit, day.limit), counted) if counted else verdict


def forget_idle() -> int:
    """Delete the windows that have been over for long, of whomever, and return how many.

    Those that a request holds just now stay.
    """
    with connection.cursor() as cursor:
        cursor.execute(_FORGET)
        return int(cursor.rowcount)


def _take(sql: str, subject: str, limits: Limits) -> Verdict:
    parameters: dict[str, str | int] = {
        "subject": subject,
        "per_minute": limits.per_minute,
        "per_day": limits.per_day,
    }
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return verdict_of(limits, cursor.fetchone())


def verdict_of(limits: Limits, counted: Sequence[Any]) -> Verdict:
    """Return the verdict that ``COUNT`` returned."""
    is_allowed, minute_count, minute_age, day_count, day_age = counted
    return Verdict(
        is_allowed,
        (
            _window(limits.per_minute, MINUTE, minute_count, minute_age),
            _window(limits.per_day, DAY, day_count, day_age),
        ),
    )


def _window(limit: int, seconds: int, count: int, age: float) -> Window:
    if not 0 <= age < seconds:
        # Over, and not started again because the other window refused the request.
        return Window(limit, seconds, limit, seconds)
    return Window(limit, seconds, max(0, limit - count), math.ceil(seconds - age), age)


class MemoryLimit:
    """A limit within this process, for requests not worth a query.

    Remembers a bounded number of subjects and forgets the longest unseen ones first.
    """

    def __init__(
        self, *, most_subjects: int = 100_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most_subjects = most_subjects
        self._clock = clock
        self._windows: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, subject: str, per_minute: int) -> Verdict:
        """Count a request of a subject."""
        now = self._clock()
        with self._lock:
            started, count = self._windows.pop(subject, (now, 0))
            if now >= started + MINUTE:
                started, count = now, 0
            allowed = count < per_minute
            count += allowed
            self._windows[subject] = started, count
            if len(self._windows) > self._most_subjects:
                self._windows.popitem(last=False)
        return Verdict(allowed, (_window(per_minute, MINUTE, count, now - started),))

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._windows.clear()


# Requests without a key, or with a malformed one, by address.
without_key = MemoryLimit()
# Pages, by user: a statement for each would cost more than it protects.
pages = MemoryLimit()
