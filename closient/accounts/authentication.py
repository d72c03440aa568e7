"""Authentication: by API key, or by a member's browser session.

Authentication also counts the request against its rate limit, so that a refusal (401, 429) comes
before any other query. Missing and malformed keys cost no query.
"""

from __future__ import annotations

import functools
import time
from typing import Any, Never

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.db import connection
from django.db.models import Q
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from rest_framework.authentication import BaseAuthentication, CSRFCheck
from rest_framework.exceptions import AuthenticationFailed, NotAuthenticated, PermissionDenied
from rest_framework.request import Request

from closient.accounts import ratelimit
from closient.accounts.addresses import client_address
from closient.accounts.models import ApiKey, ApiKeyKind, User
from closient.accounts.ratelimit import Limits, Verdict
from closient.db.prepared import CompiledQuery, prepared_cursor
from closient.http.problems import Problem
from closient.text import key_format

HEADER = "X-API-Key"
CHALLENGE = 'ApiKey realm="api", header="X-API-Key"'


class ApiKeyAuthentication(BaseAuthentication):
    """Authenticates by the key in the ``X-API-Key`` header; ``request.auth`` is the key.

    The key comes with its organization and what the view names in ``organization_related``, in
    the statement that counts the request.
    """

    def authenticate(self, request: Request) -> tuple[AnonymousUser, ApiKey] | None:
        """Return the anonymous user and the key, ``None`` without the header; raises if bad."""
        text = request.headers.get(HEADER)
        if text is None:
            return None
        if not key_format.is_well_formed(text):
            refuse_cheaply(request)
        found = find_key_and_count(key_format.digest(text), organization_related(request))
        if found is None:
            require(request, ratelimit.take_for_address(client_address(request._request)))
            raise AuthenticationFailed
        key, verdict = found
        count(request, f"key:{key.id}", verdict)
        return AnonymousUser(), key

    def authenticate_header(self, request: Request) -> str:
        """Return the challenge of a 401."""
        return CHALLENGE


class MemberSessionAuthentication(BaseAuthentication):
    """Authenticates by the browser session, with CSRF protection; the last that is tried."""

    def authenticate(self, request: Request) -> tuple[User, None]:
        """Return the user and no key; raises ``NotAuthenticated`` without a login."""
        user = request._request.user
        if not isinstance(user, User) or not user.is_active:
            refuse_cheaply(request)
        count(request, f"user:{user.id}", ratelimit.take_for_user(user.id))
        check_csrf(request._request)
        return user, None


def find_key_and_count(digest: str, related: tuple[str, ...] = ()) -> tuple[ApiKey, Verdict] | None:
    """Return the key with a digest, and whether its rate limit allows the request.

    ``None``, without counting, unless the key is valid: active, unexpired, and not of a user who
    may not log in. ``related`` names one-to-one rows of the organization to select with it.

    One statement, and at most once a minute a second one that stamps ``last_used_at``. The
    statement is a transaction of its own, so what the request does later cannot undo the count. Two
    statements, one for the key and one for the count, make a request about 9% slower.
    """
    query = _valid_key(related)
    parameters = {
        "digest": digest,
        "per_minute": settings.API_LIMIT_PER_MINUTE,
        "publishable_per_minute": settings.API_LIMIT_PUBLISHABLE_PER_MINUTE,
        "per_day": settings.API_LIMIT_PER_DAY,
    }
    with prepared_cursor() as cursor:
        cursor.execute(_find_key_and_count(related), parameters)
        row = cursor.fetchone()
    if row is None:
        return None
    key = query.instance(row)
    stamp_is_due, *counted = row[query.column_count :]
    if stamp_is_due:
        with connection.cursor() as cursor:
            cursor.execute(_STAMP_LAST_USED, [key.pk])
    return key, ratelimit.verdict_of(limits_of(key), counted)


@functools.cache
def _valid_key(related: tuple[str, ...]) -> CompiledQuery[ApiKey]:
    return CompiledQuery(
        ApiKey.objects.order_by()
        .select_related("organization", *(f"organization__{name}" for name in related))
        .filter(
            Q(expires_at=None) | Q(expires_at__gt=Now()),
            Q(user=None) | Q(user__is_active=True),
            digest="%(digest)s",
            is_active=True,
        )
    )


# Also due when the last use is in the future, by a clock that was ahead.
_STAMP_IS_DUE = """(
    last_used_at IS NULL
    OR last_used_at <= statement_timestamp() - interval '1 minute'
    OR last_used_at > statement_timestamp()
)"""


@functools.cache
def _find_key_and_count(related: tuple[str, ...]) -> str:
    """Return the SQL: the ORM's query of the key, and the count with the limits of that key.

    All rows are read before the row of the rate limit is locked, so other requests wait briefly.
    """
    sql = f"""
        WITH key (key_id) AS MATERIALIZED ({_valid_key(related).sql}),
        asked AS MATERIALIZED (
            SELECT
                'key:' || key_id AS subject,
                coalesce(
                    nullif(limit_per_minute, 0),
                    CASE kind
                        WHEN '{ApiKeyKind.PUBLISHABLE.value}' THEN %(publishable_per_minute)s
                        ELSE %(per_minute)s
                    END
                ) AS per_minute,
                coalesce(nullif(limit_per_day, 0), %(per_day)s) AS per_day,
                {ratelimit.WAIT_BRIEFLY}
            FROM key
        ),
        counted AS ({ratelimit.COUNT})
        SELECT key.*, {_STAMP_IS_DUE}, counted.* FROM key CROSS JOIN counted
    """  # noqa: S608 - names of models and constants
    # psycopg caches its parsing of statements of up to 4,096 characters.
    return " ".join(sql.split())


# Skips a key that another request stamps, or a form saves, at this moment. Losing a stamp in a
# crash is acceptable, so the commit does not wait for the disk.
_STAMP_LAST_USED = f"""
    UPDATE public.accounts_apikey SET last_used_at = statement_timestamp()
    WHERE set_config('synchronous_commit', 'off', true) IS NOT NULL AND id = (
        SELECT id FROM public.accounts_apikey
        WHERE id = %s AND {_STAMP_IS_DUE} FOR NO KEY UPDATE SKIP LOCKED
    )
"""  # noqa: S608 - constants of ours


def check_csrf(request: HttpRequest) -> None:
    """Raise ``PermissionDenied`` unless the request is safe or proves to come from our own pages.

    REST framework's own check would parse the body, and fail over it, before its time.
    """
    check = CSRFCheck(_nothing)
    check.process_request(request)
    if check.process_view(request, _nothing, (), {}):
        raise PermissionDenied


def _nothing(request: HttpRequest) -> HttpResponse:
    """A placeholder view: the check reads whether the view is exempt."""
    return HttpResponse()


def organization_related(request: Request) -> tuple[str, ...]:
    """Return the related rows that the view selects with an organization."""
    view: Any = (request.parser_context or {}).get("view")
    related: tuple[str, ...] = getattr(view, "organization_related", ())
    return related


def limits_of(key: ApiKey) -> Limits:
    """Return the limits that hold for a key: its own, else those of its kind."""
    is_publishable = key.kind == ApiKeyKind.PUBLISHABLE
    per_minute: int = (
        settings.API_LIMIT_PUBLISHABLE_PER_MINUTE
        if is_publishable
        else settings.API_LIMIT_PER_MINUTE
    )
    return Limits(
        key.limit_per_minute or per_minute, key.limit_per_day or settings.API_LIMIT_PER_DAY
    )


def count(request: Request, subject: str, verdict: Verdict) -> None:
    """Add the rate limit headers to the response; raises ``rate_limited`` above the limit.

    The view can undo the count.
    """
    view: Any = (request.parser_context or {}).get("view")
    view.extra_headers = verdict.headers
    require(request, verdict)
    counted_at = time.monotonic()

    def take_back() -> None:
        elapsed = time.monotonic() - counted_at
        view.extra_headers = ratelimit.give_back(subject, verdict, elapsed).headers

    view.take_back = take_back


def require(request: Request, verdict: Verdict) -> None:
    """Raise the ``rate_limited`` problem unless the request is allowed."""
    if verdict.is_allowed:
        return
    window = verdict.used_up
    detail = window and (
        f"The limit of requests per {window.name} ({window.limit}) is used up. "
        f"Try again in {window.reset} seconds."
    )
    raise Problem(
        "rate_limited",
        detail or None,
        retry_after=verdict.retry_after,
        headers=verdict.headers,
        members={"window": window.name} if window else {},
    )


def refuse_cheaply(request: Request) -> Never:
    """Raise ``NotAuthenticated``, or ``rate_limited`` for an address with too many attempts."""
    address = client_address(request._request)
    require(request, ratelimit.without_key.take(address, settings.API_LIMIT_ADDRESS_PER_MINUTE))
    raise NotAuthenticated
