"""What every request passes: an id, and limits on its size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from django.conf import settings
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render

from closient.api import problems, requestid
from closient.api.problems import Problem

Answer = Callable[[HttpRequest], HttpResponse]
View = TypeVar("View", bound=Callable[..., HttpResponseBase])

# A refused body up to this size is read and thrown away, so that the client sees the answer
# instead of a broken connection.
MOST_DRAINED = 64 * 1024 * 1024
PIECE = 64 * 1024

JUDGES_ITS_BODY = "judges_its_body"


class HeadWithoutBody:
    """Sends the headers of an answer to HEAD alone (RFC 9110, section 9.3.2).

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
            # What it would have sent is closed with it.
            response.streaming_content = ()
        else:
            if "Content-Length" not in response.headers:
                response.headers["Content-Length"] = str(len(response.content))
            response.content = b""
        return response


class RequestId:
    """Gives each request an id and returns it in the answer."""

    def __init__(self, get_response: Answer) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request_id = requestid.begin(request.headers.get(requestid.HEADER))
        response = self.get_response(request)
        response.headers[requestid.HEADER] = request_id
        return response


class RequestSize:
    """Refuses requests with an endless body (413), under the API with an endless address too (414).

    The body is judged by the length it announces; servers hand on no more than that.
    """

    def __init__(self, get_response: Answer) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if problems.is_api_path(request):
            length = len(request.path) + len(request.META.get("QUERY_STRING", ""))
            if length > settings.API_LONGEST_ADDRESS:
                return problems.response(request, Problem("uri_too_long"))
            if announced_length(request) > largest_body(request):
                drain(request)
                return problems.response(request, Problem("payload_too_large"))
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any
    ) -> HttpResponse | None:
        """Refuse a form of a page before it is read, which even a missing login would not."""
        if (
            problems.is_api_path(request)
            or hasattr(view, JUDGES_ITS_BODY)
            or announced_length(request) <= settings.PAGE_LARGEST_BODY
        ):
            return None
        drain(request)
        return render(request, "413.html", status=413)


def judges_its_body(view: View) -> View:
    """Mark the view of a page that takes larger bodies, and refuses by itself those too large."""
    setattr(view, JUDGES_ITS_BODY, True)
    return view


def announced_length(request: HttpRequest) -> int:
    """Return the length of the body in bytes as the request announces it, 0 without."""
    text = request.META.get("CONTENT_LENGTH") or "0"
    # Eighteen digits are above every limit, and quickly read.
    return int(text[:18]) if text.isascii() and text.isdigit() else 0


def largest_body(request: HttpRequest) -> int:
    """Return the size in bytes that a request's body may have: files may be larger."""
    is_form = request.META.get("CONTENT_TYPE", "").lower().startswith("multipart/form-data")
    limit: int = settings.API_LARGEST_UPLOAD if is_form else settings.API_LARGEST_BODY
    return limit


def drain(request: HttpRequest) -> None:
    """Read a refused body in small pieces, up to a limit."""
    left = min(announced_length(request), MOST_DRAINED)
    try:
        while left > 0 and (piece := request.read(min(PIECE, left))):
            left -= len(piece)
    except OSError:
        return
