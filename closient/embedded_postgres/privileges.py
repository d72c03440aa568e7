"""Giving up root's privileges for the server's processes, all but what they need to reach files.

Programs and data may lie behind folders that only root can enter, such as root's home. The server's
processes then keep one capability, for passing through folders and reading; nothing is opened up
for anybody else.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from closient.embedded_postgres.account import ADVICE, Account, AccountError, name_of

# linux/prctl.h, linux/securebits.h and linux/capability.h
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_KEEPCAPS: Final = 8
_PR_SET_SECUREBITS: Final = 28
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_RAISE: Final = 2
_SECBIT_NO_SETUID_FIXUP: Final = 1 << 2
_CAP_DAC_OVERRIDE: Final = 1
_CAP_DAC_READ_SEARCH: Final = 2
_CAP_SETPCAP: Final = 8
_CAPABILITY_VERSION_3: Final = 0x20080522


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapabilityData(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def become(account: Account, *, reach: Iterable[Path]) -> None:
    """Turn a root process into one of `account` that can use the paths in `reach`.

    For a process with a single thread that is about to exec; does nothing when it is not root's.
    Raises AccountError when it cannot be done.
    """
    if os.geteuid() != 0:
        return
    paths = tuple(reach)
    libc = _libc()
    if libc is not None:
        libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
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
    # access() leaves capabilities aside at this point: this is what the account may do by itself.
    closed = _first_closed(paths)
    if libc is not None:
        if closed is None:
            _set_capabilities(libc, permitted=0, effective=0, inheritable=0)
        else:
            _keep_one_capability(libc)
            closed = _first_closed(paths)
    if closed is not None:
        message = (
            f"root has to run PostgreSQL as {name_of(account.uid)}, who cannot use {closed}, and"
            f" has no capability here to get past that: {ADVICE}"
        )
        raise AccountError(message)


def die_with_parent(number: signal.Signals) -> None:
    """Have the kernel send this process a signal when its parent ends, where it can (Linux)."""
    libc = _libc()
    if libc is not None:
        libc.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)


def _first_closed(paths: tuple[Path, ...]) -> Path | None:
    return next((path for path in paths if not os.access(path, os.R_OK | os.X_OK)), None)


def _libc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def _keep_one_capability(libc: ctypes.CDLL) -> None:
    permitted = _permitted_capabilities(libc)
    # A container's root seldom has the first, which is enough; the other includes writing.
    candidates = (1 << _CAP_DAC_READ_SEARCH, 1 << _CAP_DAC_OVERRIDE)
    kept = next((capability for capability in candidates if permitted & capability), 0)
    effective = permitted & (kept | 1 << _CAP_SETPCAP)
    _set_capabilities(libc, permitted=permitted, effective=effective, inheritable=kept)
    # Without it access(), by which PostgreSQL looks for its own programs, goes on leaving the
    # capability aside because the user is not root.
    libc.prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
    _set_capabilities(libc, permitted=kept, effective=kept, inheritable=kept)
    if kept:
        libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, kept.bit_length() - 1, 0, 0)


def _permitted_capabilities(libc: ctypes.CDLL) -> int:
    header = _CapabilityHeader(_CAPABILITY_VERSION_3, 0)
    data = (_CapabilityData * 2)()
    if libc.capget(ctypes.byref(header), data) != 0:
        return 0
    return int(data[0].permitted)


def _set_capabilities(
    libc: ctypes.CDLL, *, permitted: int, effective: int, inheritable: int
) -> None:
    header = _CapabilityHeader(_CAPABILITY_VERSION_3, 0)
    data = (_CapabilityData * 2)(_CapabilityData(effective, permitted, inheritable))
    if libc.capset(ctypes.byref(header), data) != 0:
        reason = os.strerror(ctypes.get_errno())
        raise AccountError(f"root's capabilities could not be given up ({reason}): {ADVICE}")
