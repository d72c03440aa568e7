"""Looks up the IP addresses of hosts, with the system's resolver."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress

# The most lookups at once. The system may continue one for half a minute after its check has ended.
MAX_LOOKUPS = 256

_free = threading.BoundedSemaphore(MAX_LOOKUPS)
_NO_SUCH_NAME = "The host name does not exist."
_NO_ADDRESS = "The host name has no IP address that can be reached."
_SENTENCES = {
    socket.EAI_NONAME: _NO_SUCH_NAME,
    socket.EAI_NODATA: _NO_ADDRESS,
    socket.EAI_ADDRFAMILY: _NO_ADDRESS,
    socket.EAI_AGAIN: "The host name cannot be looked up: DNS did not respond.",
}


class LookupFailed(Exception):
    """A name has no address; ``detail`` is a sentence for people."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class CannotLookUp(Exception):
    """This machine cannot look up names now; nothing is known about this one."""


async def look_up(host: str) -> Sequence[str]:
    """Return the IP addresses of a host, best first.

    Waits as long as the system does: the caller sets a limit. Every lookup has its own thread, so
    that a name server that hangs delays no other lookup, as it would in the event loop's small
    pool, and not the end of the process. Raises :class:`LookupFailed` and :class:`CannotLookUp`.
    """
    loop = asyncio.get_running_loop()
    found: asyncio.Future[Sequence[str]] = loop.create_future()
    if not _free.acquire(blocking=False):
        raise CannotLookUp
    thread = threading.Thread(target=_look_up, args=(host, loop, found), name="lookup", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # The system has no more threads.
        _free.release()
        raise CannotLookUp from None
    return await found


def _look_up(
    host: str, loop: asyncio.AbstractEventLoop, found: asyncio.Future[Sequence[str]]
) -> None:
    addresses: Sequence[str] = ()
    failure: Exception = LookupFailed(_NO_ADDRESS)
    try:
        # The dot makes the name absolute. Without it the system also tries its own domains
        # (`search` in resolv.conf), where it may find another host.
        infos = socket.getaddrinfo(
            f"{host}.", None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
        )
        addresses = list(dict.fromkeys(str(info[4][0]) for info in infos))
    except socket.gaierror as error:
        failure = LookupFailed(
            _SENTENCES.get(error.errno or 0, "The host name cannot be looked up.")
        )
    except UnicodeError:
        failure = LookupFailed(_NO_SUCH_NAME)
    except OSError:  # Out of descriptors, or of memory.
        failure = CannotLookUp()
    finally:
        _free.release()

    def deliver() -> None:
        if not found.done():
            if addresses:
                found.set_result(addresses)
            else:
                found.set_exception(failure)

    with suppress(RuntimeError):  # The loop may have ended.
        loop.call_soon_threadsafe(deliver)
