"""What every page of an organization is made from: who may see it, and its frame."""

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
from closient.accounts.ratelimit import Verdict
from closient.http.exceptions import problem_of
from closient.http.problems import Problem

_Arguments = ParamSpec("_Arguments")
_PageView = Callable[Concatenate[HttpRequest, Access, _Arguments], HttpResponseBase]
_View = Callable[..., HttpResponseBase]
_Row = TypeVar("_Row", bound=Model)

LAST_ORGANIZATION = "last_organization"
# The places of the navigation: the name of the route, what it is called, and the role it needs.
PLACES = (
    ("page-home", "Overview", ApiKeyRole.READONLY),
    ("page-products", "Products", ApiKeyRole.READONLY),
    ("page-offers", "Offers", ApiKeyRole.READONLY),
    ("page-certifications", "Certifications", ApiKeyRole.READONLY),
    ("page-imports", "Import", ApiKeyRole.EDITOR),
    ("page-rule", "Rule", ApiKeyRole.READONLY),
    ("page-keys", "API keys", ApiKeyRole.MANAGER),
)


def organization_page(
    *,
    read_role: ApiKeyRole = ApiKeyRole.READONLY,
    write_role: ApiKeyRole = ApiKeyRole.EDITOR,
) -> Callable[[_PageView[_Arguments]], _View]:
    """Make a view of one organization a page for its members: ``view(request, access, ...)``.

    Who is not logged in is asked to, whatever the address; an outsider gets the 404 of an
    organization that does not exist; whoever lacks the role (``write_role`` for methods that
    write) the page of 403. The access comes with the organization and its rule, in one query.
    """

    def decorate(view: _PageView[_Arguments]) -> _View:
        @functools.wraps(view)
        def page(
            request: HttpRequest,
            organization_id: UUID | None,
            *args: _Arguments.args,
            **kwargs: _Arguments.kwargs,
        ) -> HttpResponseBase:
            user = request.user
            if not isinstance(user, User):
                return _to_login(request)
            access = access_to(organization_id, user=user, key=None, related=("completeness_rule",))
            if access is None:
                raise Http404
            # The page of a refusal has the navigation of the organization as well.
            if request.session.get(LAST_ORGANIZATION) != str(access.organization.id):
                request.session[LAST_ORGANIZATION] = str(access.organization.id)
            if not access.may(read_role if request.method in SAFE_METHODS else write_role):
                raise PermissionDenied
            request.access = access  # type: ignore[attr-defined]
            # Times are shown as the clock of the organization tells them.
            with timezone.override(zoneinfo.ZoneInfo(access.organization.time_zone)):
                try:
                    require_room(ratelimit.pages.take(str(user.id), settings.PAGE_LIMIT_PER_MINUTE))
                    response = view(request, access, *args, **kwargs)
                except Exception as error:
                    response = _problem_page(request, error)
            # A fragment and its page have the same address.
            patch_vary_headers(response, ["HX-Request", "HX-Target"])
            return response

        return page

    return decorate


def row_or_404(rows: QuerySet[_Row], *, is_locked: bool = False) -> _Row:
    """Return the one row of a query, which may join other tables.

    With ``is_locked`` a statement without the joins locks the row first. A statement that waits
    for a lock sees the row as it is afterwards, but the joined rows as they were before it waited
    (PostgreSQL, section 13.2.1): a brand or certification created meanwhile would be missing.
    Raises :class:`Http404`.
    """
    rows = rows.order_by()
    if is_locked:
        rows.select_for_update(no_key=True).values_list("pk").first()
    row = rows.first()
    if row is None:
        raise Http404
    return row


def require_room(verdict: Verdict, sentence: str = "Too many requests.") -> None:
    """Raise the problem that says when to try again, unless a limit lets the request pass."""
    if not verdict.is_allowed:
        seconds = verdict.retry_after
        when = "in a second" if seconds == 1 else f"in {seconds:,} seconds"
        raise Problem("rate_limited", f"{sentence} Try again {when}.", retry_after=seconds)


def _problem_page(request: HttpRequest, error: Exception) -> HttpResponse:
    """Return the page of what the API would tell as a problem; to htmx the sentence is said.

    What is not there, and what is not allowed, has the page that it has everywhere. Raises a
    crash, and a database that is away, as it is.
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
        said = json.dumps({"say": " ".join(sentences)})
        return HttpResponse(status=status, headers={**headers, "HX-Trigger": said})
    context = {"sentences": sentences, "is_retryable": problem.kind.is_retryable}
    response = show(request, "dashboard/problem.html", context, status=status)
    for name, value in headers.items():
        response.headers[name] = value
    return response


def _to_login(request: HttpRequest) -> HttpResponse:
    """Ask for a login, then lead back; a fragment is refused, and what is typed stays on its page.

    What was to be written is not, and the login says so. It leads back to the page of the form:
    many addresses that take one show nothing themselves.
    """
    if is_fragment(request):
        return HttpResponse(status=401, headers={"WWW-Authenticate": "Session"})
    address = request.get_full_path()
    if request.method not in SAFE_METHODS:
        messages.warning(request, "You were logged out, so nothing was saved.")
        # The form of the login follows no address of another host.
        address = request.headers.get("Referer") or reverse("page-start")
    return redirect_to_login(address)


def is_fragment(request: HttpRequest) -> bool:
    """Return whether htmx asks for a part of a page."""
    return "HX-Request" in request.headers and "HX-History-Restore-Request" not in request.headers


def show(
    request: HttpRequest, template: str, context: Mapping[str, Any], *, status: int = 200
) -> HttpResponse:
    """Return a page, or a part of one, with what its frame needs.

    ``organization`` and ``access`` are in the context of every template, ``may_edit`` and
    ``may_manage`` too; the frame itself (``dashboard/layout.html``) asks for the rest when it is
    shown.
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
            # Not asked for by parts of pages.
            "organizations": functools.partial(_organizations, request),
            "places": places_of(access),
            **context,
        },
        status=status,
    )


def places_of(access: Access) -> list[tuple[str, str]]:
    """Return the entries of the navigation: the name of each route, and what it is called."""
    return [(name, text) for name, text, role in PLACES if access.may(role)]


def _organizations(request: HttpRequest) -> list[Any]:
    """Return the organizations of whoever asks, for the switcher; one query."""
    user: Any = request.user
    return [access.organization for access, _ in all_access(user=user, key=None)]
