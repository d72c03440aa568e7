"""Maps exceptions to problems, inside and outside of API views."""

from __future__ import annotations

import errno
import itertools
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from django.core import exceptions as django_exceptions
from django.core.signals import got_request_exception
from django.db import DatabaseError, IntegrityError, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.template import loader
from django.views import defaults
from django.views.decorators.csrf import csrf_exempt
from rest_framework import exceptions

from closient.db.ids import format_id
from closient.db.transactions import DatabaseBusy
from closient.http import problems
from closient.http.conflicts import conflicting_row, problem_of_integrity_error
from closient.http.problems import FieldError, Problem
from closient.text.validators import InvalidField

logger = logging.getLogger("closient.http")

# Retry-After in seconds while the database is not available.
RETRY_AFTER = 1
# Retry-After in seconds while the disk is full: an operator has to free space.
NO_SPACE_RETRY_AFTER = 60
# A full disk, an exhausted quota, and the maximum file size.
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Limits the response to a body with thousands of wrong values.
MAX_ERRORS = 100

# The first matching entry applies.
_ERROR_CODES: tuple[tuple[type[BaseException], str], ...] = (
    (exceptions.NotAuthenticated, "unauthorized"),
    (exceptions.AuthenticationFailed, "unauthorized"),
    (exceptions.PermissionDenied, "forbidden"),
    (django_exceptions.PermissionDenied, "forbidden"),
    (exceptions.NotFound, "not_found"),
    (Http404, "not_found"),
    (exceptions.MethodNotAllowed, "method_not_allowed"),
    (exceptions.NotAcceptable, "not_acceptable"),
    (exceptions.UnsupportedMediaType, "unsupported_media_type"),
    (exceptions.Throttled, "rate_limited"),
    (exceptions.ParseError, "bad_request"),
    (django_exceptions.RequestDataTooBig, "payload_too_large"),
    (django_exceptions.SuspiciousOperation, "bad_request"),
    (django_exceptions.BadRequest, "bad_request"),
    (MultiPartParserError, "bad_request"),
    (UnreadablePostError, "bad_request"),
    (OperationalError, "unavailable"),
    (InterfaceError, "unavailable"),
    (DatabaseBusy, "unavailable"),
)


def problem_of(error: BaseException) -> Problem | None:  # noqa: PLR0911 - one for each kind
    """Return the problem for an exception, ``None`` for a crash."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, OSError) and error.errno in _NO_SPACE:
        return no_space()
    if isinstance(error, InvalidField):
        wrong = FieldError(f"#/{error.field}", error.code, str(error))
        return Problem("validation_error", errors=[wrong])
    if isinstance(error, exceptions.ValidationError):
        found = itertools.islice(field_errors(error.detail), MAX_ERRORS)
        return Problem("validation_error", errors=list(found))
    if isinstance(error, IntegrityError):
        return problem_of_integrity_error(error)
    for kind, error_code in _ERROR_CODES:
        if isinstance(error, kind):
            retry_after = RETRY_AFTER if error_code == "unavailable" else None
            return Problem(error_code, retry_after=retry_after)
    return None


def no_space() -> Problem:
    """Return the problem of a full disk."""
    return Problem(
        "unavailable",
        "The server has no space left to store this. Nothing was changed; try again later.",
        retry_after=NO_SPACE_RETRY_AFTER,
    )


def field_errors(detail: Any, pointer: str = "#") -> Iterator[FieldError]:
    """Yield each error in the detail of a serializer's ``ValidationError``, depth first."""
    if isinstance(detail, Mapping):
        for name, inner in detail.items():
            whole = name == "non_field_errors"
            yield from field_errors(inner, pointer if whole else f"{pointer}/{_escape(str(name))}")
    elif isinstance(detail, Sequence) and not isinstance(detail, str):
        for place, inner in enumerate(detail):
            nested = isinstance(inner, (Mapping, list))
            yield from field_errors(inner, f"{pointer}/{place}" if nested else pointer)
    else:
        yield FieldError(pointer, getattr(detail, "code", "invalid"), str(detail))


def _escape(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def handle(error: Exception, context: Mapping[str, Any]) -> HttpResponse:
    """Return the response to an exception of an API view (REST framework's handler)."""
    request: HttpRequest = context["request"]._request
    if isinstance(error, IntegrityError):
        error = _conflict_with_row(error, context["view"].address_of) or error
    return answer(request, error, headers=_authentication_header(error))


def _conflict_with_row(
    error: IntegrityError, address_of: Callable[[Any], str | None]
) -> Problem | None:
    """Return a conflict that names the conflicting row, ``None`` if there is none to name."""
    problem = problem_of(error)
    if problem is None or problem.kind.error_code != "conflict":
        return None
    try:
        row = conflicting_row(error)
    except DatabaseError:
        # The problem is known; only the id of the row is missing.
        return None
    if row is None:
        return None
    address = address_of(row)
    return Problem(
        "conflict",
        problem.detail,
        headers={"Location": address} if address else {},
        members={"conflicting_id": format_id(row.pk)},
    )


def answer(
    request: HttpRequest, error: BaseException, *, headers: Mapping[str, str] | None = None
) -> HttpResponse:
    """Return the response to an exception; a crash is logged and reported as Django does."""
    problem = problem_of(error)
    if problem is None:
        logger.error("The API crashed.", exc_info=error, extra={"request": request})
        got_request_exception.send(sender=None, request=request)
        problem = Problem("internal_error")
    elif problem.kind.status >= 500:
        logger.warning("%s: %s", problem.kind.title, type(error).__name__)
    result = problems.response(request, problem)
    for name, value in (headers or {}).items():
        result.headers.setdefault(name, value)
    return result


def _authentication_header(error: Exception) -> dict[str, str]:
    header = getattr(error, "auth_header", None)
    return {"WWW-Authenticate": header} if header else {}


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Return Django's response to a suspicious request, as a problem under the API (handler400)."""
    if problems.is_api_path(request):
        return answer(request, exception)
    return defaults.bad_request(request, exception)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Return Django's response to a denied request, as a problem under the API (handler403)."""
    if problems.is_api_path(request):
        return problems.response(request, Problem("forbidden"))
    return defaults.permission_denied(request, exception)


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Return Django's response to an unknown URL, as a problem under the API (handler404)."""
    if problems.is_api_path(request):
        return problems.response(request, Problem("not_found"))
    return defaults.page_not_found(request, exception)


@csrf_exempt
def unknown_path(request: HttpRequest, **_: str) -> HttpResponse:
    """Return 404 for an unknown URL under the API, also in debug mode."""
    return problems.response(request, Problem("not_found"))


def server_error(request: HttpRequest) -> HttpResponse:
    """Return the response to a crash, as a problem under the API (handler500).

    Called while the exception is handled. If the database is unavailable, hangs or is read-only,
    every page is 503.
    """
    error = sys.exc_info()[1] or Exception()
    problem = problem_of(error)
    if problem is None or problem.kind.error_code != "unavailable":
        problem = Problem("internal_error")
    else:
        logger.warning("%s: %s", problem.kind.title, type(error).__name__)
    if problems.is_api_path(request):
        return problems.response(request, problem)
    if problem.kind.error_code == "unavailable":
        return _unavailable_page(problem)
    page: HttpResponse = defaults.server_error(request)
    return page


def _unavailable_page(problem: Problem) -> HttpResponse:
    """Return the page for 503, rendered without the request: its user would need the database."""
    page = HttpResponse(
        loader.get_template("503.html").render(),
        status=problem.kind.status,
        headers={"Cache-Control": "no-store", "Retry-After": str(problem.retry_after)},
    )
    # Not a traceback for each request during an outage.
    page._has_been_logged = True  # type: ignore[attr-defined]
    return page
