"""Authentication by API key or by browser session.

Authentication also counts the request in its rate limit, so requests are rejected (401, 429) before
any other query. Missing and malformed keys cost no query.
"""

from __future__ import annotations

import functools
import time
from typing import Any, Never

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.db import DEFAULT_DB_ALIAS, InterfaceError, OperationalError, connection
from django.db.models import Q
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from rest_framework.authentication import BaseAuthentication, CSRFCheck
from rest_framework.exceptions import AuthenticationFailed, NotAuthenticated, PermissionDenied
from rest_framework.request import Request

from closient.accounts import ratelimit
from closient.accounts.models import ApiKey, ApiKeyKind, User
from closient.accounts.ratelimit import Limits, RateLimitResult
from closient.cells.routing import (
    alias_of,
    cell_of,
    cells,
    in_directory,
)
from closient.db.prepared import CompiledQuery, prepared_cursor
from closient.db.routing import change_database, using_database
from closient.http.problems import Problem
from closient.http.proxies import client_address
from closient.text import key_format

HEADER = "X-API-Key"
CHALLENGE = 'ApiKey realm="api", header="X-API-Key"'


class ApiKeyAuthentication(BaseAuthentication):
    """Authenticates by the key in the ``X-API-Key`` header; ``request.auth`` is the key.

    The key comes with its organization and the rows in the view's ``organization_related``.
    """

    def authenticate(self, request: Request) -> tuple[AnonymousUser, ApiKey] | None:
        """Return the anonymous user and the key; ``None`` without the header.

        Raises ``NotAuthenticated`` for a malformed key, ``AuthenticationFailed`` for an invalid one
        and the ``rate_limited`` problem.
        """
        text = request.headers.get(HEADER)
        if text is None:
            return None
        if not key_format.is_well_formed(text):
            reject_without_query(request)
        digest, related = key_format.digest(text), organization_related(request)
        alias = DEFAULT_DB_ALIAS
        if not settings.CELLS:
            found = find_key_and_count(digest, related)
        elif text.startswith(ApiKeyKind.USER.value):
            alias = alias_of(DEFAULT_DB_ALIAS)
            with in_directory():
                found = find_key_and_count(digest, related)
        else:
            found, alias = _find_in_cells(request, digest, related)
        if found is None:
            with in_directory():
                raise_if_limited(ratelimit.count_invalid_key(client_address(request._request)))
            raise AuthenticationFailed
        key, result = found
        apply_rate_limit(request, ratelimit.subject_of_key(key.id), result, alias=alias)
        return AnonymousUser(), key

    def authenticate_header(self, request: Request) -> str:
        """Return the ``WWW-Authenticate`` header of a 401."""
        return CHALLENGE


class MemberSessionAuthentication(BaseAuthentication):
    """Authenticates by the browser session, with CSRF protection. Must be the last class."""

    def authenticate(self, request: Request) -> tuple[User, None]:
        """Return the user and no key; raises ``NotAuthenticated`` if not logged in."""
        with in_directory():
            user = request._request.user
            if not isinstance(user, User) or not user.is_active:
                reject_without_query(request)
            result = ratelimit.count_session_request(user.id)
        subject, alias = ratelimit.subject_of_user(user.id), alias_of(DEFAULT_DB_ALIAS)
        apply_rate_limit(request, subject, result, alias=alias)
        check_csrf(request._request)
        return user, None


def has_organization_key(request: HttpRequest) -> bool:
    """Return whether a request has the key of an organization, valid or not."""
    text = request.headers.get(HEADER)
    return text is not None and not text.startswith(ApiKeyKind.USER.value)


def _find_in_cells(
    request: Request, digest: str, related: tuple[str, ...]
) -> tuple[tuple[ApiKey, RateLimitResult] | None, str]:
    """Return what :func:`find_key_and_count` returns in the key's cell, and the alias of the cell.

    The cell of the organization in the path comes first. If the placement was old, the rest of the
    request runs in the right cell. Other cells are searched for keys of other organizations, which
    get 404 or have no organization in the path. Raises the errors of an unavailable cell if the key
    may be there.
    """
    organization_id = (request.parser_context or {})["kwargs"].get("organization_id")
    found = find_key_and_count(digest, related)
    alias = connection.alias
    if found is not None:
        return found, alias
    if organization_id is not None:
        current = alias_of(cell_of(organization_id))
        if current != alias:
            change_database(current)
            alias = current
            found = find_key_and_count(digest, related)
            if found is not None:
                return found, alias
    unavailable: Exception | None = None
    for other in map(alias_of, cells()):
        if other == alias:
            continue
        try:
            with using_database(other):
                found = find_key_and_count(digest, related)
        except (OperationalError, InterfaceError) as error:
            unavailable = error
        else:
            if found is not None:
                return found, other
    if unavailable is not None and organization_id is None:
        raise unavailable
    return None, alias


def find_key_and_count(
    digest: str, related: tuple[str, ...] = ()
) -> tuple[ApiKey, RateLimitResult] | None:
    """Return the key with a digest, and the result of counting the request in its rate limit.

    ``None``, without counting, if the key is unknown, revoked, expired or of an inactive user.
    ``related`` names one-to-one rows of the organization to select as well.

    This is one statement, and at most once a minute a second one that sets ``last_used_at``. It
    commits immediately, so a request that fails later is still counted. Separate statements for the
    key and for the count would make a request about 9% slower.
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
    last_used_is_outdated, *counted = row[query.column_count :]
    if last_used_is_outdated:
        with connection.cursor() as cursor:
            cursor.execute(_SET_LAST_USED, [key.pk])
    return key, RateLimitResult.from_row(key_limits(key), counted)


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


# A time in the future was written with a wrong clock.
_LAST_USED_IS_OUTDATED = """(
    last_used_at IS NULL
    OR last_used_at <= statement_timestamp() - interval '1 minute'
    OR last_used_at > statement_timestamp()
)"""


@functools.cache
def _find_key_and_count(related: tuple[str, ...]) -> str:
    """Return the SQL: the ORM query of the key, then the count with the limits of that key.

    It reads all rows before it locks the row of the rate limit, to hold the lock briefly.
    """
    sql = f"""
        WITH key (key_id) AS MATERIALIZED ({_valid_key(related).sql}),
        request AS MATERIALIZED (
            SELECT
                '{ratelimit.KEY_SUBJECT}' || key_id AS subject,
                coalesce(
                    nullif(limit_per_minute, 0),
                    CASE kind
                        WHEN '{ApiKeyKind.PUBLISHABLE.value}' THEN %(publishable_per_minute)s
                        ELSE %(per_minute)s
                    END
                ) AS per_minute,
                coalesce(nullif(limit_per_day, 0), %(per_day)s) AS per_day,
                {ratelimit.SET_LOCK_TIMEOUT}
            FROM key
        ),
        counted AS ({ratelimit.COUNT_REQUEST})
        SELECT key.*, {_LAST_USED_IS_OUTDATED}, counted.* FROM key CROSS JOIN counted
    """  # noqa: S608 - names of models and constants
    # psycopg caches its parsing of statements of up to 4,096 characters.
    return " ".join(sql.split())


# Skips a key that another request or a form has locked. The commit does not wait for the disk: a
# crash may lose the time of the last use, and an organization that is being moved is read, not
# written (closient.cells.fence).
_SET_LAST_USED = f"""
    UPDATE public.accounts_apikey SET last_used_at = statement_timestamp()
    WHERE set_config('synchronous_commit', 'off', true) IS NOT NULL
        AND set_config('closient.fence', 'skip', true) IS NOT NULL AND id = (
        SELECT id FROM public.accounts_apikey
        WHERE id = %s AND {_LAST_USED_IS_OUTDATED} FOR NO KEY UPDATE SKIP LOCKED
    )
"""  # noqa: S608 - constants of ours


def check_csrf(request: HttpRequest) -> None:
    """Raise ``PermissionDenied`` if an unsafe request fails Django's CSRF check.

    REST framework's own check would parse the body, and reject an invalid one, too early.
    """
    check = CSRFCheck(_placeholder_view)
    check.process_request(request)
    if check.process_view(request, _placeholder_view, (), {}):
        raise PermissionDenied


def _placeholder_view(request: HttpRequest) -> HttpResponse:
    """A view without ``csrf_exempt``: the check reads that attribute of the view."""
    return HttpResponse()


def organization_related(request: Request) -> tuple[str, ...]:
    """Return the view's ``organization_related``."""
    view: Any = (request.parser_context or {}).get("view")
    related: tuple[str, ...] = getattr(view, "organization_related", ())
    return related


def key_limits(key: ApiKey) -> Limits:
    """Return the effective limits of a key: its own, or the default limits of its kind.

    ``_find_key_and_count`` computes the same in SQL.
    """
    is_publishable = key.kind == ApiKeyKind.PUBLISHABLE
    per_minute: int = (
        settings.API_LIMIT_PUBLISHABLE_PER_MINUTE
        if is_publishable
        else settings.API_LIMIT_PER_MINUTE
    )
    return Limits(
        key.limit_per_minute or per_minute, key.limit_per_day or settings.API_LIMIT_PER_DAY
    )


def apply_rate_limit(
    request: Request, subject: str, result: RateLimitResult, *, alias: str
) -> None:
    """Add the rate limit headers to the response; raises ``rate_limited`` above the limit.

    Sets the view's ``refund_rate_limit``. ``alias`` is the database that has counted the request.
    """
    view: Any = (request.parser_context or {}).get("view")
    view.extra_headers = result.headers
    raise_if_limited(result)
    counted_at = time.monotonic()

    def refund() -> None:
        elapsed = time.monotonic() - counted_at
        with using_database(alias):
            view.extra_headers = ratelimit.refund(subject, result, elapsed).headers

    view.refund_rate_limit = refund


def raise_if_limited(result: RateLimitResult) -> None:
    """Raise the ``rate_limited`` problem unless the request is allowed."""
    if result.is_allowed:
        return
    window = result.exhausted_window
    detail = window and (
        f"The limit of requests per {window.name} ({window.limit}) is used up. "
        f"Try again in {window.reset} seconds."
    )
    raise Problem(
        "rate_limited",
        detail or None,
        retry_after=result.retry_after,
        headers=result.headers,
        members={"window": window.name} if window else {},
    )


def reject_without_query(request: Request) -> Never:
    """Raise ``NotAuthenticated``, or ``rate_limited`` for an address with too many attempts."""
    address = client_address(request._request)
    limit: int = settings.API_LIMIT_ADDRESS_PER_MINUTE
    raise_if_limited(ratelimit.keyless_requests.count_request(address, limit))
    raise NotAuthenticated
