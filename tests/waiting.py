"""Waiting for conditions."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

TIMEOUT_SECONDS = 60.0


def wait_until(condition: Callable[[], object]) -> None:
    """Wait until a condition is true; fail after a minute."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)
