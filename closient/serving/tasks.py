"""One response: by the application, or a rejection by the server itself."""

from __future__ import annotations

import io
import time
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from waitress.task import ErrorTask, WSGITask

from closient.http import access_log, bodies, observation, problems, request_id, trace_context
from closient.http.observation import Observation
from closient.http.problems import Problem
from closient.metrics import web


class UnreadBody(io.RawIOBase):
    """The body of a request that the server did not read."""

    def readable(self) -> bool:
        """Return true; reading fails."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Raise ``OSError``."""
        raise OSError("The server did not read the body of this request.")


class _ObservedTask:
    """The base of tasks: reports a request when its response has been passed on."""

    def service(self) -> None:
        """Send the response, and report it even if it fails."""
        started = time.perf_counter()
        try:
            super().service()  # type: ignore[misc]
        finally:
            # A failed task without headers is followed by another one, which responds.
            if self.wrote_header and (settings.ACCESS_LOG or settings.METRICS_BIND):  # type: ignore[attr-defined]
                self._report(time.perf_counter() - started)

    def _report(self, seconds: float) -> None:
        task: Any = self
        command = getattr(task.request, "command", None) or "-"
        size = task.content_bytes_written
        if not size and command != "HEAD" and task.has_body:
            # The server sends a file itself.
            size = task.content_length or 0
        observed = self._observation()
        status = task.status[:3]
        if settings.ACCESS_LOG:
            access_log.write(observed, command, int(status), seconds, size)
        if settings.METRICS_BIND:
            web.count(observed.route, command, status, seconds)

    def _observation(self) -> Observation:
        task: Any = self
        path = str(getattr(task.request, "path", "") or "")
        client = str(task.channel.addr[0]) if isinstance(task.channel.addr, tuple) else ""
        return Observation(observation.REJECTED, path, client)


class ApplicationTask(_ObservedTask, WSGITask):  # type: ignore[misc]
    """The response of the application."""

    def start(self) -> None:
        """Close the connection after this response if the body was not read or the server stops."""
        super().start()
        if self.request.withheld or self.channel.server.is_stopping:
            self.set_close_on_finish()

    def get_environment(self) -> dict[str, Any]:
        """Return the WSGI environment, with the reason if the body was not read."""
        environ: dict[str, Any] = super().get_environment()
        if self.request.withheld:
            environ[bodies.WITHHELD] = self.request.withheld
            environ["wsgi.input"] = UnreadBody()
        self._environ = environ
        return environ

    def _observation(self) -> Observation:
        found = self._environ.get(observation.OBSERVATION)
        return found if isinstance(found, Observation) else super()._observation()

    def set_close_on_finish(self) -> None:
        """Close the connection afterwards, but not because a 204 or 304 has no length."""
        keeps_open = (
            not self.has_body
            and self.version == "1.1"
            and self.request.headers.get("CONNECTION", "").lower() != "close"
            and not self.request.withheld
            and not self.channel.server.is_stopping
        )
        if not keeps_open:
            super().set_close_on_finish()

    def write(self, data: bytes) -> None:
        """Send a part of the body; a response to HEAD has none, not even a final chunk."""
        super().write(data)
        if self.request.command == "HEAD":
            self.chunked_response = False


class RejectionTask(_ObservedTask, ErrorTask):  # type: ignore[misc]
    """The server's own response to a request that it rejects: a problem (RFC 9457)."""

    def execute(self) -> None:
        """Send the problem."""
        own_id = request_id.begin(self.request.headers.get("X_REQUEST_ID"))
        trace_context.begin(self.request.headers.get("TRACEPARENT"))
        rejection = self.request.error
        # If a task fails, waitress creates an error of a class we do not use.
        error_code = getattr(rejection, "error_code", "internal_error")
        problem = Problem(error_code, getattr(rejection, "detail", None))
        response = problems.response(HttpRequest(), problem)
        response.headers[request_id.HEADER] = own_id
        self.status = f"{response.status_code} {response.reason_phrase}"
        self.response_headers.extend(response.headers.items())
        self.set_close_on_finish()
        self.content_length = len(response.content)
        self.write(b"" if self.request.command == "HEAD" else response.content)
