"""The event loop: waits for all connections of a process at once.

waitress's loop polls every connection before each wait: does it want to read or write? Here the
kernel keeps that state (epoll), so idle connections cost nothing, and a thread that has finished a
response makes the kernel watch the connection again without waking the loop. Without epoll (macOS)
waitress's loop is used.
"""

from __future__ import annotations

import select
import threading
from typing import Any

from waitress import wasyncore


class EventLoop:
    """The connections by file descriptor, and the wait for them.

    A connection is reported once (EPOLLONESHOT) and must be watched again. The lock prevents a
    thread from watching a descriptor that was closed and now belongs to another connection.
    """

    def __init__(self) -> None:
        self.connections: dict[int, Any] = {}
        self._lock = threading.Lock()
        self._always: set[int] = set()
        self._epoll = select.epoll() if hasattr(select, "epoll") else None

    def watch_always(self, descriptor: int) -> None:
        """Report a listening socket or a pipe whenever it is readable.

        A new connection wakes up only some of the processes that wait for a listening socket.
        """
        if self._epoll is not None:
            self._epoll.register(descriptor, select.EPOLLIN | select.EPOLLEXCLUSIVE)
            self._always.add(descriptor)

    def add(self, connection: Any) -> None:
        """Watch a new connection for reading."""
        if self._epoll is not None:
            with self._lock:
                flags = select.EPOLLIN | select.EPOLLONESHOT
                self._epoll.register(connection._fileno, flags)

    def remove(self, connection: Any) -> None:
        """Stop watching a connection that is about to be closed."""
        if self._epoll is not None:
            with self._lock:
                self._epoll.unregister(connection._fileno)
                self._always.discard(connection._fileno)
                self.connections.pop(connection._fileno, None)

    def watch(self, connection: Any) -> None:
        """Report a connection when it can read or write as it wants now; from any thread."""
        if self._epoll is None:
            connection.server.trigger.pull_trigger()
            return
        with self._lock:
            if self.connections.get(connection._fileno) is connection:
                flags = _wanted(connection)
                if flags:
                    self._epoll.modify(connection._fileno, flags | select.EPOLLONESHOT)

    def run_once(self, seconds: float) -> None:
        """Wait for up to ``seconds``, then let the ready connections read and write."""
        if self._epoll is None:
            wasyncore.poll2(seconds, self.connections)
            return
        for descriptor, ready in self._epoll.poll(seconds):
            connection = self.connections.get(descriptor)
            if connection is None:
                continue
            if descriptor in self._always:
                wasyncore.read(connection)
                continue
            wanted = _wanted(connection) | select.EPOLLHUP | select.EPOLLERR
            wasyncore.readwrite(connection, ready & wanted)
            self.watch(connection)


def _wanted(connection: Any) -> int:
    flags = select.EPOLLIN if connection.readable() else 0
    if connection.writable():
        flags |= select.EPOLLOUT
    return flags
