"""Accepts connections, closes late ones, and passes complete requests to threads."""

from __future__ import annotations

import logging
import queue
import re
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from django.conf import settings
from waitress.adjustments import Adjustments
from waitress.server import TcpWSGIServer, UnixWSGIServer

from closient.http.bodies import Withheld
from closient.serving.channel import Channel
from closient.serving.loop import EventLoop
from closient.serving.parser import MAX_HEADERS, RequestParser
from closient.serving.stack import reserve_stack

logger = logging.getLogger("closient.serving")

# Requests that may take seconds: exports, and bodies with files.
LONG_PATHS = re.compile(r"/export\Z|\A/dashboard/api/v1/exports/")
LONG_BODY = 256 * 1024
LONG_THREADS = 2
HEALTH_PATH = "/healthz"

# Memory for a body or a response; the rest goes into a temporary file.
MAX_IN_MEMORY = 1024 * 1024
# Size of each temporary file of a response: a file is deleted when all of it was sent.
MAX_RESPONSE_FILE = 64 * 1024 * 1024


class ThreadGroup:
    """Threads that process requests in order of arrival."""

    def __init__(self, count: int) -> None:
        self._waiting: queue.SimpleQueue[Channel] = queue.SimpleQueue()
        for _ in range(count):
            # Daemons end with the process: their last request is finished by then, or too late.
            threading.Thread(target=self._run, daemon=True).start()

    def add_task(self, channel: Channel) -> None:
        """Queue the first complete request of a connection."""
        self._waiting.put(channel)

    @reserve_stack
    def _run(self) -> None:
        while True:
            channel = self._waiting.get()
            try:
                channel.service()
            # The thread must stay alive for other connections.
            except Exception:
                logger.exception("A request failed outside of the application.")
                channel.will_close = True
            # Do not keep the channel alive while waiting.
            del channel


class Threads:
    """The threads of a process, in three groups: long requests must not block short ones.

    One thread serves ``/healthz`` and rejections, which are fast and do not use the database.
    """

    def __init__(self, count: int) -> None:
        self.short = ThreadGroup(count)
        self.long = ThreadGroup(LONG_THREADS)
        self.health = ThreadGroup(1)

    def for_request(self, request: RequestParser) -> ThreadGroup:
        """Return the group of threads that processes a request."""
        if request.error is not None or request.path == HEALTH_PATH:
            return self.health
        if request.withheld is None and (
            request.body_bytes_received > LONG_BODY
            or LONG_PATHS.search(request.path)
            or request.headers.get("CONTENT_TYPE", "").lower().startswith("multipart/")
        ):
            return self.long
        return self.short


class Limits(NamedTuple):
    """Limits of a process: connections, and seconds that a connection may be idle."""

    max_connections: int
    idle_timeout: int


class _Buffering:
    """The base of the servers on TCP and Unix sockets."""

    channel_class = Channel
    active_channels: dict[int, Channel]

    def setup(self, loop: EventLoop, threads: Threads, limits: Limits) -> None:
        """Set what the worker provides."""
        self.loop = loop
        self.threads = threads
        self.limits = limits
        self.is_stopping = False
        self.is_full = False

    def add_task(self, channel: Channel) -> None:
        """Pass the first complete request of a connection to a thread."""
        self.threads.for_request(channel.requests[0]).add_task(channel)

    def handle_accept(self) -> None:
        """Accept a connection; if there are too many, close the least important one."""
        if len(self.active_channels) >= self.limits.max_connections:
            now = time.monotonic()
            found = [
                (priority, channel)
                for channel in self.active_channels.values()
                if (priority := channel.eviction_priority(now)) is not None
            ]
            if found:
                max(found, key=lambda each: each[0])[1].handle_close()
        super().handle_accept()  # type: ignore[misc]

    def accept_waiting(self) -> None:
        """Accept the connections that wait in the kernel; closing the listener would reset them."""
        count = -1
        while count != len(self.active_channels):
            count = len(self.active_channels)
            self.handle_accept()

    def readable(self) -> bool:
        """Return whether connections are accepted."""
        return bool(self.accepting)  # type: ignore[attr-defined]

    def check_deadlines(self) -> None:
        """Apply the deadlines of all connections, and the limit of stored bytes."""
        now = time.monotonic()
        for channel in list(self.active_channels.values()):
            channel.check_deadline(now)
        stored = {channel: channel.stored for channel in self.active_channels.values()}
        total = sum(stored.values())
        self.is_full = total > settings.WEB_MAX_STORED
        for channel in sorted(stored, key=lambda each: stored[each], reverse=True):
            if total <= settings.WEB_MAX_STORED:
                break
            if channel.request is not None:
                channel.withhold(Withheld.NO_SPACE)
                total -= stored[channel]

    def close_idle(self, seconds: float) -> None:
        """Close the connections that have been idle for at least ``seconds``."""
        now = time.monotonic()
        for channel in list(self.active_channels.values()):
            if channel.is_idle and channel.idle_seconds(now) >= seconds:
                channel.handle_close()


class _TcpServer(_Buffering, TcpWSGIServer):  # type: ignore[misc]
    pass


class _UnixServer(_Buffering, UnixWSGIServer):  # type: ignore[misc]
    pass


def create(
    application: Callable[..., Any],
    listener: Any,
    loop: EventLoop,
    threads: Threads,
    limits: Limits,
) -> Any:
    """Return a server on a listening socket; the event loop serves its connections."""
    is_unix = isinstance(listener.getsockname(), (str, bytes))
    server_class = _UnixServer if is_unix else _TcpServer
    server = server_class(
        application,
        loop.connections,
        _start=False,
        _sock=listener,
        dispatcher=threads,
        adj=_adjustments(),
        bind_socket=False,
        sockinfo=(listener.family, listener.type, listener.proto, listener.getsockname()),
    )
    server.setup(loop, threads, limits)
    # The host of HTTP/1.0 requests without one.
    server.server_name = "localhost" if is_unix else server.effective_host
    server.accept_connections()
    loop.watch_always(server._fileno)
    return server


def _adjustments() -> Adjustments:
    return Adjustments(
        backlog=2048,
        recv_bytes=64 * 1024,
        inbuf_overflow=MAX_IN_MEMORY,
        outbuf_overflow=MAX_IN_MEMORY,
        outbuf_high_watermark=MAX_RESPONSE_FILE,
        max_request_header_size=MAX_HEADERS,
        # closient.http.bodies decides.
        max_request_body_size=2**62,
        log_socket_errors=False,
        # closient.http.proxies.TrustedProxyMiddleware decides.
        clear_untrusted_proxy_headers=False,
        ident="",
    )
