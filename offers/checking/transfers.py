"""libcurl's transfers in an asyncio event loop: any number at once, in one thread.

libcurl says which sockets it waits for and when it wants to be woken; the event loop does the
waiting (libcurl's "multi socket" interface, https://curl.se/libcurl/c/libcurl-multi.html).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import pycurl


@dataclass(frozen=True)
class Outcome:
    """How a transfer ended: libcurl's error code (0 for success) and its message."""

    code: int
    message: str = ""


class Transfers:
    """Runs transfers; an asynchronous context manager that belongs to one event loop."""

    def __init__(self) -> None:
        self._futures: dict[pycurl.Curl, asyncio.Future[Outcome]] = {}
        self._timer: asyncio.Handle | None = None
        self._sockets: set[int] = set()

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._multi.close()
        self._set_timer(-1)
        for descriptor in self._sockets:
            self._loop.remove_reader(descriptor)
            self._loop.remove_writer(descriptor)

    async def run(self, handle: pycurl.Curl) -> Outcome:
        """Run a transfer to its end; cancelling closes its connection."""
        future: asyncio.Future[Outcome] = self._loop.create_future()
        self._futures[handle] = future
        self._multi.add_handle(handle)
        try:
            return await future
        finally:
            del self._futures[handle]
            self._multi.remove_handle(handle)

    def _watch(self, what: int, descriptor: int, multi: object, data: object) -> None:
        """Watch a socket for what libcurl waits for there."""
        # The kernel may have given the number to another socket since: begin afresh.
        self._loop.remove_reader(descriptor)
        self._loop.remove_writer(descriptor)
        self._sockets.discard(descriptor)
        if what == pycurl.POLL_REMOVE:
            return
        self._sockets.add(descriptor)
        if what in (pycurl.POLL_IN, pycurl.POLL_INOUT):
            self._loop.add_reader(descriptor, self._go_on, descriptor, pycurl.CSELECT_IN)
        if what in (pycurl.POLL_OUT, pycurl.POLL_INOUT):
            self._loop.add_writer(descriptor, self._go_on, descriptor, pycurl.CSELECT_OUT)

    def _set_timer(self, milliseconds: int) -> None:
        """Wake libcurl after a time, in place of any earlier such wish; never for -1."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if milliseconds == 0:
            self._timer = self._loop.call_soon(self._go_on, pycurl.SOCKET_TIMEOUT, 0)
        elif milliseconds > 0:
            self._timer = self._loop.call_later(
                milliseconds / 1000, self._go_on, pycurl.SOCKET_TIMEOUT, 0
            )

    def _go_on(self, descriptor: int, ready_for: int) -> None:
        """Let libcurl do what can be done now, and hand over what has ended."""
        self._multi.socket_action(descriptor, ready_for)
        left = 1
        while left:
            left, succeeded, failed = self._multi.info_read()
            for handle in succeeded:
                self._end(handle, Outcome(pycurl.E_OK))
            for handle, code, message in failed:
                self._end(handle, Outcome(code, message))

    def _end(self, handle: pycurl.Curl, outcome: Outcome) -> None:
        future = self._futures.get(handle)
        if future is not None and not future.done():
            future.set_result(outcome)
