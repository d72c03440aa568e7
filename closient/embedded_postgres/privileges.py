"""Drop root's privileges for the server's processes, and find what they cannot access then.

Programs and data may be inside folders that only root can enter, such as root's home. No permission
is changed and no capability is kept for that: root enters the folder before it drops its privileges
(see `supervisor`), and copies the programs (see `copies`).
"""

import ctypes
import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from closient.embedded_postgres.account import ADVICE, Account, AccountError, name_of

# linux/prctl.h and linux/capability.h
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38
_CAPABILITY_VERSION_3: Final = 0x20080522


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapabilityData(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def become(account: Account) -> None:
    """Turn this process of root into one of `account` without any privilege, also after an exec.

    The process must have a single thread. Does nothing if it is not root's. Raises AccountError.
    """
    if os.geteuid() != 0:
        return
    try:
        os.setgroups([])
        os.setgid(account.gid)
        os.setuid(account.uid)
    except OSError as error:
        message = (
            f"PostgreSQL does not run as root, and root may not become {name_of(account.uid)} here"
            f" ({error.strerror}): {ADVICE}"
        )
        raise AccountError(message) from error
    libc = _libc()
    if libc is not None:
        _clear_capabilities(libc)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def closed_to(account: Account, paths: Iterable[Path]) -> list[Path]:
    """Return the paths that `account` cannot read and enter (folders) or run (programs)."""
    wanted = list(paths)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            become(account)
            for number, path in enumerate(wanted):
                if not os.access(path, os.R_OK | os.X_OK):
                    os.write(writing, f"{number}\n".encode())
            os._exit(0)
        except AccountError as error:
            os.write(2, f"FATAL:  {error}\n".encode(errors="replace"))
        os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as answers:
        numbers = [int(line) for line in answers]
    _, status = os.waitpid(child, 0)
    if status != 0:
        # The child has written the reason to the log.
        sys.exit(1)
    return [wanted[number] for number in numbers]


def die_with_parent(number: signal.Signals) -> None:
    """Make the kernel send this process a signal when its parent ends (Linux only)."""
    libc = _libc()
    if libc is not None:
        libc.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)


def _libc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def _clear_capabilities(libc: ctypes.CDLL) -> None:
    header = _CapabilityHeader(_CAPABILITY_VERSION_3, 0)
    data = (_CapabilityData * 2)()
    if libc.capset(ctypes.byref(header), data) != 0:
        reason = os.strerror(ctypes.get_errno())
        raise AccountError(f"root's capabilities could not be dropped ({reason}): {ADVICE}")
