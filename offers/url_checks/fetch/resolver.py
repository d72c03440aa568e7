"""Names of hosts to addresses, by the system's own resolver."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress

# Lookups at once. The system may stay with one for half a minute after nobody waits any more.
MAX_LOOKUPS = 256

_free = threading.BoundedSemaphore(MAX_LOOKUPS)
_NO_SUCH_NAME = "The host name of the address does not exist."
_NO_ADDRESS = "The host name of the address leads to no server that can be reached from here."
_SENTENCES = {
    socket.EAI_NONAME: _NO_SUCH_NAME,
    socket.EAI_NODATA: _NO_ADDRESS,
    socket.EAI_ADDRFAMILY: _NO_ADDRESS,
    socket.EAI_AGAIN: "The host name of the address cannot be looked up: no answer from DNS.",
}


class LookupFailed(Exception):
    """A name has no address; ``detail`` is a sentence for a person."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class CannotLookUp(Exception):
    """This machine can look up no name just now; nothing can be said about this one."""


async def look_up(host: str) -> Sequence[str]:
    """Return the addresses of a host, best first, or raise :class:`LookupFailed`.

    Waits as long as the system does: the caller sets a limit. Every lookup has a thread to itself,
    so that names whose servers hang hold up no others, as they would in the event loop's own small
    pool; and no thread that still hangs holds up the end of the process. Raises
    :class:`CannotLookUp`.
    """
    loop = asyncio.get_running_loop()
    found: asyncio.Future[Sequence[str]] = loop.create_future()
    if not _free.acquire(blocking=False):
        raise CannotLookUp
    thread = threading.Thread(target=_ask, args=(host, loop, found), name="lookup", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # The system gives no more threads.
        _free.release()
        raise CannotLookUp from None
    return await found


def _ask(host: str, loop: asyncio.AbstractEventLoop, found: asyncio.Future[Sequence[str]]) -> None:
    addresses: Sequence[str] = ()
    failure: Exception = LookupFailed(_NO_ADDRESS)
    try:
        # The dot makes the name complete: without it the system goes on to try it inside the
        # domains of its own network (`search` in resolv.conf), and may find there another host.
        infos = socket.getaddrinfo(
            f"{host}.", None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
        )
        addresses = list(dict.fromkeys(str(info[4][0]) for info in infos))
    except socket.gaierror as error:
        failure = LookupFailed(
            _SENTENCES.get(error.errno or 0, "The host name of the address cannot be looked up.")
        )
    except UnicodeError:
        failure = LookupFailed(_NO_SUCH_NAME)
    except OSError:  # Out of descriptors, or of memory.
        failure = CannotLookUp()
    finally:
        _free.release()

    def tell() -> None:
        if not found.done():
            if addresses:
                found.set_result(addresses)
            else:
                found.set_exception(failure)

    with suppress(RuntimeError):  # The loop may have ended meanwhile.
        loop.call_soon_threadsafe(tell)
