"""CORS: the pages on other origins that may call the API from a browser.

django-cors-headers sets the headers. Origins in ``CORS_ALLOWED_ORIGINS`` may call every URL of the
API, an organization's allowed origins the URLs below that organization, and all origins the OpenAPI
document. Cookies are never allowed: a page on another origin sends a key.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

from corsheaders import middleware
from corsheaders.signals import check_request_enabled
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.urls import Resolver404, resolve, reverse

from closient.accounts.copies import copy_organization
from closient.accounts.models import Organization
from closient.cells.routing import in_directory
from closient.db.transactions import run_with_retry
from closient.http.problems import is_api_path

# Organizations whose last known origins are cached, for use while the database is unavailable.
MAX_CACHED_ORGANIZATIONS = 10_000

_cache: OrderedDict[UUID, frozenset[str]] = OrderedDict()
_cache_lock = threading.Lock()


def change_allowed_origins(
    organization_id: UUID,
    origins: list[str],
    *,
    check: Callable[[Organization], None] | None = None,
) -> Organization:
    """Run :func:`set_allowed_origins` in its own transaction, also in the organization's cell."""
    with in_directory():
        changed = run_with_retry(lambda: set_allowed_origins(organization_id, origins, check=check))
    copy_organization(changed)
    return changed


def set_allowed_origins(
    organization_id: UUID,
    origins: list[str],
    *,
    check: Callable[[Organization], None] | None = None,
) -> Organization:
    """Save the allowed origins of an organization, in their stored form, and return it.

    ``check`` gets the locked organization before the change and may raise. Call in a transaction.
    """
    organization = Organization.objects.select_for_update(no_key=True).get(pk=organization_id)
    if check is not None:
        check(organization)
    organization.allowed_origins = origins
    organization.save(update_fields=["allowed_origins"])
    return organization


class CorsMiddleware(middleware.CorsMiddleware):
    """Adds the headers, and responds to preflights with 204 before authentication.

    Preflights have no key and do not count against a rate limit. The response is the same for an
    unknown organization as for one that does not allow the origin.
    """

    async_capable = False

    def check_preflight(self, request: HttpRequest) -> HttpResponse | None:
        """Return the response to a preflight, ``None`` for other requests."""
        if super().check_preflight(request) is None:
            return None
        response = HttpResponse(status=204)
        del response.headers["Content-Type"]
        return response


def _is_allowed(sender: Any, request: HttpRequest, **_: Any) -> bool:
    """Return whether the origin of a request may read the response (a signal receiver)."""
    if not is_api_path(request):
        return False
    origin = request.headers.get("Origin")
    if not origin:
        return False
    if request.path_info == reverse("openapi"):
        return True
    organization: Organization | None = getattr(request, "organization_of_path", None)
    if organization is not None:
        return origin in _store(organization.id, organization.allowed_origins)
    organization_id = _organization_id(request)
    return organization_id is not None and origin in _origins_of(organization_id)


check_request_enabled.connect(_is_allowed, dispatch_uid="closient.accounts.cors")


def _organization_id(request: HttpRequest) -> UUID | None:
    """Return the id of the organization in the path, or ``None``."""
    match = request.resolver_match
    if match is None:
        # A preflight, or a request that was rejected before its URL was resolved.
        try:
            match = resolve(request.path_info)
        except Resolver404:
            return None
    organization_id: UUID | None = match.kwargs.get("organization_id")
    return organization_id


def _origins_of(organization_id: UUID) -> frozenset[str]:
    """Return the allowed origins of an organization; the cached ones without a database."""
    rows = Organization.objects.filter(pk=organization_id).order_by()
    try:
        found = rows.values_list("allowed_origins", flat=True).first()
    except DatabaseError:
        with _cache_lock:
            return _cache.get(organization_id, frozenset())
    return frozenset() if found is None else _store(organization_id, found)


def _store(organization_id: UUID, allowed: Iterable[str]) -> frozenset[str]:
    origins = frozenset(allowed)
    with _cache_lock:
        _cache[organization_id] = origins
        _cache.move_to_end(organization_id)
        if len(_cache) > MAX_CACHED_ORGANIZATIONS:
            _cache.popitem(last=False)
    return origins
