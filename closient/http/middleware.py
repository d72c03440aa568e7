"""Middleware for all requests: host, request id, and size limits."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.exceptions import (
    BadRequest,
    DisallowedHost,
    MiddlewareNotUsed,
    PermissionDenied,
    SuspiciousOperation,
)
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.urls import Resolver404, resolve

from closient.http import bodies, exceptions, problems, request_id, trace_context
from closient.http.bodies import Withheld
from closient.http.problems import Problem

logger = logging.getLogger("closient.http")

Answer = Callable[[HttpRequest], HttpResponse]


class HeadWithoutBody:
    """Sends only the headers in response to HEAD (RFC 9110, section 9.3.2).

    Django leaves that to the server, and servers log a warning for every body that they drop. It
    comes first, so that all other middleware sees the body that the headers describe.
    """

    def __init__(self, get_response: Answer) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if request.method != "HEAD":
            return response
        if isinstance(response, StreamingHttpResponse):
            # Closing the response also closes the original content.
            response.streaming_content = ()
        else:
            if "Content-Length" not in response.headers:
                response.headers["Content-Length"] = str(len(response.content))
            response.content = b""
        return response


class RequestId:
    """Gives each request an id and returns it in the response; reads ``traceparent``."""

    def __init__(self, get_response: Answer) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        own_id = request_id.begin(request.headers.get(request_id.HEADER))
        trace_context.begin(request.headers.get(trace_context.HEADER))
        response = self.get_response(request)
        response.headers[request_id.HEADER] = own_id
        return response


class AllowedHost:
    """Rejects a host that is not in ``ALLOWED_HOSTS`` (400) with one log line.

    Django logs a traceback, and with DEBUG shows it to the client.
    """

    def __init__(self, get_response: Answer) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        try:
            request.get_host()
        except DisallowedHost as error:
            logger.info("Rejected a request for a host that is not in ALLOWED_HOSTS.")
            return exceptions.bad_request(request, error)
        return self.get_response(request)


class RequestSize:
    """Rejects requests with a body that is too large (413); under the API also long URLs (414).

    The ``Content-Length`` counts; servers pass on no more than that. Bodies that the web server did
    not read are rejected, too.
    """

    def __init__(self, get_response: Answer) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if problems.is_api_path(request):
            length = len(request.path) + len(request.META.get("QUERY_STRING", ""))
            if length > settings.API_LONGEST_ADDRESS:
                return problems.response(request, Problem("uri_too_long"))
            limit = _max_body(request)
            if bodies.announced_length(request) > limit:
                return problems.response(request, bodies.too_large(limit))
            if request.META.get(bodies.WITHHELD) == Withheld.NO_SPACE:
                return problems.response(request, exceptions.no_space())
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any
    ) -> HttpResponse | None:
        """Reject the form of a page before other code reads it."""
        if problems.is_api_path(request):
            return None
        reason = request.META.get(bodies.WITHHELD)
        if reason == Withheld.NO_SPACE:
            page = render(request, "no_space.html", status=503)
            page.headers["Retry-After"] = str(exceptions.NO_SPACE_RETRY_AFTER)
            return page
        if reason == Withheld.ANONYMOUS and not _is_too_large(request):
            return redirect(settings.LOGIN_URL)
        if _is_too_large(request) and not bodies.has_own_limit(view):
            return render(request, "413.html", status=413)
        return None


class OwnErrorPages:
    """With DEBUG: shows the project's error pages instead of Django's.

    Crashes are logged with a traceback. Must be the last middleware.
    """

    def __init__(self, get_response: Answer) -> None:
        if not settings.DEBUG:
            raise MiddlewareNotUsed
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        try:
            resolve(request.path_info)
        except Resolver404 as error:
            return exceptions.page_not_found(request, error)
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Return the response to an exception of a view."""
        if isinstance(error, Http404):
            return exceptions.page_not_found(request, error)
        if isinstance(error, (PermissionDenied, SuspiciousOperation, BadRequest)):
            return None
        logging.getLogger("django.request").error(
            "Internal Server Error: %s", request.path, exc_info=error, extra={"request": request}
        )
        return exceptions.server_error(request)


def _is_too_large(request: HttpRequest) -> bool:
    return bodies.announced_length(request) > _max_body(request)


def _max_body(request: HttpRequest) -> int:
    content_type = request.META.get("CONTENT_TYPE", "")
    return bodies.max_body(request.path_info, content_type, bodies.announced_length(request))
