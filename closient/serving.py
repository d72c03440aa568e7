"""The gunicorn worker: what gunicorn itself refuses looks like every other refusal."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from gunicorn import util
from gunicorn.http.errors import LimitRequestLine
from gunicorn.workers.gthread import ThreadWorker

from closient.api import problems, requestid
from closient.api.problems import Problem


class ProblemWorker(ThreadWorker):  # type: ignore[misc]
    """A threaded worker that answers an endless address with a problem.

    gunicorn reads no address of more than 8,190 characters, so that the project never sees it.
    """

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer a request that could not be read."""
        if not isinstance(exc, LimitRequestLine):
            super().handle_error(req, client, addr, exc)
            return
        request_id = requestid.begin(None)
        answer = problems.response(HttpRequest(), Problem("uri_too_long"))
        answer.headers[requestid.HEADER] = request_id
        answer.headers["Connection"] = "close"
        head = f"HTTP/1.1 {answer.status_code} {answer.reason_phrase}\r\n".encode("ascii")
        try:
            util.write_nonblock(
                client, head + answer.serialize_headers() + b"\r\n\r\n" + answer.content
            )
        except OSError:
            self.log.debug("The client of an endless address has gone.")
