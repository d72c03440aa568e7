"""libcurl's transfers in an asyncio event loop: any number at once, in one thread.

libcurl says which sockets it waits for and when it wants to be woken; the event loop does the
waiting (libcurl's "multi socket" interface, https://curl.se/libcurl/c/libcurl-multi.html).
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


# Codes of OpenSSL (x509_vfy.h): why a certificate is not trusted.
_AUTHORITY = "The shop's certificate comes from an authority that is not trusted."
_CERTIFICATE = {
    9: "The shop's certificate is not valid yet.",
    10: "The shop's certificate has expired.",
    18: "The shop's certificate is self-signed.",
    19: _AUTHORITY,
    # Browsers often know what a server leaves out between its certificate and the authority.
    20: "The shop's certificate comes from an unknown authority, or with a gap in its chain.",
    21: "The shop's certificate comes from an unknown authority, or with a gap in its chain.",
}
_OTHER_HOST = "The shop's certificate is for another host name."
NO_HOST_NAMES = "The shop's certificate names no host (it has no subjectAltName)."
_NO_TLS = "The shop's server makes no secure connection: it does not speak TLS as it should."
_NO_CONNECTION = "No connection to the shop's server can be made."
_REFUSED = "The shop's server refuses the connection."
_NO_ANSWER = "The shop's server closes the connection without an answer."
UNREADABLE = "The shop's server answers with a first line that the checker cannot read."
NOT_HTTP = "The shop's server does not answer as the HTTP standard says."
GARBLED = "The shop's page breaks off, or is garbled on its way."

# By libcurl's codes (https://curl.se/libcurl/c/libcurl-errors.html).
_BY_CODE = {
    pycurl.E_SSL_CONNECT_ERROR: (Failure.TLS, _NO_TLS),
    pycurl.E_SSL_CIPHER: (Failure.TLS, _NO_TLS),
    pycurl.E_USE_SSL_FAILED: (Failure.TLS, _NO_TLS),
    # Something in a first line that begins with HTTP. The second is CURLE_WEIRD_SERVER_REPLY.
    pycurl.E_UNSUPPORTED_PROTOCOL: (Failure.UNREADABLE, UNREADABLE),
    pycurl.E_FTP_WEIRD_SERVER_REPLY: (Failure.UNREADABLE, UNREADABLE),
    pycurl.E_COULDNT_CONNECT: (Failure.CONNECTION, _NO_CONNECTION),
    pycurl.E_GOT_NOTHING: (Failure.CONNECTION, _NO_ANSWER),
    pycurl.E_RECV_ERROR: (Failure.CONNECTION, _NO_ANSWER),
    pycurl.E_SEND_ERROR: (Failure.CONNECTION, _NO_ANSWER),
}


def no_answer(
    outcome: TransferResult, *, os_errno: int, verify_result: int, connect_seconds: float
) -> tuple[Failure, str]:
    """Return which failure an error of libcurl before any status is, and a sentence.

    ``os_errno`` is the system's last error of the connection, ``verify_result`` OpenSSL's verdict
    on the certificate. Raises ``RuntimeError`` when it is this machine's fault.
    """
    code = outcome.code
    if code == pycurl.E_SSL_CACERT_BADFILE:
        raise RuntimeError("The file of certificate authorities cannot be read.")
    if code == pycurl.E_OPERATION_TIMEDOUT:
        unreached = f"The shop's server could not be reached within {connect_seconds:g} seconds."
        return Failure.TIMEOUT, unreached
    if code == pycurl.E_PEER_FAILED_VERIFICATION:
        # libcurl compares the names itself, and OpenSSL knows nothing of it.
        is_other_host = "subject name" in outcome.message
        other = "The shop's certificate is not trusted."
        why = _OTHER_HOST if is_other_host else _CERTIFICATE.get(verify_result, other)
        return Failure.TLS, why
    if code == pycurl.E_COULDNT_CONNECT and os_errno == errno.ECONNREFUSED:
        return Failure.CONNECTION, _REFUSED
    return _BY_CODE.get(code, (Failure.PROTOCOL, NOT_HTTP))


def out_of_time(*, has_answered: bool, seconds: float) -> tuple[Failure, str]:
    """Return the failure of a check that took longer than it may, and a sentence."""
    what = "The shop's page did not end" if has_answered else "The shop did not answer"
    return Failure.TIMEOUT, f"{what} within {seconds:g} seconds."
