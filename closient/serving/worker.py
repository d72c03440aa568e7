"""The gunicorn worker: an event loop for the clients and threads for the application."""

from __future__ import annotations

import os
import resource
import time
from typing import Any

from gunicorn.workers.base import Worker
from waitress import wasyncore

from closient.serving import server
from closient.serving.loop import EventLoop
from closient.serving.server import Limits, Threads

# Seconds between looks at the deadlines.
TICK = 1.0
# Seconds for which an idle connection is kept while the worker stops: a request that was sent
# before the client could see the end is answered.
STOPPING_IDLE_SECONDS = 1.0
# Files that a connection may need: itself, a stored body, stored parts of an answer.
FILES_PER_CONNECTION = 4
OTHER_FILES = 256
MANY_FILES = 65_536


class _Wakeup(wasyncore.file_dispatcher):  # type: ignore[misc]
    """The pipe that a signal writes to: the event loop looks at the world again."""

    def writable(self) -> bool:
        return False

    def handle_read(self) -> None:
        self.recv(4096)


class EventLoopWorker(Worker):  # type: ignore[misc]
    """Serves gunicorn's sockets.

    ``threads``, ``worker_connections``, ``keepalive`` and ``graceful_timeout`` of gunicorn apply;
    ``timeout`` is how long the event loop itself may be stuck.
    """

    def run(self) -> None:
        """Serve until gunicorn wants the worker to stop, or is gone."""
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
        next_check = 0.0
        while self.alive and self.ppid == os.getppid():
            loop.turn(TICK)
            next_check = self._check(servers, next_check)
        self._stop(servers, loop)
        wakeup.close()

    def _check(self, servers: list[Any], next_check: float) -> float:
        """Look after the connections once in a tick; return when the next time is."""
        now = time.monotonic()
        if now < next_check:
            return next_check
        self.notify()
        for each in servers:
            each.check_deadlines()
        return now + TICK

    def _stop(self, servers: list[Any], loop: EventLoop) -> None:
        """Stop accepting connections, finish started requests, then close."""
        deadline = time.monotonic() + self.cfg.graceful_timeout
        for each in servers:
            each.is_stopping = True
            # The other processes still have the socket, so the kernel would go on reporting it.
            loop.remove(each)
            wasyncore.dispatcher.close(each)
        next_check = 0.0
        while any(each.active_channels for each in servers) and time.monotonic() < deadline:
            loop.turn(TICK / 10)
            next_check = self._check(servers, next_check)
            for each in servers:
                each.close_idle(STOPPING_IDLE_SECONDS)


def _connections_by_files() -> int:
    """Return how many connections the limit of open files allows, having raised it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = hard if hard != resource.RLIM_INFINITY else max(soft, MANY_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return max(16, (limit - OTHER_FILES) // FILES_PER_CONNECTION)
