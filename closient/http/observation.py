"""What the access log and the metrics say of a request: its route and its caller.

The middleware leaves it in the WSGI environment, where the server finds it when the response has
been sent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpRequest, HttpResponse

from closient.http.proxies import client_address

OBSERVATION = "closient.observation"
# The route of requests that match no URL pattern, and of those that the server rejects.
UNKNOWN = "unknown"
REJECTED = "rejected"
STATIC = "static"
# Routes that match any path below the API.
_CATCH_ALL = "closient.http.exceptions.unknown_path"


class Observation(NamedTuple):
    """The route is the name of the URL pattern; of the key only the public beginning is known."""

    route: str
    path: str
    client: str
    organization_id: UUID | None = None
    key_prefix: str | None = None
    user_id: str | None = None


class Observe:
    """Stores an :class:`Observation` in the WSGI environment, if something needs it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        if not (
            settings.ACCESS_LOG or settings.METRICS_BIND or settings.OTEL_EXPORTER_OTLP_ENDPOINT
        ):
            raise MiddlewareNotUsed
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        request.META[OBSERVATION] = observe(request, response)
        return response


def observe(request: HttpRequest, response: HttpResponse) -> Observation:
    """Return what is known of a request; loads nothing."""
    match = request.resolver_match
    key: Any = getattr(request, "auth", None)
    # Loaded only if the request needed it.
    user: Any = getattr(request, "_cached_user", None)
    organization_id: Any = getattr(key, "organization_id", None)
    route = UNKNOWN
    if match is not None:
        route = UNKNOWN if match.view_name == _CATCH_ALL else match.view_name
        organization_id = match.kwargs.get("organization_id", organization_id)
    elif request.path.startswith(settings.STATIC_URL) and response.status_code < 400:
        route = STATIC
    return Observation(
        route,
        request.path,
        client_address(request),
        organization_id=organization_id if isinstance(organization_id, UUID) else None,
        key_prefix=getattr(key, "prefix", None),
        user_id=None if user is None or user.pk is None else str(user.pk),
    )
