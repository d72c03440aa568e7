"""Shared base of the pages of an organization: access, limits, errors and rendering."""

from __future__ import annotations

import functools
import json
import zoneinfo
from collections.abc import Callable, Mapping
from typing import Any, Concatenate, ParamSpec, TypeVar
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.db import InterfaceError, OperationalError
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.cache import patch_vary_headers
from rest_framework.permissions import SAFE_METHODS

from closient.accounts import ratelimit
from closient.accounts.models import ApiKeyRole, User
from closient.accounts.permissions import Access, access_to, all_access
from closient.cells.routing import in_cell_of
from closient.http.exceptions import problem_of

_Arguments = ParamSpec("_Arguments")
_PageView = Callable[Concatenate[HttpRequest, Access, _Arguments], HttpResponseBase]
_View = Callable[..., HttpResponseBase]
_Row = TypeVar("_Row", bound=Model)

LAST_ORGANIZATION = "last_organization"
# Entries of the navigation: route name, label, required role.
NAVIGATION = (
    ("page-home", "Overview", ApiKeyRole.READONLY),
    ("page-products", "Products", ApiKeyRole.READONLY),
    ("page-offers", "Offers", ApiKeyRole.READONLY),
    ("page-certifications", "Certifications", ApiKeyRole.READONLY),
    ("page-imports", "Import", ApiKeyRole.EDITOR),
    ("page-activity", "Activity", ApiKeyRole.READONLY),
    ("page-rule", "Rule", ApiKeyRole.READONLY),
    ("page-keys", "API keys", ApiKeyRole.MANAGER),
)


def organization_page(
    *,
    read_role: ApiKeyRole = ApiKeyRole.READONLY,
    write_role: ApiKeyRole = ApiKeyRole.EDITOR,
) -> Callable[[_PageView[_Arguments]], _View]:
    """Turn ``view(request, access, ...)`` into a page for members of the organization in the URL.

    Anonymous users are redirected to the login, even if the organization does not exist. Users who
    are not members get the same 404 as for an organization that does not exist. Members without
    ``read_role`` (``write_role`` for unsafe methods) get the 403 page. The access includes the
    organization and its rule; one query.
    """

    def decorate(view: _PageView[_Arguments]) -> _View:
        @functools.wraps(view)
        def page(
            request: HttpRequest,
            organization_id: UUID | None,
            *args: _Arguments.args,
            **kwargs: _Arguments.kwargs,
        ) -> HttpResponseBase:
            if not isinstance(request.user, User):
                return _redirect_to_login(request)
            with in_cell_of(organization_id):
                return respond(request, organization_id, *args, **kwargs)

        def respond(
            request: HttpRequest,
            organization_id: UUID | None,
            *args: _Arguments.args,
            **kwargs: _Arguments.kwargs,
        ) -> HttpResponseBase:
            user: Any = request.user
            access = access_to(organization_id, user=user, key=None, related=("completeness_rule",))
            if access is None:
                raise Http404
            # Set before the role check: the 403 page shows this organization's navigation.
            if request.session.get(LAST_ORGANIZATION) != str(access.organization.id):
                request.session[LAST_ORGANIZATION] = str(access.organization.id)
            if not access.may(read_role if request.method in SAFE_METHODS else write_role):
                raise PermissionDenied
            request.access = access  # type: ignore[attr-defined]
            # Pages show times in the organization's time zone.
            with timezone.override(zoneinfo.ZoneInfo(access.organization.time_zone)):
                try:
                    ratelimit.enforce_limit(
                        ratelimit.page_requests.count_request(
                            str(user.id), settings.PAGE_LIMIT_PER_MINUTE
                        )
                    )
                    response = view(request, access, *args, **kwargs)
                except Exception as error:
                    response = _problem_page(request, error)
            # A fragment and its page share one URL.
            patch_vary_headers(response, ["HX-Request", "HX-Target"])
            return response

        return page

    return decorate


def row_or_404(rows: QuerySet[_Row], *, is_locked: bool = False) -> _Row:
    """Return the only row of a query, which may join other tables.

    With ``is_locked`` a separate statement without the joins locks the row first. A statement that
    waits for a lock sees the locked row as it is afterwards, but joined rows as they were before
    the wait (PostgreSQL, section 13.2.1): a brand or certification created meanwhile would be
    missing. Raises :class:`Http404`.
    """
    rows = rows.order_by()
    if is_locked:
        rows.select_for_update(no_key=True).values_list("pk").first()
    row = rows.first()
    if row is None:
        raise Http404
    return row


def _problem_page(request: HttpRequest, error: Exception) -> HttpResponse:
    """Return the error page of a problem; for htmx a ``say`` event with its sentences.

    Not found and forbidden errors are raised as :class:`Http404` and :class:`PermissionDenied` for
    their usual pages. Database outages and unexpected errors are raised unchanged.
    """
    if isinstance(error, (Http404, PermissionDenied)):
        raise error
    problem = problem_of(error)
    if problem is None or isinstance(error, (OperationalError, InterfaceError)):
        raise error
    if problem.kind.error_code == "not_found":
        raise Http404 from error
    if problem.kind.error_code == "forbidden":
        raise PermissionDenied(problem.detail) from error
    sentences = [found.detail for found in problem.errors] or [problem.detail]
    headers = {} if problem.retry_after is None else {"Retry-After": str(problem.retry_after)}
    status = problem.kind.status
    if is_fragment(request):
        events = json.dumps({"say": " ".join(sentences)})
        return HttpResponse(status=status, headers={**headers, "HX-Trigger": events})
    context = {"sentences": sentences, "is_retryable": problem.kind.is_retryable}
    response = render_page(request, "dashboard/problem.html", context, status=status)
    for name, value in headers.items():
        response.headers[name] = value
    return response


def _redirect_to_login(request: HttpRequest) -> HttpResponse:
    """Redirect to the login, which then redirects back.

    Fragments get a 401, so the page keeps what was typed. After a POST the user returns to the
    page of the form, because many form URLs have no page, and reads that nothing was saved.
    """
    if is_fragment(request):
        return HttpResponse(status=401, headers={"WWW-Authenticate": "Session"})
    address = request.get_full_path()
    if request.method not in SAFE_METHODS:
        messages.warning(request, "You were logged out, so nothing was saved.")
        # The login view rejects redirects to other hosts.
        address = request.headers.get("Referer") or reverse("page-start")
    return redirect_to_login(address)


def is_fragment(request: HttpRequest) -> bool:
    """Return whether htmx requests a part of a page."""
    return "HX-Request" in request.headers and "HX-History-Restore-Request" not in request.headers


def render_page(
    request: HttpRequest, template: str, context: Mapping[str, Any], *, status: int = 200
) -> HttpResponse:
    """Render a page, or a part of one.

    The context always has ``organization``, ``access``, ``may_edit`` and ``may_manage``, and the
    ``organizations`` and ``navigation`` of the layout (``dashboard/layout.html``).
    """
    access: Access = request.access  # type: ignore[attr-defined]
    return render(
        request,
        template,
        {
            "access": access,
            "organization": access.organization,
            "may_edit": access.may(ApiKeyRole.EDITOR),
            "may_manage": access.may(ApiKeyRole.MANAGER),
            # Queried only by the layout, not by fragments.
            "organizations": functools.partial(_organizations, request),
            "navigation": navigation_of(access),
            **context,
        },
        status=status,
    )


def navigation_of(access: Access) -> list[tuple[str, str]]:
    """Return the route name and label of each navigation entry."""
    return [(name, text) for name, text, role in NAVIGATION if access.may(role)]


def _organizations(request: HttpRequest) -> list[Any]:
    """Return the user's organizations, for the switcher; one query."""
    user: Any = request.user
    return [access.organization for access, _ in all_access(user=user, key=None)]
