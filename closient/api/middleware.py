"""What every request passes: an id, and limits on its size."""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from closient.api import problems, requestid
from closient.api.problems import Problem

Answer = Callable[[HttpRequest], HttpResponse]

# A refused body up to this size is read and thrown away, so that the client sees the answer
# instead of a broken connection.
MOST_DRAINED = 64 * 1024 * 1024
PIECE = 64 * 1024


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
    """Refuses requests under the API with an endless address (414) or body (413).

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
