"""Rate limits for keys, users and client addresses, exact across all processes.

A subject has two windows, a minute and a day. A window starts at its first request. A rejected
request does not count. One statement checks and counts in both windows and commits immediately, so
a request that fails later is still counted.
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
from closient.http.problems import Problem

MINUTE = 60
DAY = 86_400
# Before the id of a key; the statement that finds the key builds its subject, too.
KEY_SUBJECT = "key:"


@dataclasses.dataclass(frozen=True)
class Limits:
    """The maximum number of requests per minute and per day."""

    per_minute: int
    per_day: int


@dataclasses.dataclass(frozen=True)
class Window:
    """The state of a window after a request; ``reset`` is the number of seconds until it ends."""

    limit: int
    seconds: int
    remaining: int
    reset: int
    # Seconds since the window started.
    age: float = dataclasses.field(default=0.0, compare=False)

    @property
    def name(self) -> str:
        """The name of the window in the API: ``minute`` or ``day``."""
        return "minute" if self.seconds == MINUTE else "day"


@dataclasses.dataclass(frozen=True)
class RateLimitResult:
    """Whether a request is allowed, and the state of the windows after it."""

    is_allowed: bool
    windows: tuple[Window, ...]

    @classmethod
    def from_row(cls, limits: Limits, row: Sequence[Any]) -> RateLimitResult:
        """Return the result in a row that ``COUNT_REQUEST`` returned."""
        is_allowed, minute_count, minute_age, day_count, day_age = row
        return cls(
            is_allowed,
            (
                _window(limits.per_minute, MINUTE, minute_count, minute_age),
                _window(limits.per_day, DAY, day_count, day_age),
            ),
        )

    @property
    def headers(self) -> dict[str, str]:
        """The ``RateLimit`` headers, for the window with the fewest requests remaining."""
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
    def exhausted_window(self) -> Window | None:
        """The window without remaining requests that ends last; ``None`` if there is none."""
        exhausted = [window for window in self.windows if not window.remaining]
        return max(exhausted, key=lambda window: window.reset, default=None)

    @property
    def retry_after(self) -> int:
        """Seconds until every window has remaining requests again."""
        return self.exhausted_window.reset if self.exhausted_window else 0


# How long a request waits for the row of its subject. Requests lock it only for a moment.
LOCK_TIMEOUT = "2s"

# Counts one request: the row of "request", with a subject and its limits per minute and per day.
# The upsert locks the subject's row first, so concurrent requests are checked one after the other,
# each with the current time. A window that starts in the future was written with a wrong clock (for
# example before a failover) and has ended. A rejected request changes only "is_allowed".
COUNT_REQUEST = """
    INSERT INTO public.accounts_ratelimit AS stored
        (subject, minute_started_at, minute_count, day_started_at, day_count, is_allowed)
    SELECT subject, clock_timestamp(), 1, clock_timestamp(), 1, true FROM request
    ON CONFLICT (subject) DO UPDATE SET
        (minute_started_at, minute_count, day_started_at, day_count, is_allowed) = (
            SELECT
                CASE WHEN allowed AND minute_ended THEN now ELSE stored.minute_started_at END,
                CASE WHEN allowed THEN minute_used + 1 ELSE stored.minute_count END,
                CASE WHEN allowed AND day_ended THEN now ELSE stored.day_started_at END,
                CASE WHEN allowed THEN day_used + 1 ELSE stored.day_count END,
                allowed
            FROM (SELECT clock_timestamp() AS now, per_minute, per_day FROM request) AS clock
            CROSS JOIN LATERAL (
                SELECT
                    now >= stored.minute_started_at + interval '1 minute'
                        OR now < stored.minute_started_at AS minute_ended,
                    now >= stored.day_started_at + interval '24 hours'
                        OR now < stored.day_started_at AS day_ended
            ) AS ends
            CROSS JOIN LATERAL (
                SELECT
                    CASE WHEN minute_ended THEN 0 ELSE stored.minute_count END AS minute_used,
                    CASE WHEN day_ended THEN 0 ELSE stored.day_count END AS day_used
            ) AS used
            CROSS JOIN LATERAL (
                SELECT minute_used < per_minute AND day_used < per_day AS allowed
            ) AS result
        )
    RETURNING
        is_allowed,
        minute_count,
        extract(epoch FROM clock_timestamp() - minute_started_at)::float8 AS minute_age,
        day_count,
        extract(epoch FROM clock_timestamp() - day_started_at)::float8 AS day_age
"""
# A column of "request" that sets the lock timeout until the statement's transaction ends.
SET_LOCK_TIMEOUT = f"set_config('lock_timeout', '{LOCK_TIMEOUT}', true)"

_REQUEST = f"""
    request AS MATERIALIZED (
        SELECT
            %(subject)s::text AS subject,
            %(per_minute)s::bigint AS per_minute,
            %(per_day)s::bigint AS per_day,
            {SET_LOCK_TIMEOUT}
    )
"""
_COUNT_REQUEST = f"WITH {_REQUEST} {COUNT_REQUEST}"

# Client addresses come and go: each request of one also deletes two expired rows, more than it can
# add. Locked rows are skipped. ARRAY runs the subquery once; with IN it could run again and delete
# two more each time.
_DELETE_EXPIRED_AND_COUNT_REQUEST = f"""
    WITH deleted AS (
        DELETE FROM public.accounts_ratelimit WHERE subject = ANY (ARRAY (
            SELECT subject FROM public.accounts_ratelimit
            WHERE day_started_at <= statement_timestamp() - interval '24 hours'
                AND subject <> %(subject)s
            ORDER BY day_started_at LIMIT 2 FOR UPDATE SKIP LOCKED
        ))
    ),
    {_REQUEST} {COUNT_REQUEST}
"""  # noqa: S608 - constants of ours

# Subtracts one request from the windows that counted it. A window younger than "minute_age" or
# "day_age" started after that request and is not changed.
_REFUND = f"""
    WITH request AS MATERIALIZED (SELECT %(subject)s::text AS subject, {SET_LOCK_TIMEOUT})
    UPDATE public.accounts_ratelimit AS stored SET
        minute_count = minute_count - (
            extract(epoch FROM clock_timestamp() - minute_started_at) >= %(minute_age)s
        )::int,
        day_count = day_count - (
            extract(epoch FROM clock_timestamp() - day_started_at) >= %(day_age)s
        )::int
    FROM request WHERE stored.subject = request.subject
    RETURNING
        true,
        minute_count,
        extract(epoch FROM clock_timestamp() - minute_started_at)::float8,
        day_count,
        extract(epoch FROM clock_timestamp() - day_started_at)::float8
"""  # noqa: S608 - constants of ours

_DELETE_EXPIRED = """
    DELETE FROM public.accounts_ratelimit WHERE subject = ANY (ARRAY (
        SELECT subject FROM public.accounts_ratelimit
        WHERE day_started_at <= statement_timestamp() - interval '24 hours'
            AND minute_started_at <= statement_timestamp() - interval '1 minute'
        FOR UPDATE SKIP LOCKED
    ))
"""


def count_request(subject: str, limits: Limits) -> RateLimitResult:
    """Count a request of a subject."""
    return _count(_COUNT_REQUEST, subject, limits)


def subject_of_key(key_id: UUID) -> str:
    """Return the subject of the requests with a key."""
    return f"{KEY_SUBJECT}{key_id}"


def subject_of_user(user_id: UUID) -> str:
    """Return the subject of the API requests of a user's sessions."""
    return f"user:{user_id}"


def subjects_of_account(user_id: UUID, email: str) -> list[str]:
    """Return all subjects that name one account, for its erasure."""
    return [subject_of_user(user_id), _subject_of_exports(user_id), _subject_of_logins(email)]


def _subject_of_exports(holder_id: UUID) -> str:
    return f"export:{holder_id}"


def _subject_of_logins(email: str) -> str:
    return f"login-to:{_account_digest(email)}"


def _account_digest(email: str) -> str:
    return hashlib.sha256(normal_email(email).encode()).hexdigest()[:40]


def count_session_request(user_id: UUID) -> RateLimitResult:
    """Count an API request of a user's browser session."""
    limits = Limits(settings.API_LIMIT_PER_MINUTE, settings.API_LIMIT_PER_DAY)
    return count_request(subject_of_user(user_id), limits)


def count_export(holder_id: UUID) -> RateLimitResult:
    """Count an export of a user, from the pages or the API, or of a key; by its id."""
    limits = Limits(settings.EXPORT_LIMIT_PER_MINUTE, settings.EXPORT_LIMIT_PER_DAY)
    return count_request(_subject_of_exports(holder_id), limits)


def enforce_limit(result: RateLimitResult, sentence: str = "Too many requests.") -> None:
    """Raise the ``rate_limited`` problem, with the seconds to wait, if a limit is exceeded."""
    if not result.is_allowed:
        seconds = result.retry_after
        when = "in a second" if seconds == 1 else f"in {seconds:,} seconds"
        raise Problem("rate_limited", f"{sentence} Try again {when}.", retry_after=seconds)


def count_invalid_key(address: str) -> RateLimitResult:
    """Count a request with a well-formed key that is unknown, revoked or expired."""
    limits = Limits(settings.API_LIMIT_ADDRESS_PER_MINUTE, settings.API_LIMIT_ADDRESS_PER_DAY)
    return _count(_DELETE_EXPIRED_AND_COUNT_REQUEST, f"address:{address}", limits)


def count_login_attempt(*, address: str, email: str, known_browser: str = "") -> RateLimitResult:
    """Count an attempt to log in to an account from an address.

    A browser that has logged in to the account before is counted only by its id. Other browsers are
    limited by address, by address and account, and by account. If guesses from many addresses reach
    the limit of the account, each address still gets one attempt per minute: guessing is slow, and
    the owner can log in. Returns the result of the first limit that rejects the attempt.
    """
    pair = hashlib.sha256(f"{address} {_account_digest(email)}".encode()).hexdigest()[:40]
    if known_browser:
        return _count_login_attempt(f"login-known:{known_browser}", Limits(10, 100))
    for subject, limits in (
        (f"login-from:{address}", Limits(30, 1_000)),
        (f"login:{pair}", Limits(10, 100)),
    ):
        result = _count_login_attempt(subject, limits)
        if not result.is_allowed:
            return result
    result = _count_login_attempt(_subject_of_logins(email), Limits(60, 2_000))
    if result.is_allowed:
        return result
    return _count_login_attempt(f"login-slow:{pair}", Limits(1, 20))


def _count_login_attempt(subject: str, limits: Limits) -> RateLimitResult:
    return _count(_DELETE_EXPIRED_AND_COUNT_REQUEST, subject, limits)


def _count(sql: str, subject: str, limits: Limits) -> RateLimitResult:
    parameters: dict[str, str | int] = {
        "subject": subject,
        "per_minute": limits.per_minute,
        "per_day": limits.per_day,
    }
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return RateLimitResult.from_row(limits, cursor.fetchone())


def refund(subject: str, result: RateLimitResult, elapsed: float) -> RateLimitResult:
    """Undo the count of a request, and return the state of the windows after that.

    ``elapsed`` is the time in seconds since ``result``. Together with the age of the windows in it,
    it identifies the windows that counted the request.
    """
    minute, day = result.windows
    # Our clock and the server's may differ a little.
    elapsed = elapsed * 0.99 - 0.005
    parameters: dict[str, str | float] = {
        "subject": subject,
        "minute_age": minute.age + elapsed,
        "day_age": day.age + elapsed,
    }
    with connection.cursor() as cursor:
        cursor.execute(_REFUND, parameters)
        row = cursor.fetchone()
    return RateLimitResult.from_row(Limits(minute.limit, day.limit), row) if row else result


def delete_expired() -> int:
    """Delete the rows whose windows have ended, except locked ones; return how many."""
    with connection.cursor() as cursor:
        cursor.execute(_DELETE_EXPIRED)
        return int(cursor.rowcount)


def _window(limit: int, seconds: int, count: int, age: float) -> Window:
    if not 0 <= age < seconds:
        # It has ended, and did not restart because the other window rejected the request.
        return Window(limit, seconds, limit, seconds)
    return Window(limit, seconds, max(0, limit - count), math.ceil(seconds - age), age)


class MemoryLimit:
    """A limit per minute in the memory of this process, for requests not worth a query.

    It stores a bounded number of subjects and evicts the least recently seen ones.
    """

    def __init__(
        self, *, max_subjects: int = 100_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_subjects = max_subjects
        self._clock = clock
        self._windows: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._lock = threading.Lock()

    def count_request(self, subject: str, per_minute: int) -> RateLimitResult:
        """Count a request of a subject."""
        now = self._clock()
        with self._lock:
            started, count = self._windows.pop(subject, (now, 0))
            if now >= started + MINUTE:
                started, count = now, 0
            allowed = count < per_minute
            count += allowed
            self._windows[subject] = started, count
            if len(self._windows) > self._max_subjects:
                self._windows.popitem(last=False)
        return RateLimitResult(allowed, (_window(per_minute, MINUTE, count, now - started),))

    def clear(self) -> None:
        """Delete all subjects."""
        with self._lock:
            self._windows.clear()


# Requests without a key or with a malformed one, by client address.
keyless_requests = MemoryLimit()
# Requests of pages, by user. A statement for each would cost more than the page limit saves.
page_requests = MemoryLimit()
