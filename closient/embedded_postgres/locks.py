"""Lock files (flock). The kernel lets go of a lock with the last process that holds it, however
that process ended, and processes forked from its holder hold it too.
"""

import fcntl
import os
import time
from pathlib import Path


class LockTimeoutError(Exception):
    """Somebody else kept a lock for longer than we wanted to wait."""


def open_lock(path: Path, *, owner: tuple[int, int] | None = None) -> int:
    """Return a descriptor of the file at `path`, made when missing; raises OSError.

    `owner` is the (uid, gid) that a new file is given. Descriptors do not survive an exec.
    """
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    while True:
        try:
            return os.open(path, flags)
        except FileNotFoundError:
            pass
        try:
            descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            continue
        if owner is not None:
            os.fchown(descriptor, *owner)
        return descriptor


def lock(descriptor: int, operation: int, *, timeout: float) -> None:
    """Take an flock (LOCK_SH or LOCK_EX) within `timeout` seconds; raises LockTimeoutError."""
    deadline = time.monotonic() + timeout
    while not try_lock(descriptor, operation):
        if time.monotonic() > deadline:
            raise LockTimeoutError
        time.sleep(0.01)


def try_lock(descriptor: int, operation: int) -> bool:
    """Return whether an flock (LOCK_SH or LOCK_EX) could be had at once."""
    try:
        fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
