"""Problem details (RFC 9457): the format of every error under the API.

``ERRORS`` lists all errors. Clients only get sentences from here or from code that raises
:class:`Problem`, never the text of another exception.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.encoding import escape_uri_path

from closient.http import request_id

MEDIA_TYPE = "application/problem+json"
# A problem's type is the path of the page that explains it (RFC 9457, section 3.1.1, allows
# relative references): the same under every host name of the service.
TYPE_PREFIX = "/docs/errors/"
API_PREFIXES = ("/dashboard/api/", "/account/api/")
# A longer path is cut in ``instance``.
MAX_INSTANCE_LENGTH = 2000


@dataclasses.dataclass(frozen=True)
class ErrorKind:
    """A kind of error: its HTTP status and default detail."""

    error_code: str
    status: int
    detail: str
    is_retryable: bool = False

    @property
    def title(self) -> str:
        """The phrase of the status: always the same, as RFC 9457 (section 3.1.3) requires."""
        return HTTPStatus(self.status).phrase

    @property
    def type(self) -> str:
        """The path of the page that explains the error."""
        return f"{TYPE_PREFIX}{self.error_code}"


ERRORS: Mapping[str, ErrorKind] = {
    kind.error_code: kind
    for kind in (
        ErrorKind("bad_request", 400, "The request could not be understood."),
        ErrorKind(
            "unauthorized",
            401,
            "Send a valid API key in the X-API-Key header: this one is missing, malformed, "
            "unknown, revoked or expired.",
        ),
        ErrorKind("forbidden", 403, "Your role does not allow this request."),
        ErrorKind("not_found", 404, "Not found, or not visible to you."),
        ErrorKind("method_not_allowed", 405, "This URL does not support the method; see Allow."),
        ErrorKind("not_acceptable", 406, "The response is only available as application/json."),
        ErrorKind("conflict", 409, "The change conflicts with the current state of the resource."),
        ErrorKind(
            "precondition_failed",
            412,
            "The resource is not the version in If-Match; get it again.",
        ),
        ErrorKind("payload_too_large", 413, "The body of the request is too large."),
        ErrorKind("uri_too_long", 414, "The URL of the request is too long."),
        ErrorKind(
            "unsupported_media_type", 415, "The media type of the body is not supported here."
        ),
        ErrorKind("validation_error", 422, "Some values are not valid; see errors."),
        ErrorKind("rate_limited", 429, "Too many requests; wait before the next one.", True),
        ErrorKind("internal_error", 500, "An internal error occurred; it has been logged."),
        ErrorKind("not_implemented", 501, "This is not available yet."),
        ErrorKind("unavailable", 503, "The service is not available; try again shortly.", True),
    )
}
BY_STATUS: Mapping[int, ErrorKind] = {kind.status: kind for kind in ERRORS.values()}


@dataclasses.dataclass(frozen=True)
class FieldError:
    """An error of one value.

    ``pointer`` is a JSON pointer into the body as a URI fragment (RFC 6901, section 6), or
    ``#/query/<name>`` for a query parameter, ``#/header/<name>`` for a header.
    """

    pointer: str
    code: str
    detail: str


class Problem(Exception):
    """An error for the client; may be raised anywhere below an API view."""

    def __init__(  # noqa: PLR0913 - one argument for each part of a problem
        self,
        error_code: str,
        detail: str | None = None,
        *,
        errors: Sequence[FieldError] = (),
        retry_after: int | None = None,
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        self.kind = ERRORS[error_code]
        self.detail = detail or self.kind.detail
        self.errors = tuple(errors)
        self.retry_after = retry_after
        self.headers = headers or {}
        # Extension members of the body (RFC 9457, section 3.2).
        self.members = members or {}
        super().__init__(self.detail)


def is_api_path(request: HttpRequest) -> bool:
    """Return whether errors of a request are returned as problem details."""
    return request.path_info.startswith(API_PREFIXES)


def response(request: HttpRequest, problem: Problem) -> HttpResponse:
    """Return the HTTP response for a problem."""
    body = json.dumps(_members(request, problem), separators=(",", ":")).encode("ascii")
    headers = {
        "Cache-Control": "no-store",
        "Content-Length": str(len(body)),
        **problem.headers,
    }
    if problem.retry_after is not None:
        headers["Retry-After"] = str(problem.retry_after)
    result = HttpResponse(
        body,
        status=problem.kind.status,
        content_type=MEDIA_TYPE,
        headers=headers,
    )
    # Without this Django logs a line for every rejected request, so clients could flood the log.
    result._has_been_logged = True  # type: ignore[attr-defined]
    return result


def _members(request: HttpRequest, problem: Problem) -> dict[str, Any]:
    now = timezone.now().astimezone(datetime.UTC)
    members: dict[str, Any] = {
        "type": problem.kind.type,
        "title": problem.kind.title,
        "status": problem.kind.status,
        "detail": problem.detail,
        "instance": escape_uri_path(request.path[:MAX_INSTANCE_LENGTH]),
        "error_code": problem.kind.error_code,
        "timestamp": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "retryable": problem.kind.is_retryable,
        "request_id": request_id.current(),
    }
    if problem.errors:
        members["errors"] = [dataclasses.asdict(error) for error in problem.errors]
    if problem.retry_after is not None:
        members["retry_after"] = problem.retry_after
    return {**members, **problem.members}
