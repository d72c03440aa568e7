"""Lock files (flock).

The kernel releases a lock when the last process that holds it ends, no matter how. Processes forked
from the holder hold it too.
"""

import fcntl
import os
import time
from pathlib import Path


class LockTimeoutError(Exception):
    """Another process held the lock for the whole timeout."""


def open_lock(path: Path, *, owner: tuple[int, int] | None = None) -> int:
    """Return a descriptor of the file at `path`, created if it is missing; raises OSError.

    `owner` is the (uid, gid) of a new file. Descriptors do not survive an exec.
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
    """Acquire an flock (LOCK_SH or LOCK_EX) within `timeout` seconds; raises LockTimeoutError."""
    deadline = time.monotonic() + timeout
    while not try_lock(descriptor, operation):
        if time.monotonic() > deadline:
            raise LockTimeoutError
        time.sleep(0.01)


def try_lock(descriptor: int, operation: int) -> bool:
    """Acquire an flock (LOCK_SH or LOCK_EX) if it is free; return whether it was."""
    try:
        fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
