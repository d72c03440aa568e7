"""Reads one request; rejects it if it is ambiguous, malformed or too large.

A rejection repeats nothing that the client sent.
"""

from __future__ import annotations

import time
from typing import Any

from waitress import utilities
from waitress.parser import HTTPRequestParser, ParsingError

from closient.http import bodies
from closient.http.bodies import Withheld

MAX_REQUEST_LINE = 8190
MAX_HEADERS = 32 * 1024
# A chunk's size line and the trailer of a chunked body.
MAX_CHUNK_LINE = 1024
MAX_TRAILER = 8 * 1024
# Eighteen digits are above every limit, and short enough for int().
MAX_LENGTH_DIGITS = 18


class Rejection:
    """Why the server itself responds to a request: an ``error_code`` of the API's problems."""

    def __init__(self, error_code: str, detail: str | None = None) -> None:
        self.error_code = error_code
        self.detail = detail


class RequestParser(HTTPRequestParser):  # type: ignore[misc]
    """A request that is being read; complete when its body is read or will not be read.

    ``withheld`` is the reason why the body was not read: the application responds to such a
    request, and the connection closes after the response.
    """

    body_rcv: Any = None
    withheld: Withheld | None = None
    body_started: float | None = None
    command = ""
    path = ""

    def __init__(self, adj: object) -> None:
        super().__init__(adj)
        self.started = time.monotonic()

    def received(self, data: bytes) -> int:
        """Parse received bytes; return how many belong to this request."""
        is_body = self.body_rcv is not None
        if not is_body and self._request_line_is_too_long(data):
            self.reject("uri_too_long")
            return len(data)
        try:
            consumed: int = super().received(data)
        except OSError:
            # No disk space for a temporary file.
            self.withhold(Withheld.NO_SPACE)
        # Raised inside waitress, for example for a host that is not an address.
        except ValueError:
            self.reject("bad_request")
        else:
            self._apply_limits(is_body=is_body)
        if self.error is not None and not isinstance(self.error, Rejection):
            self._translate_error()
        # What follows a rejected request is not the next request.
        return len(data) if self.error is not None or self.withheld else consumed

    def reject(self, error_code: str, detail: str | None = None) -> None:
        """End the request; the server itself responds with a problem."""
        self.error = Rejection(error_code, detail)
        self._end()

    def withhold(self, reason: Withheld) -> None:
        """End the request without its body; the application responds with the reason."""
        if self.chunked:
            self.headers["CONTENT_LENGTH"] = str(self.body_bytes_received)
        self.withheld = reason
        self._end()

    def _end(self) -> None:
        self.completed = True
        self.expect_continue = False
        if self.body_rcv is not None:
            self.body_rcv.getbuf().close()
            self.body_rcv = None

    def _request_line_is_too_long(self, data: bytes) -> bool:
        if len(self.header_plus) + len(data) <= MAX_REQUEST_LINE:
            return False
        start = (self.header_plus + data[: MAX_REQUEST_LINE + 2]).lstrip()
        return b"\r\n" not in start[: MAX_REQUEST_LINE + 2]

    def _translate_error(self) -> None:
        if isinstance(self.error, utilities.RequestHeaderFieldsTooLarge):
            self.reject("bad_request", "The headers of the request are too large.")
        elif isinstance(self.error, utilities.ServerNotImplemented):
            self.reject("bad_request", "This Transfer-Encoding is not supported.")
        else:
            self.reject("bad_request")

    def _apply_limits(self, *, is_body: bool) -> None:
        """Apply the limits: after the headers, and while a body arrives."""
        receiver = self.body_rcv
        if self.error is not None or receiver is None:
            # Otherwise waitress would wait for a body.
            self.expect_continue = False
            return
        if not is_body:
            self.body_started = time.monotonic()
            length = self.content_length
        elif self.chunked:
            if len(receiver.control_line) > MAX_CHUNK_LINE or len(receiver.trailer) > MAX_TRAILER:
                self.reject("bad_request")
                return
            # The framing counts if it is larger than the content.
            length = max(len(receiver), self.body_bytes_received // 8)
        else:
            return
        limit = bodies.max_body(self.path, self.headers.get("CONTENT_TYPE", ""), length)
        if length > limit:
            self.withhold(Withheld.TOO_LARGE)
        elif length > bodies.ANONYMOUS_MAX_BODY and bodies.is_anonymous(
            self.headers.get("X_API_KEY", ""), self.headers.get("COOKIE", "")
        ):
            self.withhold(Withheld.ANONYMOUS)

    def parse_header(self, header_plus: bytes) -> None:
        """Read the request line and the headers (RFC 9112); reject ambiguous ones."""
        lowered = header_plus.lower()
        if b"\r\n " in lowered or b"\r\n\t" in lowered:
            raise ParsingError("obsolete line folding")
        if lowered.count(b"\r\nhost:") > 1 or lowered.count(b"\r\ntransfer-encoding:") > 1:
            raise ParsingError("repeated header")
        encoding = _value(lowered, b"transfer-encoding")
        length = _value(lowered, b"content-length")
        if encoding is not None and (length is not None or b"," in encoding or not encoding):
            raise ParsingError("ambiguous length")
        if length is not None and len(length) > MAX_LENGTH_DIGITS:
            raise ParsingError("length")
        super().parse_header(header_plus)
        if self.version not in ("1.0", "1.1"):
            raise ParsingError("version")
        if self.version == "1.1" and "HOST" not in self.headers:
            raise ParsingError("no host")
        if encoding is not None and self.version != "1.1":
            raise ParsingError("Transfer-Encoding in HTTP/1.0")
        if self.proxy_netloc:
            # RFC 9112, section 3.2.2: the target's host replaces the header's.
            self.headers["HOST"] = self.proxy_netloc
        if not self.path.startswith("/"):
            raise ParsingError("target")


def _value(headers: bytes, name: bytes) -> bytes | None:
    """Return the value of a header in lower case, ``None`` if it is missing."""
    start = headers.find(b"\r\n" + name + b":")
    if start < 0:
        return None
    start += len(name) + 3
    return headers[start : headers.find(b"\r\n", start)].strip(b" \t")
