"""One connection of a client: what it may take its time for, and how it ends."""

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
from closient.serving.tasks import ApplicationTask, RefusalTask

# Bytes sent in one turn of the event loop, so that a fast reader does not hold up the others.
MAX_SENT_PER_TURN = 4 * 1024 * 1024
SEND_SIZE = 256 * 1024
# Bytes that the kernel may hold for a client. It grows this to megabytes by itself, and hundreds of
# clients that do not read use up its memory for TCP: then every connection loses packets.
SEND_BUFFER = 128 * 1024
# What a client is still sending when its request is refused is read and thrown away for this long,
# and up to this size, so that it sees the answer instead of a broken connection.
LINGER_SECONDS = 10
MAX_LINGER_BYTES = 64 * 1024 * 1024
# Close with a reset: nothing that the client does not read stays in the kernel.
_RESET = struct.pack("ii", 1, 0)


class _Server:
    """The server as its connection sees it: waking it means watching the connection again."""

    __slots__ = ("_channel", "_server")

    def __init__(self, server: Any, channel: Channel) -> None:
        self._server = server
        self._channel = channel

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)

    def pull_trigger(self) -> None:
        """Have the event loop look at the connection."""
        self._server.loop.watch(self._channel)


class Channel(HTTPChannel):  # type: ignore[misc]
    """A connection with deadlines.

    * idle: ``idle_timeout`` seconds, between requests and before the first byte of one;
    * headers: ``WEB_HEADER_TIMEOUT`` from the first byte, however they trickle in;
    * body: ``WEB_BODY_TIMEOUT``, and a second more for each ``WEB_MIN_RATE`` bytes received;
    * answer: ``WEB_RESPONSE_TIMEOUT``, and a second more for each ``WEB_MIN_RATE`` bytes sent.
    """

    request: Any = None
    sendbuf_len: int
    parser_class = RequestParser
    task_class = ApplicationTask
    error_task_class = RefusalTask

    def __init__(self, server: Any, *arguments: Any, **options: Any) -> None:
        self._idle_since = time.monotonic()
        self._blocked_since: float | None = None
        self._sent = 0
        self._quota = MAX_SENT_PER_TURN
        self._has_unread = False
        self._linger_until: float | None = None
        self._discarded = 0
        super().__init__(_Server(server, self), *arguments, **options)
        # Some systems refuse this for a client that has left already.
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self.sendbuf_len = min(self.sendbuf_len, SEND_SIZE)

    # --- The event loop: reading and writing -----------------------------------------------------

    def received(self, data: bytes) -> bool:
        """Read requests out of received bytes."""
        is_read: bool = super().received(data)
        if self.requests:
            last = self.requests[-1]
            self._has_unread = last.error is not None or last.withheld is not None
        return is_read

    def add_channel(self, map: Any = None) -> None:
        """Have the event loop watch the connection."""
        super().add_channel(map)
        self.server.loop.add(self)

    def del_channel(self, map: Any = None) -> None:
        """Have the event loop forget the connection."""
        if self._fileno is not None:
            self.server.loop.remove(self)
        super().del_channel(map)

    def readable(self) -> bool:
        """Return whether received bytes are wanted now."""
        return self._linger_until is not None or not (
            self.requests or self.total_outbufs_len or self.will_close or self.close_when_flushed
        )

    def writable(self) -> bool:
        """Return whether there is something to send, or the connection is to be closed."""
        return self._linger_until is None and bool(
            self.total_outbufs_len or self.will_close or self.close_when_flushed
        )

    def handle_read(self) -> None:
        """Read what has arrived; what follows a refused request is thrown away."""
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
        """Send some of what is waiting; a client that still sends gets time to see the answer."""
        self._quota = MAX_SENT_PER_TURN
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
        """Send some bytes and return how many; none once this turn has sent enough."""
        if do_close and self._quota <= 0:
            return 0
        sent: int = super().send(data, do_close=do_close)
        self._quota -= sent
        self._sent += sent
        return sent

    def _linger(self) -> None:
        """Send nothing more, and throw away what still arrives."""
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
        """Return for how long the connection has been idle."""
        return now - self._idle_since

    def dispensable(self, now: float) -> tuple[int, float] | None:
        """Return how little is lost by closing the connection, larger for less.

        ``None`` while a request is at work.
        """
        if self._linger_until is not None:
            return 3, 0
        if self.requests or self.total_outbufs_len:
            return None
        if self.request is None:
            return 2, self.idle_seconds(now)
        return 1, now - self.request.started

    def check_deadline(self, now: float) -> None:
        """Close the connection, or refuse its request, when it is late."""
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
                self.refuse_late()
        else:
            received = request.body_bytes_received
            allowed = settings.WEB_BODY_TIMEOUT + received / settings.WEB_MIN_RATE
            if now - request.body_started > allowed:
                self.refuse_late()

    def refuse_late(self) -> None:
        """Respond to the current request with a problem, and close the connection."""
        sentence = "The request did not arrive in time."
        self._finish_reading(lambda request: request.refuse("bad_request", sentence))

    def withhold(self, reason: Withheld) -> None:
        """Hand the request that is being read on without its body."""
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
        """Wait for the client only if its response, or all responses, take too much space."""
        if self.total_outbufs_len > settings.WEB_MAX_STORED or self.server.is_full:
            super()._flush_outbufs_below_high_watermark()
