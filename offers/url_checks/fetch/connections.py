"""Runs libcurl's transfers in an asyncio event loop, and explains its errors.

Any number of transfers run at once, in one thread. libcurl reports which sockets and timeouts it
needs; the event loop waits for them (https://curl.se/libcurl/c/libcurl-multi.html, "multi socket").

The sentences name nothing of this machine's network: no addresses, ports or library errors.
"""

from __future__ import annotations

import asyncio
import errno
import selectors
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import pycurl

from offers.url_checks.fetch.responses import Failure

# The events of a socket, from libcurl to the selector and back.
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
    """Runs transfers; an asynchronous context manager for one event loop."""

    def __init__(self) -> None:
        self._futures: dict[pycurl.Curl, asyncio.Future[TransferResult]] = {}
        self._timer: asyncio.Handle | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        # The loop waits for one descriptor for all sockets: registering each socket with the loop
        # takes longer than all the rest here.
        self._sockets = selectors.DefaultSelector()
        self._loop.add_reader(self._sockets, self._on_ready)
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
        """Run a transfer to its end; canceling it or leaving the context closes its connection."""
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
        # The kernel may have given the descriptor to another socket: register it again.
        if descriptor in self._sockets.get_map():
            self._sockets.unregister(descriptor)
        if what in _EVENTS:
            self._sockets.register(descriptor, _EVENTS[what])

    def _set_timer(self, milliseconds: int) -> None:
        """Wake libcurl after a time, which replaces any earlier timer; -1 for never."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if milliseconds == 0:
            self._timer = self._loop.call_soon(self._on_timeout)
        elif milliseconds > 0:
            self._timer = self._loop.call_later(milliseconds / 1000, self._on_timeout)

    def _on_timeout(self) -> None:
        self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        self._finish_transfers()

    def _on_ready(self) -> None:
        for key, events in self._sockets.select(0):
            self._multi.socket_action(key.fd, _READY[events])
        self._finish_transfers()

    def _finish_transfers(self) -> None:
        """Set the results of transfers that have ended."""
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


# Why a certificate is not trusted, by the codes of OpenSSL (x509_vfy.h).
_AUTHORITY = "The shop's certificate is from an authority that is not trusted."
_CERTIFICATE = {
    9: "The shop's certificate is not valid yet.",
    10: "The shop's certificate has expired.",
    18: "The shop's certificate is self-signed.",
    19: _AUTHORITY,
    # Browsers often know an intermediate certificate that the server does not send.
    20: "The shop's certificate is from an unknown authority, or its chain is incomplete.",
    21: "The shop's certificate is from an unknown authority, or its chain is incomplete.",
}
_OTHER_HOST = "The shop's certificate is for another host name."
NO_HOST_NAMES = "The shop's certificate has no host name (no subjectAltName)."
_NO_TLS = "The shop's server cannot make a secure (TLS) connection."
_NO_CONNECTION = "The shop's server cannot be connected to."
_REFUSED = "The shop's server refused the connection."
_NO_RESPONSE = "The shop's server closed the connection without a response."
UNREADABLE = "The shop's server sent a first line that the checker cannot read."
NOT_HTTP = "The shop's server sent a response that is not valid HTTP."
GARBLED = "The shop's page is incomplete or corrupt."

# By libcurl's codes (https://curl.se/libcurl/c/libcurl-errors.html).
_BY_CODE = {
    pycurl.E_SSL_CONNECT_ERROR: (Failure.TLS, _NO_TLS),
    pycurl.E_SSL_CIPHER: (Failure.TLS, _NO_TLS),
    pycurl.E_USE_SSL_FAILED: (Failure.TLS, _NO_TLS),
    # An invalid first line that begins with HTTP. The second is CURLE_WEIRD_SERVER_REPLY.
    pycurl.E_UNSUPPORTED_PROTOCOL: (Failure.UNREADABLE, UNREADABLE),
    pycurl.E_FTP_WEIRD_SERVER_REPLY: (Failure.UNREADABLE, UNREADABLE),
    pycurl.E_COULDNT_CONNECT: (Failure.CONNECTION, _NO_CONNECTION),
    pycurl.E_GOT_NOTHING: (Failure.CONNECTION, _NO_RESPONSE),
    pycurl.E_RECV_ERROR: (Failure.CONNECTION, _NO_RESPONSE),
    pycurl.E_SEND_ERROR: (Failure.CONNECTION, _NO_RESPONSE),
}


def no_response(
    outcome: TransferResult, *, os_errno: int, verify_result: int, connect_seconds: float
) -> tuple[Failure, str]:
    """Return the failure and the sentence for an error of libcurl before any status.

    ``os_errno`` is the last system error of the connection, ``verify_result`` OpenSSL's result for
    the certificate. Raises ``RuntimeError`` when this machine is at fault.
    """
    code = outcome.code
    if code == pycurl.E_SSL_CACERT_BADFILE:
        raise RuntimeError("The file of certificate authorities cannot be read.")
    if code == pycurl.E_OPERATION_TIMEDOUT:
        unreached = f"The shop's server could not be reached within {connect_seconds:g} seconds."
        return Failure.TIMEOUT, unreached
    if code == pycurl.E_PEER_FAILED_VERIFICATION:
        # libcurl compares the names itself, without OpenSSL.
        is_other_host = "subject name" in outcome.message
        other = "The shop's certificate is not trusted."
        why = _OTHER_HOST if is_other_host else _CERTIFICATE.get(verify_result, other)
        return Failure.TLS, why
    if code == pycurl.E_COULDNT_CONNECT and os_errno == errno.ECONNREFUSED:
        return Failure.CONNECTION, _REFUSED
    return _BY_CODE.get(code, (Failure.PROTOCOL, NOT_HTTP))


def out_of_time(*, has_status: bool, seconds: float) -> tuple[Failure, str]:
    """Return the failure and the sentence for a check that took too long."""
    what = "The shop's page did not end" if has_status else "The shop did not respond"
    return Failure.TIMEOUT, f"{what} within {seconds:g} seconds."
