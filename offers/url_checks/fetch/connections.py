"""libcurl's transfers in an asyncio event loop: any number at once, in one thread.

libcurl says which sockets it waits for and when it wants to be woken; the event loop does the
waiting (libcurl's "multi socket" interface, https://curl.se/libcurl/c/libcurl-multi.html).
"""

from __future__ import annotations

import asyncio
import selectors
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import pycurl

# What libcurl waits for at a socket as the selector puts it, and back.
_EVENTS = {
    pycurl.POLL_IN: selectors.EVENT_READ,
    pycurl.POLL_OUT: selectors.EVENT_WRITE,
    pycurl.POLL_INOUT: selectors.EVENT_READ | selectors.EVENT_WRITE,
}
_READY = {
    selectors.EVENT_READ: pycurl.CSELECT_IN,
    selectors.EVENT_WRITE: pycurl.CSELECT_OUT,
    selectors.EVENT_READ | selectors.EVENT_WRITE: pycurl.CSELECT_IN | pycurl.CSELECT_OUT,
}


@dataclass(frozen=True)
class TransferResult:
    """How a transfer ended: libcurl's error code (0 for success) and its message."""

    code: int
    message: str = ""


class Transfers:
    """Runs transfers; an asynchronous context manager that belongs to one event loop."""

    def __init__(self) -> None:
        self._futures: dict[pycurl.Curl, asyncio.Future[TransferResult]] = {}
        self._timer: asyncio.Handle | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        # The loop waits for one descriptor, however many sockets there are: to register each of
        # them with the loop takes longer than all the rest here.
        self._sockets = selectors.DefaultSelector()
        self._loop.add_reader(self._sockets, self._go_on_where_ready)
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
        while self._futures:
            handle, future = self._futures.popitem()
            self._multi.remove_handle(handle)
            future.cancel()
        self._multi.close()
        self._set_timer(-1)
        self._loop.remove_reader(self._sockets)
        self._sockets.close()

    async def run(self, handle: pycurl.Curl) -> TransferResult:
        """Run a transfer to its end; cancelling closes its connection, and so does leaving."""
        future: asyncio.Future[TransferResult] = self._loop.create_future()
        self._futures[handle] = future
        self._multi.add_handle(handle)
        try:
            return await future
        finally:
            if self._futures.pop(handle, None) is not None:
                self._multi.remove_handle(handle)

    def _watch(self, what: int, descriptor: int, multi: object, data: object) -> None:
        """Watch a socket for what libcurl waits for there."""
        # The kernel may have given the number to another socket since: begin afresh.
        if descriptor in self._sockets.get_map():
            self._sockets.unregister(descriptor)
        if what in _EVENTS:
            self._sockets.register(descriptor, _EVENTS[what])

    def _set_timer(self, milliseconds: int) -> None:
        """Wake libcurl after a time, in place of any earlier such wish; never for -1."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if milliseconds == 0:
            self._timer = self._loop.call_soon(self._go_on_in_time)
        elif milliseconds > 0:
            self._timer = self._loop.call_later(milliseconds / 1000, self._go_on_in_time)

    def _go_on_in_time(self) -> None:
        self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        self._hand_over()

    def _go_on_where_ready(self) -> None:
        for key, events in self._sockets.select(0):
            self._multi.socket_action(key.fd, _READY[events])
        self._hand_over()

    def _hand_over(self) -> None:
        """Hand over what has ended."""
        left = 1
        while left:
            left, succeeded, failed = self._multi.info_read()
            for handle in succeeded:
                self._end(handle, TransferResult(pycurl.E_OK))
            for handle, code, message in failed:
                self._end(handle, TransferResult(code, message))

    def _end(self, handle: pycurl.Curl, outcome: TransferResult) -> None:
        future = self._futures.get(handle)
        if future is not None and not future.done():
            future.set_result(outcome)
