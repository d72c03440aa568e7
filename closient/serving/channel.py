"""One connection of a client: its deadlines, its limits and how it ends."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

from django.conf import settings
from waitress.channel import HTTPChannel

from closient.http.bodies import Withheld
from closient.serving.parser import RequestParser
from closient.serving.tasks import ApplicationTask, RejectionTask

# Per iteration of the event loop, so that a fast client does not delay the others.
MAX_SENT_PER_ITERATION = 4 * 1024 * 1024
SEND_SIZE = 256 * 1024
# The kernel's send buffer of a connection. By default it grows to megabytes, and hundreds of
# clients that do not read exhaust the memory for TCP: then every connection loses packets.
SEND_BUFFER = 128 * 1024
# After a rejected request, what the client still sends is read and discarded, for this long and up
# to this size, so that it receives the response instead of a connection error.
LINGER_SECONDS = 10
MAX_LINGER_BYTES = 64 * 1024 * 1024
# Close with a reset: unread data does not stay in the kernel.
_RESET = struct.pack("ii", 1, 0)


class _Server:
    """The server of a connection; its trigger makes the event loop watch the connection again."""

    __slots__ = ("_channel", "_server")

    def __init__(self, server: Any, channel: Channel) -> None:
        self._server = server
        self._channel = channel

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)

    def pull_trigger(self) -> None:
        """Make the event loop watch the connection again."""
        self._server.loop.watch(self._channel)


class Channel(HTTPChannel):  # type: ignore[misc]
    """A connection with deadlines.

    * idle: ``idle_timeout`` seconds, between requests and before the first byte of one;
    * headers: ``WEB_HEADER_TIMEOUT`` from the first byte;
    * body: ``WEB_BODY_TIMEOUT``, plus a second for each ``WEB_MIN_RATE`` bytes received;
    * response: ``WEB_RESPONSE_TIMEOUT``, plus a second for each ``WEB_MIN_RATE`` bytes sent.
    """

    request: Any = None
    sendbuf_len: int
    parser_class = RequestParser
    task_class = ApplicationTask
    error_task_class = RejectionTask

    def __init__(self, server: Any, *arguments: Any, **options: Any) -> None:
        self._idle_since = time.monotonic()
        self._blocked_since: float | None = None
        self._sent = 0
        self._quota = MAX_SENT_PER_ITERATION
        self._has_unread = False
        self._linger_until: float | None = None
        self._discarded = 0
        super().__init__(_Server(server, self), *arguments, **options)
        # Some systems raise an error if the client has disconnected already.
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self.sendbuf_len = min(self.sendbuf_len, SEND_SIZE)

    # --- The event loop: reading and writing -----------------------------------------------------

    def received(self, data: bytes) -> bool:
        """Parse received bytes into requests."""
        is_read: bool = super().received(data)
        if self.requests:
            last = self.requests[-1]
            self._has_unread = last.error is not None or last.withheld is not None
        return is_read

    def add_channel(self, map: Any = None) -> None:
        """Start watching the connection in the event loop."""
        super().add_channel(map)
        self.server.loop.add(self)

    def del_channel(self, map: Any = None) -> None:
        """Stop watching the connection in the event loop."""
        if self._fileno is not None:
            self.server.loop.remove(self)
        super().del_channel(map)

    def readable(self) -> bool:
        """Return whether to read from the connection now."""
        return self._linger_until is not None or not (
            self.requests or self.total_outbufs_len or self.will_close or self.close_when_flushed
        )

    def writable(self) -> bool:
        """Return whether there is data to send, or the connection has to be closed."""
        return self._linger_until is None and bool(
            self.total_outbufs_len or self.will_close or self.close_when_flushed
        )

    def handle_read(self) -> None:
        """Read received data; discard what follows a rejected request."""
        if self._linger_until is None:
            super().handle_read()
            return
        try:
            piece = self.recv(self.adj.recv_bytes)
        except OSError:
            piece = b""
        self._discarded += len(piece)
        if self.connected and (not piece or self._discarded > MAX_LINGER_BYTES):
            self.handle_close()

    def handle_write(self) -> None:
        """Send waiting data; a client that still sends gets time to receive the response."""
        self._quota = MAX_SENT_PER_ITERATION
        if not self._has_unread:
            super().handle_write()
        else:
            self._flush_exception(self._flush_some_if_lockable)
            if self.will_close:
                self.handle_close()
            elif self.close_when_flushed and self.connected and not self.total_outbufs_len:
                self._linger()
        if not self.total_outbufs_len:
            self._idle_since = time.monotonic()

    def send(self, data: bytes, do_close: bool = True) -> int:
        """Send bytes and return how many; none after the limit of this iteration."""
        if do_close and self._quota <= 0:
            return 0
        sent: int = super().send(data, do_close=do_close)
        self._quota -= sent
        self._sent += sent
        return sent

    def _linger(self) -> None:
        """Send nothing more, and discard what still arrives."""
        self._linger_until = time.monotonic() + LINGER_SECONDS
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.handle_close()

    # --- The event loop: deadlines ---------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """Whether the channel is idle: no partial request, no running request, no response."""
        return not (self.requests or self.request is not None or self.total_outbufs_len)

    @property
    def stored(self) -> int:
        """Bytes stored for the client: received bodies and unsent responses."""
        requests = [*self.requests, *([self.request] if self.request is not None else [])]
        received: int = sum(request.body_bytes_received for request in requests)
        return received + int(self.total_outbufs_len)

    def idle_seconds(self, now: float) -> float:
        """Return the seconds since the connection became idle."""
        return now - self._idle_since

    def eviction_priority(self, now: float) -> tuple[int, float] | None:
        """Return the priority for closing the connection if there are too many; highest first.

        ``None`` while a request is being processed.
        """
        if self._linger_until is not None:
            return 3, 0
        if self.requests or self.total_outbufs_len:
            return None
        if self.request is None:
            return 2, self.idle_seconds(now)
        return 1, now - self.request.started

    def check_deadline(self, now: float) -> None:
        """Close the connection, or reject its request, if its deadline has passed."""
        if self._linger_until is not None:
            if now >= self._linger_until:
                self.handle_close()
        elif self.total_outbufs_len:
            if self._blocked_since is None:
                self._blocked_since, self._sent = now, 0
            allowed = settings.WEB_RESPONSE_TIMEOUT + self._sent / settings.WEB_MIN_RATE
            if now - self._blocked_since > allowed:
                self._reset()
        elif self.requests:
            self._blocked_since = None
        else:
            self._blocked_since = None
            self._check_request(now)

    def _check_request(self, now: float) -> None:
        request = self.request
        if request is None:
            if self.idle_seconds(now) > self.server.limits.idle_timeout:
                self.handle_close()
        elif request.body_started is None:
            if now - request.started > settings.WEB_HEADER_TIMEOUT:
                self.reject_late()
        else:
            received = request.body_bytes_received
            allowed = settings.WEB_BODY_TIMEOUT + received / settings.WEB_MIN_RATE
            if now - request.body_started > allowed:
                self.reject_late()

    def reject_late(self) -> None:
        """Respond to the current request with a problem, and close the connection."""
        sentence = "The request did not arrive in time."
        self._finish_reading(lambda request: request.reject("bad_request", sentence))

    def withhold(self, reason: Withheld) -> None:
        """Process the current request without its body."""
        self._finish_reading(lambda request: request.withhold(reason))

    def _finish_reading(self, finish: Callable[[RequestParser], None]) -> None:
        with self.requests_lock:
            request = self.request
            if request is None or self.requests or self.will_close or self.close_when_flushed:
                return
            finish(request)
            self._has_unread = True
            self.request = None
            self.sent_continue = False
            self.requests.append(request)
            self.server.add_task(self)

    def _reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.handle_close()

    # --- Threads ---------------------------------------------------------------------------------

    def service(self) -> None:
        """Run a request and send its response."""
        self._idle_since = time.monotonic()
        super().service()

    def _flush_outbufs_below_high_watermark(self) -> None:
        """Wait for the client only if its response, or all of them, take too much space."""
        if self.total_outbufs_len > settings.WEB_MAX_STORED or self.server.is_full:
            super()._flush_outbufs_below_high_watermark()
