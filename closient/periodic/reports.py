"""What a worker's report says and how long it counts; needs no Django apps."""

from __future__ import annotations

import socket

# A worker that has reported within it counts as running.
MAX_SILENCE_SECONDS = 60


def host_name() -> str:
    """Return the name of this machine or container, as it is stored."""
    return socket.gethostname()[:255]
