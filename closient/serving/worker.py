"""The gunicorn worker: an event loop for the clients and threads for the application."""

from __future__ import annotations

import os
import resource
import threading
import time
from typing import Any

from django.conf import settings
from gunicorn.workers.base import Worker
from waitress import wasyncore

from closient.db import gauges
from closient.http import health
from closient.metrics import web
from closient.serving import server
from closient.serving.loop import EventLoop
from closient.serving.server import Limits, Threads

# Between checks of the deadlines.
CHECK_INTERVAL_SECONDS = 1.0
# A stopping worker keeps idle connections this long, to respond to requests that clients sent
# before they could notice.
STOPPING_IDLE_SECONDS = 1.0
# File descriptors per connection: the socket, a stored body, stored parts of a response.
FILES_PER_CONNECTION = 4
OTHER_FILES = 256
# The limit to set if the system allows any number.
MAX_FILES = 65_536


class _Wakeup(wasyncore.file_dispatcher):  # type: ignore[misc]
    """The pipe that signals write to: it wakes up the event loop."""

    def writable(self) -> bool:
        return False

    def handle_read(self) -> None:
        self.recv(4096)


class EventLoopWorker(Worker):  # type: ignore[misc]
    """Serves gunicorn's sockets.

    ``threads``, ``worker_connections``, ``keepalive`` and ``graceful_timeout`` of gunicorn apply;
    ``timeout`` limits how long the event loop itself may block.
    """

    def run(self) -> None:
        """Serve until gunicorn stops the worker or ends."""
        loop = EventLoop()
        threads = Threads(self.cfg.threads)
        limits = Limits(
            max_connections=min(self.cfg.worker_connections, _connections_by_files()),
            idle_timeout=self.cfg.keepalive,
        )
        servers = [
            server.create(self.wsgi, listener.sock, loop, threads, limits)
            for listener in self.sockets
        ]
        wakeup = _Wakeup(self.PIPE[0], map=loop.connections)
        loop.watch_always(wakeup._fileno)
        stop = threading.Event()
        if settings.METRICS_BIND:
            watch = threading.Thread(target=health.watch, args=(stop,), name="ready", daemon=True)
            watch.start()
        next_check = 0.0
        while self.alive and self.ppid == os.getppid():
            loop.run_once(CHECK_INTERVAL_SECONDS)
            next_check = self._check(servers, next_check)
        stop.set()
        self._stop(servers, loop)
        wakeup.close()

    def _check(self, servers: list[Any], next_check: float) -> float:
        """Check the connections if it is time; return the time of the next check."""
        now = time.monotonic()
        if now < next_check:
            return next_check
        self.notify()
        for each in servers:
            each.check_deadlines()
        if settings.METRICS_BIND:
            web.set_connections(servers)
            gauges.update()
        return now + CHECK_INTERVAL_SECONDS

    def _stop(self, servers: list[Any], loop: EventLoop) -> None:
        """Stop accepting connections, finish started requests, then close."""
        deadline = time.monotonic() + self.cfg.graceful_timeout
        for each in servers:
            each.is_stopping = True
            each.accept_waiting()
            # Other processes keep the socket open, so the kernel would continue to report it.
            loop.remove(each)
            wasyncore.dispatcher.close(each)
        next_check = 0.0
        while any(each.active_channels for each in servers) and time.monotonic() < deadline:
            loop.run_once(CHECK_INTERVAL_SECONDS / 10)
            next_check = self._check(servers, next_check)
            for each in servers:
                each.close_idle(STOPPING_IDLE_SECONDS)


def _connections_by_files() -> int:
    """Raise the limit of open files; return how many connections it allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = hard if hard != resource.RLIM_INFINITY else max(soft, MAX_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return max(16, (limit - OTHER_FILES) // FILES_PER_CONNECTION)
